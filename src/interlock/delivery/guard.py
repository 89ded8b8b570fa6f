"""The systemic guard: when most of what comes would die of one cause, the fault is not the events'. Pure decisions.

It keeps what became of the last events of each subscription and of each System, in memory, for all lanes of a process.
Whoever asks it pauses what it names, before more events die (docs/decisions/0018-most-of-one-cause-is-no-poison.md).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

from interlock.core.cursor import CursorId
from interlock.core.limits import GUARD_EVENTS, GUARD_SHARE

_ERROR_CHARS: Final = 100
"""Of what a function may have called the cause: the rest is in the dead letters."""


class Cause(NamedTuple):
    """What an event would die of. `system`: the one whose answer says so; None where it is the function's own."""

    error: str
    status: int
    system: str | None
    fingerprint: str

    @property
    def name(self) -> str:
        """The same for all event types that a fault takes: unlike the fingerprint, which is made of the type too."""
        return f"{self.error} {self.status} {self.system or ''}"


class Trip(NamedTuple):
    """What is to be paused, and why."""

    kind: Literal["subscription", "system"]
    subject: str
    cause: Cause
    events: int
    of: int

    @property
    def why(self) -> str:
        """For the person who is to look."""
        answered = f"answers of {self.cause.system}: " if self.cause.system and self.kind == "subscription" else ""
        cause = f"{answered}{self.cause.error[:_ERROR_CHARS]} ({self.cause.fingerprint})"
        return f"{self.events} of the last {self.of} events would have died of {cause}"


class Window:
    """What became of the last `GUARD_EVENTS` events, each counted once as it ended last."""

    __slots__ = ("_bad", "_ends")

    def __init__(self) -> None:
        self._ends: dict[tuple[CursorId, int], Cause | None] = {}
        self._bad = 0

    def good(self, cursor: CursorId, offset: int) -> None:
        """An event was delivered."""
        # Another good one among nothing but good ones changes nothing: that is how it mostly is.
        if self._bad or len(self._ends) < GUARD_EVENTS:
            self._add((cursor, offset), None)

    def bad(self, cursor: CursorId, offset: int, cause: Cause) -> int:
        """An event would die. How many would have of the same, if that are too many; else 0."""
        self._add((cursor, offset), cause)
        same = sum(end is not None and end.name == cause.name for end in self._ends.values())
        share, of = GUARD_SHARE
        return same if len(self._ends) >= GUARD_EVENTS and same * of >= len(self._ends) * share else 0

    def forget(self, system: str | None = None) -> None:
        """Begin anew: with nothing, or with nothing of this System's answers."""
        ends = {} if system is None else {at: e for at, e in self._ends.items() if e is None or e.system != system}
        self._ends = ends
        self._bad = sum(end is not None for end in ends.values())

    def _add(self, at: tuple[CursorId, int], cause: Cause | None) -> None:
        if at in self._ends:
            self._bad -= self._ends.pop(at) is not None
        elif len(self._ends) >= GUARD_EVENTS:
            oldest = next(iter(self._ends))
            self._bad -= self._ends.pop(oldest) is not None
        self._ends[at] = cause
        self._bad += cause is not None


class Guard:
    """The windows of one process."""

    def __init__(self) -> None:
        self._subscriptions: dict[str, Window] = {}
        self._systems: dict[str, Window] = {}

    def good(self, cursor: CursorId, offset: int, systems: Iterable[str]) -> None:
        """An event was delivered, with calls of these Systems."""
        _of(self._subscriptions, cursor.subscription).good(cursor, offset)
        for system in systems:
            _of(self._systems, system).good(cursor, offset)

    def bad(self, cursor: CursorId, offset: int, cause: Cause) -> Trip | None:
        """An event would die. What is to be paused because of it and of those before it, if anything.

        It is the System if most of what any subscription has it do ends so, else the subscription. Then the evidence is
        spent: the same fault needs as much of it again.
        """
        own = _of(self._subscriptions, cursor.subscription)
        events = own.bad(cursor, offset, cause)
        if cause.system is not None:
            window = _of(self._systems, cause.system)
            if of_system := window.bad(cursor, offset, cause):
                window.forget()
                for each in self._subscriptions.values():
                    each.forget(cause.system)
                return Trip("system", cause.system, cause, of_system, GUARD_EVENTS)
        if not events:
            return None
        own.forget()
        return Trip("subscription", cursor.subscription, cause, events, GUARD_EVENTS)


def _of(windows: dict[str, Window], name: str) -> Window:
    found = windows.get(name)
    if found is None:
        found = windows[name] = Window()
    return found
