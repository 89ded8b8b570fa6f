"""What a lane does about an event whose content has been erased: it lets go of what it holds of it, and settles it.

Pure decisions on a `Turn`. The event of the log is a tombstone by then; whatever is read later is filtered as it comes.
"""

from __future__ import annotations

from interlock.core.cursor import Row
from interlock.core.event import Event
from interlock.core.requests import Answer
from interlock.delivery import deadletter
from interlock.delivery.turn import Turn


def erase(turn: Turn, event: Event, stored: Row | None) -> Answer:
    """Settle an event that does not run, as filtered; `stored` is its row as far as the ledger knows."""
    offset = event.offset
    key = event.draft.key if turn.ordered else None
    row = deadletter.latest(turn, offset, stored)
    if row is not None:
        _settle_row(turn, row)
    elif offset in turn.window:
        _leave_window(turn, key, offset)
    elif key is not None and _is_behind(turn, key, event):
        line = turn.line(key, offset)
        turn.marks.drop(line, offset)
        turn.changes.mark(line)
        turn.filtered += 1
        turn.look_again(line)
    elif turn.accounts_for(offset):
        return "settled"
    return "erased"


def _settle_row(turn: Turn, row: Row) -> None:
    line = turn.line(row.key if turn.ordered else None, row.offset)
    turn.dead -= row.state == "dead"
    # What was discarded is counted as that already.
    turn.filtered += row.state != "discarded"
    turn.rows.pop(row.offset, None)
    line.drop_row(row.offset)
    turn.changes.clear(row.offset)
    told = None if line.running is None else turn.running[line.running].missing
    if told is not None:
        # Nobody is told of it any more, or its row would be written again.
        told.pop(row.offset, None)
    _look_again(turn, row.offset, line.key)


def _leave_window(turn: Turn, key: str | None, offset: int) -> None:
    del turn.window[offset]
    turn.line(key, offset).window.remove(offset)
    turn.above |= 1 << (offset - turn.floor - 1)
    turn.filtered += 1
    turn.changes.any = True
    _look_again(turn, offset, key)


def _look_again(turn: Turn, offset: int, key: str | None) -> None:
    line = turn.line(key, offset)
    turn.look_again(line)
    if key is None:
        turn.lines.pop(offset, None)


def _is_behind(turn: Turn, key: str, event: Event) -> bool:
    """Whether it is one of those that the key's mark counts: what is counted has no row, and nothing of it runs."""
    line = turn.lines.get(key)
    if line is None or not line.count or not line.first <= event.offset <= line.last:
        return False
    types, _ = turn.types_after(event.offset - 1)
    return types is None or event.draft.type in types
