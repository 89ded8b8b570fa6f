"""Webhooks of Stripe, Slack, Shopify and of anyone who signs with an HMAC: ids, handshakes, kept fields, refusals."""

from __future__ import annotations

import json

import msgspec
import pytest
from tests.unit.edge.plane import ACME, SLACK_SECRET, Plane, shop

from interlock.core.errors import SpecError
from interlock.edge.fields import kept_fields
from interlock.spec.plan import WebhookSpec

EVENT = b'{"id":"d-1","event_id":"d-1"}'
PROVIDERS = ["stripe", "slack", "shopify", "acme"]
CHALLENGE = "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P"
HANDSHAKE = json.dumps({"token": "Jhj5dZrVaK7ZwHHjRyZWjbDl", "challenge": CHALLENGE, "type": "url_verification"})


def webhook_of(name: str) -> WebhookSpec:
    [webhook] = [webhook for webhook in shop().webhooks if webhook.path == f"/hooks/{name}"]
    return webhook


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_delivery_is_known_by_the_providers_id_and_recorded_once(provider):
    plane = Plane()
    first, again = plane.from_provider(provider, EVENT), plane.from_provider(provider, EVENT)
    assert (first.status, again.status) == (202, 202)
    assert again.json == {**first.json, "duplicate": True}
    assert [draft.id for draft in plane.log.drafts] == ["d-1"]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_two_facts_of_a_provider_are_two_events(provider):
    plane = Plane()
    plane.from_provider(provider, EVENT, id="d-1")
    plane.from_provider(provider, EVENT.replace(b"d-1", b"d-2"), id="d-2")
    assert [draft.id for draft in plane.log.drafts] == ["d-1", "d-2"]


def test_what_slack_sends_again_is_a_duplicate_although_it_is_signed_anew():
    plane = Plane()
    first = plane.from_provider("slack", EVENT)
    plane.clock.jump(60_000_000)
    again = plane.from_provider("slack", EVENT, ("x-slack-retry-num", "1"), ("x-slack-retry-reason", "http_timeout"))
    assert again.json == {**first.json, "duplicate": True}
    assert plane.records("webhook.duplicate-conflict") == []


def test_slacks_challenge_is_answered_and_appends_nothing():
    plane = Plane()
    answer = plane.from_provider("slack", HANDSHAKE.encode())
    assert (answer.status, answer.json) == (200, {"challenge": CHALLENGE})
    assert answer.fields["content-type"] == "application/json"
    assert plane.log.events == []


def test_slacks_challenge_is_refused_if_it_is_not_signed():
    plane = Plane()
    answer = plane.send("POST", "/hooks/slack", [("content-type", "application/json")], HANDSHAKE.encode())
    assert answer.status == 401
    assert CHALLENGE.encode() not in answer.answers[0].body


@pytest.mark.parametrize(
    "body",
    [
        b'{"event_id":"d-1","type":"event_callback","event":{"text":"url_verification"}}',
        b'{"event_id":"d-1","type":"url_verification"}',
        b'{"event_id":"d-1","type":"url_verification","challenge":7}',
        b'{"event_id":"d-1","challenge":"url_verification"}',
        b"type=url_verification&challenge=x",
        b"[" * 200 + b'"url_verification"' + b"]" * 200,
    ],
)
def test_what_only_looks_like_a_challenge_is_for_the_function(body):
    plane = Plane()
    assert plane.from_provider("slack", body).status == 202
    assert len(plane.log.events) == 1


@pytest.mark.parametrize("provider", ["stripe", "shopify", "acme"])
def test_only_slack_is_answered_a_challenge(provider):
    plane = Plane()
    assert plane.from_provider(provider, HANDSHAKE.encode()).status == 202


@pytest.mark.parametrize(
    ("provider", "kept"),
    [
        ("stripe", set()),
        ("slack", {"x-slack-request-timestamp", "x-slack-retry-num", "x-slack-retry-reason"}),
        ("shopify", {"x-shopify-webhook-id", "x-shopify-event-id", "x-shopify-topic", "x-shopify-shop-domain"}),
        ("acme", {"x-acme-time", "x-acme-delivery"}),
    ],
)
def test_a_providers_own_fields_are_kept_and_its_signature_is_not(provider, kept):
    plane = Plane()
    more = [
        ("x-slack-retry-num", "1"),
        ("x-slack-retry-reason", "http_timeout"),
        ("x-shopify-event-id", "e-1"),
        ("x-shopify-topic", "orders/create"),
        ("x-shopify-shop-domain", "a.example"),
        ("cookie", "a=b"),
        ("authorization", "Bearer x"),
    ]
    plane.from_provider(provider, EVENT, *more)
    [draft] = plane.log.drafts
    assert {name for name, _ in draft.headers} == {"content-type"} | kept


@pytest.mark.parametrize(
    ("provider", "name"),
    [("stripe", "Stripe-Signature"), ("slack", "X-Slack-Signature"), ("shopify", "X-Shopify-Hmac-SHA256")],
)
def test_a_providers_signature_cannot_be_asked_for(provider, name):
    webhook = msgspec.structs.replace(webhook_of(provider), keep_headers=(name,))
    with pytest.raises(SpecError, match=r"webhook\.header-secret"):
        kept_fields(webhook)


@pytest.mark.parametrize(
    "changed",
    [
        {"keep_headers": ("x-acme-mac",)},
        {"dedupe": "X-Acme-Mac"},
        {"verify": msgspec.structs.replace(ACME, id_header="X-Api-Key")},
    ],
)
def test_a_declared_signature_or_a_credential_cannot_be_kept_whatever_it_is_called(changed):
    with pytest.raises(SpecError, match=r"webhook\.header-secret"):
        kept_fields(msgspec.structs.replace(webhook_of("acme"), **changed))


def test_no_dedupe_reads_no_header_of_that_name():
    webhook = msgspec.structs.replace(webhook_of("acme"), dedupe="none", dedupe_reason="a test")
    assert webhook.id_header is None
    assert "none" not in kept_fields(webhook)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_caller_hears_the_same_words_of_every_provider_and_the_operator_which_part_it_was(provider):
    plane = Plane()
    signed = plane.from_provider(provider, EVENT).head.headers
    path = f"/hooks/{provider}"
    answers = [
        plane.send("POST", path, [], EVENT),
        plane.send("POST", path, [(name, "?" + value) for name, value in signed], EVENT),
        plane.send("POST", path, signed, EVENT + b" "),
        plane.send("POST", path, signed, EVENT + b"\n"),
    ]
    assert {answer.status for answer in answers} == {401}
    assert len({answer.answers[0].body for answer in answers}) == 1
    told = [record["category"] for record in plane.records("webhook.refused")]
    assert told == ["missing", "malformed", "mismatch", "body-changed"]
    assert len(plane.log.events) == 1


@pytest.mark.parametrize("provider", ["stripe", "slack", "acme"])
def test_the_operator_hears_which_clock_is_wrong(provider):
    plane = Plane()
    signed = plane.from_provider(provider, EVENT).head.headers
    for jump in (301_000_000, -602_000_000):
        plane.clock.jump(jump)
        assert plane.send("POST", f"/hooks/{provider}", signed, EVENT).status == 401
    assert [record["category"] for record in plane.records("webhook.refused")] == ["too-old", "too-new"]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_which_secret_matched_is_recorded_whoever_signed(provider):
    plane = Plane()
    signed = plane.from_provider(provider, EVENT).head.headers
    name = webhook_of(provider).verify.secret
    plane.secrets.values[name] = [b"the new one", *plane.secrets.values[name]]
    assert plane.send("POST", f"/hooks/{provider}", signed, EVENT).status == 202
    assert [record["secret"] for record in plane.records("webhook.accepted")] == [0, 1]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_no_record_repeats_a_secret_or_a_signature(provider):
    plane = Plane()
    signed = plane.from_provider(provider, EVENT).head.headers
    plane.send("POST", f"/hooks/{provider}", signed, EVENT + b" ")
    plane.from_provider(provider, b"?")
    told = repr(plane.emitted) + repr([draft.headers for draft in plane.log.drafts])
    assert not any(secret.decode() in told for secrets in plane.secrets.values.values() for secret in secrets)
    assert not any(value in told for name, value in signed if "sign" in name or "hmac" in name or "mac" in name)


def test_a_slash_command_has_no_id_and_is_kept_by_its_body():
    plane = Plane()
    form = b"token=x&team_id=T1DC2JH3J&command=%2Fwebhook-collect&text="
    assert plane.from_provider("slack", form).status == 202
    [draft] = plane.log.drafts
    assert (draft.stream, draft.data) == ("shop.from_slack.inbox", form)
    assert SLACK_SECRET.decode() not in repr(draft)
