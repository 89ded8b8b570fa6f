"""Producers in process: so many appends under way at once, each of one event, until all are durable."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any

from interlock.core.event import Draft
from interlock.journal.ports import Store

PRODUCERS = 64


async def feed(store: Store, drafts: Iterable[Draft], producers: int = PRODUCERS) -> float:
    """Append all drafts; the seconds that it took."""
    waiting = iter(drafts)
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    under_way = producers

    def produce(answer: Any = None) -> None:
        nonlocal under_way
        if isinstance(answer, Exception):
            ended.set_exception(answer)
            return
        draft = next(waiting, None)
        if draft is not None:
            store.submit((draft,), (), produce)
            return
        under_way -= 1
        if not under_way and not ended.done():
            ended.set_result(None)

    begun = time.perf_counter()
    for _ in range(producers):
        produce()
    await ended
    return time.perf_counter() - begun


class Settled:
    """A sink for telemetry that counts what settlements have committed."""

    def __init__(self) -> None:
        self.successes = 0

    def wants(self, record: str) -> bool:
        return record == "settlement.committed"

    def __call__(self, record: str, /, **fields: Any) -> None:
        if self.wants(record):
            self.successes += fields["successes"]

    async def until(self, count: int, seconds: float = 120.0) -> None:
        """Return once that many successes are durable.

        Raises:
            TimeoutError: if they are not, in time.
        """
        async with asyncio.timeout(seconds):
            while self.successes < count:
                await asyncio.sleep(0.001)
