"""The link in `Lab`: no process, no socket, no waiting."""

from __future__ import annotations

import asyncio

from shop_to_erp import erp, shop

from interlock.testing.lab import Lab

ROUTE, SECRET = "POST /hooks/shop", "shop.webhook"
ORDER = {"order": "o-1", "customer": "c-7", "cents": 1990}


def test_a_paid_order_is_one_order_in_the_erp_even_if_the_erp_flaps_and_the_shop_sends_twice() -> None:
    async def story() -> None:
        async with Lab(shop) as lab:
            lab.system(erp).answers(503, 503, 201)
            for _ in range(2):
                await lab.hook(ROUTE, ORDER, signed_with=SECRET)
            await lab.settle()
            assert lab.system(erp).accepted == [{"number": "o-1", "debtor": "c-7", "total": "19.90"}]
            assert {call.key for call in lab.system(erp).calls} == {lab.system(erp).calls[0].key}
            assert [(call.method, call.target) for call in lab.system(erp).calls] == [("POST", "/orders")] * 3

    asyncio.run(story())


def test_an_order_that_is_a_test_of_the_till_stays_in_the_shop() -> None:
    async def story() -> None:
        async with Lab(shop) as lab:
            await lab.hook(ROUTE, ORDER | {"test": True}, signed_with=SECRET)
            await lab.settle()
            assert lab.system(erp).calls == []
            assert lab.subscription("shop.to_erp").stragglers == []

    asyncio.run(story())


def test_an_order_that_the_erp_refuses_is_a_dead_letter_and_the_next_one_goes_on() -> None:
    async def story() -> None:
        async with Lab(shop) as lab:
            lab.system(erp).answers(422)
            for number in ("o-1", "o-2"):
                await lab.hook(ROUTE, ORDER | {"order": number}, signed_with=SECRET)
                await lab.settle()
            assert [letter.event.draft.id for letter in lab.subscription("shop.to_erp").dead] == ["o-1"]
            assert [body["number"] for body in lab.system(erp).accepted] == ["o-2"]

    asyncio.run(story())
