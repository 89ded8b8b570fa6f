"""The integration in `Lab`: the production engine in memory, on a clock that only moves when the test says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from orders import crm, erp, orders, warehouse

from interlock.testing.lab import Lab

ROUTE, SECRET = "POST /hooks/shop", "shop.webhook"
PAID: dict[str, Any] = json.loads((Path(__file__).parents[1] / "fixtures" / "order_paid.json").read_text())


async def test_an_outage_of_the_erp_delays_the_erp_alone() -> None:
    async with Lab(orders) as lab:
        lab.system(erp).answers(503, 503, 503, 201)
        await lab.hook(ROUTE, PAID, signed_with=SECRET)
        await lab.advance(milliseconds=100)
        assert lab.system(erp).accepted == []
        assert len(lab.system(crm).accepted) == len(lab.system(warehouse).accepted) == 1
        await lab.settle()
        assert lab.system(erp).accepted == [{"order": "o-1001", "cents": 2380}]


async def test_an_order_that_the_warehouse_refuses_is_a_dead_letter_and_the_next_one_goes_on() -> None:
    async with Lab(orders) as lab:
        lab.system(warehouse).answers(422, 201)
        await lab.hook(ROUTE, PAID, signed_with=SECRET)
        await lab.settle()
        await lab.hook(ROUTE, PAID | {"order": "o-1002"}, signed_with=SECRET)
        await lab.settle()
        [letter] = lab.subscription("orders.order_to_warehouse").dead
        assert letter.event.draft.key == "o-1001"
        assert [accepted["order"] for accepted in lab.system(warehouse).accepted] == ["o-1002"]


async def test_a_webhook_that_the_shop_sends_again_changes_nothing() -> None:
    async with Lab(orders) as lab:
        for _ in range(2):
            await lab.hook(ROUTE, PAID, signed_with=SECRET)
        await lab.settle()
        assert len(lab.system(erp).accepted) == len(lab.system(warehouse).accepted) == 1
