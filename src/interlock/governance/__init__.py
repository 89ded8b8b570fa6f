"""Rules over many integrations."""
