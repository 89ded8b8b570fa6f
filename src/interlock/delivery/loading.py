"""What a lane needs of the store: parts of the log, and for an attempt what it has to know before it begins.

It does the awaiting; `gaps.py`, `newest.py` and `sequences.py` know which keys to ask the store about.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from msgspec.structs import replace

from interlock.core import limits
from interlock.core.cursor import CursorId, Row
from interlock.core.event import Shard
from interlock.delivery import deadletter
from interlock.delivery.start import Start
from interlock.delivery.turn import Turn
from interlock.journal.ports import Batch, Cells, Journal, Ledger, Retired
from interlock.spec.function import Gap, Missing


class Stores(NamedTuple):
    """What is asked."""

    journal: Journal
    ledger: Ledger
    cells: Cells


async def load(turn: Turn, start: Start, id: CursorId, stores: Stores, is_current: Callable[[], bool]) -> None:
    """Bring what is not there. If the lane is lost meanwhile, the rest is left.

    Raises:
        Retired: an event that is needed is neither in the log nor kept.
    """
    key = start.line.key
    if start.event is None:
        await _load_straggler(turn, start, id, stores)
    assert start.event is not None, "loaded above"
    start.event = await stores.journal.whole(start.event)
    if is_current() and key is not None and turn.gaps.may_be(key):
        start.gap = await _gap(turn, start, id, stores, is_current)
    if key is not None and not turn.newest.knows(key) and is_current():
        cell = turn.newest.cell(key)
        found = await stores.cells.get([cell])
        turn.newest.loaded(key, found[cell].value if cell in found else None)
    if key is not None and not turn.sequences.knows(key) and is_current():
        await turn.sequences.load(key, stores.cells, is_current)


async def log_from(journal: Journal, shard: Shard, at: int, types: frozenset[str] | None) -> Batch:
    """A part of the log from `at` on; where that is retired, of what was kept of it (rule 4).

    Raises:
        Retired: if it was retired while it was read, and nothing older is left.
    """
    while True:
        oldest = journal.bounds(shard)[0]
        if at < oldest:
            kept = await journal.kept(shard, at - 1, limits.WINDOW_OFFSETS)
            return Batch([event for event in kept.events if types is None or event.draft.type in types], kept.upto)
        try:
            return await journal.read(shard, at - 1, limits.WINDOW_OFFSETS, types)
        except Retired:
            if journal.bounds(shard)[0] == oldest:
                raise


async def _load_straggler(turn: Turn, start: Start, id: CursorId, stores: Stores) -> None:
    """Its event, and its row with the memo."""
    (event,) = await stores.journal.fetch(id.shard, [start.offset])
    row = start.row
    if row is not None and (row.attempts_total or row.replays):
        stored = await stores.ledger.rows(id, [start.offset])
        memo = deadletter.pending_memo(turn, start.offset) or (stored[0].memo if stored else b"")
        if memo:
            start.row = replace(row, memo=memo)
    start.event = event


async def _gap(turn: Turn, start: Start, id: CursorId, stores: Stores, is_current: Callable[[], bool]) -> Gap | None:
    """Note with the start what is missing and untold before it, and say it; None if nothing is."""
    key = start.line.key or ""
    # What dies from here on opens it again.
    turn.gaps.closes(key)
    start.missing = {}
    stored = await stores.ledger.missing(id, key)
    if not is_current():
        return None
    if stored:
        turn.gaps.opens(key)
    found = {row.offset: row for row in stored} | start.missing
    rows = [row for offset in found if (row := deadletter.latest(turn, offset, found[offset])) is not None]
    missing = sorted((row for row in rows if row.is_missing and row.offset < start.offset), key=_offset)
    start.missing = {row.offset: row for row in missing} or None
    start.looked_back = True
    if not missing:
        return None
    first, last = await stores.journal.fetch(id.shard, [missing[0].offset, missing[-1].offset])
    return Gap(len(missing), Missing(first.id, _reason(missing[0])), Missing(last.id, _reason(missing[-1])))


def _offset(row: Row) -> int:
    return row.offset


def _reason(row: Row) -> str:
    if row.state == "discarded":
        return "discarded" if row.edited is None else "edited"
    return row.reason or "unknown"
