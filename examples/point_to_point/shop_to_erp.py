"""Point to point: every order that the shop has been paid for is an order in the ERP."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from interlock import Draft, Hook, Integration, standard_webhooks


@dataclass(frozen=True)
class Paid:
    """What the shop says of an order that has been paid for."""

    order: str
    customer: str
    cents: int
    test: bool = False


def to_erp(paid: Paid) -> dict[str, object] | None:
    """The ERP's own form. Orders by which the shop tests its till are nothing to it."""
    return None if paid.test else {"number": paid.order, "debtor": paid.customer, "total": f"{paid.cents / 100:.2f}"}


# The link: five statements.
shop = Integration("shop", owner="sales-team", purpose="Orders that are paid for are packed on the same day")
erp = shop.http("erp", honours_keys=True)
order_paid = shop.event("order.paid", Paid, key=lambda paid: paid.order)
shop.link(order_paid, erp, "POST /orders", map=to_erp, on_dead="skip", freshness=timedelta(minutes=5))


@shop.webhook("POST /hooks/shop", verify=standard_webhooks(secret="shop.webhook"))
def accept(hook: Hook) -> Iterable[Draft]:
    paid = hook.json(Paid)
    return [order_paid.draft(paid, id=paid.order)]
