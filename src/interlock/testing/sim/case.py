"""A history, what is derived from it once, and what a violation is: what every invariant of the checker starts from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from interlock.testing.sim.history import Accounted, AnyLine, Began, Called, Ended, Logged, Probed, Reads

Place = tuple[str, int, int]
"""Stream, shard, offset."""
CursorName = tuple[str, str, int]
"""Subscription, stream, shard."""
NEVER = 1 << 62


class Violation(NamedTuple):
    """A promise that was not kept, when, and how."""

    invariant: str
    t: int
    message: str

    def __str__(self) -> str:
        return f"{self.invariant} at {self.t} µs: {self.message}"


class Case(NamedTuple):
    """A history with what is derived from it once."""

    lines: Sequence[AnyLine]
    reads: dict[str, Reads]
    schedules: Mapping[str, bool]
    """The schedules that run, and whether each must leave out none of its times."""
    logged: dict[Place, Logged]
    last: dict[CursorName, Accounted]
    ends: dict[tuple[str, Place], int]
    """When all calls of an event had their effect, or its derived event was durable."""
    buried: dict[tuple[str, Place], int]
    """When an event first was dead or discarded."""

    def is_late(self, subscription: str, place: Place, t: int) -> bool:
        """Whether, at an instant, a subscription had delivered another event of the key that is at least as new."""
        if not self.reads[subscription].newer:
            return False
        event = self.logged[place]
        return any(
            other.key == event.key
            and other.serial >= event.serial
            and at != place
            and self.ends.get((subscription, at), NEVER) <= t
            for at, other in self.logged.items()
            if at[:2] == place[:2] and other.type == event.type
        )

    def expected(self, reads: Reads) -> Iterator[Logged]:
        """The events that a subscription must have delivered, by shard and offset."""
        for place in sorted(place for place in self.logged if place[0] == reads.stream):
            event, cursor = self.logged[place], self.last.get((reads.name, place[0], place[1]))
            if cursor is not None and event.offset > cursor.start and event.type in types_at(cursor, event.offset):
                yield event


def case_of(lines: Sequence[AnyLine], reads: dict[str, Reads], schedules: Mapping[str, bool]) -> Case:
    """Derive it."""
    case = Case(lines, reads, schedules, {}, {}, {}, {})
    done: dict[tuple[str, Place], set[str]] = defaultdict(set)
    # One id may stand at several places once retention has forgotten the first; what is derived of them is one event.
    places: dict[str, list[Place]] = defaultdict(list)
    derived: dict[tuple[str, str], int] = {}
    translations = [one.name for one in reads.values() if one.labels == ()]
    for line in lines:
        match line:
            case Logged():
                place = (line.stream, line.shard, line.offset)
                case.logged[place] = line
                places[line.id].append(place)
                for name in translations:
                    if (name, line.id) in derived:
                        case.ends.setdefault((name, place), line.t)
                if line.via:
                    derived[line.via, line.origin] = line.t
                    for origin in places[line.origin]:
                        case.ends.setdefault((line.via, origin), line.t)
            case Called() if line.fresh or 200 <= line.status < 300:  # An effect whose answer was lost is one, too.
                labels = done[line.subscription, place_of(line)]
                labels.add(line.label)
                needed = reads[line.subscription].labels if line.subscription in reads else None
                if needed is not None and labels >= set(needed):
                    case.ends.setdefault((line.subscription, place_of(line)), line.t)
            case Ended():
                case.ends.setdefault((line.subscription, place_of(line)), line.t)
            case Accounted():
                case.last[line.subscription, line.stream, line.shard] = line
                for offset in (*line.dead_rows, *line.discarded_rows):
                    case.buried.setdefault((line.subscription, (line.stream, line.shard, offset)), line.t)
            case _:
                pass
    return case


def place_of(line: Called | Probed | Began | Ended) -> Place:
    """Where the event of a line stands."""
    return line.stream, line.shard, line.offset


def is_over(book: Accounted, offset: int, key: str | None) -> bool:
    """Whether the ledger has an event of a key as settled, dead or discarded."""
    if offset > book.floor and not book.above >> (offset - book.floor - 1) & 1:
        return False
    if offset in book.live:
        return False
    return not any(mark_key == key and first <= offset <= last for mark_key, first, last, _ in book.marks)


def types_at(cursor: Accounted, offset: int) -> tuple[str, ...]:
    """The types that held at an offset: those of the last entry that begins at or before it, else the first."""
    found: tuple[str, ...] = cursor.types[0][1] if cursor.types else ()
    for first, types in cursor.types:
        if first <= offset:
            found = types
    return found
