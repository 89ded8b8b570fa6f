"""What a receiver is told that it misses: what, by which event, once, and through whatever happens before."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.delivery.bench_of_lanes import Bench, Order
from tests.unit.delivery.bench_of_lanes import run as run_bench

from interlock import Context, Event, Integration, Later, Outcome, Reject, block_then_skip
from interlock.core import limits
from interlock.spec.function import Gap, Missing
from interlock.testing.lab import Lab
from interlock.testing.sim.swarm import limited


@dataclass(frozen=True)
class Step:
    order: str
    number: int


shop = Integration("shop", owner="shop-team", purpose="Orders reach the ERP")
erp = shop.http("erp", honours_keys=True)
step = shop.event("order.step", Step, key=lambda it: it.order)
plain = shop.event("order.plain", Step, key=lambda it: it.order)
seen: list[tuple[int, Gap | None]] = []


@shop.subscribe(step, on_dead="skip")
async def write(event: Event[Step], context: Context) -> None:
    seen.append((event.payload.number, context.gap))
    await context.use(erp).post("/steps", json={"number": event.payload.number})


@shop.translate(step, into=plain, on_dead="skip")
def simplify(it: Step) -> Step | None:
    if it.number in (1, 2):
        raise ValueError(it.number)
    return None if it.number == 3 else it


told_plain: list[tuple[int, str | None]] = []


@shop.subscribe(plain, on_dead="skip")
async def read(event: Event[Step], context: Context) -> None:
    told_plain.append((event.payload.number, event.extensions.get("interlockgap")))


def run(story: Coroutine[Any, Any, None]) -> None:
    seen.clear()
    told_plain.clear()
    asyncio.run(story)


def test_the_next_event_of_a_key_says_what_is_missing_before_it_to_function_and_receiver() -> None:
    async def story() -> None:
        async with Lab(shop) as lab:
            lab.system(erp).answers(422, 422, 201)
            first = await lab.send(step, Step("a", 1))
            second = await lab.send(step, Step("a", 2))
            await lab.send(step, Step("a", 3))
            await lab.send(step, Step("a", 4))
            await lab.send(step, Step("b", 5))
            await lab.settle()
            gap = Gap(2, Missing(first.id, "permanent"), Missing(second.id, "permanent"))
            assert [entry for entry in seen if entry[0] != 5] == [
                (1, None),
                (2, Gap(1, Missing(first.id, "permanent"), Missing(first.id, "permanent"))),
                (3, gap),
                (4, None),
            ]
            assert (5, None) in seen, "another key misses nothing"
            fields = {call.json["number"]: call.headers.get("interlock-gap") for call in lab.system(erp).calls}
            told = f"2;first={first.id};first-reason=permanent;last={second.id};last-reason=permanent"
            assert (fields[3], fields[4], fields[5]) == (told, None, None)

    run(story())


def test_a_translation_hands_it_on_with_the_next_event_that_it_makes() -> None:
    async def story() -> None:
        async with Lab(shop) as lab:
            for number in (0, 1, 2, 3, 4, 6):
                await lab.send(step, Step("a", number))
            await lab.settle()
            dead = [letter.event.id for letter in lab.subscription("shop.simplify").dead]
            told = f"2;first={dead[0]};first-reason=exhausted;last={dead[1]};last-reason=exhausted"
            assert told_plain == [(0, None), (4, told), (6, None)], "3 is filtered, so it tells nobody"

    run(story())


class Gapped:
    """A bench that remembers what each attempt was told."""

    def __init__(self, **options: Any) -> None:
        self.bench = Bench(on_dead=options.pop("on_dead", "skip"), **options)
        self.bad: set[int] = set()
        self.told: list[tuple[int, int | None]] = []
        self.outcomes: dict[int, list[Outcome | None]] = {}
        self.bench.behaviour = self._behave

    async def _behave(self, order: Order, attempt: int) -> Outcome | None:
        gap = self.bench.run.gap
        self.told.append((order.number, None if gap is None else gap.count))
        if self.outcomes.get(order.number):
            return self.outcomes[order.number].pop(0)
        # Of three causes, so that no one of them has the guard pause the subscription.
        return Reject(f"http 42{order.number % 3}") if order.number in self.bad else None

    async def put(self, *numbers: int) -> None:
        await self.bench.put(*[("a", number) for number in numbers])
        await self.bench.advance(3)


def test_it_is_told_in_each_attempt_until_the_event_is_done_also_by_the_next_process() -> None:
    async def story() -> None:
        one = Gapped(proves_deaths=True)
        one.bad, one.outcomes[2] = {1}, [Later("http 503")]
        await one.bench.start()
        await one.put(1)
        await one.bench.kill()
        await one.bench.start()
        await one.put(2)
        await one.put(3)
        assert one.told == [(1, None), (2, 1), (2, 1), (3, None)]
        (dead,) = await one.bench.rows()
        assert (dead.state, dead.told) == ("dead", 2)
        await one.bench.kill()
        await one.bench.start()
        await one.put(4)
        assert one.told[-1] == (4, None), "told once, and known to be so after a restart"

    run_bench(story())


def test_what_tells_and_dies_itself_is_missing_too() -> None:
    async def story() -> None:
        one = Gapped()
        one.bad = {1, 2}
        await one.bench.start()
        await one.put(1, 2, 3, 4)
        assert one.told == [(1, None), (2, 1), (3, 2), (4, None)]

    run_bench(story())


def test_a_dead_letter_that_was_retried_before_the_next_event_is_no_gap() -> None:
    async def story() -> None:
        one = Gapped()
        one.bad = {1}
        await one.bench.start()
        await one.put(1)
        one.bad = set()
        assert await one.bench.ask("retry", 1) == {1: "retried"}
        await one.bench.advance(2)
        await one.put(2)
        assert one.told == [(1, None), (1, None), (2, None)]

    run_bench(story())


def test_a_retry_that_is_done_and_not_committed_is_no_gap_for_the_event_behind_it() -> None:
    async def story() -> None:
        one = Gapped()
        one.bad = {1}
        await one.bench.start()
        await one.put(1)
        gate = asyncio.Event()

        async def slow(order: Order, attempt: int) -> Outcome | None:
            await gate.wait()
            return await one._behave(order, attempt)

        one.bad, one.bench.behaviour = set(), slow
        await one.bench.ask("retry", 1)
        await one.bench.put(("a", 2))
        gate.set()
        await one.bench.advance(2)
        assert one.told == [(1, None), (1, None), (2, None)]

    run_bench(story())


def test_what_has_been_told_stays_told_when_it_is_retried_and_dies_again() -> None:
    async def story() -> None:
        one = Gapped()
        one.bad = {1}
        await one.bench.start()
        await one.put(1, 2)
        assert await one.bench.ask("retry", 1) == {1: "retried"}
        await one.bench.advance(2)
        await one.put(3)
        assert one.told == [(1, None), (2, 1), (1, None), (3, None)]

    run_bench(story())


def test_a_replay_that_dies_is_no_gap_because_its_receiver_had_it() -> None:
    async def story() -> None:
        one = Gapped()
        await one.bench.start()
        await one.put(1)
        one.bad = {1}
        assert await one.bench.ask("replay", 1) == {1: "replayed"}
        await one.bench.advance(2)
        await one.put(2)
        assert [row.state for row in await one.bench.rows()] == ["dead"]
        assert one.told[-1] == (2, None)

    run_bench(story())


@pytest.mark.parametrize("verb", ["skip", "discard"])
def test_under_halt_nothing_is_missing_but_what_a_person_let_go(verb: Any) -> None:
    async def story() -> None:
        one = Gapped(on_dead="halt")
        one.bad = {1}
        await one.bench.start()
        await one.put(1, 2)
        assert one.told == [(1, None)], "it is held, and nothing follows"
        await one.bench.ask(verb, 1)
        await one.bench.advance(2)
        assert one.told == [(1, None), (2, 1)]
        assert one.bench.run.gap.last.reason == {"skip": "skipped_by_operator", "discard": "discarded"}[verb]

    run_bench(story())


def test_a_discard_while_the_event_behind_it_runs_is_not_undone_by_what_that_one_tells() -> None:
    async def story() -> None:
        one = Gapped()
        one.bad = {1}
        await one.bench.start()
        await one.put(1)
        gate = asyncio.Event()

        async def slow(order: Order, attempt: int) -> Outcome | None:
            await one._behave(order, attempt)
            await gate.wait()
            return None

        one.bench.behaviour = slow
        await one.bench.put(("a", 2))
        await one.bench.advance(1)
        assert await one.bench.ask("discard", 1) == {1: "discarded"}
        gate.set()
        await one.bench.advance(2)
        (row,) = await one.bench.rows()
        assert (row.state, row.told) == ("discarded", 2)
        one.bench.balance()

    run_bench(story())


def test_after_block_then_skip_the_follower_tells() -> None:
    async def story() -> None:
        one = Gapped(on_dead=block_then_skip(timedelta(minutes=1)))
        one.bad = {1}
        await one.bench.start()
        await one.put(1, 2)
        assert one.told == [(1, None)]
        await one.bench.advance(90)
        assert one.told == [(1, None), (2, 1)]

    run_bench(story())


def test_beyond_its_memory_a_lane_asks_about_every_key() -> None:
    async def story() -> None:
        one = Gapped()
        one.bad = set(range(5))
        await one.bench.start()
        await one.bench.put(*[(key, number) for number, key in enumerate("abcde")])
        await one.bench.advance(2)
        await one.bench.put(*[(key, number + 10) for number, key in enumerate("abcdef")])
        await one.bench.advance(2)
        assert sorted(one.told[5:]) == [(10, 1), (11, 1), (12, 1), (13, 1), (14, 1), (15, None)]

    with limited({"GAP_KEYS_MAX": 2}):
        run_bench(story())


def test_one_event_tells_of_so_many_and_the_next_one_of_the_rest() -> None:
    async def story() -> None:
        one = Gapped()
        one.bad = set(range(limits.GAP_EVENTS_MAX + 2))
        await one.bench.start()
        for number in range(0, limits.GAP_EVENTS_MAX + 2, 500):
            await one.put(*range(number, min(number + 500, limits.GAP_EVENTS_MAX + 2)))
        await one.bench.advance(120)
        assert len(await one.bench.rows()) == limits.GAP_EVENTS_MAX + 2
        await one.put(5_000, 5_001, 5_002)
        assert one.told[-3:] == [(5_000, limits.GAP_EVENTS_MAX), (5_001, 2), (5_002, None)]

    run_bench(story())


def test_without_order_there_is_no_gap() -> None:
    async def story() -> None:
        one = Gapped(order="none")
        one.bad = {1}
        await one.bench.start()
        await one.put(1, 2)
        assert one.told == [(1, None), (2, None)]

    run_bench(story())
