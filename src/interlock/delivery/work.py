"""An attempt as its lane orders it, and how it ended. Values without behaviour."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from interlock.call.record import Announce
from interlock.core.cursor import Row
from interlock.core.event import Draft, Event
from interlock.core.outcome import Outcome
from interlock.delivery.newest import Newest
from interlock.delivery.sequences import Known
from interlock.spec.function import Gap


class Work(msgspec.Struct, frozen=True):
    """One attempt to make.

    `deadline` is monotonic µs; `may_send` is asked whenever bytes are about to leave (rule 2); `announce` makes durable
    what a take-over must know of a call (rule 8). `again`: an earlier attempt may have sent something. `gap`: what
    its key misses. `newest`: the newest delivered event of its key. `known`: what a resequencer knows of it.
    """

    event: Event
    row: Row | None
    deadline: int
    may_send: Callable[[], bool]
    announce: Announce
    again: bool = False
    gap: Gap | None = None
    newest: Newest | None = None
    known: Known | None = None


class Ended(msgspec.Struct, frozen=True):
    """How it ended. `status` is the last call's; `memo` are the results of its finished calls."""

    outcome: Outcome
    status: int
    emits: tuple[Draft, ...]
    memo: bytes
    systems: tuple[str, ...]
