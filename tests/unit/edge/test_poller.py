"""Polls: page and token are one commit, pauses after failures, nothing after the lease."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.edge.plane import Settled

from interlock.core import limits
from interlock.core.cursor import CursorId
from interlock.core.errors import StoreError
from interlock.core.event import Shard
from interlock.edge.poller import Poller
from interlock.edge.source import SourcePorts
from interlock.journal.memory import MemoryDisk, MemoryStore
from interlock.journal.ports import Assign, Committed, Lease, LeaseLost
from interlock.spec.bindings import Bindings
from interlock.spec.check import build_plan
from interlock.spec.declare import Integration
from interlock.spec.plan import Page
from interlock.testing.clock import FakeClock

EVERY = timedelta(minutes=5)


class Deaf:
    """A Wakeup that nobody listens to."""

    def appended(self, shard: Shard, events: object) -> None: ...
    def changed(self, cells: object) -> None: ...


class Highest:
    """Chance that always takes the longest pause."""

    def uniform(self, low: float, high: float) -> float:
        return high

    def bytes(self, count: int) -> bytes:
        return bytes(count)


class LossyStore(MemoryStore):
    """Its commits are refused (`before`), or made and their answers lost (`after`), as often as `losses` says."""

    losses = 0
    lost = "before"

    async def commit(self, settlements: Any) -> Any:
        told: list[Committed | LeaseLost] = []
        if not self.losses:
            return await super().commit(settlements)
        self.losses -= 1
        if self.lost == "after":
            told.extend(await super().commit(settlements))  # type: ignore[arg-type]
        raise StoreError("store.unavailable", "the disk is away", "wait")


class Source:
    """A foreign log of numbered payments, read two at a time; `failure` is raised instead."""

    def __init__(self) -> None:
        self.length = 0
        self.failure: Exception | None = None
        self.asked: list[str | None] = []
        self.stalled = False
        self.takes_us = 0
        self.running = 0
        self.stands_still = False
        self.offset = 0
        self.clock: FakeClock | None = None
        self.bill = Integration("bill", owner="bill-team", purpose="Payments are known within five minutes")
        paid = self.bill.event("payment.made", Settled, key=lambda payment: payment.account)

        @self.bill.poll(every=EVERY)
        async def payments(since: str | None, context: object) -> Page:
            self.asked.append(since)
            assert not self.running, "a call overlaps itself"
            self.running += 1
            try:
                if self.clock:
                    await self.clock.sleep_until(self.clock.monotonic() + self.takes_us)
            finally:
                self.running -= 1
            if self.stalled:
                await asyncio.get_running_loop().create_future()
            if self.failure:
                raise self.failure
            first = 0 if since is None else int(since)
            numbers = range(first, min(first + 2, self.length))
            drafts = [paid.draft(Settled("a", number), id=str(number - self.offset)) for number in numbers]
            last = first + len(numbers)
            if self.stands_still:
                return Page(drafts, since, more=True)
            return Page(drafts, str(last) if drafts else since, more=last < self.length)

        self.plan = build_plan([self.bill], Bindings())


class Polling:
    """A poller of `Source` over a memory store, on a clock that the test moves."""

    def __init__(self) -> None:
        self.source = Source()
        self.clock = self.source.clock = FakeClock()
        self.disk = MemoryDisk()
        self.emitted: list[tuple[str, dict[str, object]]] = []
        self.store = LossyStore(self.clock, Deaf(), emit=self.emit, disk=self.disk)
        self.until = self.clock.monotonic() + limits.US_PER_DAY
        self.level: Any = "green"
        self.has_room = True
        self.lease = Lease("w", 0)

    def emit(self, record: str, /, **fields: object) -> None:
        self.emitted.append((record, fields))

    def records(self, name: str) -> list[dict[str, object]]:
        return [fields for record, fields in self.emitted if record == name]

    async def start(self) -> asyncio.Task[None]:
        await self.store.make_stream("bill", 1)
        self.lease = await self.store.renew("w", limits.US_PER_DAY)  # type: ignore[assignment]
        ports = SourcePorts(
            self.store,
            self.clock,
            Highest(),
            self.emit,
            lambda: (self.lease, self.until),
            lambda _name, _run, _deadline: None,  # type: ignore[arg-type, return-value]
            lambda: self.level,
            has_room=lambda stream: self.has_room and stream == "bill",
        )
        [spec] = self.source.plan.polls
        task = asyncio.create_task(Poller(spec, self.source.plan.types, ports).run())
        await self.clock.settle()
        return task

    async def ids(self) -> list[str]:
        batch = await self.store.read(Shard("bill", 0), 0, 100)
        return [event.draft.id for event in batch.events]

    @property
    def token(self) -> str | None:
        return self.disk.ledgers[CursorId("bill.payments", Shard("bill", 0))].held.cursor.token


def polling(test: Callable[[Polling], Awaitable[None]]) -> None:
    async def run() -> None:
        poll = Polling()
        await test(poll)
        await poll.store.close()

    asyncio.run(run())


async def stopped(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


def test_pages_follow_each_other_at_once_and_then_every_so_often():
    async def test(poll: Polling) -> None:
        poll.source.length = 5
        task = await poll.start()
        assert await poll.ids() == ["0", "1", "2", "3", "4"]
        assert poll.source.asked == [None, "2", "4"]
        poll.source.length = 6
        await poll.clock.advance(EVERY - timedelta(seconds=1))
        assert len(poll.source.asked) == 3
        await poll.clock.advance(timedelta(seconds=1))
        assert poll.source.asked[3:] == ["5"]
        assert (await poll.ids())[5:] == ["5"]
        assert poll.token == "6"
        await stopped(task)

    polling(test)


def test_a_source_with_nothing_new_costs_no_commit():
    async def test(poll: Polling) -> None:
        task = await poll.start()
        await poll.clock.advance(EVERY * 3)
        assert poll.source.asked == [None] * 4
        assert poll.records("poll.page") == []
        await stopped(task)

    polling(test)


def test_a_poller_that_starts_again_goes_on_from_the_token():
    async def test(poll: Polling) -> None:
        poll.source.length = 3
        await stopped(await poll.start())
        poll.source.length = 4
        await stopped(await poll.start())
        assert poll.source.asked == [None, "2", "3"]
        assert await poll.ids() == ["0", "1", "2", "3"]

    polling(test)


def test_a_failing_source_is_asked_again_after_pauses_that_double_and_keeps_its_token():
    async def test(poll: Polling) -> None:
        poll.source.length = 1
        poll.source.failure = ConnectionError("secret detail")
        task = await poll.start()
        for seconds in (1, 2, 4):
            await poll.clock.advance(timedelta(seconds=seconds))
        assert [record["pause_us"] for record in poll.records("poll.failed")] == [1e6, 2e6, 4e6, 8e6]
        assert "secret" not in str(poll.emitted)
        poll.source.failure = None
        await poll.clock.advance(timedelta(seconds=8))
        assert await poll.ids() == ["0"]
        await stopped(task)

    polling(test)


def test_a_call_that_outlasts_its_deadline_is_a_failure():
    async def test(poll: Polling) -> None:
        poll.source.stalled = True
        task = await poll.start()
        await poll.clock.advance(limits.FUNCTION_DEADLINE_US)
        assert str(poll.records("poll.failed")[0]["error"]).startswith("TimeoutError")
        await stopped(task)

    polling(test)


def test_nothing_starts_that_could_outlive_the_lease_or_while_the_store_is_nearly_full():
    async def test(poll: Polling) -> None:
        poll.until = poll.clock.monotonic() + limits.FUNCTION_DEADLINE_US - 1
        task = await poll.start()
        assert poll.source.asked == []
        poll.until += limits.US_PER_DAY
        poll.level = "red"
        await poll.clock.advance(timedelta(seconds=10))
        assert poll.source.asked == []
        poll.level = "amber"
        await poll.clock.advance(timedelta(seconds=1))
        assert poll.source.asked == [None]
        await stopped(task)

    polling(test)


def test_where_much_waits_for_the_store_pages_come_slower_before_they_stop():
    async def test(poll: Polling) -> None:
        poll.source.length = 100
        poll.level = "amber"
        task = await poll.start()
        await poll.clock.advance(timedelta(seconds=5))
        assert len(poll.source.asked) == 6
        poll.level = "red"
        await poll.clock.advance(timedelta(seconds=5))
        assert len(poll.source.asked) == 6
        poll.level = "green"
        await poll.clock.advance(timedelta(seconds=2))
        assert len(poll.source.asked) == 50
        await stopped(task)

    polling(test)


def test_a_poll_waits_while_somebody_holds_its_stream_near_the_bound():
    async def test(poll: Polling) -> None:
        poll.has_room = False
        task = await poll.start()
        await poll.clock.advance(timedelta(seconds=10))
        assert poll.source.asked == []
        poll.has_room = True
        await poll.clock.advance(timedelta(seconds=1))
        assert poll.source.asked == [None]
        await stopped(task)

    polling(test)


def test_a_page_that_another_holder_fenced_off_is_read_again_from_the_stores_token():
    async def test(poll: Polling) -> None:
        task = await poll.start()
        other = await poll.store.renew("other", limits.US_PER_DAY)
        await poll.store.open(other, [Assign(CursorId("bill.payments", Shard("bill", 0)))])  # type: ignore[arg-type]
        poll.source.length = 1
        await poll.clock.advance(EVERY)
        assert poll.records("source.lost") != []
        assert await poll.ids() == []
        await poll.clock.advance(timedelta(seconds=1))
        assert await poll.ids() == ["0"]
        await stopped(task)

    polling(test)


def test_a_page_with_a_draft_that_the_log_must_not_hold_is_a_failure_and_not_half_recorded():
    async def test(poll: Polling) -> None:
        poll.source.length = 2
        poll.source.plan.types.pop("payment.made@1")  # type: ignore[attr-defined]
        task = await poll.start()
        assert str(poll.records("poll.failed")[0]["error"]).startswith("PayloadError draft.foreign")
        assert await poll.ids() == []
        await stopped(task)

    polling(test)


@pytest.mark.parametrize("lost", ["before", "after"])
def test_a_page_whose_commit_is_lost_is_in_the_log_once_and_its_token_with_it(lost: str):
    async def test(poll: Polling) -> None:
        poll.source.length = 2
        poll.store.losses, poll.store.lost = 1, lost
        task = await poll.start()
        assert (await poll.ids(), poll.token) == (([], None) if lost == "before" else (["0", "1"], "2"))
        await poll.clock.advance(timedelta(seconds=2))
        assert poll.source.asked == ([None, None] if lost == "before" else [None, "2"])
        assert (await poll.ids(), poll.token) == (["0", "1"], "2")
        await stopped(task)

    polling(test)


def test_a_process_that_is_killed_between_reading_a_page_and_its_commit_reads_it_again():
    async def test(poll: Polling) -> None:
        poll.source.length = 4
        poll.source.takes_us = 10 * limits.US_PER_SECOND
        task = await poll.start()
        await poll.clock.advance(timedelta(seconds=15))
        await stopped(task)
        assert (poll.source.asked, poll.token) == ([None, "2"], "2")
        task = await poll.start()
        await poll.clock.advance(timedelta(seconds=15))
        assert poll.source.asked == [None, "2", "2"]
        assert (await poll.ids(), poll.token) == (["0", "1", "2", "3"], "4")
        await stopped(task)

    polling(test)


def test_a_page_that_repeats_what_the_log_has_adds_nothing_and_moves_the_token():
    async def test(poll: Polling) -> None:
        poll.source.length = 2
        task = await poll.start()
        cursor = poll.disk.ledgers[CursorId("bill.payments", Shard("bill", 0))].held.cursor
        assert cursor.token == "2"
        await stopped(task)
        # The same facts under another token, as a source gives them that was restored or pages by time.
        poll.source.offset = 1
        await stopped(await poll.start())
        poll.source.length = 4
        task = await poll.start()
        assert (await poll.ids(), poll.token) == (["0", "1", "2"], "4")
        await stopped(task)

    polling(test)


def test_a_call_that_outlasts_its_interval_delays_the_next_and_never_meets_it():
    async def test(poll: Polling) -> None:
        poll.source.takes_us = 20 * limits.US_PER_SECOND
        poll.source.length = 100
        task = await poll.start()
        await poll.clock.advance(timedelta(seconds=90))
        assert poll.source.asked == [None, "2", "4", "6", "8"]
        await stopped(task)

    polling(test)


@pytest.mark.parametrize("length", [0, 2])
def test_a_source_that_says_there_is_more_and_stands_still_is_not_asked_without_a_pause(length: int):
    async def test(poll: Polling) -> None:
        poll.source.length = length
        poll.source.stands_still = True
        task = await poll.start()
        await poll.clock.advance(EVERY - timedelta(seconds=1))
        assert poll.source.asked == [None]
        assert poll.records("poll.stands-still") == [{"poll": "bill.payments"}]
        await poll.clock.advance(timedelta(seconds=1))
        assert poll.source.asked == [None, None]
        assert await poll.ids() == ["0", "1"][:length]
        await stopped(task)

    polling(test)
