"""Newer events of the same keys that have been delivered already: what neither a replay nor a retry can undo."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from interlock.control.queries import Reading
from interlock.core.cursor import CursorId
from interlock.core.event import Event, Shard
from interlock.journal.ports import Retired

NEWER_SCANNED_MAX: Final = 10_000
"""Events that are read to find newer ones of the same keys: a second at most; above it the number is a lower bound."""
_READ: Final = 1_000


class NewerFound(NamedTuple):
    """How many newer events of a key were delivered, and the highest offset of them in each shard."""

    events: int
    last: Mapping[Shard, int]


Newer = Mapping[tuple[str, str], NewerFound]
"""By subscription and key."""


class _Asked(NamedTuple):
    """What one ordered subscription is asked for in one shard: the lowest offset of each key, and all of them."""

    subscription: str
    first: Mapping[str, int]
    offsets: frozenset[int]

    def is_newer(self, event: Event) -> bool:
        """Whether it comes after one of them in its key, and is none of them itself."""
        first = self.first.get(event.draft.key or "")
        return first is not None and event.offset > first and event.offset not in self.offsets


async def newer_delivered(reading: Reading, asked: Mapping[CursorId, Mapping[int, str | None]]) -> tuple[Newer, bool]:
    """Newer events of the keys that are asked about, and whether all were counted. `asked`: keys by offset."""
    found: dict[tuple[str, str], NewerFound] = {}
    left, is_whole = NEWER_SCANNED_MAX, True
    for shard in sorted({id.shard for id in asked}):
        some = [_asked(id, keys) for id, keys in asked.items() if id.shard == shard]
        some = [one for one in some if one.first and _is_ordered(reading, one.subscription)]
        at = min((min(one.first.values()) for one in some), default=reading.journal.bounds(shard)[1])
        while at < reading.journal.bounds(shard)[1]:
            if left <= 0:
                is_whole = False
                break
            # Of what retention has taken, nothing is known any more.
            at = max(at, reading.journal.bounds(shard)[0] - 1)
            try:
                batch = await reading.journal.read(shard, at, min(_READ, left))
            except Retired:
                continue
            at, left = batch.upto, left - max(1, len(batch.events))
            await _count(reading, some, batch.events, found)
    return found, is_whole


async def _count(
    reading: Reading, asked: Sequence[_Asked], events: Sequence[Event], found: dict[tuple[str, str], NewerFound]
) -> None:
    later = [event for event in events if any(one.is_newer(event) for one in asked)]
    for event, standing in zip(later, await reading.views.standing(later), strict=True):
        for one in asked:
            if one.is_newer(event) and standing.get(one.subscription) == "settled":
                pair = (one.subscription, event.draft.key or "")
                before = found.get(pair, NewerFound(0, {}))
                found[pair] = NewerFound(before.events + 1, {**before.last, event.shard: event.offset})


def _is_ordered(reading: Reading, subscription: str) -> bool:
    spec = reading.plan.subscriptions.get(subscription) if reading.plan else None
    return spec is not None and spec.order == "key"


def _asked(id: CursorId, keys: Mapping[int, str | None]) -> _Asked:
    first: dict[str, int] = {}
    for offset, key in keys.items():
        if key is not None:
            first[key] = min(offset, first.get(key, offset))
    return _Asked(id.subscription, first, frozenset(keys))
