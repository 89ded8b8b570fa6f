"""Declarations build frozen records and leave functions as they are."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.core.errors import SpecError
from interlock.core.event import Draft, Shard
from interlock.core.event import Event as StoredEvent
from interlock.spec.bindings import Bindings
from interlock.spec.check import planned
from interlock.spec.declare import Integration
from interlock.spec.function import Event, Headers, Hook
from interlock.spec.jsontext import PayloadError
from interlock.spec.plan import LinkSpec, OnDead
from interlock.spec.retry import INTERACTIVE, PATIENT, WEBHOOK, block_then_skip
from interlock.spec.signatures import github, hmac_signature, no_verification, slack, standard_webhooks, stripe
from interlock.spec.uses import systems_used

LOCAL = datetime(2026, 1, 1)  # noqa: DTZ001  # a time that does not say its zone


@dataclass
class Settled:
    account: str
    cents: int


class Contact(TypedDict):
    name: str


def payments() -> Integration:
    return Integration("payments", owner="payments-team", purpose="Settlements reach the ledger")


def test_a_decorated_function_is_returned_as_it_is():
    integration = payments()
    settled = integration.event("payment.settled", Settled)

    def accept(hook):
        return []

    async def book(event, context):
        return None

    def to_contact(payload):
        return None

    async def changed(since, context):
        raise NotImplementedError

    assert integration.webhook("POST /hooks/psp", verify=github(secret="a"))(accept) is accept
    assert integration.subscribe(settled)(book) is book
    assert integration.translate(settled, into=integration.event("contact", Contact))(to_contact) is to_contact
    assert integration.poll(every=timedelta(minutes=5))(changed) is changed
    names = [spec.name for spec in (*integration.webhooks, *integration.subscriptions, *integration.polls)]
    assert names == [
        "payments.accept",
        "payments.accept.inbox",
        "payments.book",
        "payments.to_contact",
        "payments.changed",
    ]


def test_a_link_is_a_subscription_named_for_its_map_at_the_line_that_declares_it():
    integration = payments()
    settled = integration.event("payment.settled", Settled, key=lambda p: p.account)
    ledger = integration.http("ledger")

    def to_entry(payload):
        return {"account": payload.account}

    integration.link(settled, ledger, "PUT /entries", map=to_entry, on_dead="halt", freshness=timedelta(minutes=5))
    [spec] = integration.subscriptions
    assert (spec.name, spec.kind, spec.types) == ("payments.to_entry", "subscribe", (settled.spec,))
    assert spec.link == LinkSpec("payments.ledger", "PUT", "/entries", to_entry)
    assert (spec.on_dead, spec.freshness_us) == (OnDead("halt"), 300_000_000)
    assert spec.where.file == __file__
    assert systems_used(spec.function) == ("payments.ledger",)


def test_the_map_and_the_operation_of_a_link_are_in_the_digest_of_the_plan():
    def digest(operation, map):
        integration = payments()
        settled = integration.event("payment.settled", Settled, key=lambda p: p.account)
        integration.link(settled, integration.http("ledger"), operation, map=map)
        return planned([integration], Bindings()).digest

    def named(function):
        function.__name__ = "to_entry"
        return function

    ones = [digest("POST /entries", named(lambda p: {"a": 1})) for _ in range(2)]
    others = [digest("PUT /entries", named(lambda p: {"a": 1})), digest("POST /entries", named(lambda p: {"a": 2}))]
    assert len({*ones, *others}) == 3


def test_a_subscription_keeps_what_it_states():
    integration = payments()
    settled = integration.event("payment.settled", Settled, version=2, key=lambda p: p.account)

    @integration.subscribe(
        settled,
        order="none",
        retry=INTERACTIVE,
        on_dead=block_then_skip(timedelta(minutes=3)),
        freshness=timedelta(minutes=5),
        deadline=timedelta(seconds=9),
        start=datetime(2026, 1, 1, tzinfo=UTC),
    )
    async def book(event, context):
        return None

    (spec,) = integration.subscriptions
    assert (spec.kind, spec.stream, spec.type_ids) == ("subscribe", "payments", {"payment.settled@2"})
    assert (spec.order, spec.retry, spec.on_dead_stated) == ("none", INTERACTIVE, True)
    assert spec.on_dead == OnDead("block_then_skip", 180_000_000)
    assert (spec.freshness_us, spec.deadline_us, spec.start) == (300_000_000, 9_000_000, 1_767_225_600_000_000)


def test_a_subscription_that_states_nothing_has_the_defaults():
    integration = payments()

    @integration.subscribe(integration.event("payment.settled", Settled, key=lambda p: p.account))
    def book(event, context):
        return None

    (spec,) = integration.subscriptions
    assert (spec.order, spec.retry, spec.on_dead, spec.on_dead_stated, spec.start) == (
        "key",
        PATIENT,
        OnDead("block_then_skip", 3_600_000_000),
        False,
        "now",
    )
    assert (spec.freshness_us, spec.deadline_us) == (None, 30_000_000)


def test_every_declaration_knows_its_line():
    integration = payments()
    ledger = integration.http("ledger")
    settled = integration.event("payment.settled", Settled)
    lines = [integration.spec.where.line, ledger.spec.where.line, settled.spec.where.line]
    assert all(line > 0 for line in lines)
    assert lines[2] == lines[1] + 1
    assert ledger.spec.where.file == settled.spec.where.file == __file__


def test_a_webhook_has_an_inbox_that_runs_its_function_again():
    integration = payments()

    @integration.webhook("POST /hooks/psp", verify=no_verification(reason="a test"), keep_headers=("x-kind",))
    def accept(hook):
        return []

    (webhook,), (inbox,) = integration.webhooks, integration.subscriptions
    assert (webhook.method, webhook.path, webhook.keep_headers) == ("POST", "/hooks/psp", ("x-kind",))
    assert (inbox.kind, inbox.function, inbox.stream, inbox.webhook) == ("inbox", accept, webhook.inbox, webhook)
    assert (inbox.order, inbox.on_dead, inbox.start) == ("none", OnDead("skip"), "beginning")


def test_a_draft_has_its_attributes_key_and_payload():
    settled = payments().event("payment.settled", Settled, key=lambda p: p.account)
    draft = settled.draft(
        Settled("a-1", 1250),
        id="s-1",
        time=datetime(2026, 1, 1, tzinfo=UTC),
        subject="x",
        extensions={"b": "2", "a": "1"},
    )
    assert draft == Draft(
        stream="payments",
        type="payment.settled@1",
        source="/integration/payments",
        id="s-1",
        data=b'{"account":"a-1","cents":1250}',
        key="a-1",
        time="2026-01-01T00:00:00+00:00",
        subject="x",
        extensions=(("a", "1"), ("b", "2")),
    )


@pytest.mark.parametrize("id", ["", "x" * 256, "a\nb", "\ud800", 7, None])
def test_an_id_that_the_log_cannot_hold_is_refused(id):
    with pytest.raises(PayloadError) as refused:
        payments().event("payment.settled", Settled).draft(Settled("a", 1), id=id)
    assert refused.value.code == "event.id-invalid"


@pytest.mark.parametrize(
    "key", [lambda p: p["account"], lambda p: p.cents, lambda p: p.gone, lambda _: "", lambda _: "é" * 256]
)
def test_a_key_that_is_none_is_refused_with_a_code(key):
    settled = payments().event("payment.settled", Settled, key=key)
    with pytest.raises(PayloadError) as refused:
        settled.draft(Settled("a", 1), id="1")
    assert refused.value.code == "event.key-invalid"


@given(st.text(min_size=1, max_size=255, alphabet=st.characters(exclude_categories=["Cs", "Cc"])))
def test_printable_text_is_an_id(id):
    assert payments().event("payment.settled", Settled).draft(Settled("a", 1), id=id).id == id


def test_a_time_without_a_zone_is_refused():
    with pytest.raises(SpecError, match="time zone"):
        payments().event("payment.settled", Settled).draft(Settled("a", 1), id="1", time=LOCAL)


def test_what_has_no_code_cannot_be_decorated():
    with pytest.raises(SpecError) as refused:
        payments().poll(every=timedelta(minutes=1))(print)
    assert refused.value.code == "spec.not-a-function"


def test_an_event_decodes_its_payload_once_and_shows_its_attributes():
    decoded = []

    def decode(data):
        decoded.append(data)
        return Settled("a-1", 1)

    draft = Draft(
        "payments", "payment.settled@1", "/psp", "s-1", b"{}", "a-1", "2026-01-01T00:00:00Z", extensions=(("x", "1"),)
    )
    event = Event(StoredEvent(Shard("payments", 3), 7, 1_767_225_600_000_001, draft), decode)
    assert decoded == []
    assert event.payload is event.payload
    assert decoded == [b"{}"]
    assert event.id == event.stored.id
    assert event.id.startswith("evt_")
    assert (event.source_id, event.source, event.type, event.key) == ("s-1", "/psp", "payment.settled@1", "a-1")
    assert (event.shard, event.offset, event.extensions) == (Shard("payments", 3), 7, {"x": "1"})
    assert event.time == datetime(2026, 1, 1, tzinfo=UTC)
    assert event.accepted_at == datetime(2026, 1, 1, microsecond=1, tzinfo=UTC)


def test_a_time_that_is_none_is_none():
    draft = Draft("s", "t@1", "/", "1", b"", time="yesterday")
    assert Event(StoredEvent(Shard("s", 0), 1, 0, draft), bytes).time is None


def test_a_hook_reads_its_body_as_json_or_as_a_model():
    hook = Hook(b'{"account":"a","cents":1}', Headers([("X-Kind", "paid"), ("x-kind", "late")]))
    assert hook.json() == {"account": "a", "cents": 1}
    assert hook.json(Settled) == Settled("a", 1)
    assert hook.headers["x-KIND"] == "paid"
    assert hook.headers.get("x-none") is None
    assert list(hook.headers) == ["x-kind"]
    with pytest.raises(PayloadError):
        Hook(b"NaN", Headers([])).json()


def test_the_presets_are_what_they_say():
    assert (PATIENT.age_max_us, PATIENT.attempts_max) == (86_400_000_000, 40)
    assert sum(WEBHOOK.schedule) < WEBHOOK.age_max_us
    assert len(WEBHOOK.schedule) + 1 == WEBHOOK.attempts_max
    assert INTERACTIVE.attempts_max == 3
    for scheme in (standard_webhooks(secret="a"), stripe(secret="a"), slack(secret="a")):
        assert scheme.tolerance_us == 300_000_000
    generic = hmac_signature(secret="a", header="X-Signature")
    assert (generic.algorithm, generic.encoding, generic.content) == ("sha256", "hex", "{body}")
    assert generic.tolerance_us == 300_000_000
