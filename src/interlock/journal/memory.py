"""The store in memory: the reference that other backends are compared with, and what simulation and `Lab` run on.

Stores that share a `MemoryDisk` stand for a zombie and its successor; there is no file lock between them, and Offload
must then run inline (as in simulation).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from interlock.core.cursor import CursorId, Past, Row
from interlock.core.event import Event, Shard
from interlock.core.limits import GAP_EVENTS_MAX, READ_BYTES_MAX, READ_SCAN_OFFSETS_MAX
from interlock.core.ports import Clock, Emit, Offload, Wakeup
from interlock.journal import decide
from interlock.journal.memory_disk import MemoryDisk, MemoryTx
from interlock.journal.memory_views import MemoryViews
from interlock.journal.ports import (
    Batch,
    Cell,
    Features,
    Retired,
    StreamInfo,
)
from interlock.journal.store import GroupStore, News, run_each

T = TypeVar("T")


class MemoryBackend:
    """`store.Backend` on a `MemoryDisk`."""

    features = Features(
        atomic_emit=True,
        atomic_append_across_shards=True,
        gapless_offsets=True,
        dedupe_window=True,
        wakeup=True,
        clustered=False,
    )

    def __init__(self, disk: MemoryDisk, clock: Clock) -> None:
        self.disk = disk
        self._clock = clock
        self._told = {
            Shard(name, number): log.head
            for name, stream in disk.streams.items()
            for number, log in enumerate(stream.shards)
        }
        self.tell: Callable[[None], None] | None = None
        self.changed: dict[str, None] = {}
        self.workers: dict[str, None] = {}
        disk.attached.append(self)

    def commit(self, runs: Sequence[Callable[[Any], Any]]) -> tuple[Sequence[Any], None]:
        tx = MemoryTx(self.disk, self._clock.now(), self.workers)
        answers = run_each(tx, runs)
        for store in self.disk.attached:
            store.changed.update(tx.changed)
            if store is not self and store.tell is not None:
                store.tell(None)
        return answers, None

    def news(self, committed: None) -> News:
        """Whatever the disk has that was not yet told, so that a commit whose answer was lost is told by the next one.

        Two stores on one disk hear of each other's events in order.
        """
        appended: dict[Shard, Sequence[Event]] = {}
        for name, stream in self.disk.streams.items():
            for number, log in enumerate(stream.shards):
                shard = Shard(name, number)
                told = self._told.get(shard, 0)
                if log.head > told:
                    appended[shard] = log.events[max(0, told - log.gone) :]
                    self._told[shard] = log.head
        changed, self.changed = tuple(self.changed), {}
        return News(appended, changed)

    def stream(self, name: str) -> StreamInfo | None:
        stream = self.disk.streams.get(name)
        return stream.made if stream else None

    def bounds(self, shard: Shard) -> tuple[int, int]:
        log = self.disk.shard(shard)
        return log.gone + 1, log.head

    def read(self, shard: Shard, after: int, limit: int, types: frozenset[str] | None) -> Batch:
        log = self.disk.shard(shard)
        if after < log.gone:
            raise Retired(shard, after + 1)
        upto = min(log.head, after + max(limit, READ_SCAN_OFFSETS_MAX))
        found: list[Event] = []
        size = 0
        for event in log.events[after - log.gone : upto - log.gone]:
            if types is None or event.draft.type in types:
                found.append(event)
                size += len(event.draft.data)
                if len(found) == limit or size > READ_BYTES_MAX:
                    return Batch(found, event.offset)
        return Batch(found, max(upto, after))

    def kept(self, shard: Shard, after: int, limit: int) -> Batch:
        log = self.disk.shard(shard)
        offsets = sorted(offset for offset in log.kept if offset > after)
        found = [log.kept[offset] for offset in offsets[:limit]]
        return Batch(found, found[-1].offset if len(offsets) > limit else max(log.gone, after))

    def fetch(self, shard: Shard, offsets: Sequence[int]) -> Sequence[Event]:
        log = self.disk.shard(shard)
        found: list[Event] = []
        for offset in offsets:
            event = log.at(offset)
            if event is None:
                raise Retired(shard, offset)
            found.append(event)
        return found

    def of_key(self, shard: Shard, key: str, limit: int) -> Sequence[int]:
        log = self.disk.shard(shard)
        events = (*log.kept.values(), *log.events)
        return sorted(event.offset for event in events if event.draft.key == key)[:limit]

    def whole(self, event: Event) -> Event:
        return self.disk.bodies.whole(event)

    def old_files(self, age_us: int) -> Sequence[str]:
        return self.disk.bodies.old(self._clock.now() - age_us)

    def rows(self, cursor: CursorId, offsets: Sequence[int]) -> Sequence[Row]:
        ledger = self.disk.ledgers.get(cursor)
        return [] if ledger is None else [ledger.rows[offset] for offset in offsets if offset in ledger.rows]

    def missing(self, cursor: CursorId, key: str) -> Sequence[Row]:
        ledger = self.disk.ledgers.get(cursor)
        return [] if ledger is None else [row for row in ledger.missing() if row.key == key][:GAP_EVENTS_MAX]

    def past(self, cursor: CursorId, offsets: Sequence[int]) -> Mapping[int, Past]:
        ledger, wanted = self.disk.ledgers.get(cursor), frozenset(offsets)
        records = () if ledger is None else ledger.records()
        return decide.pasts(record for record in records if record.offset in wanted)

    def get(self, keys: Sequence[str]) -> Mapping[str, Cell]:
        now = self._clock.now()
        found = ((key, decide.live(self.disk.cells.get(key), now)) for key in keys)
        return {key: cell for key, cell in found if cell is not None}

    def list(self, prefix: str, limit: int) -> Sequence[Cell]:
        now = self._clock.now()
        keys = sorted(key for key in self.disk.cells if key.startswith(prefix))
        return [cell for key in keys if (cell := decide.live(self.disk.cells[key], now)) is not None][:limit]

    def upkeep(self) -> None:
        return None

    def close(self) -> None:
        self.abandon()

    def abandon(self) -> None:
        """Hear no more of others' commits: the process is gone, whatever it had under way."""
        if self in self.disk.attached:
            self.disk.attached.remove(self)


class MemoryStore(GroupStore):
    """`Store` and `Lifecycle` on a `MemoryDisk`; a new disk if none is given, inline if no Offload is."""

    def __init__(
        self,
        clock: Clock,
        wakeup: Wakeup,
        *,
        offload: Offload | None = None,
        emit: Emit,
        disk: MemoryDisk | None = None,
    ) -> None:
        self.disk = disk or MemoryDisk()
        self._memory = MemoryBackend(self.disk, clock)
        super().__init__(self._memory, clock, wakeup, offload or Inline(), emit)
        self._memory.tell = self._answered

    def views(self) -> MemoryViews:
        return MemoryViews(self.disk, self._clock)

    def abandon(self) -> None:
        """The simulated process has died: hear nothing more from the disk."""
        self._memory.abandon()


class Inline:
    """Offload without a thread: done at once, answered in a later turn of the loop."""

    def run(self, function: Callable[[], T]) -> Awaitable[T]:
        async def call() -> T:
            return function()

        return asyncio.ensure_future(call())


__all__ = ["Inline", "MemoryBackend", "MemoryDisk", "MemoryStore"]
