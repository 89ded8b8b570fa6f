"""Delayed events: they come when they are due, once, in their place, through whatever happens before."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from interlock import Context, Draft, Event, Hook, Integration, standard_webhooks
from interlock.core.errors import SpecError
from interlock.edge.drafts import checked_drafts
from interlock.spec.bindings import Bindings
from interlock.spec.check import planned
from interlock.spec.delay import delay, undelayed
from interlock.spec.jsontext import PayloadError
from interlock.testing.lab import Lab


@dataclass(frozen=True)
class Order:
    id: str
    step: str


shop = Integration("shop", owner="shop-team", purpose="Carts are not forgotten")
mail = shop.http("mail", honours_keys=True)
placed = shop.event("order.placed", Order, key=lambda order: order.id)
reminder = shop.event("order.reminder", Order, key=lambda order: order.id, delayed=True)


@shop.subscribe(placed, on_dead="skip")
async def plan_reminder(event: Event[Order], context: Context) -> None:
    order = event.payload
    context.emit(reminder.draft(Order(order.id, "remind"), id=f"{order.id}-reminder", due=timedelta(hours=24)))


@shop.subscribe(placed, reminder, on_dead="skip")
async def write(event: Event[Order], context: Context) -> None:
    await context.use(mail).post("/mails", json={"order": event.payload.id, "step": event.payload.step})


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(story)


def step(order: str, step: str) -> dict[str, str]:
    return {"order": order, "step": step}


def test_a_delayed_event_comes_when_it_is_due_and_its_key_does_not_wait_for_it() -> None:
    async def story() -> None:
        async with Lab(shop) as lab:
            await lab.send(placed, Order("o-1", "placed"))
            await lab.advance(hours=23, minutes=59)
            await lab.send(placed, Order("o-1", "changed"))
            await lab.advance(seconds=59)
            assert lab.system(mail).accepted == [step("o-1", "placed"), step("o-1", "changed")]
            await lab.advance(seconds=2)
            assert lab.system(mail).accepted[2:] == [step("o-1", "remind")]
            assert lab.subscription("shop.delayed").stragglers == []
            assert lab.subscription("shop.write").delivered == 3

    run(story())


def test_a_moment_that_has_passed_is_due_at_once() -> None:
    async def story() -> None:
        async with Lab(shop) as lab:
            await lab.send(reminder.draft(Order("o-2", "late"), id="r-2", due=datetime(2001, 1, 1, tzinfo=UTC)))
            await lab.settle()
            assert lab.system(mail).accepted == [step("o-2", "late")]

    run(story())


def test_waiting_counts_no_attempt_and_is_not_a_failure() -> None:
    async def story() -> None:
        async with Lab(shop) as lab:
            due = lab.now + timedelta(hours=5)
            await lab.send(reminder.draft(Order("o-3", "remind"), id="r-3", due=due))
            await lab.advance(hours=1)
            (waiting,) = lab.subscription("shop.delayed").stragglers
            assert (waiting.state, waiting.attempts, waiting.reason) == ("due", 0, None)
            assert lab.subscription("shop.write").stragglers == []
            await lab.advance(hours=4, seconds=1)
            assert lab.system(mail).accepted == [step("o-3", "remind")]

    run(story())


def test_sent_again_while_it_waits_and_after_it_comes_once() -> None:
    async def story() -> None:
        async with Lab(shop) as lab:
            draft = reminder.draft(Order("o-4", "remind"), id="r-4", due=timedelta(hours=1))
            first = await lab.send(draft)
            again = await lab.send(draft)
            assert (again.duplicate, again.id) == (True, first.id)
            await lab.settle()
            assert (await lab.send(draft)).duplicate
            await lab.settle()
            assert lab.system(mail).accepted == [step("o-4", "remind")]

    run(story())


def test_many_that_wait_do_not_hold_up_those_that_are_due_earlier() -> None:
    async def story() -> None:
        async with Lab(shop) as lab:
            for number in range(1_500):
                order = Order(f"o-{number}", "remind")
                await lab.send(reminder.draft(order, id=f"r-{number}", due=timedelta(hours=2)))
            await lab.send(reminder.draft(Order("early", "remind"), id="early", due=timedelta(minutes=1)))
            await lab.advance(minutes=2)
            assert lab.system(mail).accepted == [step("early", "remind")]
            await lab.settle()
            assert len(lab.system(mail).accepted) == 1_501

    run(story())


def test_a_webhook_gives_delayed_drafts_and_what_the_request_brought_stays_with_them() -> None:
    hooks = Integration("hooks", owner="shop-team", purpose="tests")
    later = hooks.event("later", Order, key=lambda order: order.id, delayed=True)
    seen: list[tuple[str, str | None]] = []

    @hooks.webhook("POST /hooks/psp", verify=standard_webhooks(secret="psp.webhook"))
    def accept(hook: Hook) -> list[Draft]:
        return [later.draft(Order("o-1", "x"), id="l-1", due=timedelta(minutes=5))]

    @hooks.subscribe(later, on_dead="skip")
    async def look(event: Event[Order], context: Context) -> None:
        draft = event.stored.draft
        seen.append((dict(draft.headers)["content-type"], draft.causation))

    async def story() -> None:
        async with Lab(hooks) as lab:
            answer = await lab.hook("POST /hooks/psp", {}, signed_with="psp.webhook")
            assert seen == []
            await lab.advance(minutes=5, seconds=1)
            assert seen == [("application/json", answer["id"])]

    run(story())


def test_a_type_that_is_not_declared_delayed_has_no_due_time() -> None:
    with pytest.raises(PayloadError, match=r"event\('order.placed', \.\.\., delayed=True\)") as refused:
        placed.draft(Order("o-5", "placed"), id="o-5", due=timedelta(hours=1))
    assert refused.value.code == "draft.not-delayed"


@pytest.mark.parametrize("due", [timedelta(seconds=-1), timedelta(days=400)])
def test_a_span_that_makes_no_sense_is_refused(due: timedelta) -> None:
    with pytest.raises(PayloadError) as refused:
        reminder.draft(Order("o-6", "remind"), id="o-6", due=due)
    assert refused.value.code == "draft.due-invalid"


def test_a_moment_without_a_zone_is_refused() -> None:
    with pytest.raises(SpecError, match="time zone"):
        reminder.draft(Order("o-7", "remind"), id="o-7", due=datetime(2030, 1, 1))  # noqa: DTZ001


def test_what_waits_is_checked_where_drafts_come_in() -> None:
    types = planned([shop], Bindings()).types
    good = reminder.draft(Order("o-8", "remind"), id="o-8", due=timedelta(hours=1))
    assert checked_drafts("shop.accept", [good], types) == [good]
    other = Integration("other", owner="other-team", purpose="tests")
    foreign = other.event("order.reminder", Order, version=2, delayed=True)
    with pytest.raises(PayloadError) as refused:
        checked_drafts("shop.accept", [foreign.draft(Order("o-9", "x"), id="o-9", due=timedelta(1))], types)
    assert refused.value.code == "draft.foreign"


def test_a_short_delay_is_waited_out_as_well() -> None:
    soon = Integration("soon", owner="shop-team", purpose="A delay of seconds is one")
    first = soon.event("first", Order, key=lambda order: order.id)
    later = soon.event("later", Order, key=lambda order: order.id, delayed=True)
    seen: list[str] = []

    @soon.subscribe(first, on_dead="skip")
    async def begin(event: Event[Order], context: Context) -> None:
        context.emit(later.draft(event.payload, id="later", due=timedelta(seconds=30)))

    @soon.subscribe(later, on_dead="skip")
    async def note(event: Event[Order], context: Context) -> None:
        seen.append(event.payload.step)

    async def story() -> None:
        async with Lab(soon) as lab:
            await lab.send(first, Order("o-1", "thirty"))
            await lab.advance(seconds=29)
            assert seen == []
            await lab.advance(seconds=2)
            assert seen == ["thirty"]

    run(story())


def test_what_waited_is_the_draft_that_it_was() -> None:
    draft = placed.draft(Order("o-1", "placed"), id="1", subject="a subject", extensions={"tenant": "acme"})
    assert draft.key == "o-1"
    assert undelayed(delay(draft, timedelta(hours=1))) == draft
