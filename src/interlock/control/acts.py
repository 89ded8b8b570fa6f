"""What persons did to an event, from the audit: who, what, why, when, and with which result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from interlock.control import audit, dead_shapes, queries, shapes
from interlock.control.audit import AuditEntry
from interlock.control.dead_shapes import Moment, What
from interlock.control.queries import Reading
from interlock.core.cursor import CursorId
from interlock.core.event import Event
from interlock.core.requests import Answer, decode_request, request_key
from interlock.journal.views import EventsQuery

_PAGE: Final = 1_000
_PAGES_MAX: Final = 10
"""Commands since the event was accepted that are looked at, in thousands: a second at most."""


_WHAT: Final[Mapping[str, What]] = {
    "retry": "retry",
    "replay": "replay",
    "skip": "skip",
    "discard": "discard",
    "restore": "restore",
    "supersede": "supersede",
    "edit": "edit",
}


class Successor(msgspec.Struct, frozen=True):
    """The event that an edit has appended: its identity within the stream, and its key."""

    id: str
    stream: str
    key: str | None


class _After(msgspec.Struct, frozen=True):
    """What the audit says of a command about events."""

    job: str = ""
    events: Mapping[str, Sequence[int]] = {}
    edited: Successor | None = None


class Acts(NamedTuple):
    """By subscription, oldest first. `whole`: no older one is missing. `edits`: when and as what, by subscription."""

    by_subscription: Mapping[str, Sequence[dead_shapes.DeadAct]]
    edits: Mapping[str, tuple[int, Successor]]
    whole: bool


async def acts_on(reading: Reading, event: Event) -> Acts:
    """All that was done to an event by commands."""
    found: dict[str, list[dead_shapes.DeadAct]] = {}
    edits: dict[str, tuple[int, Successor]] = {}
    before, whole = None, False
    for _ in range(_PAGES_MAX):
        query = EventsQuery(audit.STREAM, since=event.accepted_at, before=before, limit=_PAGE)
        page = await reading.views.events(query)
        for line in page:
            entry = msgspec.json.decode(line.draft.data, type=AuditEntry)
            if not entry.action.startswith(("dead.", "event.")):
                continue
            after = msgspec.json.decode(entry.after, type=_After)
            for subscription in _about(after, event):
                result = await _result(reading, CursorId(subscription, event.shard), after.job, event.offset)
                verb = entry.action.partition(".")[2]
                act = dead_shapes.DeadAct(entry.at, verb, entry.actor, entry.reason, after.job, result)
                found.setdefault(subscription, []).insert(0, act)
                if after.edited is not None:
                    edits.setdefault(subscription, (entry.at, after.edited))
        if len(page) < _PAGE:
            whole = True
            break
        before = page[-1].id
    return Acts(found, edits, whole)


async def event_with_acts(reading: Reading, asked: shapes.EventAsked) -> shapes.EventDetail:
    """One event with its timeline, and what persons did to it.

    Raises:
        Refused: `event.unknown`, `event.ambiguous`.
    """
    detail = await queries.event(reading, asked)
    acts = await acts_on(reading, await queries.one_event(reading.views, detail.event.id))
    told = {moment.job for moment in detail.timeline if moment.what in ("retry", "replay")}
    more = [
        Moment(act.at, _WHAT[act.verb], name, act.result or "", actor=act.actor, job=act.job, why=act.reason or None)
        for name, some in acts.by_subscription.items()
        for act in some
        if act.job not in told and act.verb in _WHAT
    ]
    timeline = sorted([*detail.timeline, *more], key=lambda moment: moment.at)
    return msgspec.structs.replace(detail, timeline=timeline)


async def successor(reading: Reading, acts: Acts, subscription: str, edited: str) -> Event | None:
    """The event that stands for one that was edited, while it is in the log."""
    at, made = acts.edits.get(subscription, (0, None))
    if made is None or made.id != edited:
        return None
    query = EventsQuery(made.stream, key=made.key, since=at, limit=_PAGE, oldest=True)
    return next((event for event in await reading.views.events(query) if event.draft.id == edited), None)


def _about(after: _After, event: Event) -> Sequence[str]:
    """The subscriptions for which a command was about this event."""
    place = f"/{event.shard.stream}/{event.shard.number}"
    return [
        name.removesuffix(place)
        for name, offsets in after.events.items()
        if name.endswith(place) and event.offset in offsets
    ]


async def _result(reading: Reading, cursor: CursorId, job: str, offset: int) -> Answer | None:
    for cell in await reading.cells.list(request_key(cursor, job)) if job else ():
        answer = decode_request(cell.value).results.get(offset)
        if answer is not None:
            return answer
    return None
