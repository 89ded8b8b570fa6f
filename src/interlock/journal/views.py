"""Read-only questions of console, CLI, metrics and `doctor`. They may grow; the operations of `ports` do not.

A backend brings its own `Views`; what a page says about an event, and whether a cursor adds up, is decided here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

import msgspec

from interlock.core.cursor import Attempt, Cursor, CursorId, Mark, Row, RowState, Success
from interlock.core.event import Event
from interlock.core.limits import WINDOW_OFFSETS
from interlock.journal.ports import StreamInfo


class EventsQuery(msgspec.Struct, frozen=True):
    """Which events: newest first, at most `limit`.

    Attributes:
        since: accepted at or after this instant (µs).
        before: only events older than the one with this id: the next page.
        after: only events newer than the one with this id, the oldest of them if there are more than `limit`.
        oldest: the oldest of those that fit, also without `after`.
    """

    stream: str | None = None
    type: str | None = None
    key: str | None = None
    since: int | None = None
    before: str | None = None
    after: str | None = None
    limit: int = 50
    oldest: bool = False

    @property
    def from_oldest(self) -> bool:
        """Whether those that are beyond the limit are newer ones."""
        return self.oldest or self.after is not None


class RowsQuery(msgspec.Struct, frozen=True):
    """Which rows: by subscription, then by offset; `after` is the last one of the page before."""

    subscription: str | None = None
    states: frozenset[RowState] = frozenset()
    """Empty: all."""
    fingerprint: str | None = None
    after: tuple[CursorId, int] | None = None
    limit: int = 100


class RowLine(NamedTuple):
    """A row (memo left out) and whose it is."""

    cursor: CursorId
    row: Row


class DeadGroup(msgspec.Struct, frozen=True):
    """Dead letters with one cause. `sample` is the most recent one; instants are µs."""

    fingerprint: str
    subscription: str
    count: int
    first_at: int
    last_at: int
    sample: Event | None
    error: str | None = None
    status: int | None = None
    system: str | None = None
    reason: str | None = None


class CursorLine(msgspec.Struct, frozen=True):
    """A cursor and how it stands.

    Attributes:
        worker, until: who holds it, and until when its lease is valid; None and 0 if nobody does.
        lag: events above the floor by type, of the types that it reads; those with a bit in `above` count as well.
        behind: events behind marks.
        rows: by state.
        oldest_at: when the first event above the floor was accepted; None if there is none.
    """

    cursor: Cursor
    worker: str | None
    until: int
    lag: Mapping[str, int]
    marks: int
    behind: int
    rows: Mapping[RowState, int]
    oldest_at: int | None


class StreamLine(msgspec.Struct, frozen=True):
    """A stream: oldest kept and newest offset by shard, events by type since it was made, what is kept of it.

    `full`: intake is refused. `held_by`: subscriptions that have yet to read something of its oldest segment.
    """

    made: StreamInfo
    bounds: Sequence[tuple[int, int]]
    counts: Mapping[str, int]
    events: int
    bytes: int
    segments: int
    oldest_at: int | None
    full: bool
    held_by: Sequence[str]


class BodiesLine(msgspec.Struct, frozen=True):
    """Large payloads: their files and bytes, and how many files are not there or not of their size.

    `events`: ids of some whose payload is lost so. What the files hold is looked at when it is read.
    """

    files: int
    bytes: int
    lost: int
    events: Sequence[str]


LOST_NAMED_MAX = 5
"""Events that `BodiesLine` names."""


PassageState = Literal["waiting", "behind", "running", "due", "held", "dead", "discarded", "settled", "not-read"]


class Passage(msgspec.Struct, frozen=True):
    """What a subscription has made of an event.

    `settled`: delivered, or filtered by a translation. `not-read`: of another type, or before its start.
    """

    cursor: CursorId
    state: PassageState
    row: Row | None
    attempts: Sequence[Attempt]
    successes: Sequence[Success]


class Seen(NamedTuple):
    """How often an event's identity came again, how often of that with another payload, and when it did last (µs)."""

    again: int = 0
    conflicts: int = 0
    last_at: int | None = None

    def once_more(self, at: int, *, conflict: bool) -> Seen:
        """What it is after one more time."""
        return Seen(self.again + 1, self.conflicts + conflict, max(at, self.last_at or 0))


class Conservation(msgspec.Struct, frozen=True):
    """The equation of one cursor, counted anew: `accounted = settled + stragglers + behind`."""

    cursor: CursorId
    accounted: int
    settled: int
    stragglers: int
    behind: int
    problems: Sequence[str]

    @property
    def holds(self) -> bool:
        return self.accounted == self.settled + self.stragglers + self.behind and not self.problems


class Views(Protocol):
    """Each answer is one snapshot."""

    async def events(self, query: EventsQuery) -> Sequence[Event]: ...

    async def events_by_prefix(self, prefix: str, limit: int = 10) -> Sequence[Event]:
        """Events whose id begins so (with or without `evt_`), oldest first.

        Raises:
            InterlockError: `id.malformed`.
        """
        ...

    async def timeline(self, event: Event) -> Sequence[Passage]:
        """What each subscription to the event's stream has made of it, by name."""
        ...

    async def standing(self, events: Sequence[Event]) -> Sequence[Mapping[str, PassageState]]:
        """Where each of these events stands, by subscription, in the order asked: as a timeline, without records."""
        ...

    async def seen(self, event: Event) -> Seen:
        """How often it came again, while it is in the log; what a refused whole append brought does not count."""
        ...

    async def rows(self, query: RowsQuery) -> Sequence[RowLine]: ...

    async def marks(self, cursor: CursorId) -> Sequence[Mark]:
        """The marks of one cursor, by key: what waits behind stragglers and was not started."""
        ...

    async def dead_groups(self) -> Sequence[DeadGroup]:
        """Most recent first."""
        ...

    async def cursors(self) -> Sequence[CursorLine]: ...
    async def streams(self) -> Sequence[StreamLine]: ...
    async def bodies(self) -> BodiesLine: ...
    async def conservation(self, cursor: CursorId) -> Conservation | None:
        """None for a cursor that is not known."""
        ...


class Accounts(NamedTuple):
    """What `conserved` judges: a cursor, all its rows and marks, and its shard's bounds and number of events."""

    cursor: Cursor
    rows: Sequence[Row]
    marks: Sequence[Mark]
    bounds: tuple[int, int]
    events: int


def accounted(cursor: Cursor, offset: int) -> bool:
    """Whether an offset is at or below the floor or has its bit."""
    return offset <= cursor.floor or bool(cursor.above >> (offset - cursor.floor - 1) & 1)


def reads(cursor: Cursor, event: Event) -> bool:
    """Whether the subscription reads this event: it is after its start, and its type was read at that offset."""
    types = next((entry.types for entry in reversed(cursor.types) if entry.offset <= event.offset), frozenset[str]())
    return event.offset > cursor.start and event.draft.type in types


def passage_state(cursor: Cursor, event: Event, row: Row | None, mark: Mark | None) -> PassageState:
    """Where an event stands with a subscription; `mark` is that of its key."""
    if row is not None:
        return row.state
    if not reads(cursor, event):
        return "not-read"
    if not accounted(cursor, event.offset):
        return "waiting"
    return "behind" if mark is not None and mark.first <= event.offset <= mark.last else "settled"


def conserved(accounts: Accounts) -> Conservation:
    """Count a cursor's equation, and name what else cannot be."""
    cursor, rows, marks, (oldest, newest), events = accounts
    counters = cursor.counters
    dead = sum(row.state == "dead" for row in rows)
    problems = [
        f"{row.state} row at {row.offset}, which is not accounted for"
        for row in rows
        if row.offset <= cursor.start or not accounted(cursor, row.offset)
    ]
    problems += [
        f"mark of key {mark.key!r} counts {mark.count} in {mark.first}..{mark.last}"
        for mark in marks
        if not cursor.start < mark.first <= mark.last <= cursor.floor + WINDOW_OFFSETS
        or not 0 < mark.count <= mark.last - mark.first + 1
    ]
    if dead != counters.dead:
        problems.append(f"{counters.dead} dead are counted, {dead} have a row")
    if cursor.floor + cursor.above.bit_length() > newest:
        problems.append(f"accounted up to {cursor.floor + cursor.above.bit_length()}, the shard ends at {newest}")
    if events != newest - oldest + 1:
        problems.append(f"the shard has {events} events at {newest - oldest + 1} offsets")
    return Conservation(
        cursor=cursor.id,
        accounted=cursor.floor - cursor.start + cursor.above.bit_count(),
        settled=counters.delivered + counters.filtered + counters.discarded,
        stragglers=sum(row.state != "discarded" for row in rows),
        behind=sum(mark.count for mark in marks),
        problems=problems,
    )


def lag_of(cursor: Cursor, counts: Mapping[str, int]) -> dict[str, int]:
    """Of events above the floor by type, those that the cursor reads."""
    types = cursor.types[-1].types if cursor.types else frozenset[str]()
    return {type: counts[type] for type in sorted(types) if counts.get(type)}
