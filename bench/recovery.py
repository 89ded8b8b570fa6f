"""Recovery: a process starts on a store in which events wait, until it delivers at full rate.

Each start is a process of its own; its clock runs from the moment that the kernel made it. `full rate` is the median
of the whole drain, in stretches; it is reached at the end of the first stretch that is near it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import NamedTuple

import uvloop

from bench.cases import Count, fill
from bench.composed import Composed
from bench.measure import CLOCK_TICKS, progress
from bench.orders import plan, shop, subscribed

FEW = 10_000
SAMPLE = 10
"""One event in so many notes its moment."""
STRETCH = 100
"""So many notes make a stretch: a thousand events."""
NEAR = 0.8
ROUNDS = 3


class Recovered(NamedTuple):
    """Seconds until the first event, seconds until full rate, events a second then, MB at most."""

    first: float
    full: float
    rate: float
    peak_mb: float


def recovered(waiting: int) -> tuple[list[Recovered], list[Recovered]]:
    """Starts with so many events waiting, and starts with few, in turns."""
    rounds = [(_start(waiting), _start(FEW)) for _ in range(ROUNDS)]
    return [many for many, _ in rounds], [few for _, few in rounds]


def _start(waiting: int) -> Recovered:
    with tempfile.TemporaryDirectory() as home:
        _told("fill", home, waiting)
        came = Recovered(*[float(figure) for figure in _told("recover", home, waiting)])
    progress(f"{waiting:,} waiting: first after {came.first:.2f} s, full rate after {came.full:.2f} s")
    return came


def _told(step: str, home: str, waiting: int) -> list[str]:
    command = [sys.executable, "-m", "bench.recovery", step, home, str(waiting)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()


async def _fill(home: Path, waiting: int) -> None:
    """Events that nobody has read, in the store of a process that was killed."""
    own = shop()
    async with Composed(plan(own), home) as composed:
        await fill(composed, (own.draft(number) for number in range(waiting)))
        os._exit(0)


async def _recover(home: Path, waiting: int) -> None:
    """Deliver them; print what `Recovered` has."""
    made_at = _made_at()
    stamps: list[float] = []
    done = Count(waiting)
    own = shop()

    async def function(event, context) -> None:
        if event.offset % SAMPLE == 0:
            stamps.append(time.clock_gettime(time.CLOCK_BOOTTIME) - made_at)
        done.one()

    subscribed(own, "function", function, start="beginning")
    async with Composed(plan(own), home):
        await done.all()
    stretches = stamps[::STRETCH]
    each = [after - before for before, after in pairwise(stretches)]
    usual = median(each)
    full = next(at for at, seconds in zip(stretches[1:], each, strict=True) if seconds <= usual / NEAR)
    print(stamps[0], full, STRETCH * SAMPLE / usual, _peak_mb())


def _made_at() -> float:
    """When the kernel made this process, in seconds since it started itself."""
    return int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]) / CLOCK_TICKS


def _peak_mb() -> float:
    """The most memory that this process has held, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith("VmHWM"))


STEPS = {"fill": _fill, "recover": _recover}

if __name__ == "__main__":
    step, folder, count = sys.argv[1:]
    uvloop.run(STEPS[step](Path(folder), int(count)))
