"""What a person does with stragglers: retry, skip, discard, restore, edit (rule 6). Pure decisions on a `Turn`.

Requests are cells; only the lane applies them, in its own settlement, when no attempt of that event runs.
"""

from __future__ import annotations

from typing import NamedTuple

from msgspec.structs import replace

from interlock.core.cursor import Row
from interlock.core.requests import Answer, LaneRequest
from interlock.delivery import schedule
from interlock.delivery.turn import Turn

FORGOTTEN = b"\x90"
"""A memo without entries (an empty MessagePack array): what `retry` without keeping the memo writes."""


class Ask(NamedTuple):
    """A request as it is applied to each of its events: whose job it is a part of, and when that happens."""

    request: LaneRequest
    job: str
    now: int


def apply(turn: Turn, ask: Ask, offset: int, stored: Row | None) -> Answer:
    """Apply a request to one event, whose row is `stored` as far as the ledger knows; gives what the person is told."""
    request, job, now = ask
    row = latest(turn, offset, stored)
    if row is None:
        return _without_row(turn, offset)
    line = turn.line(row.key if turn.ordered else None, offset)
    was_dead = row.state == "dead"
    answer: Answer
    match request.verb, row.state:
        case "retry", "dead" | "held" | "due":
            answer, memo = "retried", b"" if request.keep_memo else FORGOTTEN
            row = replace(
                schedule.put_back(row, now),
                memo=memo,
                epoch=turn.epoch,
                trigger="replay" if row.trigger == "replay" else "retry",
                job=job,
                actor=request.actor,
                why=request.reason,
            )
        case "skip", "held" | "due":
            answer, row = "skipped", schedule.dead(row, "skipped_by_operator", now)
        case "discard", "dead" | "held" | "due":
            answer, row = "discarded", replace(row, state="discarded", due_at=None, died_at=row.died_at or now)
        case "edit", "dead" | "held" | "due" if request.draft is not None:
            # The log knows its identity: whoever else edits this letter by the same request appends nothing.
            answer, row = "edited", replace(row, state="discarded", due_at=None, died_at=row.died_at or now)
            row = replace(row, edited=request.draft.id)
            turn.changes.emit([request.draft])
        case "restore", "discarded" if row.edited is None:
            answer, row = "restored", replace(row, state="dead")
            turn.discarded -= 1
        case _:
            return "refused"
    turn.dead -= was_dead
    turn.place(line, row, accounted=True, now=now)
    turn.look_again(line)
    return answer


def latest(turn: Turn, offset: int, stored: Row | None) -> Row | None:
    """The newest form of a row: live, decided on but not durable, or as the ledger gave it; None if it has none.

    Live rows are always in memory. So what is written or stored as live and is not there has been settled, and what is
    about to be cleared has been settled too, whatever the ledger still shows.
    """
    if offset in turn.rows:
        return turn.rows[offset]
    if turn.changes.clears(offset):
        return None
    row = turn.changes.pending(offset) or stored
    return row if row is not None and row.state in ("dead", "discarded") else None


def pending_memo(turn: Turn, offset: int) -> bytes:
    """The memo of a row whose write is not durable yet; b"" if there is none."""
    row = turn.changes.pending(offset)
    return row.memo if row is not None else b""


def _without_row(turn: Turn, offset: int) -> Answer:
    """The event was settled, or it was never started."""
    return "settled" if turn.accounts_for(offset) else "not-found"
