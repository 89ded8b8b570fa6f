"""What the declaration of a resequencer adds: the type of its looks, a name, and a function where none is given."""

from __future__ import annotations

from typing import Any

import msgspec

from interlock.spec.patterns.resequence import Look, look_type
from interlock.spec.plan import EventTypeSpec, Where

_looks = msgspec.json.Decoder(Look)


def looking(stream: str, where: Where) -> EventTypeSpec:
    """The type of the events that make the keys of a stream look at the time."""
    id = look_type(stream)
    return EventTypeSpec(
        id=id,
        name=id.partition("@")[0],
        version=1,
        stream=stream,
        integration=stream,
        model=Look,
        decode=_looks.decode,
        encode=msgspec.json.encode,
        key=_key_of,
        schema_digest="",
        where=where,
    )


def as_it_is(payload: Any) -> Any:
    """What a resequencer makes of a payload unless it is told otherwise."""
    return payload


def name_of(into: EventTypeSpec) -> str:
    """The name of a resequencer: that of the type that it makes, with hyphens."""
    return into.name.replace(".", "-")


def _key_of(look: Look) -> str:
    return look.key
