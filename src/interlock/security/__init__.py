"""Signatures, secrets, tokens, redaction."""
