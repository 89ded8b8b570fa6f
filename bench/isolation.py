"""Isolation: what one bad key, System or subscriber does to the others (I15 of docs/design.md).

Each figure is the rate of the others, beside the same run without the disturbance, in turns.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import uvloop

from bench.cases import BAD_KEY, Case, Count, even, rate
from bench.composed import Composed
from bench.feed import feed
from bench.load import load
from bench.measure import Extent, Row, Table, progress, ratios, take_turns
from bench.orders import Shop, plan, shop, subscribed
from bench.servers import running
from interlock.core.event import Draft
from interlock.core.outcome import Reject
from interlock.spec.plan import HttpBinding

ROUNDS = 3
EVENTS = 20_000
OTHERS_KEEP = 0.90
BESIDE_A_BURNT_CORE = 0.5
P99_MS_MAX = 50.0
SLOW_SECONDS = 15


def run(extent: Extent) -> Table:
    """Measure."""
    count = int(EVENTS * extent.scale)
    rows = [
        _beside("one key takes 15 s", _slow(count), even(count)),
        _beside("one key is halted and gets half of all events", _halted(count), _halted(count, halts=False)),
        *_dead_system(extent),
        *_burnt_core(extent),
    ]
    return Table("Isolation: the rate of the others / the same run without the disturbance", rows)


def _beside(what: str, disturbed: Case, calm: Case) -> Row:
    progress(what)
    figures = take_turns(
        {"disturbed": lambda: uvloop.run(rate(disturbed)), "calm": lambda: uvloop.run(rate(calm))}, ROUNDS
    )
    return Row(what, ratios(figures["disturbed"], figures["calm"]), OTHERS_KEEP)


# Loads.


def _slow(count: int) -> Case:
    """The bad key's function takes 15 s; it has an event among each hundred."""

    async def function(event, context) -> None:
        if event.key == BAD_KEY:
            await asyncio.sleep(SLOW_SECONDS)

    def drafts(own: Shop) -> Iterator[Draft]:
        for number in range(count):
            if number % 100 == 0:
                yield own.draft(count + number, BAD_KEY)
            yield own.draft(number)

    return Case(function, drafts, count)


def _halted(count: int, *, halts: bool = True) -> Case:
    """Every other event is of a key that halts on its first one; or would, and does not."""

    async def function(event, context) -> Reject | None:
        return Reject("refused") if halts and event.key == BAD_KEY else None

    def drafts(own: Shop) -> Iterator[Draft]:
        for number in range(count):
            yield own.draft(count + number, BAD_KEY)
            yield own.draft(number)

    return Case(function, drafts, count, {"on_dead": "halt"})


# A System that is dead, over real connections.


def _dead_system(extent: Extent) -> list[Row]:
    count = int(EVENTS * extent.scale / 8)
    with tempfile.TemporaryDirectory() as home, running("sink", Path(home)) as sink:
        alive = f"http://127.0.0.1:{sink.port}"
        progress("one System is dead")
        figures = take_turns(
            {
                "dead": lambda: uvloop.run(_two_systems(count, alive, "http://127.0.0.1:9")),
                "alive": lambda: uvloop.run(_two_systems(count, alive, alive)),
            },
            ROUNDS,
        )
    return [Row("one of two Systems is dead", ratios(figures["dead"], figures["alive"]), OTHERS_KEEP)]


async def _two_systems(count: int, first: str, second: str) -> float:
    """Calls to the first System a second, while another subscription calls the second one for the same events."""
    own = shop()
    done = Count(count)
    good, other = own.integration.http("good"), own.integration.http("other")

    async def to_good(event, context) -> None:
        await context.use(good).post("/in", json=event.payload)
        done.one()

    async def to_other(event, context) -> None:
        await context.use(other).post("/in", json=event.payload)

    subscribed(own, "to_good", to_good)
    subscribed(own, "to_other", to_other)
    bound = {"shop.good": HttpBinding(url=first), "shop.other": HttpBinding(url=second)}
    with tempfile.TemporaryDirectory() as home:
        async with Composed(plan(own, bound), Path(home)) as composed:
            composed.grace_us = 0
            drafts = [own.draft(number) for number in range(count)]
            begun = time.perf_counter()
            await feed(composed.engine.store, drafts)
            await done.all()
            return count / (time.perf_counter() - begun)


# A subscriber that burns a core.


def _burnt_core(extent: Extent) -> list[Row]:
    """Intake over HTTP beside a plain `def` function that never stops computing; both may use every core."""
    p99: list[float] = []

    def one(port: int, *, notes: bool) -> float:
        made = load(port, 2 * extent.scale)
        if notes:
            p99.append(made.p99_ms)
        return made.rate

    progress("one subscriber burns a core")
    with tempfile.TemporaryDirectory() as home, ExitStack() as stack:
        calm = stack.enter_context(running("interlock", Path(home, "calm"), core=None))
        figures: dict[str, list[float]] = {"burnt": [], "calm": []}
        for _ in range(ROUNDS):
            figures["calm"].append(one(calm.port, notes=False))
            with running("burning", Path(home, f"burning-{len(p99)}"), core=None) as burning:
                figures["burnt"].append(one(burning.port, notes=True))
            progress(f"calm {figures['calm'][-1]:,.0f}, beside a burnt core {figures['burnt'][-1]:,.0f}")
    return [
        Row(
            "intake beside a subscriber that burns a core",
            ratios(figures["burnt"], figures["calm"]),
            BESIDE_A_BURNT_CORE,
        ),
        Row("its p99", p99, P99_MS_MAX, at_most=True, unit="ms"),
    ]
