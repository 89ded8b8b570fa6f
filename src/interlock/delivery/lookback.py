"""What an event's receiver is told that it misses. It does the awaiting; `gaps.py` knows which keys to ask about."""

from __future__ import annotations

from collections.abc import Callable

from interlock.core.cursor import CursorId, Row
from interlock.delivery import deadletter
from interlock.delivery.start import Start
from interlock.delivery.turn import Turn
from interlock.journal.ports import Journal, Ledger
from interlock.spec.function import Gap, Missing


async def look_back(
    turn: Turn, start: Start, id: CursorId, stores: tuple[Journal, Ledger], is_current: Callable[[], bool]
) -> Gap | None:
    """Note with the start what is missing and untold before it, and say it; None if nothing is, or the lane was lost.

    Raises:
        Retired: an event of a dead letter is neither in the log nor kept.
    """
    journal, ledger = stores
    key = start.line.key
    assert key is not None, "without a key there is no order"
    # What dies from here on opens it again.
    turn.gaps.closes(key)
    start.missing = {}
    stored = await ledger.missing(id, key)
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
    first, last = await journal.fetch(id.shard, [missing[0].offset, missing[-1].offset])
    return Gap(len(missing), Missing(first.id, _reason(missing[0])), Missing(last.id, _reason(missing[-1])))


def _offset(row: Row) -> int:
    return row.offset


def _reason(row: Row) -> str:
    return "discarded" if row.state == "discarded" else row.reason or "unknown"
