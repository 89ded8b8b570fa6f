"""A clock that goes faster or slower than another one: what takes minutes can be shown in seconds, in the same order.

Only what asks this clock is scaled: disks, sockets and functions take the time that they take.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from interlock.core.ports import Clock, Timer


class ScaledClock:
    """The Clock port, `speed` times as fast as `clock`, from the instants on that `clock` shows now."""

    def __init__(self, clock: Clock, speed: float) -> None:
        self._clock = clock
        self._speed = speed
        self._now = clock.now()
        self._began = clock.monotonic()

    def now(self) -> int:
        return self._now + self._passed()

    def monotonic(self) -> int:
        return self._began + self._passed()

    def call_at(self, when: int, callback: Callable[[], object]) -> Timer:
        return self._clock.call_at(self._at(when), callback)

    def deadline(self, when: int) -> AbstractAsyncContextManager[object]:
        return self._clock.deadline(self._at(when))

    async def sleep_until(self, when: int) -> None:
        await self._clock.sleep_until(self._at(when))

    def _passed(self) -> int:
        return int((self._clock.monotonic() - self._began) * self._speed)

    def _at(self, when: int) -> int:
        """The instant of the other clock at which this one shows `when`, never an earlier one."""
        return self._began - int(-(when - self._began) // self._speed)
