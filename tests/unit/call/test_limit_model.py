"""A System's slots beside a list of who holds one and a list of who waits, whatever comes in which order."""

from __future__ import annotations

import asyncio

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from interlock.call.limit import Limiter
from interlock.core.handler import Call
from interlock.core.limits import SLOT_WAIT_US, US_PER_MS, US_PER_SECOND
from interlock.core.outcome import Unavailable
from interlock.testing.clock import FakeClock

SYSTEM = "shop.crm"
PATIENT_US = 60 * US_PER_SECOND
REST = Unavailable("breaker", US_PER_SECOND, SYSTEM)
Waiter = tuple[asyncio.Task[Unavailable | None], int]


class SlotsAgainstLists(RuleBasedStateMachine):
    """First come, first served, up to the level; every way out of the queue and of a call gives its slot back."""

    @initialize(concurrency=st.integers(1, 4))
    def begin(self, concurrency: int) -> None:
        self.loop = asyncio.new_event_loop()
        self.clock = FakeClock()
        self.limiter = Limiter(SYSTEM, self.clock, concurrency, None)
        self.concurrency = self.level = concurrency
        self.holders = 0
        # Who waits, in order, with the instant at which its patience ends.
        self.queue: list[Waiter] = []

    def advance(self, by: int) -> None:
        async def body() -> None:
            await self.clock.advance(by)

        self.loop.run_until_complete(body())

    def admit(self) -> None:
        """Those whose turn it is must have their slot; nobody else may."""
        self.advance(0)
        while self.queue and self.holders < self.level:
            task, _ = self.queue.pop(0)
            assert task.done(), "the first in the queue did not get the free slot"
            assert task.result() is None
            self.holders += 1

    @rule(deadline_us=st.sampled_from([40 * US_PER_MS, 4 * US_PER_SECOND, PATIENT_US]))
    def call(self, deadline_us: int) -> None:
        now = self.clock.monotonic()
        task = self.loop.create_task(self.limiter.wait(Call(SYSTEM, "POST", "/", deadline=now + deadline_us)))
        self.queue.append((task, now + min(SLOT_WAIT_US, deadline_us // 4)))
        self.admit()

    @rule()
    def call_at_once(self) -> None:
        free = not self.queue and self.holders < self.level
        assert self.limiter.take() is free
        self.holders += free

    @precondition(lambda self: self.holders)
    @rule()
    def end(self) -> None:
        self.limiter.leave()
        self.holders -= 1
        self.admit()

    @rule(share=st.integers(0, 4))
    def ramp(self, share: int) -> None:
        self.level = min(share, self.concurrency)
        self.limiter.set_level(self.level)
        self.admit()

    @precondition(lambda self: self.queue)
    @rule(at=st.integers(0, 20), handed_over=st.booleans())
    def cancel(self, at: int, handed_over: bool) -> None:
        """Of one that waits; or of the first, in the very step in which it is given a slot."""
        if handed_over and self.holders and self.holders - 1 < self.level:
            at = 0
            self.limiter.leave()
            self.holders -= 1
        task, _ = self.queue.pop(at % len(self.queue))
        task.cancel()
        self.admit()
        assert task.cancelled()

    @rule(by=st.sampled_from([5 * US_PER_MS, 10 * US_PER_MS, US_PER_SECOND, SLOT_WAIT_US]))
    def time_passes(self, by: int) -> None:
        self.advance(by)
        now = self.clock.monotonic()
        for task, until in self.queue:
            assert task.done() is (until <= now)
            if task.done():
                assert isinstance(task.result(), Unavailable)
        self.queue = [(task, until) for task, until in self.queue if until > now]

    @rule()
    def the_breaker_opens(self) -> None:
        self.limiter.flush(REST)
        self.advance(0)
        assert all(task.result() == REST for task, _ in self.queue)
        self.queue = []

    @invariant()
    def never_more_than_counted_and_nobody_forgotten(self) -> None:
        assert (self.limiter.in_flight, self.limiter.waiting) == (self.holders, len(self.queue))

    def teardown(self) -> None:
        self.ramp(self.concurrency)
        while self.holders:
            self.end()
        assert not self.queue, "everyone else has left, and somebody still waits"
        assert self.limiter.take(), "a slot was lost"
        self.loop.close()


TestSlotsAgainstLists = SlotsAgainstLists.TestCase
TestSlotsAgainstLists.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
