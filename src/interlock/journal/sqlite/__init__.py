"""The embedded store: one SQLite file, one writing process."""

from interlock.journal.sqlite.store import SqliteOptions, SqliteStore

__all__ = ["SqliteOptions", "SqliteStore"]
