"""Delayed events: until a draft is due it waits as an event of another stream, then it is appended where it belongs.

So it takes its place in its key's order when it is due, and nothing waits behind it before. `draft` wraps it, the
subscription of kind `delay` unwraps it; what comes after it in the log knows nothing of the wait.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from interlock.core import limits
from interlock.core.event import Draft, Event
from interlock.spec.jsontext import PayloadError
from interlock.spec.plan import EventTypeSpec, OnDead, SubscriptionSpec, Where
from interlock.spec.span import instant, microseconds, write_span


class Delayed(msgspec.Struct, frozen=True, omit_defaults=True):
    """The payload of an event that waits: the draft, and when it is due.

    Attributes:
        due_at: µs since the epoch; None if it is due some time after its acceptance.
        after_us: how long after.
        data: the draft's own payload.
    """

    due_at: int | None
    after_us: int
    stream: str
    type: str
    source: str
    id: str
    data: msgspec.Raw
    key: str | None = None
    time: str | None = None
    subject: str | None = None
    extensions: tuple[tuple[str, str], ...] = ()


_decoder = msgspec.json.Decoder(Delayed)


def waiting_room(integration: str) -> str:
    """The name of the stream where an integration's events wait, and of the subscription that brings them on."""
    return f"{integration}.delayed"


def delay(draft: Draft, due: timedelta | datetime) -> Draft:
    """The draft of the event that waits for the given one; `due` is a moment, or a span from its acceptance on.

    Raises:
        PayloadError: `draft.due-invalid`.
    """
    after_us = microseconds(due) if isinstance(due, timedelta) else 0
    due_at = None if isinstance(due, timedelta) else instant(due)
    if not 0 <= after_us <= limits.DELAY_MAX_US:
        raise PayloadError(
            "draft.due-invalid",
            f"A draft of {draft.type!r} is due {due} after its acceptance",
            f"Give it a span of 0 to {write_span(limits.DELAY_MAX_US)}, or a moment with its time zone.",
        )
    held = Delayed(
        due_at,
        after_us,
        draft.stream,
        draft.type,
        draft.source,
        draft.id,
        msgspec.Raw(draft.data),
        draft.key,
        draft.time,
        draft.subject,
        draft.extensions,
    )
    room = waiting_room(draft.stream)
    return Draft(stream=room, type=f"{room}@1", source=draft.source, id=draft.id, data=msgspec.json.encode(held))


def undelayed(draft: Draft) -> Draft:
    """The draft that waits in this one; another draft as it is. What the request brought stays with it.

    Raises:
        msgspec.DecodeError: if it was not made by `delay`.
    """
    if not is_delayed(draft):
        return draft
    held = _decoder.decode(draft.data)
    return Draft(
        stream=held.stream,
        type=held.type,
        source=held.source,
        id=held.id,
        data=bytes(held.data),
        key=held.key,
        time=held.time,
        subject=held.subject,
        extensions=held.extensions,
        headers=draft.headers,
        traceparent=draft.traceparent,
    )


def is_delayed(draft: Draft) -> bool:
    """Whether another draft waits in it."""
    return draft.type == f"{draft.stream}@1" and draft.stream.endswith(".delayed")


def due_at(event: Event) -> int:
    """When the draft that waits in an event is due (µs since the epoch)."""
    held = _decoder.decode(event.draft.data)
    return event.accepted_at + held.after_us if held.due_at is None else held.due_at


def bringing_on(integration: str, where: Where) -> SubscriptionSpec:
    """The subscription that appends what is due."""
    room = waiting_room(integration)
    held = EventTypeSpec(
        id=f"{room}@1",
        name=room,
        version=1,
        stream=room,
        integration=integration,
        model=Delayed,
        decode=_decoder.decode,
        encode=msgspec.json.encode,
        key=None,
        schema_digest="",
        where=where,
    )
    return SubscriptionSpec(
        name=room,
        integration=integration,
        kind="delay",
        types=(held,),
        stream=room,
        function=undelayed,
        where=where,
        order="none",
        on_dead=OnDead("skip"),
        start="beginning",
    )
