"""Questions of people to a store: lists, look-ups, timelines, the conservation equation. Read-only; it may grow.

Lanes never ask here. Every answer is bounded by the question's `limit`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from interlock.core.cursor import Attempt, Cursor, CursorId, Row, RowState, Success
from interlock.core.event import Event, Shard
from interlock.journal.ports import StreamInfo


class EventQuery(NamedTuple):
    """Which events. None means any.

    `before`: only those with a lower id (ids sort by acceptance); `since_at`: accepted then (µs) or later.
    """

    stream: str | None = None
    type: str | None = None
    key: str | None = None
    since_at: int | None = None
    before: str | None = None
    limit: int = 50


class RowQuery(NamedTuple):
    """Which rows. None means any; `fingerprint` may be a prefix."""

    states: Sequence[RowState]
    subscription: str | None = None
    system: str | None = None
    fingerprint: str | None = None
    limit: int = 50


class FoundRow(NamedTuple):
    """A row, memo left out, and its event's moment of acceptance, from which follows its id."""

    cursor: CursorId
    row: Row
    accepted_at: int


class DeadGroup(msgspec.Struct, frozen=True):
    """Rows of one fingerprint and one subscription. `sample` is the latest of them."""

    fingerprint: str
    subscription: str
    count: int
    held: int
    keys: int
    first_at: int
    last_at: int
    sample: FoundRow


class Life(NamedTuple):
    """What became of one event in one subscription. All of it is empty where nothing has happened yet.

    `accounted`: the cursor has passed it; without a row it is then settled (or filtered, if nothing was attempted).
    """

    cursor: CursorId
    accounted: bool
    row: Row | None
    successes: Sequence[Success]
    attempts: Sequence[Attempt]


class CursorView(msgspec.Struct, frozen=True):
    """A cursor with what hangs on it: rows by state, events behind marks, and the shard's newest offset.

    `lag` counts the events of its types above the floor that it has not accounted for.
    """

    cursor: Cursor
    rows: Mapping[RowState, int]
    behind: int
    newest: int
    lag: int

    @property
    def stragglers(self) -> int:
        """Rows that are not settled; a discarded one is a grave."""
        return sum(count for state, count in self.rows.items() if state != "discarded")

    @property
    def imbalance(self) -> int:
        """Left side minus right side of the conservation equation (DESIGN 3); anything but 0 is a bug."""
        cursor = self.cursor
        accounted = cursor.floor - cursor.start + cursor.above.bit_count()
        counted = cursor.counters.delivered + cursor.counters.filtered + cursor.counters.discarded
        return accounted - counted - self.stragglers - self.behind


class Views(Protocol):
    """The read side of a backend."""

    async def streams(self) -> Sequence[StreamInfo]:
        """All streams, by name."""
        ...

    async def events(self, query: EventQuery) -> Sequence[Event]:
        """Events that fit, newest first: in descending order of their ids."""
        ...

    async def event_by_prefix(self, prefix: str, limit: int = 2) -> Sequence[Event]:
        """Events in the log or in `kept` whose id begins with `prefix`; two mean that it is not unique."""
        ...

    async def timeline(self, shard: Shard, offset: int) -> Sequence[Life]:
        """What became of one event, for each subscription that reads its shard, by name."""
        ...

    async def find_rows(self, query: RowQuery) -> Sequence[FoundRow]:
        """Rows that fit, by subscription, stream, shard and offset."""
        ...

    async def dead_groups(self, query: RowQuery) -> Sequence[DeadGroup]:
        """Rows that fit, grouped by fingerprint and subscription, the latest group first."""
        ...

    async def cursors(self) -> Sequence[CursorView]:
        """All cursors, read in one snapshot, by subscription and shard."""
        ...
