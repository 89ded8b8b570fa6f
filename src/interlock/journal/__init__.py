"""The store: the log, its ledger and cells, behind three protocols (`ports.py`)."""
