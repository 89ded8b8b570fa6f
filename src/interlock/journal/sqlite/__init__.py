"""The embedded store: one SQLite file, one writing process."""

from interlock.journal.sqlite.backend import SqliteOptions
from interlock.journal.sqlite.store import SqliteStore

__all__ = ["SqliteOptions", "SqliteStore"]
