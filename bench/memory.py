"""Memory with a backlog: a million events in the log that a paused subscription has not read, on SQLite.

It runs in a process of its own, so that only the engine's memory counts.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path

import uvloop

from bench.cases import fill, pause
from bench.composed import Composed
from bench.measure import Extent, Row, Table, resident_mb
from bench.orders import Shop, plan, shop, subscribed

BACKLOG = 1_000_000
BATCH = 100
PRODUCERS = 8
TARGET_MB = 150.0


def run(extent: Extent) -> Table:
    """Measure."""
    backlog = extent.backlog or int(BACKLOG * extent.scale)
    with tempfile.TemporaryDirectory() as home:
        empty, full = _told("fill", home, backlog)
        reopened, resumed = _told("resume", home, backlog)
    return Table(
        f"Memory: {backlog:,} events of 500 bytes wait for a paused subscription, SQLite",
        [
            Row("with the backlog", [full], TARGET_MB, at_most=True, unit="MB"),
            Row("the store opened by another process", [reopened], TARGET_MB, at_most=True, unit="MB"),
            Row("there, after reading 100,000 of them", [resumed], TARGET_MB, at_most=True, unit="MB"),
            Row("with the backlog / before it", [full / empty]),
        ],
    )


def _told(step: str, home: str, backlog: int) -> list[float]:
    command = [sys.executable, "-m", "bench.memory", step, home, str(backlog)]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
    return [float(figure) for figure in told]


async def _fill(home: Path, backlog: int) -> list[float]:
    own = _subscribed([0])
    async with Composed(plan(own), home) as composed:
        await pause(composed, "shop.wait", paused=True)
        empty = resident_mb()
        await fill(composed, (own.draft(number) for number in range(backlog)), BATCH, PRODUCERS)
        return [empty, resident_mb()]


async def _resume(home: Path, backlog: int) -> list[float]:
    own = _subscribed(delivered := [0])
    async with Composed(plan(own), home) as composed:
        reopened = resident_mb()
        await pause(composed, "shop.wait", paused=False)
        while delivered[0] < min(backlog, 100_000):
            await asyncio.sleep(0.05)
        return [reopened, resident_mb()]


def _subscribed(delivered: list[int]) -> Shop:
    own = shop()

    async def wait(event, context) -> None:
        delivered[0] += 1

    subscribed(own, "wait", wait)
    return own


STEPS = {"fill": _fill, "resume": _resume}

if __name__ == "__main__":
    step, folder, count = sys.argv[1:]
    print(*uvloop.run(STEPS[step](Path(folder), int(count))))
