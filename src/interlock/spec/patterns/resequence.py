"""Resequencer (Hohpe/Woolf, Enterprise Integration Patterns): events of a key in the order of their numbers. Pure.

The time is that of the log: what an event finds has waited long enough, or not, by the moments of acceptance. So the
order of the log alone decides what comes out, however late or often a lane reads it. Where no further event comes, one
that was delayed until the gap is over brings the time (`Look`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from typing import Any, Final, Literal, NamedTuple

import msgspec

from interlock.core import limits
from interlock.spec.jsontext import PayloadError
from interlock.spec.newness import read_field

SKIPPED_EXTENSION: Final = "interlockskipped"
"""The CloudEvents attribute of an event in order: the numbers before it that did not come in time, `41` or `41-43`."""

NumberFunction = Callable[[Any], int]
Fate = Literal["taken", "late", "repeated", "again", "looked"]


class Resequencing(msgspec.Struct, frozen=True):
    """What a resequencer was told. `by` numbers payloads; without `first` it begins with the first one seen."""

    by: str | NumberFunction
    gap_after_us: int
    buffer_max: int
    first: int | None


class Look(msgspec.Struct, frozen=True):
    """The payload of the event that makes a key look at the time: whose it is, and when it was due (µs)."""

    key: str
    of: str
    at: int


def look_type(stream: str) -> str:
    """The type of the events that make the keys of a stream look at the time, as `Draft.type` spells it."""
    return f"{stream}.overdue@1"


class Held(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An event that waits for lower numbers, or passes: number, offset, when it was accepted, how large it is."""

    number: int
    offset: int
    came_at: int
    bytes: int


class Sequence(msgspec.Struct, frozen=True, array_like=True):
    """Where a key is.

    Attributes:
        next: the number that comes next; None before the first.
        look_at: when the look that is under way is due.
        held: what waits, by number; all are above `next`.
        offset: the highest one that changed it.
    """

    next: int | None = None
    look_at: int | None = None
    held: tuple[Held, ...] = ()
    offset: int = 0


class Released(NamedTuple):
    """An event whose turn it is. `first` to `last` are the numbers before it that are missing; None if none is."""

    held: Held
    first: int | None
    last: int | None

    @property
    def skipped(self) -> int:
        """How many numbers are missing before it."""
        return 0 if self.first is None or self.last is None else self.last - self.first + 1

    @property
    def text(self) -> str:
        """The missing numbers as the attribute says them."""
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


class Step(NamedTuple):
    """What one event did: where the key is now, whose turn it is, and whether a look has to be sent (due at, µs)."""

    sequence: Sequence
    released: list[Released]
    fate: Fate
    look_at: int | None


def resequence(before: Sequence, came: Held | None, looked_at: int | None, now: int, how: Resequencing) -> Step:
    """One event of a key.

    Args:
        before: where the key was.
        came: the event, unless it only brings the time.
        looked_at: when it was due, if it is a look of this resequencer.
        now: when it was accepted, µs.
        how: the declaration.
    """
    line = _Line(how.first if before.next is None else before.next, list(before.held))
    overdue = [held.number for held in before.held if held.came_at + how.gap_after_us <= now]
    line.go_on(overdue[-1] if overdue else None)
    fate: Fate = "looked" if came is None else line.enter(came)
    line.run()
    while line.is_over(how.buffer_max):
        line.go_on(line.held[0].number)
    pending = before.look_at
    if pending is not None and (pending == looked_at or pending + how.gap_after_us <= now):
        # It has come, or it never will: somebody has discarded it.
        pending = None
    look_at = min((held.came_at for held in line.held), default=now) + how.gap_after_us
    needed = bool(line.held) and (pending is None or look_at < pending)
    after = Sequence(line.next, look_at if needed else pending, tuple(line.held), before.offset)
    if after != before and came is not None:
        after = msgspec.structs.replace(after, offset=max(before.offset, came.offset))
    return Step(after, line.released, fate, look_at if needed else None)


class _Line:
    """What waits, while one event is looked at."""

    def __init__(self, expected: int | None, held: list[Held]) -> None:
        self.next = expected
        self.held = held
        self.released: list[Released] = []

    def enter(self, came: Held) -> Fate:
        """Put an event in its place, if it has one."""
        if self.next is None:
            self.next = came.number
        if came.number < self.next:
            return "late"
        at = bisect_left(self.held, came.number, key=_number)
        if at < len(self.held) and self.held[at].number == came.number:
            return "again" if self.held[at].offset == came.offset else "repeated"
        self.held.insert(at, came)
        return "taken"

    def go_on(self, upto: int | None) -> None:
        """Wait no longer for what is missing before a number."""
        while upto is not None and self.held and self.held[0].number <= upto:
            self._release()
        self.run()

    def run(self) -> None:
        """Release what has no gap before it."""
        while self.held and self.held[0].number == self.next:
            self._release()

    def _release(self) -> None:
        held = self.held.pop(0)
        gap = (None, None) if held.number == self.next else (self.next, held.number - 1)
        self.released.append(Released(held, *gap))
        self.next = held.number + 1

    def is_over(self, buffer_max: int) -> bool:
        """Whether more waits than may."""
        return len(self.held) > buffer_max or sum(held.bytes for held in self.held) > limits.SEQUENCE_BYTES_MAX


def numbered(by: str | NumberFunction) -> NumberFunction:
    """What gives the number of a payload: a field of it, or a function. It raises nothing but `PayloadError`."""
    read = read_field(by) if isinstance(by, str) else by

    def number(payload: Any) -> int:
        try:
            found = read(payload)
        except PayloadError:
            raise
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise _unusable(f"raised {type(error).__name__}") from error
        if isinstance(found, int) and not isinstance(found, bool) and -(1 << 62) <= found < 1 << 62:
            return found
        raise _unusable(f"gives {type(found).__name__}")

    return number


def _number(held: Held) -> int:
    return held.number


def _unusable(found: str) -> PayloadError:
    return PayloadError(
        "payload.number-unusable",
        f"The number of an event in its sequence is an integer of 63 bits; by= {found}",
        "Send such a number, or correct by=.",
    )
