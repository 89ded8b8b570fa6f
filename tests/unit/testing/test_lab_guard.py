"""The systemic guard, as a user meets it: a bad deploy, a System that refuses everything, and a few poison events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.testing.test_lab import runs

from interlock import Context, Event, Hook, Integration, Outcome, Reject, block_then_skip, no_verification
from interlock.core.limits import GUARD_EVENTS
from interlock.testing.lab import Lab

BOOK, TELL = "shop.book", "shop.tell"


@dataclass(frozen=True)
class Placed:
    order: str


class Shop:
    """Two subscriptions to one System; a test says which orders `book` rejects by itself."""

    def __init__(self, on_dead: Any = "skip") -> None:
        self.integration = Integration("shop", owner="shop-team", purpose="Orders reach the ERP")
        self.erp = self.integration.http("erp", honours_keys=True)
        self.placed = self.integration.event("order.placed", Placed, key=lambda it: it.order)
        self.told = self.integration.event("order.told", Placed, key=lambda it: it.order)
        self.rejects: Callable[[str], bool] = lambda _: False
        self.begun: list[str] = []
        self.held: asyncio.Event | None = None

        @self.integration.subscribe(self.placed, on_dead=on_dead)
        async def book(event: Event[Placed], context: Context) -> Outcome | None:
            self.begun.append(event.payload.order)
            if self.held is not None:
                await self.held.wait()
            if self.rejects(event.payload.order):
                return Reject("no such shop")
            await context.use(self.erp).post("/orders", json=event.payload.order)
            return None

        @self.integration.subscribe(self.told, on_dead=on_dead)
        async def tell(event: Event[Placed], context: Context) -> None:
            await context.use(self.erp).post("/told", json=event.payload.order)

    async def place(self, lab: Lab, count: int, prefix: str = "o", type: Any = None) -> None:
        for number in range(count):
            await lab.send(type or self.placed, Placed(f"{prefix}-{number}"))
        await lab.settle()


@runs
async def test_a_bad_deploy_is_stopped_before_it_kills_what_comes():
    shop = Shop()
    shop.rejects = lambda _: True
    async with Lab(shop.integration) as lab:
        await shop.place(lab, 100)
        book = lab.subscription(BOOK)
        assert len(book.dead) == GUARD_EVENTS - 1
        assert (book.paused or "").startswith("20 of the last 20 events would have died of no such shop (fp_")
        begun = len(shop.begun)
        await shop.place(lab, 100, "later")
        await lab.advance(days=2)
        assert len(shop.begun) == begun
        assert len(book.dead) == GUARD_EVENTS - 1

        shop.rejects = lambda _: False
        await lab.resume(BOOK)
        await lab.settle()
        assert book.paused is None
        assert book.delivered == 200 - len(book.dead)


@runs
async def test_the_same_fault_stops_it_again_after_as_much_new_evidence():
    shop = Shop()
    shop.rejects = lambda _: True
    async with Lab(shop.integration) as lab:
        await shop.place(lab, 100)
        for times in (2, 3):
            await lab.resume(BOOK)
            await lab.settle()
            assert lab.subscription(BOOK).paused
            assert len(lab.subscription(BOOK).dead) == times * (GUARD_EVENTS - 1)


@runs
async def test_half_of_the_last_events_is_enough_and_a_few_poison_ones_among_many_are_not():
    shop = Shop()
    async with Lab(shop.integration) as lab:
        shop.rejects = lambda order: int(order.rpartition("-")[2]) % 5 == 0
        await shop.place(lab, 300)
        book = lab.subscription(BOOK)
        assert book.paused is None
        assert (len(book.dead), book.delivered) == (60, 240)
        shop.rejects = lambda order: int(order.rpartition("-")[2]) % 2 == 0
        await shop.place(lab, 100, "half")
        assert book.paused
        assert len(book.dead) <= 60 + GUARD_EVENTS // 2


@runs
async def test_one_event_that_a_person_retries_again_and_again_is_one_event():
    shop = Shop(on_dead="halt")
    async with Lab(shop.integration) as lab:
        await shop.place(lab, 11, "good")
        shop.rejects = lambda _: True
        await shop.place(lab, 9, "bad")
        assert lab.subscription(BOOK).paused is None
        shop.rejects = lambda order: order == "bad-0"
        await shop.place(lab, 8, "good-again")
        assert lab.subscription(BOOK).paused is None
        assert [letter.state for letter in lab.subscription(BOOK).stragglers] == ["held"] * 9


@runs
async def test_what_is_held_for_a_while_does_not_die_while_its_subscription_is_paused():
    shop = Shop(on_dead=block_then_skip(timedelta(hours=1)))
    shop.rejects = lambda _: True
    async with Lab(shop.integration) as lab:
        await shop.place(lab, 60)
        book = lab.subscription(BOOK)
        assert book.paused
        await lab.advance(hours=5)
        assert book.dead == []
        assert sorted({letter.state for letter in book.stragglers}) == ["due", "held"]

        shop.rejects = lambda _: False
        await lab.resume(BOOK)
        await lab.settle()
        # Their hour is over, and their keys go on.
        assert len(book.dead) == GUARD_EVENTS - 1
        assert book.delivered == 60 - len(book.dead)


@runs
async def test_what_is_under_way_when_it_is_stopped_is_held_back():
    shop = Shop()
    shop.rejects, shop.held = (lambda _: True), asyncio.Event()
    async with Lab(shop.integration) as lab:
        for number in range(100):
            await lab.send(shop.placed, Placed(f"o-{number}"))
        await lab.advance(seconds=1)
        assert len(shop.begun) == 100
        shop.held.set()
        await lab.settle()
        assert len(lab.subscription(BOOK).dead) == GUARD_EVENTS - 1
        assert [letter.state for letter in lab.subscription(BOOK).stragglers] == ["due"] * 81
        shop.rejects = lambda _: False
        await lab.resume(BOOK)
        await lab.settle()
        assert lab.subscription(BOOK).delivered == 81


@runs
async def test_a_system_that_refuses_everything_is_stopped_for_all_and_one_that_serves_others_is_not():
    shop = Shop()
    async with Lab(shop.integration) as lab:
        lab.system(shop.erp).answers(*[403] * 200)
        for number in range(30):
            await lab.send(shop.placed, Placed(f"o-{number}"))
            await lab.send(shop.told, Placed(f"o-{number}"))
        await lab.settle()
        why = lab.system(shop.erp).paused or ""
        assert why.startswith("20 of the last 20 events would have died of http 403 (fp_")
        assert (lab.subscription(BOOK).paused, lab.subscription(TELL).paused) == (None, None)
        assert len(lab.subscription(BOOK).dead) + len(lab.subscription(TELL).dead) == GUARD_EVENTS - 1
        assert len(lab.system(shop.erp).calls) < 2 * GUARD_EVENTS

    shop = Shop()
    async with Lab(shop.integration) as lab:
        await shop.place(lab, 15, "good", shop.told)
        for number in range(25):
            if lab.subscription(BOOK).paused is None:
                lab.system(shop.erp).answers(422)
            await shop.place(lab, 1, f"o-{number}")
            await shop.place(lab, 2, f"a-{number}", shop.told)
        assert lab.system(shop.erp).paused is None
        assert "of answers of shop.erp: http 422" in (lab.subscription(BOOK).paused or "")
        assert lab.subscription(TELL).delivered == 65


@runs
async def test_an_inbox_is_not_stopped_for_what_it_is_there_for():
    shop = Shop()

    @shop.integration.webhook(
        "POST /hooks/shop", verify=no_verification(reason="a test"), dedupe="none", dedupe_reason="a test"
    )
    def accept(hook: Hook) -> list[Any]:
        raise ValueError("not today")

    async with Lab(shop.integration) as lab:
        for number in range(30):
            await lab.hook("POST /hooks/shop", {"order": f"o-{number}"}, signed_with="none")
        await lab.settle()
        inbox = lab.subscription("shop.accept.inbox")
        assert inbox.paused is None
        assert len(inbox.dead) == 30


@runs
async def test_who_is_to_be_resumed_is_known():
    shop = Shop()
    async with Lab(shop.integration) as lab:
        with pytest.raises(AssertionError, match=r"no System or subscription 'shop\.bok'"):
            await lab.resume("shop.bok")
