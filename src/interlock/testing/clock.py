"""A clock that stands still until the test moves it, on whatever loop runs the test.

It moves only its own timers: what waits for a socket, a thread or the loop's own clock is out of its sight.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from heapq import heappop, heappush
from types import TracebackType

from interlock.core.limits import US_PER_HOUR
from interlock.core.ports import Timer

FIRST_NOW = 1_767_225_600_000_000
"""2026-01-01T00:00:00Z: tests start at a date that reads well."""
QUIET_ROUNDS_MAX = 100_000
"""Turns of the loop that `settle` waits for it to become quiet; beyond them something calls itself for ever."""
BLIND_ROUNDS = 64
"""Turns given to a loop whose ready queue cannot be seen (uvloop): deeper than any chain of awaits that we have."""


class NeverQuiet(AssertionError):
    """The loop is still busy after a great many turns: a callback or a task wakes itself without a timer."""


class FakeTimer:
    """A timer of a `FakeClock`."""

    __slots__ = ("callback", "handle", "when")

    def __init__(self, when: int, callback: Callable[[], object]) -> None:
        self.when = when
        self.callback: Callable[[], object] | None = callback
        self.handle: asyncio.Handle | None = None

    def cancel(self) -> None:
        self.callback = None
        if self.handle is not None:
            self.handle.cancel()

    def fire(self) -> None:
        """Run the callback on the loop, once."""
        callback, self.callback = self.callback, None
        if callback is not None:
            callback()


class FakeClock:
    """The Clock port under a test's control. Instants are µs; `now` and `monotonic` move together except by `jump`."""

    def __init__(self, now: int = FIRST_NOW, monotonic: int = US_PER_HOUR) -> None:
        self._now = now
        self._monotonic = monotonic
        self._timers: list[tuple[int, int, FakeTimer]] = []
        self._count = 0

    def now(self) -> int:
        return self._now

    def monotonic(self) -> int:
        return self._monotonic

    def call_at(self, when: int, callback: Callable[[], object]) -> Timer:
        timer = FakeTimer(when, callback)
        if when <= self._monotonic:
            timer.handle = asyncio.get_running_loop().call_soon(timer.fire)
        else:
            self._count += 1
            heappush(self._timers, (when, self._count, timer))
        return timer

    def deadline(self, when: int) -> AbstractAsyncContextManager[object]:
        return _Deadline(self, when)

    async def sleep_until(self, when: int) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = self.call_at(when, lambda: woken.done() or woken.set_result(None))
        try:
            await woken
        finally:
            timer.cancel()

    async def settle(self) -> None:
        """Let the loop run until nothing is ready, at the present instant.

        Raises:
            NeverQuiet: if that does not come.
        """
        ready = getattr(asyncio.get_running_loop(), "_ready", None)
        rounds = QUIET_ROUNDS_MAX if ready is not None else BLIND_ROUNDS
        for _ in range(rounds):
            await asyncio.sleep(0)
            if ready is not None and not ready:
                return
        if ready is not None:
            raise NeverQuiet(f"the loop is still busy after {rounds} turns; first in its queue: {ready[0]!r}")

    async def advance(self, by: int | timedelta) -> None:
        """Move time on by µs or a timedelta, firing each timer at its instant, the loop quiet before and after each."""
        target = self._monotonic + (by if isinstance(by, int) else by // timedelta(microseconds=1))
        await self.settle()
        while (when := self.next_at()) is not None and when <= target:
            self._move_to(when)
            self._fire_next()
            await self.settle()
        self._move_to(target)

    def next_at(self) -> int | None:
        """The monotonic instant of the next timer; None if there is none."""
        while self._timers and self._timers[0][2].callback is None:
            heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def jump(self, by: int | timedelta) -> None:
        """Set the wall clock forward or back, as an operator or NTP does. `monotonic` and timers do not notice."""
        self._now += by if isinstance(by, int) else by // timedelta(microseconds=1)

    def _fire_next(self) -> None:
        # Through the loop, so that an exception goes where it goes in production: to its exception handler.
        timer = heappop(self._timers)[2]
        timer.handle = asyncio.get_running_loop().call_soon(timer.fire)

    def _move_to(self, when: int) -> None:
        self._now += when - self._monotonic
        self._monotonic = when


class _Deadline:
    """`asyncio.timeout_at` on a FakeClock: cancels the body, and turns that one cancellation into TimeoutError."""

    def __init__(self, clock: FakeClock, when: int) -> None:
        self._clock = clock
        self._when = when
        self._expired = False

    async def __aenter__(self) -> _Deadline:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a deadline is for the body of a task")
        self._task = task
        self._cancelling = task.cancelling()
        self._timer = self._clock.call_at(self._when, self._expire)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()
        # A cancellation from elsewhere that came as well goes on: then `uncancel` leaves more than there were at entry.
        if self._expired and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def _expire(self) -> None:
        self._expired = True
        self._task.cancel()
