"""Notices a function that holds the loop: reported with its name and stack while it still does.

A thread asks the loop for a beat; a beat that does not come in time means that something runs on. It only reports.
"""

from __future__ import annotations

import asyncio
import sys
import threading  # noqa: TID251  # only another thread can see what holds this one
import traceback
from types import FrameType

from interlock.core.limits import HOLD_REPORT_US, US_PER_SECOND
from interlock.core.ports import Clock, Emit

_BEAT_SECONDS = 0.1
_FRAMES_TOLD = 8


class Watchdog:
    """A context: watches the loop of the thread that enters it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock, emit: Emit) -> None:
        self._loop = loop
        self._clock = clock
        self._emit = emit
        self._beaten = threading.Event()
        self._over = threading.Event()
        self._watched = threading.get_ident()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Watchdog:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(_BEAT_SECONDS):
            self._beaten.clear()
            asked = self._clock.monotonic()
            self._loop.call_soon_threadsafe(self._beaten.set)
            if self._beaten.wait(HOLD_REPORT_US / US_PER_SECOND):
                continue
            stack = _stack(sys._current_frames().get(self._watched))  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # there is no public way
            while not self._beaten.wait(_BEAT_SECONDS) and not self._over.is_set():
                pass
            held_us = self._clock.monotonic() - asked
            if not self._over.is_set():
                self._loop.call_soon_threadsafe(self._report, held_us, stack)

    def _report(self, held_us: int, stack: list[str]) -> None:
        self._emit("loop.held", duration_us=held_us, function=stack[-1] if stack else "", stack=stack)


def _stack(frame: FrameType | None) -> list[str]:
    """The innermost frames, outermost first, as `function at file:line`."""
    if frame is None:
        return []
    frames: list[traceback.FrameSummary] = list(traceback.extract_stack(frame, limit=_FRAMES_TOLD))
    return [f"{entry.name} at {entry.filename.rsplit('/', 1)[-1]}:{entry.lineno}" for entry in frames]
