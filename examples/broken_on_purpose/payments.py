"""Four defects that tests do not show, because nothing goes wrong in tests. `interlock simulate` finds each of them."""

from __future__ import annotations

from dataclasses import dataclass

from interlock import Answer, CallFailed, Context, Event, Integration

payments = Integration(
    "payments",
    owner="finance-systems",
    purpose="What is paid is booked, transferred and told to the customer within a minute",
)
books = payments.http("books", honours_keys=False)
bank = payments.http("bank", honours_keys=False)
balances = payments.http("balances", honours_keys=True)
mail = payments.http("mail", honours_keys=True)


@dataclass(frozen=True)
class Paid:
    """A payment; `balance` is what the account holds after it."""

    account: str
    cents: int
    balance: int


paid = payments.event("payment.paid", Paid, version=1, key=lambda payment: payment.account)


@payments.subscribe(paid, start="beginning")
async def book(event: Event[Paid], context: Context) -> None:
    """Not idempotent: the books add an entry for every POST, and a lost answer is followed by another one."""
    payment = event.payload
    await context.use(books).post("/entries", json={"account": payment.account, "cents": payment.cents})


@payments.subscribe(paid, order="none", start="beginning")
async def set_balance(event: Event[Paid], context: Context) -> None:
    """Unordered: an older balance may arrive after a newer one, and stays."""
    payment = event.payload
    body = {"balance": payment.balance}
    await context.use(balances).put(f"/accounts/{payment.account}", json=body, effect="natural")


@payments.subscribe(paid, start="beginning")
async def tell_customer(event: Event[Paid], context: Context) -> None:
    """A swallowed error: the mail is optional, somebody thought, and so it is lost whenever the mail system hiccups."""
    try:
        await context.use(mail).post("/messages", json={"to": event.payload.account})
    except CallFailed:
        context.log("mail is down")


@payments.subscribe(paid, start="beginning")
async def transfer(event: Event[Paid], context: Context) -> None:
    """A probe that lies: it asks for any transfer of the account, not for this one."""
    payment = event.payload

    async def has_happened() -> Answer | None:
        found = await context.use(bank).get("/transfers", params={"account": payment.account})
        return found if found.json() else None

    body = {"account": payment.account, "cents": payment.cents, "reference": event.id}
    await context.use(bank).post("/transfers", json=body, effect="probe", probe=has_happened)
