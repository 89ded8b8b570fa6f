"""Polls: a foreign log is read page by page, and a page and the token to go on from are one commit.

A poller is a subscriber to that log. What it read and could not commit it reads again from the last token; the log
recognises what it has by its ids.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, NamedTuple

import msgspec

from interlock.core import limits
from interlock.core.cursor import Cursor, CursorId
from interlock.core.errors import StoreError
from interlock.core.event import Shard
from interlock.core.ports import Clock, Emit, Random
from interlock.edge.admission import Level
from interlock.edge.drafts import checked_drafts
from interlock.edge.usercode import Raised, awaited
from interlock.journal.ports import Assign, CellsConflict, Committed, Lease, LeaseLost, Ledger, Settlement
from interlock.spec.function import Context
from interlock.spec.plan import EventTypeSpec, Page, PollSpec

_PAUSE_US: Final = limits.US_PER_SECOND
"""Before looking again at what only another part can mend: the lease, the store, a way to it that is nearly full."""


class PollPorts(NamedTuple):
    """What a poller needs.

    `lease` is the process's lease and the monotonic µs until which it lasts; `context` makes the context of one call,
    which ends at the given monotonic µs; `level` says how full the way to the store is.
    """

    ledger: Ledger
    clock: Clock
    random: Random
    emit: Emit
    lease: Callable[[], tuple[Lease, int]]
    context: Callable[[PollSpec, int], Context]
    level: Callable[[], Level]


class Poller:
    """Runs one poll, one call at a time.

    Args:
        spec: what was declared.
        types: every event type of the plan, by id.
    """

    def __init__(self, spec: PollSpec, types: Mapping[str, EventTypeSpec], ports: PollPorts) -> None:
        self._spec = spec
        self._types = types
        self._ports = ports
        self._id = CursorId(spec.name, Shard(spec.stream, 0))
        self._cursor: Cursor | None = None
        self._failures = 0

    async def run(self) -> None:
        """Poll until cancelled. A call is never cut short by anything but its deadline and cancellation."""
        clock = self._ports.clock
        while True:
            started = clock.monotonic()
            pause_us = await self._turn()
            await clock.sleep_until(started + pause_us if pause_us else clock.monotonic())

    async def _turn(self) -> int:
        """One page at most; how long after its start the next turn is due (µs), 0 for at once."""
        lease, until = self._ports.lease()
        deadline = self._ports.clock.monotonic() + self._spec.deadline_us
        # Nothing starts that could outlive the lease (rule 2); sources wait while the way to the store is nearly full.
        if deadline > until or self._ports.level() in {"red", "full"}:
            return _PAUSE_US
        cursor = self._cursor or await self._opened(lease)
        if cursor is None:
            return _PAUSE_US
        page = await awaited(partial(self._page, cursor.token, deadline))
        if isinstance(page, Raised):
            return self._failed(page)
        self._failures = 0
        if (page.drafts or page.next not in {None, cursor.token}) and not await self._committed(cursor, lease, page):
            return _PAUSE_US
        return 0 if page.more else self._spec.every_us

    async def _page(self, token: str | None, deadline: int) -> Page:
        async with self._ports.clock.deadline(deadline):
            page: Page = await self._spec.function(token, self._ports.context(self._spec, deadline))
        drafts = checked_drafts(self._spec.name, page.drafts, self._types)
        return Page(drafts, page.next, page.more)

    async def _opened(self, lease: Lease) -> Cursor | None:
        try:
            opened = await self._ports.ledger.open(lease, [Assign(self._id, "now")])
        except StoreError as error:
            self._ports.emit("poll.opening-failed", poll=self._spec.name, code=error.code)
            return None
        if isinstance(opened, LeaseLost):
            self._ports.emit("poll.lost", poll=self._spec.name, why=opened.why)
            return None
        self._cursor = opened[0].cursor
        return self._cursor

    async def _committed(self, cursor: Cursor, lease: Lease, page: Page) -> bool:
        """Whether page and token are in the store. If not, or if nobody knows, the cursor is opened anew (rule 9)."""
        settlement = Settlement(
            cursor=self._id,
            worker=lease.worker,
            epoch=cursor.epoch,
            number=cursor.number + 1,
            floor=cursor.floor,
            above=cursor.above,
            counters=cursor.counters,
            emit=page.drafts,
            token=page.next,
            clean=True,
        )
        self._cursor = None
        try:
            [result] = await self._ports.ledger.commit([settlement])
        except StoreError as error:
            self._ports.emit("poll.commit-failed", poll=self._spec.name, code=error.code)
            return False
        match result:
            case Committed(number=number):
                token = cursor.token if page.next is None else page.next
                self._cursor = msgspec.structs.replace(cursor, number=number, token=token)
                self._ports.emit("poll.page", poll=self._spec.name, events=len(page.drafts), more=page.more)
                return True
            case LeaseLost(why=why):
                self._ports.emit("poll.lost", poll=self._spec.name, why=why)
                return False
            case CellsConflict():
                return False

    def _failed(self, raised: Raised) -> int:
        """The pause after a failure: doubled with each in a row, with equal jitter."""
        self._failures += 1
        longest = min(limits.RETRY_BASE_US << min(self._failures - 1, 32), limits.RETRY_CAP_US)
        pause_us = round(self._ports.random.uniform(longest / 2, longest))
        self._ports.emit(
            "poll.failed", poll=self._spec.name, error=raised.what, failures=self._failures, pause_us=pause_us
        )
        return pause_us
