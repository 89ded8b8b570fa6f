"""Lanes: from the log to the functions, in order per key, and the dead letters."""
