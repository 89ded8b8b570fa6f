"""Schedules: a run and its time are one commit, missed times are dealt with as stated, nothing overlaps itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from tests.unit.edge.plane import Settled
from tests.unit.edge.test_poller import Deaf, Highest, LossyStore, stopped

from interlock.core import limits
from interlock.core.cursor import CursorId
from interlock.core.event import Shard
from interlock.edge.scheduler import Scheduler
from interlock.edge.source import SourcePorts
from interlock.journal.memory import MemoryDisk
from interlock.journal.ports import Assign, Lease, Settlement
from interlock.spec.bindings import Bindings
from interlock.spec.check import build_plan
from interlock.spec.declare import Integration
from interlock.spec.schedule import Missed, place_of
from interlock.spec.span import moment
from interlock.testing.clock import FakeClock

HOUR = timedelta(hours=1)
CURSOR = CursorId("bill.hourly", Shard("bill", 0))


class Hourly:
    """A schedule of every hour over a memory store, on a clock that the test moves from midnight on."""

    def __init__(self, missed: Missed) -> None:
        self.clock = FakeClock()
        self.disk = MemoryDisk()
        self.emitted: list[tuple[str, dict[str, object]]] = []
        self.store = LossyStore(self.clock, Deaf(), emit=self.emit, disk=self.disk)
        self.until = self.clock.monotonic() + 30 * limits.US_PER_DAY
        self.lease = Lease("w", 0)
        self.due: list[str] = []
        self.running = 0
        self.failures = 0
        self.takes_us = 0
        bill = Integration("bill", owner="bill-team", purpose="Every hour is closed within the hour")
        closed = bill.event("hour.closed", Settled, key=lambda it: it.account)

        @bill.schedule(every=HOUR, missed=missed)
        async def hourly(due: datetime, context: object) -> list[Any]:
            assert not self.running, "a run overlaps itself"
            self.running += 1
            try:
                self.due.append(f"{due:%H:%M}")
                await self.clock.sleep_until(self.clock.monotonic() + self.takes_us)
                if self.failures:
                    self.failures -= 1
                    raise ConnectionError("secret detail")
                return [closed.draft(Settled("a", 1), id=f"{due:%dT%H}")]
            finally:
                self.running -= 1

        self.plan = build_plan([bill], Bindings())
        self.paused: set[str] = set()

    def emit(self, record: str, /, **fields: object) -> None:
        self.emitted.append((record, fields))

    def records(self, name: str) -> list[dict[str, object]]:
        return [fields for record, fields in self.emitted if record == name]

    async def start(self) -> asyncio.Task[None]:
        await self.store.make_stream("bill", 1)
        self.lease = await self.store.renew("w", 30 * limits.US_PER_DAY)  # type: ignore[assignment]
        ports = SourcePorts(
            self.store,
            self.clock,
            Highest(),
            self.emit,
            lambda: (self.lease, self.until),
            lambda _name, _run, _deadline: None,  # type: ignore[arg-type, return-value]
            lambda: "green",
            lambda name: name in self.paused,
        )
        [spec] = self.plan.schedules
        task = asyncio.create_task(Scheduler(spec, self.plan.types, ports).run())
        await self.clock.settle()
        return task

    async def ids(self) -> list[str]:
        batch = await self.store.read(Shard("bill", 0), 0, 100)
        return [event.draft.id for event in batch.events]

    @property
    def place(self) -> tuple[str, str | None]:
        place = place_of(self.disk.ledgers[CURSOR].held.cursor.token or "")
        return f"{moment(place.at):%H:%M}", None if place.ran is None else f"{moment(place.ran):%H:%M}"


def hourly(missed: Missed, test: Callable[[Hourly], Awaitable[None]]) -> None:
    async def run() -> None:
        schedule = Hourly(missed)
        await test(schedule)
        await schedule.store.close()

    asyncio.run(run())


def test_it_runs_at_its_times_and_not_at_its_first_start():
    async def test(it: Hourly) -> None:
        await it.clock.advance(timedelta(minutes=30))
        task = await it.start()
        assert (it.due, it.place) == ([], ("00:30", None))
        await it.clock.advance(timedelta(minutes=30) - timedelta(microseconds=1))
        assert it.due == []
        await it.clock.advance(timedelta(microseconds=1))
        await it.clock.advance(2 * HOUR)
        assert it.due == ["01:00", "02:00", "03:00"]
        assert await it.ids() == ["01T01", "01T02", "01T03"]
        assert it.place == ("03:00", "03:00")
        assert it.records("schedule.missed") == []
        await stopped(task)

    hourly("run once", test)


@pytest.mark.parametrize(
    ("missed", "due"),
    [
        ("run once", ["03:00", "04:00"]),
        ("skip", ["04:00"]),
        ("catch up", ["01:00", "02:00", "03:00", "04:00"]),
    ],
)
def test_a_paused_schedule_starts_no_run_and_its_times_count_as_missed(missed: Missed, due: list[str]):
    async def test(it: Hourly) -> None:
        task = await it.start()
        [name] = [spec.name for spec in it.plan.schedules]
        it.paused.add(name)
        await it.clock.advance(3 * HOUR + timedelta(minutes=30))
        assert it.due == []
        it.paused.clear()
        await it.clock.advance(timedelta(minutes=30))
        assert it.due == due
        await stopped(task)

    hourly(missed, test)


MISSED: dict[Missed, tuple[list[str], list[tuple[str, str]]]] = {
    "run once": (["03:00"], [("01", "03")]),
    "skip": ([], [("01", "03")]),
    "catch up": (["01:00", "02:00", "03:00"], []),
}


@pytest.mark.parametrize("missed", MISSED)
def test_times_that_pass_while_no_process_runs_are_dealt_with_as_stated(missed: Missed):
    async def test(it: Hourly) -> None:
        # Stopped before its first run: that it was started is remembered all the same.
        await stopped(await it.start())
        await it.clock.advance(3 * HOUR + timedelta(minutes=30))
        task = await it.start()
        due, passed = MISSED[missed]
        assert it.due == due
        assert it.place == ("03:00", "03:00" if due else None)
        told = [(str(one["since"])[11:13], str(one["to"])[11:13]) for one in it.records("schedule.missed")]
        assert told == passed
        await it.clock.advance(timedelta(minutes=30))
        assert it.due == [*due, "04:00"]
        await stopped(task)

    hourly(missed, test)


@pytest.mark.parametrize("lost", ["before", "after"])
def test_a_run_whose_commit_is_lost_is_in_the_log_once(lost: str):
    async def test(it: Hourly) -> None:
        task = await it.start()
        it.store.losses, it.store.lost = 1, lost
        await it.clock.advance(HOUR + timedelta(seconds=1))
        assert it.due == ["01:00"] * (2 if lost == "before" else 1)
        assert await it.ids() == ["01T01"]
        assert it.place == ("01:00", "01:00")
        assert it.records("source.commit-failed") == [{"source": "bill.hourly", "code": "store.unavailable"}]
        await stopped(task)

    hourly("run once", test)


def test_a_run_that_is_killed_is_made_again_for_the_same_time():
    async def test(it: Hourly) -> None:
        it.takes_us = 10 * limits.US_PER_SECOND
        task = await it.start()
        await it.clock.advance(HOUR + timedelta(seconds=5))
        await stopped(task)
        assert (it.due, await it.ids()) == (["01:00"], [])
        task = await it.start()
        await it.clock.advance(timedelta(seconds=10))
        assert (it.due, await it.ids()) == (["01:00"] * 2, ["01T01"])
        await stopped(task)

    hourly("run once", test)


@pytest.mark.parametrize("missed", MISSED)
def test_a_run_that_outlasts_its_interval_delays_the_next_and_never_meets_it(missed: Missed):
    async def test(it: Hourly) -> None:
        task = await it.start()
        it.failures = 2
        it.takes_us = 20 * limits.US_PER_SECOND
        await it.clock.advance(3 * HOUR + timedelta(minutes=5))
        assert it.due == ["01:00", "01:00", "01:00", "02:00", "03:00"]
        assert await it.ids() == ["01T01", "01T02", "01T03"]
        await stopped(task)

    hourly(missed, test)


def test_a_failing_run_is_tried_again_after_pauses_that_double_until_its_next_time_comes():
    async def test(it: Hourly) -> None:
        task = await it.start()
        it.failures = 12
        await it.clock.advance(2 * HOUR)
        pauses = [record["pause_us"] for record in it.records("schedule.failed")]
        assert pauses[:4] == [1e6, 2e6, 4e6, 8e6]
        assert it.due[-1] == "02:00"
        assert await it.ids() == ["01T02"]
        assert len(it.records("schedule.missed")) == 1
        assert "secret" not in str(it.emitted)
        await stopped(task)

    hourly("run once", test)


def test_nothing_starts_that_could_outlive_the_lease():
    async def test(it: Hourly) -> None:
        task = await it.start()
        it.until = it.clock.monotonic()
        await it.clock.advance(HOUR + timedelta(seconds=30))
        assert it.due == []
        it.until += limits.US_PER_DAY
        await it.clock.advance(timedelta(seconds=1))
        assert it.due == ["01:00"]
        await stopped(task)

    hourly("skip", test)


def test_a_run_that_another_holder_fenced_off_is_not_recorded_twice():
    async def test(it: Hourly) -> None:
        task = await it.start()
        other = await it.store.renew("other", limits.US_PER_DAY)
        [opened] = await it.store.open(other, [Assign(CURSOR)])  # type: ignore[arg-type, misc]
        cursor = opened.cursor
        token = (cursor.token or "").replace(str(it.clock.now()), str(it.clock.now() + limits.US_PER_HOUR))
        theirs = Settlement(
            CURSOR, "other", cursor.epoch, 1, cursor.floor, cursor.above, cursor.counters, token=token, clean=True
        )
        await it.store.commit([theirs])
        await it.clock.advance(HOUR + timedelta(seconds=5))
        assert it.due == ["01:00"]
        assert (await it.ids(), len(it.records("source.lost"))) == ([], 1)
        await it.clock.advance(HOUR)
        assert await it.ids() == ["01T02"]
        await stopped(task)

    hourly("run once", test)


def test_a_wall_clock_that_is_set_back_repeats_nothing_and_one_set_forward_is_noticed_within_a_minute():
    async def test(it: Hourly) -> None:
        task = await it.start()
        await it.clock.advance(HOUR)
        it.clock.jump(-HOUR)
        await it.clock.advance(HOUR + timedelta(minutes=1))
        assert it.due == ["01:00"]
        it.clock.jump(HOUR)
        await it.clock.advance(timedelta(minutes=1))
        assert it.due == ["01:00", "02:00"]
        await stopped(task)

    hourly("run once", test)
