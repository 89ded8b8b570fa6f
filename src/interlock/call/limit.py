"""What one System may be sent: so many calls at once, so many a second, and none while it rests. One process's view.

The decisions about rate are `gcra`'s; here is who waits, in which order, and for how long at most.
"""

from __future__ import annotations

from asyncio import CancelledError, Future, get_running_loop
from collections import deque

from interlock.call.gcra import Gcra
from interlock.core.handler import Call
from interlock.core.limits import RATE_WAIT_US, RECHECK_US, SLOT_WAIT_US, SLOT_WAITERS_MAX, START_PROMISE_US
from interlock.core.outcome import Unavailable
from interlock.core.ports import Clock


class Limiter:
    """Slots and rate of one System.

    Args:
        system: its name.
        clock: instants here are those of its monotonic side.
        concurrency: how many calls at once when all is well.
        gcra: the rate; None for no limit.

    Attributes:
        in_flight: calls that hold a slot.
        level: how many slots there are; the breaker's ramp lowers it for a while.
        paused_until: nothing is sent before (the System said 429); 0 for no pause.
        wanted: someone was told to wait for a slot and should hear when one is free.
    """

    __slots__ = (
        "_clock", "_concurrency", "_gcra", "_promises", "_system", "_waiters", "in_flight", "level", "paused_until",
        "wanted",
    )  # fmt: skip

    def __init__(self, system: str, clock: Clock, concurrency: int, gcra: Gcra | None) -> None:
        self.in_flight = 0
        self.level = concurrency
        self.paused_until = 0
        self.wanted = False
        self._system = system
        self._clock = clock
        self._concurrency = concurrency
        self._gcra = gcra
        self._promises: dict[str, int] = {}
        self._waiters: deque[Future[Unavailable | None]] = deque()

    @property
    def is_free(self) -> bool:
        """Whether a call could be sent at once, as far as one glance can tell."""
        return self._gcra is None and not self.paused_until and self.in_flight < self.level == self._concurrency

    @property
    def waiting(self) -> int:
        """Calls that wait for a slot."""
        return len(self._waiters)

    def offer(self, event: str, now: int) -> int:
        """How long work for this event should wait before it starts, in µs; 0 keeps a part of the limits for it.

        Without that, all work that asks in one moment would be told to start, and most of it would come back.
        """
        if now < self.paused_until:
            return self.paused_until - now
        for promised, until in list(self._promises.items()):
            if until > now:
                break
            del self._promises[promised]
        if event in self._promises:
            return 0
        # Where nothing is scarce, nothing is promised: the queue for the slots is enough.
        is_scarce = self._gcra is not None or self.level < self._concurrency
        ahead = len(self._promises) if is_scarce else 0
        if self._gcra is not None and (wait := self._gcra.wait_us(now, ahead)):
            return wait
        if self.in_flight + len(self._waiters) + ahead >= self.level:
            self.wanted = True
            return RECHECK_US
        if is_scarce and event:
            self._promises[event] = now + START_PROMISE_US
        return 0

    def release(self, event: str) -> None:
        """The work for this event has ended: what was kept for it is free."""
        self._promises.pop(event, None)

    def take(self) -> bool:
        """A slot, if one is free and nothing else can make a call wait. To be given back by `leave`."""
        if self._gcra or self.paused_until or self._promises or self._waiters or self.in_flight >= self.level:
            return False
        self.in_flight += 1
        return True

    async def wait(self, call: Call) -> Unavailable | None:
        """Wait for a slot, first come first served, and for the rate. None: a slot is held until `leave`."""
        self._promises.pop(call.event, None)
        if self.in_flight < self.level and not self._waiters:
            self.in_flight += 1
        elif (refused := await self._slot(call)) is not None:
            return refused
        held = False
        try:
            refused = await self._rate(call)
            held = refused is None
        finally:
            if not held:
                self.leave()
        return refused

    def leave(self) -> None:
        """Give a slot back."""
        self.in_flight -= 1
        if self._waiters:
            self._admit()

    def set_level(self, level: int) -> None:
        """Change how many slots there are; calls under way are not touched."""
        self.level = level
        self._admit()

    def pause(self, until: int) -> None:
        """Send nothing before `until`. A shorter pause does not end a longer one."""
        self.paused_until = max(self.paused_until, until)

    def flush(self, refusal: Unavailable) -> None:
        """Answer everyone who waits for a slot with `refusal`."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(refusal)

    def _admit(self) -> None:
        while self._waiters and self.in_flight < self.level:
            waiter = self._waiters.popleft()
            if not waiter.done():
                self.in_flight += 1
                waiter.set_result(None)

    async def _slot(self, call: Call) -> Unavailable | None:
        if len(self._waiters) >= SLOT_WAITERS_MAX:
            return self._refusal(RECHECK_US)
        now = self._clock.monotonic()
        # Most of the deadline is for the call itself: one that starts late fails, and looks like the System's fault.
        patience = min(SLOT_WAIT_US, (call.deadline - now) // 4)
        waiter: Future[Unavailable | None] = get_running_loop().create_future()
        self._waiters.append(waiter)
        timer = self._clock.call_at(now + patience, lambda: self._give_up(waiter))
        try:
            return await waiter
        except CancelledError:
            if waiter.cancelled():
                self._forget(waiter)
            elif waiter.result() is None:
                # The slot was handed over in the moment of the cancellation.
                self.leave()
            raise
        finally:
            timer.cancel()

    async def _rate(self, call: Call) -> Unavailable | None:
        now = self._clock.monotonic()
        wait = max(self.paused_until - now, 0)
        if self._gcra is not None:
            wait = max(wait, self._gcra.wait_us(now))
        if wait > RATE_WAIT_US or now + wait >= call.deadline:
            return self._refusal(wait)
        if self._gcra is not None:
            wait = max(wait, self._gcra.take(now))
        if wait:
            await self._clock.sleep_until(now + wait)
            now = self._clock.monotonic()
            if now < self.paused_until:
                return self._refusal(self.paused_until - now)
        self.paused_until = 0
        return None

    def _give_up(self, waiter: Future[Unavailable | None]) -> None:
        if not waiter.done():
            self._forget(waiter)
            waiter.set_result(self._refusal(RECHECK_US))

    def _forget(self, waiter: Future[Unavailable | None]) -> None:
        if waiter in self._waiters:
            self._waiters.remove(waiter)

    def _refusal(self, after_us: int) -> Unavailable:
        self.wanted = True
        return Unavailable("limiter", after_us, self._system)
