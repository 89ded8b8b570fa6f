"""Nordwind Coffee: a paid order reaches the ERP, the CRM and the warehouse, each at its own pace."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from models import OrderPaid

from interlock import Context, Draft, Event, Hook, Integration, standard_webhooks

orders = Integration("orders", owner="shop-team", purpose="A paid order is booked and picked within five minutes")
erp = orders.http("erp", honours_keys=True)
crm = orders.http("crm", honours_keys=True)
warehouse = orders.http("warehouse", honours_keys=True)

order_paid = orders.event("shop.order.paid", OrderPaid, version=1, key=lambda paid: paid.order)


@orders.webhook("POST /hooks/shop", verify=standard_webhooks(secret="shop.webhook"))
def accept(hook: Hook) -> Iterable[Draft]:
    """One event a webhook. An order is paid once, so its number makes a repeated webhook harmless."""
    paid = hook.json(OrderPaid)
    return [order_paid.draft(paid, id=paid.order)]


@orders.subscribe(order_paid, on_dead="halt", freshness=timedelta(minutes=5), start="beginning")
async def order_to_erp(event: Event[OrderPaid], context: Context) -> None:
    """The books: nothing of an order may overtake what could not be booked."""
    paid = event.payload
    await context.use(erp).post("/entries", json={"order": paid.order, "cents": paid.cents})


@orders.subscribe(order_paid, on_dead="skip", freshness=timedelta(minutes=5), start="beginning")
async def order_to_crm(event: Event[OrderPaid], context: Context) -> None:
    """The CRM grants few calls a second; its limit is in interlock.toml."""
    paid = event.payload
    await context.use(crm).post("/activities", json={"customer": paid.customer, "text": f"paid {paid.order}"})


@orders.subscribe(order_paid, on_dead="skip", freshness=timedelta(minutes=5), start="beginning")
async def order_to_warehouse(event: Event[OrderPaid], context: Context) -> None:
    """The warehouse refuses what it does not stock: such an order becomes a dead letter, and the others go on."""
    paid = event.payload
    picks = [{"sku": line.sku, "count": line.count} for line in paid.lines]
    await context.use(warehouse).post("/pick-lists", json={"order": paid.order, "picks": picks})
