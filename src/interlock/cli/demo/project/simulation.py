"""What the shop sends in a simulation, how the warehouse answers, and what finance asks for."""

from __future__ import annotations

from random import Random
from typing import Any

from nordwind import TYPES, erp, warehouse

from interlock.testing.simulation import Request, Seen, Simulation

sim = Simulation()
POISON = "S-99"


@sim.arrivals("POST /hooks/shop")
def order(chance: Random) -> dict[str, Any]:
    """Something happens to one of a few orders; now and then an item that the warehouse does not stock."""
    return {
        "id": f"{chance.getrandbits(32):08x}",
        "type": chance.choice(list(TYPES)),
        "order": f"o-{chance.randrange(5)}",
        "sku": POISON if chance.random() < 0.1 else f"S-{chance.randrange(10, 20)}",
        "cents": chance.randrange(100, 10_000),
    }


@sim.answers(warehouse)
def picks(request: Request, _: dict[str, Any]) -> int:
    """It refuses what it does not stock, for good."""
    return 422 if request.json["sku"] == POISON else 201


@sim.invariant
def every_change_of_an_order_is_booked_once(seen: Seen) -> None:
    """The ledger has as many entries as there were changes; what could not be booked is a dead letter."""
    changes = sum(len(seen.events(type)) for type in TYPES.values())
    assert len(seen.effects(erp)) + len(seen.dead("shop.order_to_erp")) == changes


@sim.invariant
def what_is_not_stocked_is_never_picked(seen: Seen) -> bool:
    """Such an order ends as a dead letter, and the next one goes on."""
    return all(pick.json["sku"] != POISON for pick in seen.effects(warehouse))
