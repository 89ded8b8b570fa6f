"""What an event costs in a log that grows: CPU of append, delivery and settlement, beside a log that is young.

The cheapest rounds are compared: whatever else the machine does can only add to the CPU time of the same work.
"""

from __future__ import annotations

import gc
import tempfile
import time
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path

from bench.cases import fill, nothing
from bench.composed import Composed
from bench.feed import Settled, feed
from bench.measure import progress
from bench.orders import plan, shop, subscribed

SIZES = (10_000, 30_000, 100_000, 300_000)
SIZES_FULL = (*SIZES, 1_000_000, 3_000_000, 10_000_000)
BLOCK = 5_000
ROUNDS = 7


class _Log:
    """An engine on a store of its own, and how many events have gone through it."""

    def __init__(self, home: Path) -> None:
        self.own = shop()
        subscribed(self.own, "nothing", nothing)
        self.settled = Settled()
        self.composed = Composed(plan(self.own), home, listener=self.settled)
        self._numbers = count()
        self.size = 0

    async def grow(self, size: int) -> None:
        """Go on until so many events have been settled."""
        while self.size < size:
            block = min(10 * BLOCK, size - self.size)
            await fill(self.composed, (self.own.draft(next(self._numbers)) for _ in range(block)))
            await self._all(block)

    async def cost(self) -> float:
        """CPU of this process for one event of a block, in µs: from the append until its settlement is durable."""
        drafts = [self.own.draft(next(self._numbers)) for _ in range(BLOCK)]
        gc.collect()
        begun = time.process_time()
        await feed(self.composed.engine.store, drafts)
        await self._all(BLOCK)
        return (time.process_time() - begun) / BLOCK * 1e6

    async def _all(self, more: int) -> None:
        self.size += more
        await self.settled.until(self.size)


async def growth(*, full: bool) -> tuple[dict[int, float], list[str]]:
    """For each size: the cost in a log of that size / in a young one, in the same minute."""
    ratios: dict[int, float] = {}
    notes: list[str] = []
    with tempfile.TemporaryDirectory() as home:
        log = _Log(Path(home))
        async with log.composed:
            for size in SIZES_FULL if full else SIZES:
                await log.grow(size)
                rounds = [(await log.cost(), await _young()) for _ in range(ROUNDS)]
                old, young = (min(costs) for costs in zip(*rounds, strict=True))
                ratios[size] = old / young
                notes.append(f"in a log of {size:,}: {old:.0f} µs of CPU an event, in a young one {young:.0f}")
                progress(notes[-1])
    return ratios, notes


async def _young() -> float:
    """The cost in a log that has just been made, once it has warmed up."""
    async with AsyncExitStack() as stack:
        log = _Log(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        await stack.enter_async_context(log.composed)
        await log.grow(BLOCK)
        return await log.cost()
