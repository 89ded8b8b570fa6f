"""What a memory store still owes: read from the disk, so that it does not depend on what the engine believes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from interlock.core.cursor import Cursor, Row
from interlock.core.event import Event, Shard
from interlock.journal.memory_disk import MemoryDisk, MemoryLedger, MemoryShard


class Owed(NamedTuple):
    """One thing that is not settled, and why; `by_itself` says that time alone will bring it on."""

    subscription: str
    shard: Shard
    offset: int
    why: str
    by_itself: bool

    def __str__(self) -> str:
        return f"{self.subscription} {self.shard.stream}/{self.shard.number} offset {self.offset}: {self.why}"


def owed(disk: MemoryDisk) -> Iterator[Owed]:
    """Everything that is not settled, by cursor and offset. A key that a held event blocks waits for a person."""
    for id, ledger in disk.ledgers.items():
        if not ledger.held.cursor.types:
            continue  # The cursor of a poll or a schedule: it reads another log.
        blocked = {row.key for row in ledger.rows.values() if row.state == "held" and row.key is not None}
        for row in live(ledger):
            waits = row.state == "held" or (row.key in blocked and not _is_head(row, ledger))
            yield Owed(id.subscription, id.shard, row.offset, f"{row.state} ({row.error or row.reason})", not waits)
        for mark in ledger.marks.values():
            why = f"{mark.count} of key {mark.key} behind a mark"
            yield Owed(id.subscription, id.shard, mark.first, why, mark.key not in blocked)
        log = disk.shard(id.shard)
        for event in _unaccounted(ledger.held.cursor, log):
            key = event.draft.key
            yield Owed(id.subscription, id.shard, event.offset, "not accounted for", key is None or key not in blocked)


class Waiting(NamedTuple):
    """How many events a subscription has not settled, and since when (µs since the epoch) the oldest of them waits."""

    events: int
    since: int


def waiting(disk: MemoryDisk) -> dict[str, Waiting]:
    """By subscription, what it has not settled; one that is up to date is not there."""
    found: dict[str, Waiting] = {}
    for id, ledger in disk.ledgers.items():
        if not ledger.held.cursor.types:
            continue
        log = disk.shard(id.shard)
        offsets = {row.offset for row in live(ledger)} | {
            event.offset for event in _unaccounted(ledger.held.cursor, log)
        }
        oldest = [
            event for offset in (*offsets, *(mark.first for mark in ledger.marks.values())) if (event := log.at(offset))
        ]
        count = len(offsets) + sum(mark.count for mark in ledger.marks.values())
        if oldest:
            before = found.get(id.subscription, Waiting(0, oldest[0].accepted_at))
            since = min(before.since, *(event.accepted_at for event in oldest))
            found[id.subscription] = Waiting(before.events + count, since)
    return found


def live(ledger: MemoryLedger) -> list[Row]:
    """The stragglers that are not dead, by offset."""
    return [row for _, row in sorted(ledger.rows.items()) if row.state in ("running", "due", "held")]


def types_at(cursor: Cursor, offset: int) -> frozenset[str] | None:
    """The types that the subscription reads at an offset (rule 5); None for all."""
    found = cursor.types[0].types if cursor.types else None
    for entry in cursor.types:
        if entry.offset <= offset:
            found = entry.types
    return found


def _is_head(row: Row, ledger: MemoryLedger) -> bool:
    return all(row.offset <= other.offset for other in live(ledger) if other.key == row.key)


def _unaccounted(cursor: Cursor, log: MemoryShard) -> Iterator[Event]:
    for offset in range(cursor.floor + 1, log.head + 1):
        if cursor.above >> (offset - cursor.floor - 1) & 1:
            continue
        event = log.at(offset)
        types = types_at(cursor, offset)
        if event is not None and (types is None or event.draft.type in types):
            yield event
