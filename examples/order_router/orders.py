"""Content-based routing: what an order says decides which warehouse packs it.

Where an order goes is one pure function. Each way is a link of its own, so that a warehouse that is down holds up its
own orders and no others; what no warehouse can pack goes to people, never nowhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Literal

from interlock import Draft, Hook, Integration, standard_webhooks

Way = Literal["berlin", "reno", "cold store", "desk"]


@dataclass(frozen=True)
class Placed:
    """An order of the shop."""

    order: str
    country: str
    chilled: bool = False


def way_of(order: Placed) -> Way:
    """The only place that decides; every order has exactly one way."""
    match order:
        case Placed(chilled=True, country="DE" | "AT"):
            return "cold store"
        case Placed(chilled=True):
            return "desk"
        case Placed(country="DE" | "AT" | "FR" | "PL"):
            return "berlin"
        case Placed(country="US" | "CA"):
            return "reno"
        case _:
            return "desk"


orders = Integration("orders", owner="logistics", purpose="Each order is with the warehouse that can pack it, at once")
placed = orders.event("order.placed", Placed, key=lambda it: it.order)
berlin = orders.http("berlin", honours_keys=True)
reno = orders.http("reno", honours_keys=True)
cold_store = orders.http("cold_store", honours_keys=True)
desk = orders.http("desk", honours_keys=True)


def to_berlin(order: Placed) -> dict[str, object] | None:
    return asdict(order) if way_of(order) == "berlin" else None


def to_reno(order: Placed) -> dict[str, object] | None:
    return {"order_no": order.order, "ship_to": order.country} if way_of(order) == "reno" else None


def to_cold_store(order: Placed) -> dict[str, object] | None:
    return asdict(order) if way_of(order) == "cold store" else None


def to_desk(order: Placed) -> dict[str, object] | None:
    return {"text": f"Who packs {order.order} for {order.country}?"} if way_of(order) == "desk" else None


SOON = timedelta(minutes=1)
orders.link(placed, berlin, "POST /orders", map=to_berlin, on_dead="skip", freshness=SOON)
orders.link(placed, reno, "POST /v2/shipments", map=to_reno, on_dead="skip", freshness=SOON)
orders.link(placed, cold_store, "POST /orders", map=to_cold_store, on_dead="skip", freshness=SOON)
orders.link(placed, desk, "POST /tickets", map=to_desk, on_dead="skip", freshness=timedelta(hours=1))


@orders.webhook("POST /hooks/shop", verify=standard_webhooks(secret="shop.webhook"))
def accept(hook: Hook) -> Iterable[Draft]:
    order = hook.json(Placed)
    return [placed.draft(order, id=order.order)]
