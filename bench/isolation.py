"""Isolation: what one bad key, System or subscriber does to the others (I15 of docs/design.md).

Each figure is the rate of the others, beside the same run without the disturbance, in turns. Below them is how hard
cases compare with an even load: they must not fall off a cliff.
"""

from __future__ import annotations

import asyncio
import gc
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import uvloop

from bench.composed import Composed
from bench.feed import feed
from bench.load import load
from bench.measure import Extent, Row, Table, progress, ratios, take_turns
from bench.orders import Shop, plan, shop, subscribed
from bench.servers import running
from interlock.core.event import Draft
from interlock.core.limits import US_PER_MINUTE
from interlock.core.outcome import Reject
from interlock.core.requests import LaneRequest, encode_request, request_key
from interlock.delivery.lane import Lane
from interlock.journal.ports import CellWrite
from interlock.spec.plan import HttpBinding

ROUNDS = 3
EVENTS = 20_000
BACKLOG = 100_000
OTHERS_KEEP = 0.90
BESIDE_A_BURNT_CORE = 0.5
P99_MS_MAX = 50.0
SLOW_SECONDS = 15
_BACKLOG_FROM = 100_000_000
"""Numbers of the events that pile up: apart from those of the others."""
BAD_KEY = "bad"
"""The key that misbehaves; those of the others are `order-0000` and so on."""


class Case(NamedTuple):
    """One load: what the function does with an event, which events come, and how many of them are the others'."""

    function: Callable[[Any, Any], Awaitable[Any]]
    drafts: Callable[[Shop], Iterator[Draft]]
    others: int
    how: Mapping[str, Any] = MappingProxyType({})


def run(extent: Extent) -> Table:
    """Measure."""
    count = int(EVENTS * extent.scale)
    rows = [
        _beside("one key takes 15 s", _slow(count), _even(count)),
        _beside("one key is halted and gets half of all events", _halted(count), _halted(count, halts=False)),
        *_dead_system(extent),
        *_burnt_core(extent),
        _beside("200 keys, deep, / even keys", _keys(count, 200), _even(count), None),
        _beside("one hot key / even keys", _keys(count, 1), _even(count), None),
        _beside("10,000 blocked heads / none blocked", _blocked(count, 10_000), _even(count), None),
    ]
    told = uvloop.run(_million(extent.backlog or int(BACKLOG * extent.scale)))
    rows.append(Row("beside a halted key with a backlog", told.kept, OTHERS_KEEP))
    return Table("Isolation: the rate of the others / the same run without the disturbance", rows, told.notes)


def _beside(what: str, disturbed: Case, calm: Case, target: float | None = OTHERS_KEEP) -> Row:
    progress(what)
    figures = take_turns(
        {"disturbed": lambda: uvloop.run(_rate(disturbed)), "calm": lambda: uvloop.run(_rate(calm))}, ROUNDS
    )
    return Row(what, ratios(figures["disturbed"], figures["calm"]), target)


async def _rate(case: Case) -> float:
    """Events of the others a second, from the first append until the last of them has been delivered."""
    own = shop()
    done = _Count(case.others)

    async def function(event, context) -> Any:
        outcome = await case.function(event, context)
        if event.key != BAD_KEY:
            done.one()
        return outcome

    subscribed(own, "function", function, **case.how)
    with tempfile.TemporaryDirectory() as home:
        async with Composed(plan(own), Path(home)) as composed:
            composed.grace_us = 0
            drafts = list(case.drafts(own))
            gc.collect()
            begun = time.perf_counter()
            await feed(composed.engine.store, drafts)
            async with asyncio.timeout(120):
                await done.reached.wait()
            return case.others / (time.perf_counter() - begun)


class _Count:
    def __init__(self, wanted: int) -> None:
        self._left = wanted
        self.reached = asyncio.Event()

    def one(self) -> None:
        self._left -= 1
        if not self._left:
            self.reached.set()


# Loads.


def _even(count: int) -> Case:
    return Case(_nothing, lambda own: (own.draft(number) for number in range(count)), count)


async def _nothing(event, context) -> None:
    """The function that does nothing."""


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


def _keys(count: int, keys: int) -> Case:
    return Case(_nothing, lambda own: (own.draft(n, f"order-{n % keys:04}") for n in range(count)), count)


def _blocked(count: int, heads: int) -> Case:
    """That many keys halt on their first event; then comes the even load. Both count: each head costs a row."""

    async def function(event, context) -> Reject | None:
        return Reject("refused") if event.key.startswith("blocked") else None

    def drafts(own: Shop) -> Iterator[Draft]:
        for number in range(heads):
            yield own.draft(count + number, f"blocked-{number}")
        for number in range(count):
            yield own.draft(number)

    return Case(function, drafts, count + heads, {"on_dead": "halt"})


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
    done = _Count(count)
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
            async with asyncio.timeout(120):
                await done.reached.wait()
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


# A halted key with very many events behind it.


class Told(NamedTuple):
    """What came of the halted key."""

    kept: list[float]
    notes: list[str]


class _Key:
    """An engine whose bad key may be halted, and the rate of the others in it."""

    def __init__(self, home: Path, *, halts: bool) -> None:
        self.halts = halts
        self.drained: list[int] = []
        self._others = _Count(1)
        self._sent = 0
        self.own = shop()

        async def function(event, context) -> Reject | None:
            if event.key != BAD_KEY:
                self._others.one()
                return None
            if self.halts:
                return Reject("refused")
            self.drained.append(event.offset)
            return None

        subscribed(self.own, "function", function, on_dead="halt")
        self.composed = Composed(plan(self.own), home)
        self.composed.grace_us = 0

    async def pile_up(self, backlog: int) -> None:
        """Append that many events of the bad key."""
        for first in range(0, backlog, 1_000):
            numbers = range(_BACKLOG_FROM + first, _BACKLOG_FROM + min(backlog, first + 1_000))
            await self.composed.engine.store.append([self.own.draft(number, BAD_KEY) for number in numbers])
        while not self.halts and len(self.drained) < backlog:
            await asyncio.sleep(0.05)

    async def rate(self) -> float:
        """Events of the others a second."""
        drafts = [self.own.draft(self._sent + number) for number in range(EVENTS)]
        self._sent += EVENTS
        self._others = _Count(EVENTS)
        gc.collect()
        begun = time.perf_counter()
        await feed(self.composed.engine.store, drafts)
        await self._others.reached.wait()
        return EVENTS / (time.perf_counter() - begun)

    def lane(self) -> Lane:
        """The bad key's, after looking that it is halted."""
        (lane,) = [lane for lane in self.composed.engine.fleet.lanes() if lane.turn is not None and lane.turn.rows]
        return lane


async def _million(backlog: int) -> Told:
    """The others beside a halted key with the backlog; its rows and marks; its release, and the order it drains in."""
    with tempfile.TemporaryDirectory() as home, tempfile.TemporaryDirectory() as other:
        halted, calm = _Key(Path(home), halts=True), _Key(Path(other), halts=False)
        async with halted.composed, calm.composed:
            progress(f"{backlog:,} events for a halted key")
            for key in (halted, calm):
                await key.rate()
                await key.pile_up(backlog)
            kept = [await halted.rate() / await calm.rate() for _ in range(ROUNDS + 2)]
            lane = halted.lane()
            assert lane.turn is not None, "it is open"
            marks = [line.count for line in lane.turn.lines.values() if line.count]
            assert (len(lane.turn.rows), marks) == (1, [backlog - 1]), "a halted key is one row and one mark"
            halted.halts = False
            begun = time.perf_counter()
            await _retry_head(halted.composed, lane)
            while len(halted.drained) < backlog:
                await asyncio.sleep(0.05)
            seconds = time.perf_counter() - begun
            assert halted.drained == sorted(halted.drained), "the key drained out of order"
    return Told(
        kept,
        [
            f"halted key: {backlog:,} events behind it are 1 row and 1 mark;",
            f"released, they drained in order at {backlog / seconds:,.0f} a second, one after the other",
        ],
    )


async def _retry_head(composed: Composed, lane: Lane) -> None:
    """Ask the lane to try the head again, as `dead retry` does."""
    assert lane.turn is not None, "it is open"
    now = composed.clock.now()
    asked = encode_request(LaneRequest("retry", tuple(lane.turn.rows), "bench", "released", now))
    cell = CellWrite(request_key(lane.id, "job_bench"), asked, expires_at=now + US_PER_MINUTE)
    await composed.engine.store.put([cell])
