"""Whatever comes in, the data plane answers once, never with a 5xx, and a refusal leaves nothing behind."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

from hypothesis import example, given
from hypothesis import strategies as st
from tests.unit.edge.plane import GITHUB_SECRET, NOW_SECONDS, PSP_SECRET, TOKEN, FakeExchange, Plane, cloud_event

LATIN = st.text(alphabet=st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=40)
FIELD_NAMES = st.sampled_from(
    [
        "content-type",
        "authorization",
        "traceparent",
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
        "x-hub-signature-256",
        "x-github-delivery",
        "x-github-event",
        "stripe-signature",
        "x-slack-signature",
        "x-slack-request-timestamp",
        "x-shopify-hmac-sha256",
        "x-shopify-webhook-id",
        "x-acme-mac",
        "x-acme-time",
        "x-acme-delivery",
        "x-reading",
        "ce-id",
        "ce-source",
        "ce-type",
        "ce-specversion",
        "ce-time",
        "ce-subject",
        "ce-dataschema",
        "ce-ext",
        "ce-Ext_1",
        "ce-data",
    ]
)
MEDIA_TYPES = st.sampled_from(
    [
        "application/json",
        "application/cloudevents+json",
        "application/cloudevents-batch+json; charset=UTF-8",
        "application/cloudevents",
        "APPLICATION/CLOUDEVENTS+JSON;",
        "text/plain",
        ";;;",
    ]
)
FIELDS = st.lists(
    st.tuples(FIELD_NAMES, LATIN | MEDIA_TYPES | st.just("1.0") | st.just(f"Bearer {TOKEN}")), max_size=12
)

HUGE = "an integer of 4,301 digits"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(HUGE),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
EVENT = st.builds(
    lambda event, changes, gone: {name: value for name, value in {**event, **changes}.items() if name not in gone},
    st.just(cloud_event()),
    st.dictionaries(
        st.sampled_from(
            [
                "specversion",
                "id",
                "source",
                "type",
                "time",
                "subject",
                "dataschema",
                "datacontenttype",
                "ext",
                "E",
                "data",
                "data_base64",
            ]
        ),
        JSON | st.sampled_from(["payment.settled@1", "payment.settled", "broken.key", "_audit", "application/json"]),
        max_size=3,
    ),
    st.sets(st.sampled_from(["specversion", "id", "source", "type", "data"]), max_size=1),
)


TRAPS = st.sampled_from([b"NaN", b"\\ud800", b"\xff", b'"', b"[" * 70, b"\x00", b"1" * 4301])


def unbounded(value: object) -> str:
    """JSON as a careless sender writes it: NaN, lone surrogates, integers of any length."""
    if value == HUGE:
        return "9" * 4301
    if isinstance(value, list):
        return "[" + ",".join(unbounded(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(name)}:{unbounded(item)}" for name, item in value.items()) + "}"
    return json.dumps(value)


@st.composite
def mangled(draw, text: bytes):
    """The text with a few bytes replaced, removed or put in."""
    body = bytearray(text)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, max(len(body) - 1, 0)))
        body[at : at + draw(st.integers(0, 2))] = draw(
            st.binary(max_size=2)
            | st.sampled_from([b"NaN", b"\\ud800", b"\xff", b'"', b"[" * 70, b"\x00", b"1" * 4301])
        )
    return bytes(body)


def settles(plane: Plane, answer: FakeExchange) -> None:
    """The one invariant: a single answer, no 5xx, a problem for each refusal, and events if and only if it says so."""
    assert len(answer.answers) == 1
    assert answer.status < 500
    if answer.status >= 400:
        assert answer.fields["content-type"] == "application/problem+json"
        assert answer.json["status"] == answer.status
        assert answer.json["code"]
        assert answer.json["remedy"]
        assert plane.log.events == []
    elif answer.status == 202:
        assert answer.json["ids"] == [event.id for event in plane.log.events]
        assert answer.json["ids"]
    else:
        assert plane.log.events == []


@given(
    st.sampled_from(["GET", "HEAD", "POST", "PUT", "OPTIONS", "QUERY", "x"]),
    st.sampled_from(["/events", "/hooks/github", "/hooks/psp", "/hooks/sensor", "/", "*", "/events/", "/hooks/%70sp"])
    | st.sampled_from(["/hooks/stripe", "/hooks/slack", "/hooks/shopify", "/hooks/acme"])
    | st.text(alphabet="/.%hooksevntp", max_size=20).map("/".__add__),
    FIELDS,
    st.binary(max_size=100),
)
def test_any_request_is_answered_once_and_never_with_a_5xx(method, target, headers, body):
    plane = Plane()
    settles(plane, plane.send(method, target, headers, body))


@given(FIELDS, st.binary(max_size=60) | mangled(b'{"account":"a-1","amount":5}'))
def test_any_fields_on_an_event_are_answered_once(headers, body):
    plane = Plane()
    settles(plane, plane.post(body, ("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "s"), *headers))


@given(st.lists(EVENT, max_size=3), st.booleans(), st.data())
def test_any_structured_event_or_batch_is_answered_once(events, is_batch, data):
    plane = Plane()
    text = unbounded(events if is_batch or not events else events[0]).encode("utf-8", "surrogatepass")
    body = data.draw(mangled(text))
    kind = "-batch" if is_batch or not events else ""
    answer = plane.post(body, ("content-type", f"application/cloudevents{kind}+json"))
    if answer.status == 202:
        # Events that were given twice in one batch are recorded once, and their id is told twice.
        assert set(answer.json["ids"]) == {event.id for event in plane.log.events}
    else:
        settles(plane, answer)


@given(st.binary(max_size=200) | mangled(b'{"ref":"main","repository":{"full_name":"o/h"}}'), FIELDS)
@example(b"[" * 100_000, [])
@example(b'{"ref":"\\ud800","repository":{"full_name":"o/h"}}', [])
def test_any_signed_body_is_kept_whole_or_read_and_never_lost(body, headers):
    plane = Plane()
    others = [field for field in headers if not field[0].startswith(("x-hub", "x-github"))]
    answer = plane.from_github(body, *others)
    settles(plane, answer)
    assert answer.status in {200, 202}
    if answer.status == 202:
        [draft] = plane.log.drafts
        assert draft.stream == "shop" or draft.data == body


@given(
    st.sampled_from(["stripe", "slack", "shopify", "acme"]),
    st.binary(max_size=200) | mangled(b'{"id":"a","event_id":"b","type":"url_verification","challenge":"c"}'),
)
@example("slack", b'{"type":"url_verification","challenge":"\\ud800"}')
@example("slack", b'{"type":"url_verification","challenge":' + b"[" * 100_000)
@example("stripe", b'{"id":"' + b"a" * 300 + b'"}')
@example("stripe", b'{"id":' + b"9" * 4301 + b"}")
def test_any_body_that_a_provider_signed_is_kept_whole_or_read_and_never_lost(provider, body):
    plane = Plane()
    answer = plane.from_provider(provider, body)
    settles(plane, answer)
    assert answer.status == 202 or (provider, answer.status, list(answer.json)) == ("slack", 200, ["challenge"])
    if answer.status == 202:
        [draft] = plane.log.drafts
        assert draft.stream == "shop" or draft.data == body


@given(st.binary(max_size=300), st.text(alphabet=st.characters(max_codepoint=255), max_size=12))
def test_any_body_with_a_standard_signature_is_accepted_and_with_a_wrong_one_refused(body, id):
    key = base64.b64decode(PSP_SECRET[6:])
    signed = id.encode("latin-1") + b"." + str(NOW_SECONDS).encode() + b"." + body
    signature = "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    headers = [("webhook-id", id), ("webhook-timestamp", str(NOW_SECONDS)), ("webhook-signature", signature)]
    plane = Plane()
    answer = plane.send("POST", "/hooks/psp", headers, body)
    settles(plane, answer)
    legal = id != "" and "." not in id and all("!" <= char <= "~" for char in id)
    assert answer.status == (202 if legal else 401)
    headers[2] = ("webhook-signature", "v1," + base64.b64encode(hmac.digest(GITHUB_SECRET, signed, "sha256")).decode())
    plane = Plane()
    assert plane.send("POST", "/hooks/psp", headers, body).status == 401
    assert plane.log.events == []
