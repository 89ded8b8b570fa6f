"""What a person does to dead letters: a selector becomes a frozen set of offsets, and the lanes are asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from interlock.control import shapes
from interlock.control.audit import Who
from interlock.control.commands import Asked, Commands
from interlock.control.problem import Refused
from interlock.control.queries import dead_letter, one_event, one_fingerprint
from interlock.core import limits
from interlock.core.cursor import CursorId, RowState
from interlock.core.requests import Verb
from interlock.journal.views import FoundRow, RowQuery, Views

EVENTS_MAX: Final = 10 * limits.REQUEST_OFFSETS_MAX
"""Events that one command takes: what a person decides at once, and still one short commit."""
WAIT_US_MAX: Final = 30 * limits.US_PER_SECOND
SHOWN_MAX: Final = 100
"""Ids in the answer: enough to follow a few, not a list of everything."""

ACTS_ON: Final[Mapping[Verb, Sequence[RowState]]] = {
    "retry": ("dead", "held", "due"),
    "skip": ("held", "due"),
    "discard": ("dead", "held"),
    "restore": ("discarded",),
}
"""The states that a verb makes sense for. What has changed since is answered by the lane."""


async def command(
    views: Views, commands: Commands, verb: Verb, who: Who, asked: shapes.DeadCommand
) -> shapes.DeadAnswer:
    """Select, and unless it is a dry run, ask the lanes.

    Raises:
        Refused: `dead.unselected`, `dead.unknown`, `dead.ambiguous`, `event.unknown`, `event.ambiguous`.
    """
    rows = await select(views, verb, asked)
    taken = rows[:EVENTS_MAX]
    chosen: dict[CursorId, list[int]] = {}
    for found in taken:
        chosen.setdefault(found.cursor, []).append(found.row.offset)
    shown = [dead_letter(found).event for found in taken[:SHOWN_MAX]]
    more = len(rows) > EVENTS_MAX
    if asked.dry_run or not taken:
        return shapes.DeadAnswer(None, len(taken), 0, {}, shown, more)
    wait_us = max(0, min(asked.wait_us, WAIT_US_MAX))
    done: Asked = await commands.ask(verb, chosen, who, keep_memo=asked.keep_memo, wait_us=wait_us)
    return shapes.DeadAnswer(done.job, done.of, done.applied, {**done.answers}, shown, more)


async def select(views: Views, verb: Verb, asked: shapes.DeadCommand) -> Sequence[FoundRow]:
    """The rows that the members select and the verb can act on; one over `EVENTS_MAX` says that there are others."""
    states = ACTS_ON[verb]
    if asked.event is not None:
        return [found for found in await _of_event(views, asked.event) if _fits(found, states, asked)]
    if asked.fingerprint is None and asked.subscription is None:
        raise Refused(
            400,
            "dead.unselected",
            "nothing says which dead letters are meant",
            "give a fingerprint, an event or a subscription",
        )
    # What is `due` goes on by itself: only a person who names the event means it.
    stopped: list[RowState] = [state for state in states if state != "due"]
    rows = await views.find_rows(
        RowQuery(stopped, asked.subscription, fingerprint=asked.fingerprint, limit=EVENTS_MAX + 1)
    )
    if asked.fingerprint is not None:
        one_fingerprint(rows)
    return rows


async def _of_event(views: Views, id: str) -> list[FoundRow]:
    event = await one_event(views, id)
    lives = await views.timeline(event.shard, event.offset)
    return [FoundRow(life.cursor, life.row, event.accepted_at) for life in lives if life.row is not None]


def _fits(found: FoundRow, states: Sequence[RowState], asked: shapes.DeadCommand) -> bool:
    return (
        found.row.state in states
        and asked.subscription in (None, found.cursor.subscription)
        and (asked.fingerprint is None or (found.row.fingerprint or "").startswith(asked.fingerprint))
    )
