"""What polls and schedules have in common: a cursor that holds a token, under the lease of the process.

What a source brings and the token to go on from are one commit. What was not committed is asked for again; the log
recognises what it has by its ids.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import msgspec

from interlock.core import limits
from interlock.core.cursor import Cursor, CursorId
from interlock.core.errors import StoreError
from interlock.core.event import Draft, Shard
from interlock.core.ports import Clock, Emit, Random
from interlock.edge.admission import Level
from interlock.journal.ports import Assign, CellsConflict, Committed, Lease, LeaseLost, Ledger, Settlement
from interlock.spec.function import Context

PAUSE_US: Final = limits.US_PER_SECOND
"""Before looking again at what only another part can mend: the lease, the store, a way to it that is nearly full."""


class SourcePorts(NamedTuple):
    """What a source needs.

    `lease` is the process's lease and the monotonic µs until which it lasts; `context` makes the context of one call,
    from the source's name, what its calls are recognised by when they are made again, and the monotonic µs of its end;
    `level` says how full the way to the store is; `paused` whether a person has paused the source of that name;
    `has_room` whether the stream of that name is well below its bound.
    """

    ledger: Ledger
    clock: Clock
    random: Random
    emit: Emit
    lease: Callable[[], tuple[Lease, int]]
    context: Callable[[str, str, int], Context]
    level: Callable[[], Level]
    paused: Callable[[str], bool] = lambda _: False
    has_room: Callable[[str], bool] = lambda _: True


class Position:
    """The cursor of one source.

    Args:
        name: the source's.
        stream: where its drafts go, and its cursor lives.
    """

    def __init__(self, name: str, stream: str, ports: SourcePorts) -> None:
        self._id = CursorId(name, Shard(stream, 0))
        self._ports = ports
        self._cursor: Cursor | None = None

    def may_start(self, deadline: int) -> bool:
        """Nothing starts that could outlive the lease (rule 2); sources wait while the way to the store is full."""
        return deadline <= self._ports.lease()[1] and self._ports.level() not in {"red", "full"}

    async def opened(self) -> Cursor | None:
        """The cursor, opened if need be; None if it cannot be had at the moment."""
        if self._cursor is not None:
            return self._cursor
        lease, _ = self._ports.lease()
        try:
            opened = await self._ports.ledger.open(lease, [Assign(self._id, "now")])
        except StoreError as error:
            self._ports.emit("source.opening-failed", source=self._id.subscription, code=error.code)
            return None
        if isinstance(opened, LeaseLost):
            self._ports.emit("source.lost", source=self._id.subscription, why=opened.why)
            return None
        self._cursor = opened[0].cursor
        return self._cursor

    async def committed(self, cursor: Cursor, drafts: Sequence[Draft], token: str | None) -> bool:
        """Whether drafts and token are in the store. If not, or if nobody knows, the cursor is opened anew (rule 9)."""
        lease, _ = self._ports.lease()
        settlement = Settlement(
            cursor=self._id,
            worker=lease.worker,
            epoch=cursor.epoch,
            number=cursor.number + 1,
            floor=cursor.floor,
            above=cursor.above,
            counters=cursor.counters,
            emit=drafts,
            token=token,
            clean=True,
        )
        self._cursor = None
        try:
            [result] = await self._ports.ledger.commit([settlement])
        except StoreError as error:
            self._ports.emit("source.commit-failed", source=self._id.subscription, code=error.code)
            return False
        match result:
            case Committed(number=number):
                held = cursor.token if token is None else token
                self._cursor = msgspec.structs.replace(cursor, number=number, token=held)
                return True
            case LeaseLost(why=why):
                self._ports.emit("source.lost", source=self._id.subscription, why=why)
                return False
            case CellsConflict():
                return False


def pause_after(failures: int, random: Random) -> int:
    """The pause (µs) after so many failures in a row: doubled with each, with equal jitter."""
    longest = min(limits.RETRY_BASE_US << min(failures - 1, 32), limits.RETRY_CAP_US)
    return round(random.uniform(longest / 2, longest))
