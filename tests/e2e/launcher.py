"""`interlock run` with another Clock and another disk: what `tests.e2e.test_month` lets a month pass with.

It composes the process that the command is, from the ports that production hands in. Commands come line by line on
standard input, each is answered with `done`: `advance SECONDS`, and `disk ok|low|reserve|full`.
"""

from __future__ import annotations

import asyncio
import heapq
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import apsw
import uvloop

from interlock.core.errors import StoreFull
from interlock.core.limits import STORE_RESERVE_BYTES, US_PER_SECOND
from interlock.core.ports import Room
from interlock.runtime.clock import SystemClock
from interlock.runtime.load import load
from interlock.runtime.serve import SWITCH_INTERVAL_SECONDS, Outside, Process, Ready
from interlock.runtime.settings import Setup, process_environment

STEP_US = 50 * US_PER_SECOND
"""Time moves on in steps that a lease survives: it is renewed every 20 s and lasts for 60."""
TOTAL = 1 << 40
ROOMS = {
    "ok": Room(TOTAL // 2, TOTAL),
    "low": Room(TOTAL // 25, TOTAL),
    "reserve": Room(STORE_RESERVE_BYTES - 1, TOTAL),
    "full": Room(0, TOTAL),
}


class MovedClock:
    """The computer's clocks, moved on by as much as it was told to; what was due in between is called in its order."""

    def __init__(self, ahead_us: int) -> None:
        self._real = SystemClock()
        self._ahead_us = ahead_us
        self._number = count()
        self._timers: list[tuple[int, int, Timer]] = []

    def now(self) -> int:
        return self._real.now() + self._ahead_us

    def monotonic(self) -> int:
        return self._real.monotonic() + self._ahead_us

    def call_at(self, when: int, callback: Callable[[], object]) -> Timer:
        timer = Timer(self, when, callback)
        heapq.heappush(self._timers, (when, next(self._number), timer))
        timer.wait()
        return timer

    def real(self, when: int) -> int:
        """The instant of the computer's clock."""
        return when - self._ahead_us

    def deadline(self, when: int) -> AbstractAsyncContextManager[object]:
        # Calls to receivers that answer or refuse at once do not outlive a step.
        return self._real.deadline(self.real(when))

    async def sleep_until(self, when: int) -> None:
        if when <= self.monotonic():
            await self._real.sleep_until(0)
            return
        reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = self.call_at(when, lambda: reached.done() or reached.set_result(None))
        try:
            await reached
        finally:
            timer.cancel()

    async def advance(self, by_us: int, quiet: Callable[[], Awaitable[None]]) -> None:
        """Let so much time pass, step by step; before each, what has begun goes on until `quiet` returns."""
        while by_us > 0:
            await quiet()
            step = min(STEP_US, by_us)
            by_us -= step
            self._ahead_us += step
            while self._timers and self._timers[0][0] <= self.monotonic():
                heapq.heappop(self._timers)[2].fire()
        await quiet()
        self._timers = [entry for entry in self._timers if entry[2].wait()]
        heapq.heapify(self._timers)


class Timer:
    """One call: by the computer's timer, or when the clock is moved past it."""

    def __init__(self, clock: MovedClock, when: int, callback: Callable[[], object]) -> None:
        self._clock = clock
        self._when = when
        self._callback: Callable[[], object] | None = callback
        self._waiting: Any = None

    def wait(self) -> bool:
        """Ask the computer for the call, anew if the clock was moved; False if there is none to be made."""
        if self._callback is None:
            return False
        if self._waiting is not None:
            self._waiting.cancel()
        self._waiting = SystemClock().call_at(self._clock.real(self._when), self.fire)
        return True

    def fire(self) -> None:
        """Call, unless that was done or taken back."""
        callback = self._callback
        self.cancel()
        if callback is not None:
            callback()

    def cancel(self) -> None:
        self._callback = None
        if self._waiting is not None:
            self._waiting.cancel()


class FullDisk(apsw.VFS):
    """The default disk of SQLite, which takes no write while it is full."""

    def __init__(self) -> None:
        self.full = False
        self.real: str = apsw.vfs_names()[0]
        super().__init__("filling", self.real, makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> Any:  # noqa: N802  (apsw's)
        return FullFile(self, name, flags)


class FullFile(apsw.VFSFile):
    """A file on it."""

    def __init__(self, disk: FullDisk, name: Any, flags: list[int]) -> None:
        self._disk = disk
        super().__init__(disk.real, name, flags)

    def xWrite(self, content: bytes, offset: int) -> None:  # noqa: N802  (apsw's)
        if self._disk.full:
            raise apsw.FullError("the disk is full")
        super().xWrite(content, offset)


class Month:
    """One run of the process, and who listens to its commands."""

    def __init__(self, ahead_seconds: int) -> None:
        self._clock = MovedClock(ahead_seconds * US_PER_SECOND)
        self._disk = FullDisk()
        self._room = ROOMS["ok"]
        setup = Setup(Path(), None, process_environment())
        loaded = load(setup)
        assert loaded.plan is not None, loaded.findings
        outside = Outside(clock=self._clock, disk=lambda _: self._room)
        self._process = Process(setup, loaded.settings, loaded.plan, outside)

    async def run(self) -> None:
        await self._process.run(self._told, self._obey)

    def _told(self, ready: Ready) -> None: ...

    async def _quiet(self) -> None:
        """Until attempts have ended, and commits (renewals, settlements) are done with what follows from them."""
        engine, clock = self._process.engine, SystemClock()
        quiet = False
        while not quiet:
            with suppress(StoreFull):
                await engine.store.put([])
            for _ in range(3):
                await clock.sleep_until(0)
            quiet = True
            while any(lane.running for lane in engine.fleet.states()):
                await clock.sleep_until(0)
                quiet = False

    async def _obey(self) -> None:
        """Carry out commands until standard input ends."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := (await reader.readline()).decode().split():
            match line:
                case ["advance", seconds]:
                    await self._clock.advance(int(seconds) * US_PER_SECOND, self._quiet)
                case ["disk", state]:
                    self._room = ROOMS[state]
                    self._disk.full = state == "full"
                case _:
                    raise ValueError(line)
            sys.stdout.write("done\n")
            sys.stdout.flush()


if __name__ == "__main__":
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(Month(int(sys.argv[1])).run())
