"""Keys that are halted: the rate of the others beside very many of them, or beside one with very many followers."""

from __future__ import annotations

import asyncio
import gc
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bench.cases import BAD_KEY, PATIENCE_SECONDS, Count, fill
from bench.composed import Composed
from bench.feed import feed
from bench.measure import progress
from bench.orders import KEYS, plan, shop, subscribed
from interlock.core.limits import US_PER_MINUTE
from interlock.core.outcome import Reject
from interlock.core.requests import LaneRequest, encode_request, request_key
from interlock.delivery.lane import Lane
from interlock.journal.ports import CellWrite

EVENTS = 20_000
ROUNDS = 5
_BLOCKED_FROM = 100_000_000
"""Numbers of the events of blocked keys: apart from those of the others."""


class Told(NamedTuple):
    """What the others kept, round by round, and how the release went."""

    kept: list[float]
    notes: list[str]


class _Shop:
    """An engine in which every key that is not one of the others' halts; or would, and does not."""

    def __init__(self, home: Path, *, halts: bool) -> None:
        self.halts = halts
        self.drained: list[int] = []
        self._others = Count(1)
        self._sent = 0
        self.own = shop()

        async def function(event, context) -> Reject | None:
            if not _is_bad(event.key):
                self._others.one()
                return None
            if self.halts:
                return Reject("refused")
            self.drained.append(event.offset)
            return None

        subscribed(self.own, "function", function, on_dead="halt")
        self.composed = Composed(plan(self.own), home)
        self.composed.grace_us = 0

    async def pile_up(self, keys: Sequence[str]) -> None:
        """Append an event for each of these keys, and wait until the lanes have taken account of all of them."""
        bad = sum(map(_is_bad, keys))
        self._others = Count(len(keys) - bad)
        await fill(self.composed, (self.own.draft(_BLOCKED_FROM + n, key) for n, key in enumerate(keys)))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (sum(self.waits()) if self.halts else len(self.drained)) < bad:
                await asyncio.sleep(0.05)
        if bad < len(keys):
            await self._others.all()

    def waits(self) -> tuple[int, int]:
        """Rows of all lanes, and how many events are behind them."""
        turns = [lane.turn for lane in self.composed.engine.fleet.lanes() if lane.turn is not None]
        return sum(len(turn.rows) for turn in turns), sum(line.count for turn in turns for line in turn.marks)

    async def rate(self) -> float:
        """Events of the others a second."""
        drafts = [self.own.draft(self._sent + number) for number in range(EVENTS)]
        self._sent += EVENTS
        self._others = Count(EVENTS)
        gc.collect()
        begun = time.perf_counter()
        await feed(self.composed.engine.store, drafts)
        await self._others.all()
        return EVENTS / (time.perf_counter() - begun)

    async def release(self) -> float:
        """Let the bad key go on as `dead retry` does; seconds until all behind it has been delivered, in order."""
        (lane,) = [lane for lane in self.composed.engine.fleet.lanes() if lane.turn is not None and lane.turn.rows]
        behind = sum(self.waits())
        self.halts = False
        begun = time.perf_counter()
        await _retry_head(self.composed, lane)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(self.drained) < behind:
                await asyncio.sleep(0.05)
        assert self.drained == sorted(self.drained), "the key drained out of order"
        return time.perf_counter() - begun


async def blocked_heads(heads: int) -> Told:
    """The others beside so many keys that are halted on their first event.

    Three good events come between any two: where most of what comes is refused, the subscription is paused.
    """
    keys = [
        BAD_KEY + str(number // 4) if number % 4 == 0 else f"order-{number % KEYS:04}" for number in range(4 * heads)
    ]
    return await _beside(keys, rows=heads, released=False)


async def halted_key(backlog: int) -> Told:
    """The others beside one halted key with so many events; its release, and the order it drains in."""
    return await _beside([BAD_KEY] * backlog, rows=1, released=True)


def _is_bad(key: str) -> bool:
    return key.startswith(BAD_KEY)


async def _beside(keys: Sequence[str], *, rows: int, released: bool) -> Told:
    with tempfile.TemporaryDirectory() as home, tempfile.TemporaryDirectory() as other:
        halted, calm = _Shop(Path(home), halts=True), _Shop(Path(other), halts=False)
        async with halted.composed, calm.composed:
            bad = sum(map(_is_bad, keys))
            progress(f"{bad:,} events for halted keys")
            for each in (halted, calm):
                await each.rate()
                await each.pile_up(keys)
            kept = [await halted.rate() / await calm.rate() for _ in range(ROUNDS)]
            assert halted.waits() == (rows, bad - rows), "a halted key is one row and at most one mark"
            if not released:
                return Told(kept, [])
            seconds = await halted.release()
    return Told(
        kept,
        [
            f"halted key: {len(keys) - 1:,} events behind it are 1 row and 1 mark;",
            f"released, they drained in order at {len(keys) / seconds:,.0f} a second, one after the other",
        ],
    )


async def _retry_head(composed: Composed, lane: Lane) -> None:
    """Ask the lane to try the head again."""
    assert lane.turn is not None, "it is open"
    now = composed.clock.now()
    asked = encode_request(LaneRequest("retry", tuple(lane.turn.rows), "bench", "released", now))
    cell = CellWrite(request_key(lane.id, "job_bench"), asked, expires_at=now + US_PER_MINUTE)
    await composed.engine.store.put([cell])
