"""The shell around a function: what its ends mean, and what a translation derives."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from tests.unit.delivery.bench_of_lanes import Chance, no_client

from interlock import Integration
from interlock.core.event import Event, Shard
from interlock.core.ids import derived_id
from interlock.core.limits import US_PER_MINUTE
from interlock.core.outcome import Later, Unknown
from interlock.delivery.attempt import Ports, Program, Run
from interlock.delivery.work import Ended, Work
from interlock.journal.memory import Inline
from interlock.spec.bindings import Bindings
from interlock.spec.check import planned
from interlock.testing.clock import FakeClock


@dataclass(frozen=True)
class Order:
    id: str


shop = Integration("shop", owner="shop-team", purpose="tests")
raw = shop.event("raw", Order, key=lambda order: order.id)
canonical = shop.event("canonical", Order, key=lambda order: order.id)
in_doubt: set[str] = set()


@shop.subscribe(raw, on_dead="skip")
async def pay(event: Any, context: Any) -> None:
    context.scope.in_doubt.update(in_doubt)
    raise TimeoutError("the bank does not answer")


@shop.translate(raw, into=canonical, on_dead="skip")
def canonize(order: Order) -> Order:
    return order


PLAN = planned([shop], Bindings())


def ended(subscription: str, first_name: str) -> Ended:
    """How an attempt of this subscription for one event ends."""

    async def story() -> Ended:
        clock = FakeClock()
        ports = Ports(clock, Chance(), Inline(), lambda *_, **__: None, no_client)
        program = Program.of(PLAN.subscriptions[subscription], ports, first_name)
        event = Event(Shard("shop", 0), 1, clock.now(), raw.draft(Order("o-1"), id="1"))
        work = Work(event, None, clock.monotonic() + US_PER_MINUTE, lambda: True, None)  # type: ignore[arg-type]
        return await Run(program, work).run()

    return asyncio.run(story())


def test_an_attempt_that_ends_while_a_call_may_happen_once_only_is_for_a_person() -> None:
    in_doubt.clear()
    assert isinstance(ended("shop.pay", "shop.pay").outcome, Later)
    in_doubt.add("shop.bank #1")
    assert isinstance(ended("shop.pay", "shop.pay").outcome, Unknown)


def test_a_translation_derives_the_same_ids_under_a_new_name() -> None:
    (draft,) = ended("shop.canonize", "shop.formerly").emits
    source = raw.draft(Order("o-1"), id="1").source
    assert draft.id == derived_id("shop", source, "1", "shop.formerly", 0)
