"""The newest events of each shard, in memory and shared by all lanes: who keeps up never reads the store.

Fed only after a commit, in offset order, so what it holds is a gapless suffix of the shard. It decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from interlock.core.event import Event, Shard
from interlock.core.limits import TAIL_BYTES_MAX
from interlock.journal.ports import Batch

_EVENT_BYTES: Final = 600
"""What an event costs beside its payload, roughly: enough to bound memory by."""


class Tail:
    """A suffix of one shard. It grows until it is halved."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self.bytes = 0

    def extend(self, events: Sequence[Event]) -> None:
        """Take events that have just become durable."""
        if self._events and events[0].offset != self._events[-1].offset + 1:
            self._events, self.bytes = [], 0
        self._events.extend(events)
        for event in events:
            self.bytes += len(event.draft.data) + _EVENT_BYTES

    def read(self, after: int, upto: int, types: frozenset[str] | None) -> Batch | None:
        """Events of `types` in `(after, upto]`; None if the tail does not hold `after + 1`."""
        if not self._events:
            return None
        first = self._events[0].offset
        if not first <= after + 1 <= self._events[-1].offset:
            return None
        part = self._events[after + 1 - first : upto + 1 - first]
        found = part if types is None else [event for event in part if event.draft.type in types]
        return Batch(found, part[-1].offset)

    def halve(self) -> None:
        """Let the older half go."""
        half, drop = self.bytes // 2, 0
        while drop < len(self._events) and self.bytes > half:
            self.bytes -= len(self._events[drop].draft.data) + _EVENT_BYTES
            drop += 1
        del self._events[:drop]


class Tails:
    """One tail a shard, all of them within one bound: what a process holds must not grow with its streams."""

    def __init__(self, bytes_max: int = TAIL_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._tails: dict[Shard, Tail] = {}

    def extend(self, shard: Shard, events: Sequence[Event]) -> None:
        """Feed a shard's tail."""
        tail = self._tails.get(shard)
        if tail is None:
            tail = self._tails[shard] = Tail()
        self._bytes -= tail.bytes
        tail.extend(events)
        self._bytes += tail.bytes
        if self._bytes > self._bytes_max:
            # By halves, so that it is seldom, and costs little per event.
            for other in self._tails.values():
                other.halve()
            self._bytes = sum(other.bytes for other in self._tails.values())

    def drop(self, shard: Shard) -> None:
        """Let go of a shard's newest events: what the store says of them has changed."""
        tail = self._tails.pop(shard, None)
        self._bytes -= 0 if tail is None else tail.bytes

    def read(self, shard: Shard, after: int, upto: int, types: frozenset[str] | None) -> Batch | None:
        """As `Tail.read`; None for a shard that nothing was appended to yet."""
        tail = self._tails.get(shard)
        return None if tail is None else tail.read(after, upto, types)
