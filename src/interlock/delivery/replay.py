"""A settled event again from the log: which one may come back, and as what (rule 6). Pure decisions on a `Turn`.

It leaves the counter that it was settled in and gets a row, which is due at once. So it waits for the running event of
its key, goes before all others of it, and the books balance at every commit.
"""

from __future__ import annotations

from interlock.core import limits
from interlock.core.cursor import Past, Row
from interlock.core.event import Event
from interlock.core.requests import Answer, LaneRequest
from interlock.delivery import deadletter
from interlock.delivery.deadletter import FORGOTTEN, Ask
from interlock.delivery.turn import Turn


def answered(turn: Turn, ask: Ask, offset: int, event: Event | None) -> Answer | None:
    """What is answered without asking the ledger; `event` is None where the log has it no more, or not yet.

    `not-found`: it is not in the log, was erased, or the subscription never covered it. `refused`: it is not settled.
    """
    if event is None or event.erased_at is not None or offset <= turn.start_offset:
        return "not-found"
    types, _ = turn.types_after(offset - 1)
    if types is not None and event.draft.type not in types:
        return "not-found"
    row = turn.rows.get(offset)
    if row is not None:
        return "replayed" if row.job == ask.job else "refused"
    return None if _is_over(turn, event) else "refused"


def put_back(turn: Turn, ask: Ask, event: Event, past: Past, stored: Row | None) -> Answer:
    """Put a settled event back, once for each job; one that has a row is left to the verbs for those."""
    request, job, now = ask
    row = deadletter.latest(turn, event.offset, stored)
    if job in past.jobs or (row is not None and row.job == job):
        return "replayed"
    if row is not None:
        return "refused"
    turn.filtered -= past.filtered
    turn.delivered -= not past.filtered
    row = Row(
        event.offset,
        event.draft.key,
        "due",
        due_at=now,
        attempts_total=past.attempts,
        epoch=turn.epoch,
        replays=len(past.jobs) + 1,
        # What an older row remembered of its calls is over: they are made again.
        memo=FORGOTTEN,
        type=event.draft.type,
        trigger="replay",
        job=job,
        actor=request.actor,
        why=request.reason,
    )
    line = turn.line(row.key if turn.ordered else None, event.offset)
    turn.place(line, row, accounted=True, now=now)
    turn.look_again(line)
    return "replayed"


def due(request: LaneRequest, now: int) -> int:
    """How many of a request's offsets may be put back by now: all, unless it is spread over time."""
    if not request.pace_us:
        return len(request.offsets)
    return 1 + max(0, now - request.at) // _step_us(request) * _step_us(request) // request.pace_us


def next_at(request: LaneRequest, now: int) -> int | None:
    """When the next of them may be; None if all may."""
    if due(request, now) >= len(request.offsets):
        return None
    step_us = _step_us(request)
    return request.at + (max(0, now - request.at) // step_us + 1) * step_us


def ends_at(request: LaneRequest) -> int:
    """When the last of them may be."""
    return request.at + len(request.offsets) * request.pace_us


def _step_us(request: LaneRequest) -> int:
    return max(request.pace_us, limits.REQUEST_STEP_US)


def _is_over(turn: Turn, event: Event) -> bool:
    """Whether it is accounted for and not known to wait. Dead and discarded ones are over, too: their row says it."""
    offset = event.offset
    if not turn.accounts_for(offset):
        return False
    line = turn.lines.get(event.draft.key) if turn.ordered and event.draft.key is not None else None
    return line is None or not (line.count and line.first <= offset <= line.last)
