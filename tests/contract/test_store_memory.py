"""The store in memory against the contract."""

from __future__ import annotations

from pathlib import Path

from tests.contract.store_contract import Recorder, StoreContract
from tests.contract.views_contract import ViewsContract

from interlock.journal.memory import MemoryDisk, MemoryStore
from interlock.testing.clock import FakeClock


class MemoryWorld:
    """One MemoryDisk."""

    shares_disk = True

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.wakeup = Recorder()
        self.records: list[str] = []
        self.disk = MemoryDisk(segment_events=8, proves_deaths=True)
        self.files = self.disk.files

    async def open(self) -> MemoryStore:
        return MemoryStore(self.clock, self.wakeup, emit=self.emit, disk=self.disk)

    def emit(self, record: str, /, **fields: object) -> None:
        self.records.append(record)

    async def crash(self, store: MemoryStore) -> None:
        store.abandon()


class TestMemoryStore(StoreContract):
    def make_world(self, folder: Path) -> MemoryWorld:
        return MemoryWorld()


class TestMemoryViews(ViewsContract):
    def make_world(self, folder: Path) -> MemoryWorld:
        return MemoryWorld()
