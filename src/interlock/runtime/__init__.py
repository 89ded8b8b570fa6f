"""The only composition root, and the only reader of settings and environment."""
