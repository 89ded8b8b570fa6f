"""What a type checker sees of declarations. Checked by mypy, never run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypedDict, assert_type

from interlock import (
    INTERACTIVE,
    PATIENT,
    Answer,
    Context,
    Draft,
    Event,
    EventType,
    Hook,
    HttpSystem,
    Integration,
    Later,
    Outcome,
    Page,
    SqlSystem,
    block_then_skip,
    github,
    hmac_signature,
    no_verification,
    shopify,
    slack,
    standard_webhooks,
    stripe,
)


@dataclass
class Settled:
    account: str
    cents: int


@dataclass
class Refunded:
    account: str


class Entry(TypedDict):
    account: str


payments = Integration("payments", owner="payments-team", purpose="Settlements reach the ledger")
ledger = payments.http("ledger", honours_keys=True)
database = payments.sql("database")
settled = payments.event("payment.settled", Settled, version=1, key=lambda p: p.account)
refunded = payments.event("payment.refunded", Refunded, key=lambda p: p.account)
entry = payments.event("entry", Entry, key=lambda p: p["account"])

assert_type(ledger, HttpSystem)
assert_type(database, SqlSystem)
assert_type(settled, EventType[Settled])
assert_type(entry, EventType[Entry])
assert_type(settled.draft(Settled("a", 1), id="1", time=datetime.now(UTC), extensions={"a": "b"}), Draft)

settled.draft(Refunded("a"), id="1")  # type: ignore[arg-type]  # another payload
settled.draft(Settled("a", 1))  # type: ignore[call-arg]  # no id
settled.draft(Settled("a", 1), id="1", tiem=None)  # type: ignore[call-arg]  # no such attribute
payments.event("x", Settled, key=lambda p: p.cents)  # type: ignore[arg-type, return-value]  # a key is text
payments.event("x", Settled, key=lambda p: p.gone)  # type: ignore[attr-defined]  # no such member
Integration("x")  # type: ignore[call-arg]  # no owner and purpose


def refund(payload: Settled) -> Refunded:
    return Refunded(payload.account)


@payments.webhook("POST /hooks/psp", verify=standard_webhooks(secret="psp.webhook"), keep_headers=("x-kind",))
def accept(hook: Hook) -> Iterable[Draft]:
    assert_type(hook.json(Settled), Settled)
    assert_type(hook.headers["x"], str)
    return [settled.draft(hook.json(Settled), id=hook.id or "")]


@payments.webhook("POST /hooks/github", verify=github(secret="github.webhook"))  # type: ignore[arg-type]
def accept_nothing(hook: Hook) -> None: ...


@payments.webhook("POST /hooks/stripe", verify=stripe(secret="stripe.webhook", tolerance=timedelta(minutes=1)))
@payments.webhook("POST /hooks/slack", verify=slack(secret="slack.signing"))
@payments.webhook("POST /hooks/shopify", verify=shopify(secret="shopify.client"))
@payments.webhook(
    "POST /hooks/acme",
    verify=hmac_signature(
        secret="acme.webhook",
        header="X-Acme-Signature",
        algorithm="sha512",
        encoding="base64",
        prefix="v1=",
        content="{timestamp}.{body}",
        timestamp_header="X-Acme-Timestamp",
        tolerance=timedelta(minutes=1),
        id_header="X-Acme-Delivery",
    ),
)
@payments.webhook(
    "POST /hooks/form", verify=no_verification(reason="a form"), dedupe="none", dedupe_reason="each is another"
)
def accept_all(hook: Hook) -> Iterable[Draft]:
    assert_type(hook.id, str | None)
    return []


hmac_signature(secret="a")  # type: ignore[call-arg]  # no header
hmac_signature(secret="a", header="b", algorithm="md5")  # type: ignore[arg-type]  # no such algorithm
hmac_signature(secret="a", header="b", encoding="base32")  # type: ignore[arg-type]  # no such encoding
hmac_signature(secret="a", header="b", template="{body}")  # type: ignore[call-arg]  # no such option
shopify(secret="a", tolerance=timedelta(1))  # type: ignore[call-arg]  # it signs no time
slack("a secret")  # type: ignore[call-arg]  # a name, by its name


@payments.subscribe(
    settled,
    retry=PATIENT,
    on_dead="halt",
    freshness=timedelta(minutes=5),
    deadline=timedelta(seconds=9),
    start="now",
    if_newer_than="cents",
)
async def book(event: Event[Settled], context: Context) -> None:
    assert_type(event.payload, Settled)
    assert_type(event.accepted_at, datetime)
    assert_type(await context.use(ledger).post("/entries", json={}, effect="natural", call="book"), Answer)
    await context.use(ledger).post("/entries", jsn={})  # type: ignore[call-arg]  # no such option
    await context.use("ledger").get("/")  # type: ignore[call-overload]  # a handle, not a name
    context.emit(refunded.draft(Refunded(event.payload.account), id=event.source_id))


payments.resequence(settled, into=settled, by="cents", gap_after=timedelta(minutes=5), buffer_max=10, first=1)
payments.resequence(settled, into=refunded, by=lambda p: p.cents, map=refund, gap_after=timedelta(1), on_dead="skip")
payments.resequence(settled, into=refunded, by="cents", gap_after=timedelta(1))  # type: ignore[misc]  # no map
payments.resequence(settled, into=settled, by="cents")  # type: ignore[call-overload]  # without end


@payments.subscribe(settled)
async def write(event: Event[Settled], context: Context) -> None:
    async with context.use(database).once(call="write") as tx:
        assert_type(await tx.execute("INSERT INTO entries VALUES ($1)", event.payload.account), int)
        rows = await tx.fetch("SELECT 1")
        tx.result = rows[0][0]
    assert_type(tx.done, bool)
    await context.use(database).post("/entries")  # type: ignore[attr-defined]  # it is no HTTP System


@payments.subscribe(settled, refunded, order="none", on_dead=block_then_skip(timedelta(hours=1)), retry=INTERACTIVE)
def both(event: Event[Settled | Refunded], context: Context) -> Outcome | None:
    assert_type(event.payload, Settled | Refunded)
    if isinstance(event.payload, Refunded):
        return Later("not yet", after_us=1)
    return None


@payments.subscribe(settled)  # type: ignore[arg-type]  # it is for another payload
async def misled(event: Event[Refunded], context: Context) -> None: ...


@payments.subscribe(settled, on_dead="stop")  # type: ignore[call-overload, untyped-decorator]  # no such policy
async def stopped(event: Event[Settled], context: Context) -> None: ...


@payments.translate(settled, into=entry)
def to_entry(payload: Settled) -> Entry | None:
    return {"account": payload.account} if payload.cents else None


@payments.translate(settled, into=entry)  # type: ignore[arg-type]  # it gives another payload
def to_refunded(payload: Settled) -> Refunded | None: ...


settled_v2 = payments.event("payment.settled", Refunded, version=2, key=lambda p: p.account)


@payments.upcast(settled, into=settled_v2)
def newer(payload: Settled) -> Refunded:
    return Refunded(payload.account)


@payments.upcast(settled, into=settled_v2)  # type: ignore[arg-type]  # it gives another payload
def to_itself(payload: Settled) -> Settled:
    return payload


@payments.upcast(settled_v2, into=settled)  # type: ignore[arg-type]  # it reads another payload
def misread(payload: Settled) -> Settled:
    return payload


@payments.upcast(settled, into=settled_v2)  # type: ignore[arg-type]  # it may give nothing
def to_perhaps(payload: Settled) -> Refunded | None: ...


def to_booking(payload: Settled) -> dict[str, str] | None: ...
def to_nothing(payload: Refunded) -> None: ...


payments.link(settled, ledger, "POST /entries", map=to_booking, on_dead="halt", freshness=timedelta(minutes=5))
payments.link(settled, ledger, "POST /entries", map=to_nothing)  # type: ignore[arg-type]  # another payload
payments.link(settled, settled, "POST /entries", map=to_booking)  # type: ignore[arg-type]  # no System
payments.link(settled, ledger, "POST /entries")  # type: ignore[call-arg]  # no map


@payments.poll(every=timedelta(minutes=5))
async def changed(since: str | None, context: Context) -> Page:
    return Page([], next=since)


@payments.schedule(cron="0 6 * * *", timezone="Europe/Berlin", missed="run once")
async def nightly(due: datetime, context: Context) -> list[Draft]:
    return [settled.draft(Settled("a", 1), id=due.isoformat())]


@payments.schedule(every=timedelta(hours=1), missed="catch up", deadline=timedelta(seconds=5))
async def hourly(due: datetime, context: Context) -> Iterable[Draft]:
    return ()


payments.schedule(cron="0 6 * * *")  # type: ignore[call-overload]  # does not say what becomes of missed times
payments.schedule(every=timedelta(hours=1), timezone="UTC", missed="skip")  # type: ignore[call-overload]  # a span's zone
payments.schedule(every=timedelta(hours=1), missed="later")  # type: ignore[call-overload]  # no such policy
