"""Which events a lane passes as they are, into rows or behind marks. Pure decisions on a `Turn`.

Only where the floor stands still: one that moves makes room by itself (docs/decisions/0008).
"""

from __future__ import annotations

from msgspec.structs import replace

from interlock.core import limits
from interlock.core.cursor import Row
from interlock.delivery.turn import Turn


def make_room(turn: Turn, now: int) -> bool:
    """Pass events when the floor stands still, nothing can start and a slot is free; true if it did.

    A full window passes its lowest; one with room only what waits behind a straggler, so that a halted key with few
    followers does not pin the log for ever.
    """
    is_full = turn.room() <= 0
    may_not = turn.paused or turn.stopping or turn.systemic or len(turn.running) >= limits.RUNNING_MAX
    if may_not or turn.ready_now(now) or not (is_full or turn.window):
        turn.stuck_at = None
        return False
    # A floor that still moves will make room by itself, without a row or a mark.
    if turn.stuck_at is None or turn.stuck_at[0] != turn.floor:
        turn.stuck_at = (turn.floor, now)
    if now < turn.stuck_until():
        return False
    turn.stuck_at = None
    last = turn.floor + limits.WINDOW_OFFSETS // 4 if is_full else turn.read_to
    floor, passed = turn.floor, False
    for offset in range(floor + 1, min(turn.read_to, last) + 1):
        if not turn.above >> (offset - floor - 1) & 1:
            passed |= _pass(turn, offset, now, is_full=is_full)
    turn.advance()
    return passed


def _pass(turn: Turn, offset: int, now: int, *, is_full: bool) -> bool:
    start = turn.running.get(offset)
    if start is not None:
        if is_full:
            row = replace(turn.row_of(start), state="running", due_at=None, epoch=turn.epoch)
            turn.place(start.line, row, accounted=False, now=now)
        return is_full
    event = turn.window[offset]
    line = turn.lines[event.draft.key if turn.ordered and event.draft.key is not None else offset]
    if line.blocked or (line.running is not None and is_full):
        while line.window:
            follower = line.window.popleft()
            del turn.window[follower]
            turn.fold(line, follower)
    elif is_full:
        line.window.popleft()
        del turn.window[offset]
        row = Row(offset, event.draft.key, "due", due_at=now, epoch=turn.epoch, type=event.draft.type)
        turn.place(line, row, accounted=False, now=now)
    else:
        return False
    return True
