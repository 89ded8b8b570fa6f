"""Nordwind Coffee: what happens to an order reaches ERP, CRM and warehouse, in the order of its acceptance.

This is all that a user writes, with `interlock.toml`. Retries, idempotency keys, deadlines, breakers: already there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from interlock import Context, Draft, Event, Hook, Integration, standard_webhooks

shop = Integration(
    "shop",
    owner="nordwind-orders",
    purpose="Finance, sales and the warehouse know of a paid, cancelled or refunded order within a minute",
)
erp = shop.http("erp", honours_keys=True)
crm = shop.http("crm", honours_keys=True)
warehouse = shop.http("warehouse", honours_keys=True)


@dataclass(frozen=True)
class Order:
    """What is told of an order, whatever happens to it."""

    id: str
    sku: str
    cents: int


paid = shop.event("shop.order.paid", Order, version=1, key=lambda order: order.id)
cancelled = shop.event("shop.order.cancelled", Order, version=1, key=lambda order: order.id)
refunded = shop.event("shop.refund.created", Order, version=1, key=lambda order: order.id)
TYPES = {"order.paid": paid, "order.cancelled": cancelled, "refund.created": refunded}


@shop.webhook("POST /hooks/shop", verify=standard_webhooks(secret="shop.webhook"))
def accept(hook: Hook) -> Iterable[Draft]:
    """Verified before, appended after, answered 202 when it is durable. The same id again changes nothing."""
    body = hook.json()
    return [TYPES[body["type"]].draft(Order(body["order"], body["sku"], body["cents"]), id=body["id"])]


@shop.subscribe(paid, cancelled, refunded, freshness=timedelta(minutes=1), start="beginning")
async def order_to_erp(event: Event[Order], context: Context) -> None:
    """Every change is booked."""
    order = event.payload
    await context.use(erp).post("/ledger", json={"order": order.id, "type": event.type, "cents": order.cents})


@shop.subscribe(paid, freshness=timedelta(minutes=1), start="beginning")
async def order_to_crm(event: Event[Order], context: Context) -> None:
    """Sales knows who has bought."""
    await context.use(crm).post("/contacts", json={"order": event.payload.id, "type": event.type})


@shop.subscribe(paid, cancelled, freshness=timedelta(minutes=1), on_dead="skip", start="beginning")
async def order_to_warehouse(event: Event[Order], context: Context) -> None:
    """What is paid is picked; what cannot be is dead at once, and the next order goes on."""
    order = event.payload
    await context.use(warehouse).post("/picks", json={"order": order.id, "type": event.type, "sku": order.sku})
