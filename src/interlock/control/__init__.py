"""The admin API on the control port: health, metrics, commands, queries."""
