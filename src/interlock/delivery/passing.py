"""Which events a lane passes as they are, into rows or behind marks. Pure decisions on a `Turn`.

Where the floor stands still: one that moves makes room by itself (docs/decisions/0008). And where what is in sight uses
too few of the slots, so that others further on could (docs/decisions/0028).
"""

from __future__ import annotations

from typing import NamedTuple

from msgspec.structs import replace

from interlock.core import limits
from interlock.core.cursor import Row
from interlock.delivery.turn import Turn


class _Seen(NamedTuple):
    """What had been done when the lane was last found unable to read on, and until when it is patient with that."""

    until: int
    floor: int
    delivered: int


class Passing:
    """Of one opened cursor."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._stuck: tuple[int, int] | None = None
        self._full: _Seen | None = None

    def make_room(self, now: int, newest: int) -> bool:
        """Pass events when the lane cannot go on and should; true if it did. `newest` is the shard's last offset.

        Of a full window the lowest are passed; of one with room only what waits behind a straggler, so that a halted
        key with few followers does not pin the log for ever.
        """
        turn = self._turn
        is_full = turn.room() <= 0
        if is_full and turn.read_to < newest:
            if self._must_look_further(now):
                return _pass_lowest(turn, now, is_full=True)
        else:
            self._full = None
        may_not = turn.paused or turn.stopping or turn.systemic or len(turn.running) >= limits.RUNNING_MAX
        if may_not or turn.ready_now(now) or not (is_full or turn.window):
            self._stuck = None
            return False
        # A floor that still moves will make room by itself, without a row or a mark.
        if self._stuck is None or self._stuck[0] != turn.floor:
            self._stuck = (turn.floor, now)
        if now < self._stuck_until(self._stuck[1]):
            return False
        self._stuck = None
        return _pass_lowest(turn, now, is_full=is_full)

    def next_at(self) -> int | None:
        """When the patience with what was found ends."""
        stuck = None if self._stuck is None else self._stuck_until(self._stuck[1])
        full = None if self._full is None else self._full.until
        return min((at for at in (stuck, full) if at is not None), default=None)

    def _stuck_until(self, since: int) -> int:
        return since + (limits.FLOOR_PATIENCE_US if self._turn.room() > 0 else limits.WINDOW_PATIENCE_US)

    def _must_look_further(self, now: int) -> bool:
        """Whether a full window moves on, but slowly, while what it holds leaves slots free, or is of few tenants."""
        turn, seen = self._turn, self._full
        moved = seen is None or turn.floor - seen.floor >= limits.WINDOW_OFFSETS
        if seen is not None and now < seen.until and not moved:
            return False
        self._full = _Seen(now + limits.WINDOW_PATIENCE_US, turn.floor, turn.delivered)
        # Where nothing goes on at all, as in an outage, what is further on could not go on either.
        if seen is None or moved or not (turn.running or turn.delivered > seen.delivered):
            return False
        if turn.paused or turn.stopping or turn.ready_now(now) or len(turn.rows) >= limits.SIGHT_ROWS_MAX:
            return False
        if not (turn.may_start(now) or _is_of_few_tenants(turn)):
            return False
        self._full = self._full._replace(until=now + limits.SIGHT_PAUSE_US)
        return True


def _is_of_few_tenants(turn: Turn) -> bool:
    """Whether tenants are told apart, and fewer are in the window than could have an attempt under way."""
    if len(turn.ready.tenants) <= 1:
        return False
    return len({event.draft.tenant for event in turn.window.values()}) < limits.RUNNING_MAX


def _pass_lowest(turn: Turn, now: int, *, is_full: bool) -> bool:
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
