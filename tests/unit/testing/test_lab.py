"""Lab: what a user of Interlock writes to test an integration. The first test is the one of the documentation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from datetime import timedelta
from functools import wraps

import pytest

from interlock.call.classify import Failure
from interlock.core.event import Draft
from interlock.core.outcome import Answer
from interlock.spec.declare import Integration
from interlock.spec.function import Context, Event, Hook
from interlock.spec.retry import PATIENT
from interlock.spec.signatures import (
    Verifier,
    github,
    hmac_signature,
    no_verification,
    shopify,
    slack,
    standard_webhooks,
    stripe,
)
from interlock.testing.lab import Lab


@dataclass(frozen=True)
class Settled:
    account: str
    amount: int
    currency: str


payments = Integration("payments", owner="payments-team", purpose="Settlements reach the ledger within five minutes")
ledger = payments.http("ledger", honours_keys=True)
settled = payments.event("payment.settled", Settled, version=1, key=lambda p: p.account)


@payments.webhook("POST /hooks/psp", verify=standard_webhooks(secret="psp.webhook"))
def accept(hook: Hook) -> Iterable[Draft]:
    body = hook.json()
    return [settled.draft(Settled(body["account"], body["amount"], body["currency"]), id=body["id"])]


@payments.subscribe(settled, retry=PATIENT, on_dead="halt", freshness=timedelta(minutes=5))
async def book(event: Event[Settled], context: Context) -> None:
    await context.use(ledger).post("/entries", json={"account": event.payload.account, "cents": event.payload.amount})


SETTLEMENT = {"id": "psp-1", "account": "a-1", "amount": 1250, "currency": "EUR"}
ENTRY = {"account": "a-1", "cents": 1250}


def runs(test: Callable[[], Coroutine[None, None, None]]) -> Callable[[], None]:
    """A test that is a coroutine, without a plug-in of pytest."""

    @wraps(test)
    def run() -> None:
        asyncio.run(test())

    return run


SCHEMES: dict[str, Verifier] = {
    "standard": standard_webhooks(secret="psp.webhook"),
    "github": github(secret="psp.webhook"),
    "stripe": stripe(secret="psp.webhook"),
    "slack": slack(secret="psp.webhook"),
    "shopify": shopify(secret="psp.webhook"),
    "hmac": hmac_signature(
        secret="psp.webhook",
        header="X-Signature",
        algorithm="sha512",
        encoding="base64",
        prefix="v1=",
        content="{timestamp}:{body}",
        timestamp_header="X-Time",
        id_header="X-Delivery",
    ),
    "hmac in hexadecimal": hmac_signature(secret="psp.webhook", header="X-Signature", id_member="id"),
    "nobody": no_verification(reason="a test"),
}


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES.keys())
def test_a_hook_is_signed_as_its_webhook_verifies_and_has_the_id_that_it_is_given(scheme):
    trial = Integration("trial", owner="tests", purpose="Every provider can be stood in for")
    happened = trial.event("happened", Settled, key=lambda p: p.account)
    met: list[str | None] = []

    @trial.webhook("POST /hooks/any", verify=scheme, dedupe="X-Form-Id")
    def accept(hook: Hook) -> Iterable[Draft]:
        met.append(hook.id)
        return [happened.draft(Settled("a-1", 1, "EUR"), id=hook.id or "")]

    async def test() -> None:
        async with Lab(trial) as lab:
            await lab.hook("POST /hooks/any", {"id": "h-1", "event_id": "h-1"}, signed_with="psp.webhook", id="h-1")
            if scheme != SCHEMES["nobody"]:
                with pytest.raises(AssertionError, match=r"401.*webhook\.signature-refused"):
                    await lab.hook("POST /hooks/any", {}, signed_with="another.secret")

    asyncio.run(test())
    assert met == ["h-1"]


@runs
async def test_a_settlement_is_booked_once_even_if_the_ledger_flaps():
    async with Lab(payments) as lab:
        lab.system(ledger).answers(503, 503, 201)
        await lab.hook("POST /hooks/psp", SETTLEMENT, signed_with="psp.webhook")
        await lab.settle()  # advances the fake clock until nothing is due
        assert lab.system(ledger).accepted == [{"account": "a-1", "cents": 1250}]
        assert lab.subscription("payments.book").stragglers == []


@runs
async def test_a_wrongly_signed_hook_is_refused_with_the_problem():
    async with Lab(payments) as lab:
        with pytest.raises(AssertionError, match=r"401.*webhook\.signature-refused"):
            await lab.hook("POST /hooks/psp", SETTLEMENT, signed_with="another.secret")
        assert lab.system(ledger).calls == []


@runs
async def test_the_same_hook_twice_is_booked_once_and_answered_with_the_same_id():
    async with Lab(payments) as lab:
        first = await lab.hook("POST /hooks/psp", SETTLEMENT, signed_with="psp.webhook")
        second = await lab.hook("POST /hooks/psp", SETTLEMENT, signed_with="psp.webhook")
        await lab.settle()
        assert (first["id"], second["duplicate"]) == (second["id"], True)
        assert lab.system(ledger).accepted == [ENTRY]


@runs
async def test_an_answer_that_is_lost_after_the_effect_is_booked_once():
    async with Lab(payments) as lab:
        lab.system(ledger).answers(Failure("reset", sent=True, detail="after the effect"), 200)
        await lab.send(settled, Settled("a-1", 1250, "EUR"))
        await lab.settle()
        first, second = lab.system(ledger).calls
        assert first.key == second.key
        assert lab.system(ledger).accepted == [ENTRY]


@runs
async def test_a_permanent_refusal_is_held_under_halt_and_settle_leaves_it_to_a_person():
    async with Lab(payments) as lab:
        lab.system(ledger).answers(422)
        await lab.send(settled, Settled("a-1", 1, "EUR"))
        await lab.send(settled, Settled("a-1", 2, "EUR"))
        await lab.send(settled, Settled("a-2", 3, "EUR"))
        await lab.settle()
        (held,) = lab.subscription("payments.book").stragglers
        assert (held.state, held.event.draft.key) == ("held", "a-1")
        assert [body["cents"] for body in lab.system(ledger).accepted] == [3]


@runs
async def test_time_passes_only_when_the_test_says_so():
    async with Lab(payments) as lab:
        before = lab.now
        lab.system(ledger).answers(Answer(503, (("retry-after", "3600"),)))
        await lab.send(settled, Settled("a-1", 1250, "EUR"))
        await lab.advance(minutes=59)
        assert lab.system(ledger).accepted == []
        await lab.advance(timedelta(minutes=1, seconds=1))
        assert lab.system(ledger).accepted == [ENTRY]
        assert lab.now - before == timedelta(hours=1, seconds=1)


@runs
async def test_a_dead_letter_is_found_with_its_event_and_its_reason():
    trial = Integration("trial", owner="tests", purpose="Dead letters are seen")
    target = trial.http("target", honours_keys=True)
    happened = trial.event("happened", Settled, key=lambda p: p.account)

    @trial.subscribe(happened, on_dead="skip")
    async def tell(event: Event[Settled], context: Context) -> None:
        await context.use(target).post("/", json={})

    async with Lab(trial) as lab:
        lab.system(target).answers(422)
        await lab.send(happened, Settled("a-1", 1, "EUR"), id="first")
        await lab.send(happened, Settled("a-1", 2, "EUR"), id="second")
        await lab.settle()
        (dead,) = lab.subscription("trial.tell").dead
        assert (dead.event.draft.id, dead.reason, dead.attempts) == ("first", "permanent", 1)
        assert lab.subscription("trial.tell").delivered == 1


@runs
async def test_a_system_that_never_recovers_is_settled_by_death():
    async with Lab(payments) as lab:
        lab.system(ledger).answers(*[503] * 200)
        await lab.send(settled, Settled("a-1", 1250, "EUR"))
        await lab.settle()
        (held,) = lab.subscription("payments.book").stragglers
        assert (held.state, held.reason) == ("held", "exhausted")


@runs
async def test_names_that_are_not_declared_are_told_with_those_that_are():
    async with Lab(payments) as lab:
        with pytest.raises(AssertionError, match=r"payments\.ledger"):
            lab.system("payments.ledgr")
        with pytest.raises(AssertionError, match=r"payments\.book"):
            lab.subscription("payments.boook")
        with pytest.raises(AssertionError, match="POST /hooks/psp"):
            await lab.hook("POST /hooks/other", {}, signed_with="psp.webhook")


@runs
async def test_a_bug_in_accept_keeps_the_request_as_a_dead_letter():
    async with Lab(payments) as lab:
        await lab.hook("POST /hooks/psp", {"id": "psp-9"}, signed_with="psp.webhook")
        await lab.settle()
        (dead,) = lab.subscription("payments.accept.inbox").dead
        assert dead.reason == "poison_decode"


shop = Integration("shop", owner="shop-team", purpose="Orders reach the warehouse within five minutes")
warehouse = shop.http("warehouse", honours_keys=True)
ordered = shop.event("order.paid", Settled, version=1, key=lambda it: it.account)


@shop.subscribe(ordered, freshness=timedelta(minutes=5))
async def pick(event: Event[Settled], context: Context) -> None:
    await context.use(warehouse).post("/picks", json={"account": event.payload.account})


@runs
async def test_an_outage_that_is_longer_than_every_age_kills_nothing() -> None:
    async with Lab(shop) as lab:
        began = lab.now
        lab.system(warehouse).answers(*[503] * 180)
        for number in range(6):
            await lab.send(ordered, Settled(f"a-{number}", number, "EUR"))
        await lab.settle()
        # Each of them has been a probe after the hour of `block_then_skip` and after the day of every retry.
        assert lab.now - began > timedelta(hours=26)
        assert len(lab.system(warehouse).accepted) == 6
        assert lab.subscription("shop.pick").dead == []
