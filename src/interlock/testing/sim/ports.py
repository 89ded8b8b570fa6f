"""The ports on virtual time: clock, chance, and a disk that takes its time and may be the last thing a process sees."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, TypeVar

from interlock.core.limits import US_PER_SECOND
from interlock.core.ports import Timer
from interlock.testing.clock import FIRST_NOW
from interlock.testing.sim.loop import START_US, SimLoop, current_process

T = TypeVar("T")
HUSH = "hush-"
"""What every secret of a simulated world begins with: where this stands, somebody has told one."""

CommitFault = Literal["killed-before", "killed-after", "failed-before", "failed-after"]
"""The process dies, or the disk reports an error: before the work is durable, or between its commit and its answer."""


class SimClock:
    """The Clock port of a simulated machine. All processes of a machine share its wall clock, and so its jumps."""

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop
        self._offset_us = FIRST_NOW - START_US

    def now(self) -> int:
        return self._loop.now_us + self._offset_us

    def monotonic(self) -> int:
        return self._loop.now_us

    def jump(self, by_us: int) -> None:
        """Set the wall clock forward or back."""
        self._loop.note(f"the wall clock jumps by {by_us} µs")
        self._offset_us += by_us

    def call_at(self, when: int, callback: Callable[[], object]) -> Timer:
        return self._loop.call_at_us(when, callback)

    def deadline(self, when: int) -> AbstractAsyncContextManager[object]:
        return asyncio.timeout_at(when / US_PER_SECOND)

    async def sleep_until(self, when: int) -> None:
        woken: asyncio.Future[None] = self._loop.create_future()
        timer = self._loop.call_at_us(when, _wake, woken)
        try:
            await woken
        finally:
            timer.cancel()


class SimSecrets:
    """The Secrets port: a secret for every name, which says that it is one."""

    def active(self, name: str) -> tuple[bytes]:
        return (f"{HUSH}{name}-credential".encode(),)


class SimRandom:
    """The Random port on one seeded stream."""

    def __init__(self, stream: random.Random) -> None:
        self._stream = stream

    @classmethod
    def seeded(cls, seed: int) -> SimRandom:
        """The same chance each time."""
        return cls(random.Random(seed))

    def uniform(self, low: float, high: float) -> float:
        return self._stream.uniform(low, high)

    def bytes(self, count: int) -> bytes:
        return self._stream.randbytes(count)


class SimOffload:
    """The Offload port as one slow thread: each call in turn, its effect somewhere within the time that it takes.

    Args:
        took: µs that the next call takes.
        fault: asked once for each call; None for no fault.
    """

    def __init__(
        self,
        loop: SimLoop,
        took: Callable[[], int],
        fault: Callable[[], CommitFault | None] = lambda: None,
    ) -> None:
        self._loop = loop
        self._took = took
        self._fault = fault
        self._chance = loop.stream("offload")
        self._free_at = 0

    def run(self, function: Callable[[], T]) -> Awaitable[T]:
        future: asyncio.Future[T] = self._loop.create_future()
        begin_at = max(self._free_at, self._loop.now_us)
        end_at = begin_at + self._took()
        self._free_at = end_at
        effect_at = begin_at + int(self._chance.random() * (end_at - begin_at))
        self._loop.call_at_us(effect_at, self._carry_out, function, future, end_at)
        return future

    def _carry_out(self, function: Callable[[], Any], future: asyncio.Future[Any], end_at: int) -> None:
        fault = self._fault()
        if fault is not None:
            self._loop.note(f"commit {fault}")
        if fault == "killed-before":
            self._kill()
            return
        result, error = None, None
        if fault != "failed-before":
            try:
                result = function()
            except BaseException as raised:  # noqa: BLE001  (it is handed to whoever awaits)
                error = raised
        if fault == "killed-after":
            self._kill()
            return
        if fault is not None:
            error = OSError(5, "the simulated disk failed")
        self._loop.call_at_us(end_at, _answer, future, result, error)

    def _kill(self) -> None:
        process = current_process()
        assert process is not None, "only what a process does can kill it"
        process.kill()


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _answer(future: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
