"""The router in `Lab`: no process, no socket, no waiting."""

from __future__ import annotations

import asyncio

import pytest
from orders import Placed, Way, berlin, cold_store, desk, orders, placed, reno, way_of

from interlock.testing.lab import Lab

ALL = {"berlin": berlin, "reno": reno, "cold store": cold_store, "desk": desk}


@pytest.mark.parametrize(
    ("order", "way"),
    [
        (Placed("o", "DE"), "berlin"),
        (Placed("o", "US"), "reno"),
        (Placed("o", "AT", chilled=True), "cold store"),
        (Placed("o", "US", chilled=True), "desk"),
        (Placed("o", "JP"), "desk"),
    ],
)
def test_an_order_goes_one_way_and_no_other(order: Placed, way: Way) -> None:
    async def story() -> None:
        assert way_of(order) == way
        async with Lab(orders) as lab:
            await lab.send(placed, order)
            await lab.settle()
            assert {name: len(lab.system(system).accepted) for name, system in ALL.items()} == {
                name: int(name == way) for name in ALL
            }

    asyncio.run(story())


def test_a_warehouse_that_is_down_holds_up_its_own_orders_and_no_others() -> None:
    async def story() -> None:
        async with Lab(orders) as lab:
            lab.system(berlin).answers(*[503] * 4)
            for number, country in enumerate(["DE", "US", "FR", "CA"]):
                await lab.send(placed, Placed(f"o-{number}", country))
            await lab.advance(milliseconds=100)
            assert [body["order_no"] for body in lab.system(reno).accepted] == ["o-1", "o-3"]
            assert lab.system(berlin).accepted == []
            await lab.settle()
            assert sorted(body["order"] for body in lab.system(berlin).accepted) == ["o-0", "o-2"]

    asyncio.run(story())
