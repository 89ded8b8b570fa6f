"""Keys that wait: their heads, for how long, and how many events are behind them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from interlock.control.dead_shapes import Blocked, BlockedAsked, BlockedKey
from interlock.control.queries import Reading, bounded
from interlock.control.selection import events_of, place_of
from interlock.core.cursor import Cursor, CursorId, RowState
from interlock.journal.ports import Retired
from interlock.journal.views import RowLine, RowsQuery, accounted

_BLOCKING: Final = frozenset[RowState]({"held", "due"})
_ROWS_MAX: Final = 10_000
_SCANNED_MAX: Final = 10_000
"""Events above a floor that are looked at for followers of blocked keys; beyond them the number is a lower bound."""
_READ: Final = 1_000
_KeyOf = tuple[CursorId, str]


async def blocked(reading: Reading, asked: BlockedAsked) -> Blocked:
    """Keys whose head has failed and is not settled, the oldest first."""
    rows = await reading.views.rows(RowsQuery(asked.subscription, _BLOCKING, limit=_ROWS_MAX))
    heads: dict[_KeyOf, RowLine] = {}
    behind: dict[_KeyOf, int] = {}
    for line in rows:
        if line.row.key is None or not _is_ordered(reading, line.cursor.subscription):
            continue
        name = (line.cursor, line.row.key)
        if name in heads:
            behind[name] += 1
        elif line.row.state == "held" or line.row.first_failed_at is not None:
            heads[name], behind[name] = line, 0
    shown = sorted(heads, key=lambda name: (heads[name].row.first_failed_at or 0, name))[: bounded(asked.limit)]
    whole = await _count(reading, shown, behind)
    events = await events_of(reading.journal, [heads[name] for name in shown])
    found: list[BlockedKey] = []
    for name in shown:
        event = events.get(place_of(heads[name]))
        found.append(_key(heads[name], event.id if event else None, behind[name], counted=name[0] in whole))
    return Blocked(found, len(heads))


def _is_ordered(reading: Reading, subscription: str) -> bool:
    """Whether events of it wait for each other. Where there is no plan, all that have keys are taken to."""
    spec = reading.plan.subscriptions.get(subscription) if reading.plan else None
    return spec is None or (spec.order == "key" and spec.kind != "delay")


async def _count(reading: Reading, names: Sequence[_KeyOf], behind: dict[_KeyOf, int]) -> frozenset[CursorId]:
    """Add what waits behind a mark and what was not read yet; the cursors of which all was counted."""
    cursors = {line.cursor.id: line.cursor for line in await reading.views.cursors()}
    whole: set[CursorId] = set()
    for id in dict.fromkeys(cursor for cursor, _ in names):
        keys = frozenset(key for cursor, key in names if cursor == id)
        for mark in await reading.views.marks(id):
            if mark.key in keys:
                behind[id, mark.key] += mark.count
        if id in cursors and await _count_unread(reading, cursors[id], keys, behind):
            whole.add(id)
    return frozenset(whole)


async def _count_unread(reading: Reading, cursor: Cursor, keys: frozenset[str], behind: dict[_KeyOf, int]) -> bool:
    types = cursor.types[-1].types if cursor.types else None
    at, left = cursor.floor, _SCANNED_MAX
    while at < reading.journal.bounds(cursor.id.shard)[1]:
        if left <= 0:
            return False
        try:
            batch = await reading.journal.read(cursor.id.shard, at, min(_READ, left), types)
        except Retired:
            return False
        for event in batch.events:
            if event.draft.key in keys and not accounted(cursor, event.offset):
                behind[cursor.id, event.draft.key or ""] += 1
        left -= max(len(batch.events), batch.upto - at)
        at = batch.upto
    return True


def _key(line: RowLine, event: str | None, behind: int, *, counted: bool) -> BlockedKey:
    row = line.row
    return BlockedKey(
        line.cursor.subscription,
        line.cursor.shard.stream,
        row.key or "",
        event,
        row.state,
        row.reason,
        row.error,
        row.fingerprint,
        row.attempts_total,
        row.first_failed_at,
        row.due_at,
        behind,
        counted,
    )
