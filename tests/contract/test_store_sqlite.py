"""The store on SQLite against the contract."""

from __future__ import annotations

from pathlib import Path

from tests.contract.store_contract import Recorder, StoreContract
from tests.contract.views_contract import ViewsContract

from interlock.journal.memory import Inline
from interlock.journal.sqlite import SqliteOptions, SqliteStore
from interlock.testing.clock import FakeClock


class SqliteWorld:
    """One file, with small segments and a small window, so that few events reach every table."""

    shares_disk = False

    def __init__(self, folder: Path) -> None:
        self.path = folder / "store.db"
        self.clock = FakeClock()
        self.wakeup = Recorder()
        self.records: list[str] = []
        self.options = SqliteOptions(window_events=16, segment_events=8)

    async def open(self) -> SqliteStore:
        return await SqliteStore.open_file(self.path, self.clock, self.wakeup, Inline(), self.emit, self.options)

    def emit(self, record: str, /, **fields: object) -> None:
        self.records.append(record)

    async def crash(self, store: SqliteStore) -> None:
        store.abandon()


class TestSqliteStore(StoreContract):
    def make_world(self, folder: Path) -> SqliteWorld:
        return SqliteWorld(folder)


class TestSqliteViews(ViewsContract):
    def make_world(self, folder: Path) -> SqliteWorld:
        return SqliteWorld(folder)
