"""Schedules: a function runs at its times, and what it gives and the time that it ran for are one commit.

What to do at an instant is decided in `spec.schedule`. A run never overlaps itself: the next one begins when the last
is committed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from interlock.call.usercode import Raised, awaited
from interlock.core import limits
from interlock.core.cursor import Cursor
from interlock.core.event import Draft
from interlock.edge.drafts import checked_drafts
from interlock.edge.source import PAUSE_US, Position, SourcePorts, pause_after
from interlock.spec.plan import EventTypeSpec, ScheduleSpec
from interlock.spec.schedule import PassOver, Place, RunNow, WaitUntil, next_step, place_of
from interlock.spec.span import moment


class Scheduler:
    """Runs one schedule.

    Args:
        spec: what was declared.
        types: every event type of the plan, by id.
    """

    def __init__(self, spec: ScheduleSpec, types: Mapping[str, EventTypeSpec], ports: SourcePorts) -> None:
        self._spec = spec
        self._times = spec.times
        self._types = types
        self._ports = ports
        self._position = Position(spec.name, spec.stream, ports)
        self._begun: int | None = None
        self._failures = 0

    async def run(self) -> None:
        """Run at each time until cancelled. A run is cut short by nothing but its deadline and cancellation."""
        clock = self._ports.clock
        while True:
            pause_us = await self._turn()
            await clock.sleep_until(clock.monotonic() + pause_us)

    async def _turn(self) -> int:
        """One run at most; the pause after it (µs)."""
        cursor = await self._position.opened()
        if cursor is None:
            return PAUSE_US
        now = self._ports.clock.now()
        if cursor.token is None:
            # From its first start on no time is forgotten, not even one that comes while no process runs.
            begins = Place(now).token()
            return 0 if await self._position.committed(cursor, (), begins) else PAUSE_US
        place = place_of(cursor.token)
        if self._ports.paused(self._spec.name):
            # Its times pass meanwhile; what becomes of them is decided as for any that were missed.
            return PAUSE_US
        match next_step(self._times, self._spec.missed, place, now, self._begun):
            case WaitUntil(due=due):
                # Timers do not notice when the clock of the wall is set, so it is looked at again and again.
                return min(limits.SCHEDULE_LOOK_US, limits.SCHEDULE_LOOK_US if due is None else due - now)
            case PassOver(to=to, missed=missed):
                if not await self._position.committed(cursor, (), Place(to, place.ran).token()):
                    return PAUSE_US
                self._passed_over(missed, to)
                return 0
            case RunNow(due=due, missed=missed):
                return await self._run(cursor, due, missed)

    async def _run(self, cursor: Cursor, due: int, missed: int | None) -> int:
        deadline = self._ports.clock.monotonic() + self._spec.deadline_us
        if not self._position.may_start(deadline):
            return PAUSE_US
        if self._begun != due:
            self._begun, self._failures = due, 0
        drafts = await awaited(partial(self._drafts, due, deadline))
        if isinstance(drafts, Raised):
            return self._failed(due, drafts)
        if not await self._position.committed(cursor, drafts, Place(due, due).token()):
            return PAUSE_US
        if missed is not None:
            self._passed_over(missed, due)
        self._ports.emit("schedule.run", schedule=self._spec.name, due=moment(due).isoformat(), events=len(drafts))
        return 0

    async def _drafts(self, due: int, deadline: int) -> Sequence[Draft]:
        async with self._ports.clock.deadline(deadline):
            context = self._ports.context(self._spec.name, str(due), deadline)
            made = await self._spec.function(moment(due).astimezone(self._times.zone), context)
        return checked_drafts(self._spec.name, made, self._types)

    def _failed(self, due: int, raised: Raised) -> int:
        self._failures += 1
        now = self._ports.clock.now()
        upcoming = self._times.after(now)
        pause_us = pause_after(self._failures, self._ports.random)
        # What comes meanwhile is on time again, whatever the pause.
        pause_us = pause_us if upcoming is None else min(pause_us, upcoming - now)
        self._ports.emit(
            "schedule.failed",
            schedule=self._spec.name,
            due=moment(due).isoformat(),
            error=raised.what,
            failures=self._failures,
            pause_us=pause_us,
        )
        return pause_us

    def _passed_over(self, missed: int, to: int) -> None:
        self._ports.emit(
            "schedule.missed",
            schedule=self._spec.name,
            policy=self._spec.missed,
            since=moment(missed).isoformat(),
            to=moment(to).isoformat(),
        )
