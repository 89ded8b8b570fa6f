"""What control needs to know of the running process, as protocols: it reads the store, but lanes are not its floor.

The store's own queries are `journal.views`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

from interlock.control.dead_shapes import Rehearsal
from interlock.core.cursor import Row
from interlock.core.event import Event, Shard
from interlock.core.ports import DiskLevel, Room

BreakerState = Literal["closed", "open", "half-open", "ramping", "forced-open", "forced-closed"]


class LiveSystem(NamedTuple):
    """A System as the call layers of this process see it at this moment.

    `running` and `waiting` count calls; `probe_at` (µs since the epoch) is when an open breaker lets its probe pass.
    """

    name: str
    breaker: BreakerState
    running: int = 0
    waiting: int = 0
    probe_at: int | None = None
    paused: bool = False


class LiveLane(NamedTuple):
    """A lane that this process holds; `running` counts attempts under way, `waiting` what it knows to be due later."""

    subscription: str
    shard: Shard
    running: int = 0
    waiting: int = 0
    paused: bool = False


class Reloaded(NamedTuple):
    """What reading the settings again came to, or would come to.

    `systems` are bound anew, `certificates` counts those that are served as their files are; `waiting` has the tables
    that wait for a restart, `empty` the secrets whose source holds nothing.
    """

    systems: Sequence[str]
    certificates: int
    waiting: Sequence[str]
    empty: Sequence[str]


class ReloadRefused(NamedTuple):
    """The settings are wrong: nothing has changed. Each finding in a line."""

    findings: Sequence[str]


class Reloads(Protocol):
    """Reads the settings again, checks them, and takes over what can change while the process runs."""

    async def __call__(self, *, dry_run: bool = False) -> Reloaded | ReloadRefused:
        """All of it or nothing; with `dry_run` nothing."""
        ...


class Rehearses(Protocol):
    """Runs today's code on events with a recorder for every System: nothing is sent, appended or settled."""

    async def __call__(self, subscription: str, event: Event, row: Row, within_us: int) -> Rehearsal:
        """What a subscription's function makes of an event; `row` has its memo, and there is so much time for it."""
        ...

    def payload(self, subscription: str, event: Event) -> bytes | str:
        """What the function is given, or a translation makes, as JSON; as text why there is nothing to give it."""
        ...


class ActsOn(Protocol):
    """Who acts on control cells."""

    def acted_on(self, cell: str) -> int:
        """The version of a control cell that this process acts on; 0 before the first."""
        ...


class Live(ActsOn, Protocol):
    """The running process. Everything is answered from memory."""

    def systems(self) -> Sequence[LiveSystem]: ...
    def lanes(self) -> Sequence[LiveLane]: ...
    def parts(self) -> Mapping[str, str]:
        """Each part that readiness depends on (`engine`, `store`, `lease`, `disk`): `ok`, or why not in a few words."""
        ...

    def disk(self) -> tuple[Room, DiskLevel] | None:
        """The disk of the store; None where it is in memory."""
        ...
