"""Polls: a foreign log is read page by page, and a page and the token to go on from are one commit.

A poller is a subscriber to that log. What it read and could not commit it reads again from the last token; the log
recognises what it has by its ids.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from interlock.call.usercode import Raised, awaited
from interlock.edge.drafts import checked_drafts
from interlock.edge.source import PAUSE_US, Position, SourcePorts, pause_after
from interlock.spec.plan import EventTypeSpec, Page, PollSpec


class Poller:
    """Runs one poll, one call at a time.

    Args:
        spec: what was declared.
        types: every event type of the plan, by id.
    """

    def __init__(self, spec: PollSpec, types: Mapping[str, EventTypeSpec], ports: SourcePorts) -> None:
        self._spec = spec
        self._types = types
        self._ports = ports
        self._position = Position(spec.name, spec.stream, ports)
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
        deadline = self._ports.clock.monotonic() + self._spec.deadline_us
        # What its log keeps need not be pulled into a stream that is held near its bound.
        if not (self._position.may_start(deadline) and self._ports.has_room(self._spec.stream)):
            return PAUSE_US
        cursor = await self._position.opened()
        if cursor is None:
            return PAUSE_US
        page = await awaited(partial(self._page, cursor.token, deadline))
        if isinstance(page, Raised):
            return self._failed(page)
        self._failures = 0
        moves = page.next not in {None, cursor.token}
        if page.drafts or moves:
            if not await self._position.committed(cursor, page.drafts, page.next):
                return PAUSE_US
            self._ports.emit("poll.page", poll=self._spec.name, events=len(page.drafts), more=page.more)
        if page.more and not moves:
            # It would be asked for the same page for ever, without a pause.
            self._ports.emit("poll.stands-still", poll=self._spec.name)
        if page.more and moves:
            # Its log keeps what it has: where much waits here, it is read slower, before anybody is refused.
            return PAUSE_US if self._ports.level() == "amber" else 0
        return self._spec.every_us

    async def _page(self, token: str | None, deadline: int) -> Page:
        clock = self._ports.clock
        async with clock.deadline(deadline):
            context = self._ports.context(self._spec.name, str(clock.now()), deadline)
            page: Page = await self._spec.function(token, context)
        drafts = checked_drafts(self._spec.name, page.drafts, self._types)
        return Page(drafts, page.next, page.more)

    def _failed(self, raised: Raised) -> int:
        self._failures += 1
        pause_us = pause_after(self._failures, self._ports.random)
        self._ports.emit(
            "poll.failed", poll=self._spec.name, error=raised.what, failures=self._failures, pause_us=pause_us
        )
        return pause_us
