"""Segments of a stream, the unit of retirement: when a new one begins, and which may go. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from interlock.core.cursor import Cursor
from interlock.core.event import Draft, Event
from interlock.core.limits import SEGMENT_BYTES, SEGMENT_EVENTS, US_PER_DAY
from interlock.journal.ports import Retention

ATTRIBUTES_SIZE = 128
"""Bytes that an event's attributes and place are counted as."""


class Segment(msgspec.Struct):
    """A day of a stream, or less where a day has more than `SEGMENT_EVENTS` events or `SEGMENT_BYTES`.

    Attributes:
        number: its place in the stream's segments, from 1.
        first: the position in the stream (all shards counted together, from 1) of its first event.
        day: days since the epoch.
        events: how many it holds.
        size: bytes of their payloads and attributes, about.
        last_at: when its last event was accepted.
        last: the last offset in it, by shard.
    """

    number: int
    first: int
    day: int
    events: int = 0
    size: int = 0
    last_at: int = 0
    last: dict[int, int] = msgspec.field(default_factory=dict[int, int])

    def add(self, shard: int, offset: int, at: int, size: int) -> None:
        """Count one event."""
        self.events += 1
        self.size += size
        self.last_at = at
        self.last[shard] = offset


def segment_for(segments: Sequence[Segment], position: int, now: int, events_max: int = SEGMENT_EVENTS) -> Segment:
    """The segment that takes the next event, at `position`: the newest, or a new one for the caller to keep."""
    day = now // US_PER_DAY
    newest = segments[-1] if segments else None
    if newest and newest.day >= day and newest.events < events_max and newest.size < SEGMENT_BYTES:
        return newest
    return Segment(segments[-1].number + 1 if segments else 1, position, day)


def may_retire(segments: Sequence[Segment], retention: Retention, floors: Mapping[int, int], now: int) -> bool:
    """Whether the oldest segment is out of bounds and lies at or below the lowest floor of each of its shards.

    `floors`: the lowest floor of the cursors that read a shard; a shard that nobody reads is not in it.
    """
    if not segments:
        return False
    oldest = segments[0]
    out = oldest.last_at < now - retention.age_us or over(segments, retention)
    return out and all(offset <= floors.get(shard, offset) for shard, offset in oldest.last.items())


def held_by(segments: Sequence[Segment], cursors: Iterable[Cursor]) -> Sequence[str]:
    """Subscriptions that have yet to read something of the oldest segment, by name: retention never passes them.

    `cursors`: those of the stream.
    """
    last = segments[0].last if segments else {}
    return sorted({c.id.subscription for c in cursors if c.types and c.floor < last.get(c.id.shard.number, 0)})


def over(segments: Sequence[Segment], retention: Retention) -> bool:
    """Whether a stream is above its bound of bytes."""
    return sum(segment.size for segment in segments) > retention.bytes


def size_of(draft: Draft) -> int:
    """Bytes that a draft will be counted as, about: as in `Segment.size`."""
    return len(draft.data) + ATTRIBUTES_SIZE


def event_size(event: Event) -> int:
    """Bytes that an event is counted as, about, its large payload included."""
    return event.size + ATTRIBUTES_SIZE
