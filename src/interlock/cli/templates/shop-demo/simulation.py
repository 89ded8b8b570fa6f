"""For `interlock simulate`: what the shop sends, how the warehouse answers, and what must hold whatever goes wrong."""

from __future__ import annotations

from random import Random
from typing import Any

from orders import erp, order_paid, warehouse

from interlock.testing.simulation import Request, Seen, Simulation

sim = Simulation()


@sim.arrivals("POST /hooks/shop")
def paid(chance: Random) -> dict[str, Any]:
    """A paid order; one in ten has an item that the warehouse does not stock."""
    sku = "S-99" if chance.random() < 0.1 else f"S-{chance.randrange(10, 20)}"
    return {
        "order": f"o-{chance.getrandbits(24)}",
        "customer": f"c-{chance.randrange(4)}",
        "cents": chance.randrange(100, 10_000),
        "lines": [{"sku": sku, "count": 1}],
    }


@sim.answers(warehouse)
def pick_lists(request: Request, _: dict[str, Any]) -> int:
    """It refuses what it does not stock, for good."""
    return 422 if request.json["picks"][0]["sku"] == "S-99" else 201


@sim.invariant
def every_paid_order_is_booked_once(seen: Seen) -> None:
    """The ERP has each order once, after every crash and every lost answer."""
    booked = sorted(entry.json["order"] for entry in seen.effects(erp))
    assert booked == sorted(order.order for order in seen.events(order_paid))
