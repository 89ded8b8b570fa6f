"""Loads of one subscription, and the rate at which an engine of its own takes each of them."""

from __future__ import annotations

import asyncio
import gc
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from bench.composed import Composed
from bench.feed import feed
from bench.orders import Shop, plan, shop, subscribed
from interlock.core.controls import Control, encode_control, subscription_control_key
from interlock.core.event import Draft
from interlock.journal.ports import CellWrite

BAD_KEY = "bad"
"""The key that misbehaves; those of the others are `order-0000` and so on."""
BATCH = 1_000
PATIENCE_SECONDS = 300


class Case(NamedTuple):
    """One load: what the function does with an event, which events come, and how many of them are the others'."""

    function: Callable[[Any, Any], Awaitable[Any]]
    drafts: Callable[[Shop], Iterator[Draft]]
    others: int
    how: Mapping[str, Any] = MappingProxyType({})


class Count:
    """So many things are awaited."""

    def __init__(self, wanted: int) -> None:
        self._left = wanted
        self.reached = asyncio.Event()

    def one(self) -> None:
        self._left -= 1
        if not self._left:
            self.reached.set()

    async def all(self) -> None:
        """Return once they are there.

        Raises:
            TimeoutError: if they are not, in time.
        """
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self.reached.wait()


async def nothing(event, context) -> None:
    """The function that does nothing."""


def even(count: int, keys: int | None = None) -> Case:
    """So many events of even keys: 5,000 unless it is said."""

    def drafts(own: Shop) -> Iterator[Draft]:
        return (own.draft(n, None if keys is None else f"order-{n % keys:04}") for n in range(count))

    return Case(nothing, drafts, count)


async def rate(case: Case) -> float:
    """Events of the others a second, from the first append until the last of them has been delivered."""
    own, done = _counted(case)
    with tempfile.TemporaryDirectory() as home:
        async with Composed(plan(own), Path(home)) as composed:
            composed.grace_us = 0
            drafts = list(case.drafts(own))
            gc.collect()
            begun = time.perf_counter()
            await feed(composed.engine.store, drafts)
            await done.all()
            return case.others / (time.perf_counter() - begun)


async def drained(case: Case) -> float:
    """Events of the others a second, when all of them wait already and the subscription is released."""
    own, done = _counted(case)
    with tempfile.TemporaryDirectory() as home:
        async with Composed(plan(own), Path(home)) as composed:
            composed.grace_us = 0
            await pause(composed, "shop.function", paused=True)
            await fill(composed, case.drafts(own))
            gc.collect()
            begun = time.perf_counter()
            await pause(composed, "shop.function", paused=False)
            await done.all()
            return case.others / (time.perf_counter() - begun)


def _counted(case: Case) -> tuple[Shop, Count]:
    own = shop()
    done = Count(case.others)

    async def function(event, context) -> Any:
        outcome = await case.function(event, context)
        if event.key != BAD_KEY:
            done.one()
        return outcome

    subscribed(own, "function", function, **case.how)
    return own, done


async def fill(composed: Composed, drafts: Iterable[Draft], batch: int = BATCH, producers: int = 1) -> None:
    """Append all drafts in batches, as fast as it goes."""
    waiting = iter(drafts)

    async def produce() -> None:
        while taken := list(islice(waiting, batch)):
            await composed.engine.store.append(taken)

    await asyncio.gather(*[produce() for _ in range(producers)])


async def pause(composed: Composed, subscription: str, *, paused: bool) -> None:
    """Pause a subscription or let it go on; return once its lanes do so."""
    key = subscription_control_key(subscription)
    await composed.engine.store.put([CellWrite(key, encode_control(Control(paused=paused)))])
    while not all(lane.paused is paused for lane in composed.engine.fleet.lanes()):
        await asyncio.sleep(0.001)
