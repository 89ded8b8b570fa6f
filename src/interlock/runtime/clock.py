"""The computer's clocks as a port. A module of its own, because every event asks for the time and this is compiled."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from interlock.core.ports import Timer


class SystemClock:
    """The computer's clocks, with timers on the running loop. A timer is never early and at most about 2 ms late."""

    def now(self) -> int:
        return time.time_ns() // 1_000

    def monotonic(self) -> int:
        return time.monotonic_ns() // 1_000

    def call_at(self, when: int, callback: Callable[[], object]) -> Timer:
        return asyncio.get_running_loop().call_later(self._delay_seconds(when), callback)

    def deadline(self, when: int) -> AbstractAsyncContextManager[object]:
        return asyncio.timeout(self._delay_seconds(when))

    async def sleep_until(self, when: int) -> None:
        await asyncio.sleep(self._delay_seconds(when))

    def _delay_seconds(self, when: int) -> float:
        delay_us = when - self.monotonic()
        if delay_us <= 0:
            return 0
        # uvloop counts whole milliseconds from a truncated now: the next whole one, and one more, is never early.
        return (-(-delay_us // 1_000) + 1) / 1_000
