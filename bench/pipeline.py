"""The whole pipeline in process: append, lanes, a function that does nothing, settlement; beside the bare append.

Both run in turns on SQLite files of their own, with the same events from as many producers. The clock of the pipeline
stops when the last settlement is durable.
"""

from __future__ import annotations

import gc
import tempfile
import time
from pathlib import Path

import uvloop

from bench.composed import Composed
from bench.feed import Settled, feed
from bench.measure import Extent, Row, Table, ratios, take_turns
from bench.orders import Shop, plan, shop, subscribed
from bench.servers import Deaf

ROUNDS = 5
EVENTS = 20_000
PRODUCERS = (64, 1024)


def run(extent: Extent) -> Table:
    """Measure."""
    count = int(EVENTS * extent.scale)
    rows: list[Row] = []
    notes: list[str] = []
    for producers in PRODUCERS:
        figures = take_turns(
            {
                "bare append": lambda producers=producers: uvloop.run(_bare(count, producers)),
                "pipeline": lambda producers=producers: uvloop.run(_pipeline(count, producers)),
            },
            ROUNDS,
        )
        reached = ratios(figures["pipeline"], figures["bare append"])
        rows.append(Row(f"pipeline / bare append, {producers} producers", reached, 0.6))
        notes += [
            f"{name}, {producers} producers: {max(rates):,.0f} events/s at best" for name, rates in figures.items()
        ]
    return Table(f"Pipeline in process: {count:,} events of 500 bytes, SQLite FULL", rows, notes)


async def _bare(count: int, producers: int) -> float:
    own = shop()
    with tempfile.TemporaryDirectory() as home:
        composed = Composed(plan(own), Path(home))
        store = await composed.open_store(Deaf())
        await store.make_stream("shop", 8)
        drafts = [own.draft(number) for number in range(count)]
        gc.collect()
        seconds = await feed(store, drafts, producers)
        await store.close()
        composed.close()
    return count / seconds


async def _pipeline(count: int, producers: int) -> float:
    own = _subscribed()
    settled = Settled()
    with tempfile.TemporaryDirectory() as home:
        async with Composed(plan(own), Path(home), listener=settled) as composed:
            drafts = [own.draft(number) for number in range(count)]
            gc.collect()
            begun = time.perf_counter()
            await feed(composed.engine.store, drafts, producers)
            await settled.until(count)
            seconds = time.perf_counter() - begun
    return count / seconds


def _subscribed() -> Shop:
    own = shop()

    async def nothing(event, context) -> None:
        """The function that does nothing."""

    subscribed(own, "nothing", nothing)
    return own
