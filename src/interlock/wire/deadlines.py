"""One timer for many deadlines: no timer is made per request. It sleeps until the earliest that was asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from interlock.core.limits import SWEEP_US
from interlock.core.ports import Clock, Timer

NEVER: Final = 1 << 62


class Sweeper:
    """Calls `sweep(now)` when the earliest watched deadline has passed; `sweep` gives the earliest that is left.

    A deadline that is put off is not reported: the sweep that comes too early finds it and goes on. Deadlines are late
    by at most `SWEEP_US`. Without deadlines (`NEVER`) there is no timer.
    """

    __slots__ = ("_clock", "_sweep", "_timer", "armed_at")

    def __init__(self, clock: Clock, sweep: Callable[[int], int]) -> None:
        self._clock = clock
        self._sweep = sweep
        self._timer: Timer | None = None
        self.armed_at = NEVER

    def watch(self, due: int) -> None:
        if due >= self.armed_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self.armed_at = due
        self._timer = self._clock.call_at(due, self._fire)

    def stop(self) -> None:
        """Nothing is left to watch."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self.armed_at = NEVER

    def _fire(self) -> None:
        self._timer = None
        self.armed_at = NEVER
        now = self._clock.monotonic()
        earliest = self._sweep(now)
        if earliest < NEVER:
            self.watch(max(earliest, now + SWEEP_US))
