"""Logs and metrics: what the Emit port does in production."""
