"""Interlock joins systems: webhooks, events, polls and calls on one durable log."""
