"""How a lane reads its shard: what is new, and the next events of marked keys. It does the awaiting; `Turn` decides.

Each gives up as soon as the lane has lost its memory (`is_current`): what came then is nobody's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from interlock.core import limits
from interlock.core.event import Shard
from interlock.delivery.loading import log_from
from interlock.delivery.tail import Tails
from interlock.delivery.turn import Turn
from interlock.journal.ports import Batch, Journal


class Log(NamedTuple):
    """One shard: its newest events in memory, all of them in the journal."""

    shard: Shard
    journal: Journal
    tails: Tails

    @property
    def newest(self) -> int:
        """The last offset."""
        return self.journal.bounds(self.shard)[1]


async def read(turn: Turn, log: Log, now: Callable[[], int], is_current: Callable[[], bool]) -> None:
    """Read on as far as the window has room.

    Raises:
        Retired: what comes next is not in the log any more.
    """
    while is_current() and (room := turn.room()) > 0:
        after = turn.read_to
        if after >= log.newest:
            return
        types, until = turn.types_after(after)
        upto = after + room if until is None else min(after + room, until)
        batch = log.tails.read(log.shard, after, upto, types)
        if batch is None:
            batch = await log.journal.read(log.shard, after, room, types)
        if is_current():
            _offer(turn, batch, until, now())


def _offer(turn: Turn, batch: Batch, until: int | None, now: int) -> None:
    """Offer a batch in parts that fit the window; what does not fit is read again when there is room."""
    last = batch.upto if until is None else min(batch.upto, until)
    events, at = batch.events, 0
    while turn.read_to < last and (room := turn.room()) > 0:
        upto = min(last, turn.read_to + room)
        end = at
        while end < len(events) and events[end].offset <= upto:
            end += 1
        turn.offer(events[at:end], upto, now)
        at = end


async def claim(turn: Turn, log: Log, is_current: Callable[[], bool]) -> bool:
    """Bring the next events of marked keys: fetch those whose offsets are known, scan for the others (rule 3).

    Gives whether there may be more to do at once.

    Raises:
        Retired: an event of a mark is neither in the log nor kept.
    """
    if not is_current():
        return False
    waiting = [line for line in turn.marks.claims.values() if line.count and not line.claimed]
    turn.marks.claims = {line.key or "": line for line in waiting}
    known = [line for line in waiting if line.passed]
    if not known:
        if waiting:
            await _scan(turn, log, is_current)
        return bool(waiting)
    share = max(1, limits.FETCH_EVENTS_MAX // len(known))
    wanted = [(line, list(line.passed or ())[:share]) for line in known]
    offsets = [offset for _, some in wanted for offset in some]
    events = iter(await log.journal.fetch(log.shard, offsets))
    if is_current():
        for line, some in wanted:
            turn.claimed(line, [next(events) for _ in some])
            turn.marks.claims.pop(line.key or "", None)
    return False


async def _scan(turn: Turn, log: Log, is_current: Callable[[], bool]) -> None:
    """One scan serves all marked keys; it goes at most 10,000 events far before other work gets its turn."""
    at = turn.marks.scan_from()
    end = max(line.last for line in turn.marks.claims.values())
    seen = 0
    while at is not None and at <= end and seen < limits.SCAN_EVENTS_PER_TURN and turn.marks.scan_from() is not None:
        types, until = turn.types_after(at - 1)
        batch = await log_from(log.journal, log.shard, at, types)
        if not is_current():
            return
        last = batch.upto if until is None else min(batch.upto, until)
        turn.marks.scanned(batch.events, at, last)
        seen += len(batch.events)
        at = last + 1
