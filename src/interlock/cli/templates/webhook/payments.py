"""Settlements that a payment provider tells us by webhook reach the ledger, in order for each account."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from interlock import Context, Draft, Event, Hook, Integration, standard_webhooks

payments = Integration("payments", owner="your-team", purpose="Settlements reach the ledger within five minutes")
ledger = payments.http("ledger", honours_keys=True)


@dataclass(frozen=True)
class Settled:
    """A settlement of an account. Those of one account stay in order."""

    id: str
    account: str
    cents: int


settled = payments.event("payment.settled", Settled, version=1, key=lambda payment: payment.account)


@payments.webhook("POST /hooks/psp", verify=standard_webhooks(secret="psp.webhook"))
def accept(hook: Hook) -> Iterable[Draft]:
    """The signature is verified before, the event is durable after; only then is the provider answered 202."""
    settlement = hook.json(Settled)
    return [settled.draft(settlement, id=settlement.id)]


@payments.subscribe(settled, on_dead="halt", freshness=timedelta(minutes=5), start="beginning")
async def book(event: Event[Settled], context: Context) -> None:
    """`halt`: a later settlement of an account must not overtake one that could not be booked."""
    entry = {"account": event.payload.account, "cents": event.payload.cents}
    await context.use(ledger).post("/entries", json=entry)
