"""A webhook from the signature to the commit, and what becomes of one that cannot be decoded."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook
from tests.unit.edge.plane import NOW_SECONDS, PSP_SECRET, Plane, shop

from interlock.core.errors import SpecError
from interlock.core.event import Event, Shard
from interlock.edge.fields import kept_fields
from interlock.spec.hook import decode_inbox

PUSH = b'{"ref":"refs/heads/main","repository":{"full_name":"octo/hello"}}'
ENTRIES = {"entries": [{"id": "s-1", "account": "a-1", "amount": 5}, {"id": "s-2", "account": "a-2", "amount": 6}]}


def psp_headers(body: str, id: str = "msg_1") -> list[tuple[str, str]]:
    signature = Webhook(PSP_SECRET.decode()).sign(id, datetime.fromtimestamp(NOW_SECONDS, UTC), body)
    return [("webhook-id", id), ("webhook-timestamp", str(NOW_SECONDS)), ("webhook-signature", signature)]


def test_a_signed_delivery_becomes_an_event_and_its_id_is_the_answer():
    plane = Plane()
    answer = plane.from_github(PUSH)
    assert answer.status == 202
    [event] = plane.log.events
    assert answer.json == {"id": event.id, "ids": [event.id], "duplicate": False}
    assert (event.draft.type, event.draft.key, event.draft.id) == ("repository.pushed@1", "octo/hello", "d-1")
    assert plane.records("webhook.accepted") == [
        {"webhook": "shop.from_github", "events": 1, "duplicates": 0, "secret": 0}
    ]


def test_nothing_is_answered_before_the_commit():
    plane = Plane()
    plane.log.holding = True
    answer = plane.from_github(PUSH)
    assert answer.answers == []
    plane.log.held.pop()()
    assert answer.status == 202


def test_a_delivery_sent_again_is_answered_with_the_first_ones_id_and_changes_nothing():
    plane = Plane()
    first, second = plane.from_github(PUSH), plane.from_github(PUSH)
    assert second.status == 202
    assert second.json == {**first.json, "duplicate": True}
    assert len(plane.log.events) == 1


def test_the_same_id_with_another_body_is_202_counted_and_told():
    plane = Plane()
    plane.from_github(PUSH)
    answer = plane.from_github(PUSH.replace(b"main", b"next"))
    assert answer.status == 202
    [conflict] = plane.records("webhook.duplicate-conflict")
    assert conflict == {"webhook": "shop.from_github", "event": plane.log.events[0].id}
    assert len(plane.log.events) == 1


def test_one_delivery_may_become_several_events_in_one_commit():
    plane = Plane()
    body = json.dumps(ENTRIES)
    answer = plane.send("POST", "/hooks/psp", psp_headers(body), body.encode())
    assert answer.json["ids"] == [event.id for event in plane.log.events]
    assert len(plane.log.events) == 2
    assert plane.log.commits == 1


def test_a_delivery_with_nothing_to_record_is_answered_200_without_ids():
    plane = Plane()
    answer = plane.from_github(b'{"private":true}')
    assert (answer.status, answer.json) == (200, {"ids": [], "duplicate": False})
    assert plane.log.commits == 0


def test_githubs_ping_is_answered_without_an_event_if_it_is_signed():
    plane = Plane()
    ping = b'{"zen":"Design for failure.","hook_id":109948940,"hook":{"type":"Repository"}}'
    answer = plane.from_github(ping, event="ping")
    assert (answer.status, answer.json) == (200, {"ok": True})
    assert plane.log.events == []
    unsigned = plane.send("POST", "/hooks/github", [("x-github-event", "ping")], ping)
    assert unsigned.status == 401


@given(st.integers(0, len(PUSH) * 8 - 1))
def test_one_flipped_bit_of_the_body_is_refused_and_leaves_nothing(bit):
    plane = Plane()
    signed = plane.from_github(PUSH)
    plane.log.events.clear()
    flipped = bytearray(PUSH)
    flipped[bit // 8] ^= 1 << bit % 8
    answer = plane.send("POST", "/hooks/github", signed.head.headers, bytes(flipped))
    assert answer.status == 401
    assert plane.log.events == []


def test_a_caller_hears_the_same_words_whatever_is_wrong_with_the_signature():
    plane = Plane()
    body = json.dumps(ENTRIES)
    good = psp_headers(body)
    wrong = [
        [],
        good[:2],
        [*good, good[0]],
        [*good[:2], ("webhook-signature", "v1,AAAA")],
        [good[0], ("webhook-timestamp", "1"), good[2]],
        [("webhook-id", "msg_2"), *good[1:]],
    ]
    answers = [plane.send("POST", "/hooks/psp", headers, body.encode()) for headers in wrong]
    assert {answer.answers[0].body for answer in answers} == {answers[0].answers[0].body}
    assert answers[0].fields["www-authenticate"] == "Webhook-Signature"
    assert answers[0].json["code"] == "webhook.signature-refused"
    assert {record["category"] for record in plane.records("webhook.refused")} == {"missing", "malformed", "mismatch"}


def test_a_request_that_was_rightly_signed_long_ago_is_told_apart_for_the_operator():
    plane = Plane()
    body = json.dumps(ENTRIES)
    plane.clock.jump(301_000_000)
    assert plane.send("POST", "/hooks/psp", psp_headers(body), body.encode()).status == 401
    assert plane.records("webhook.refused")[0]["category"] == "too-old"


def test_which_secret_matched_is_recorded_so_that_the_old_one_can_go():
    plane = Plane()
    plane.secrets.values["psp.webhook"] = [b"whsec_" + base64.b64encode(b"n" * 32), PSP_SECRET]
    body = json.dumps(ENTRIES)
    assert plane.send("POST", "/hooks/psp", psp_headers(body), body.encode()).status == 202
    assert plane.records("webhook.accepted")[0]["secret"] == 1


def test_without_a_bound_secret_the_sender_is_asked_to_come_back():
    plane = Plane()
    plane.secrets.values.clear()
    answer = plane.from_github(PUSH)
    assert (answer.status, answer.json["code"]) == (503, "webhook.not-ready")
    assert "retry-after" in answer.fields
    assert plane.log.events == []


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"not json", "PayloadError json.malformed at plane.py"),
        (b"[]", "AttributeError at plane.py"),
        (b'{"ref":"r"}', "KeyError at plane.py"),
        (b"\xff\xfe", "PayloadError json.malformed at plane.py"),
        (b"[" * 5000 + b"]" * 5000, "PayloadError json.too-deep at plane.py"),
        (b'{"ref":7,"repository":{"full_name":"o/h"}}', "PayloadError payload.invalid at plane.py"),
    ],
)
def test_a_signed_request_that_the_function_cannot_read_is_kept_whole_and_answered_202(body, error):
    plane = Plane()
    answer = plane.from_github(body, ("x-trace-hint", "h-1"), ("authorization", "Bearer x"), ("x-other", "no"))
    assert answer.status == 202
    [event] = plane.log.events
    assert answer.json["id"] == event.id
    assert event.shard.stream == "shop.from_github.inbox"
    assert event.draft.data == body
    assert event.draft.datacontenttype == "application/json"
    [poison] = plane.records("webhook.poison")
    assert str(poison["error"]).startswith(error)
    assert poison["error"] in dict(event.draft.extensions).values()
    hook = decode_inbox(event)
    assert (hook.id, hook.body) == ("d-1", body)
    assert dict(hook.headers) == {
        "content-type": "application/json",
        "x-github-delivery": "d-1",
        "x-github-event": "push",
        "x-trace-hint": "h-1",
    }


def test_the_inbox_is_read_by_the_subscription_that_the_webhook_declared():
    plane = Plane()
    plane.from_github(b"?")
    inbox = shop().subscriptions["shop.from_github.inbox"]
    assert plane.log.drafts[0].type in inbox.type_ids
    assert plane.log.drafts[0].stream == inbox.stream


@pytest.mark.parametrize("kind", ["endless", "surrogate", "foreign", "misfit", "none", "id missing"])
def test_drafts_that_the_log_must_not_hold_send_the_request_to_the_inbox(kind):
    plane = Plane()
    body = json.dumps({"kind": kind}).encode()
    assert plane.from_sensor(body).status == 202
    assert [(draft.stream, draft.data) for draft in plane.log.drafts] == [("shop.from_sensor.inbox", body)]
    assert len(plane.records("webhook.poison")) == 1


def test_an_unreadable_request_without_an_id_is_known_by_its_body():
    plane = Plane()
    first, again = plane.from_sensor(b"?"), plane.from_sensor(b"?")
    other = plane.from_sensor(b"!")
    assert again.json == {**first.json, "duplicate": True}
    assert other.json["duplicate"] is False
    assert decode_inbox(plane.log.events[0]).id is None


def test_the_header_that_a_webhook_declares_gives_the_id_where_the_scheme_has_none():
    plane = Plane()
    assert plane.from_sensor(b'{"kind":"x"}', ("x-reading", "r-9")).status == 202
    assert plane.log.drafts[0].id == "r-9"


def test_signatures_and_credentials_are_never_kept():
    plane = Plane()
    plane.from_github(PUSH, ("cookie", "a=b"), ("authorization", "Basic x"), ("user-agent", "GitHub-Hookshot"))
    [draft] = plane.log.drafts
    assert {name for name, _ in draft.headers} == {
        "content-type",
        "user-agent",
        "x-github-event",
        "x-github-delivery",
    }


@pytest.mark.parametrize("name", ["Authorization", "Cookie", "X-Hub-Signature-256", "webhook-signature", "X-Api-Key"])
def test_a_webhook_that_asks_to_keep_a_credential_is_refused_when_it_is_compiled(name):
    webhook = msgspec.structs.replace(shop().webhooks[0], keep_headers=(name,))
    with pytest.raises(SpecError, match=r"webhook\.header-secret"):
        kept_fields(webhook)


def test_the_callers_trace_goes_with_the_event():
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    plane = Plane()
    plane.from_github(PUSH, ("traceparent", trace))
    assert plane.log.drafts[0].traceparent == trace


@pytest.mark.parametrize(
    "trace",
    [
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01more",
        "",
    ],
)
def test_a_malformed_trace_is_as_good_as_none(trace):
    plane = Plane()
    plane.from_github(PUSH, ("traceparent", trace))
    assert plane.log.drafts[0].traceparent is None


def test_a_body_over_the_webhooks_bound_is_never_verified():
    plane = Plane()
    assert plane.send("POST", "/hooks/psp", [], b"x" * 2001).status == 413
    assert plane.emitted == []


def test_the_inbox_codec_gives_back_what_it_was_given():
    plane = Plane()
    plane.from_sensor(b"\x00\xff", ("content-type", "application/octet-stream"), ("x-reading", "r-1"))
    [draft] = plane.log.drafts
    hook = decode_inbox(Event(Shard(draft.stream, 0), 1, 1, draft))
    assert (hook.id, hook.body, hook.headers["X-Reading"]) == ("r-1", b"\x00\xff", "r-1")


def test_every_signature_is_over_the_bytes_and_not_over_what_they_mean():
    plane = Plane()
    body = b'{ "ref" : "r", "repository" : { "full_name" : "o/h" } }'
    resigned = json.dumps(json.loads(body)).encode()
    signature = "sha256=" + hmac.new(b"It's a Secret to Everybody", resigned, hashlib.sha256).hexdigest()
    assert plane.from_github(body).status == 202
    assert plane.send("POST", "/hooks/github", [("x-hub-signature-256", signature)], body).status == 401
