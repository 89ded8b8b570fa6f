"""What an erasure takes and what it answers."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class EraseCommand(msgspec.Struct, frozen=True):
    """What is erased: all events of `key`, in `stream` or in every one, or the one `event` (its id or a prefix).

    `reason` is needed. With `dry_run` it is only counted.
    """

    event: str | None = None
    key: str | None = None
    stream: str | None = None
    reason: str = ""
    actor: str = ""
    wait_us: int = 5_000_000
    dry_run: bool = False


class EraseAnswer(msgspec.Struct, frozen=True):
    """What came of it: `erased` of `of` events are; `streams` has how many were found in each.

    `done`: nothing of them is left in the store, in a lane or in an attempt under way. Else the job goes on by itself.
    """

    job: str | None
    of: int
    erased: int
    done: bool
    streams: Mapping[str, int]
