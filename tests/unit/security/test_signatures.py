"""Signatures of webhooks against published vectors and the libraries of those who sign."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slack_sdk.signature import SignatureVerifier
from standardwebhooks.webhooks import Webhook
from stripe import WebhookSignature

from interlock.core.ports import NotVerified, Verified, Verify
from interlock.security.signatures import verifier
from interlock.security.verifying_key import HmacKey
from interlock.spec.signatures import (
    Signed,
    Unverified,
    github,
    hmac_signature,
    shopify,
    slack,
    standard_webhooks,
    stripe,
)
from interlock.testing.clock import FakeClock
from interlock.testing.providers import Delivery, signed

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "signatures.json").read_text())
NOW_SECONDS = 1_767_225_600
SECRET = b"whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef")


class Bound:
    """Secrets of one name, which a test may change."""

    def __init__(self, *values: bytes) -> None:
        self.values: Sequence[bytes] = values

    def active(self, name: str) -> Sequence[bytes]:
        return self.values if name == "psp.webhook" else ()


SCHEMES: dict[str, Callable[..., Signed]] = {
    "github": github,
    "standard-webhooks": standard_webhooks,
    "stripe": stripe,
    "slack": slack,
    "shopify": shopify,
    "hmac": hmac_signature,
}
TIMED = {
    "header": "X-Signature",
    "algorithm": "sha512",
    "encoding": "base64",
    "prefix": "v1=",
    "content": "{timestamp}.{body}",
    "timestamp_header": "X-Timestamp",
    "id_header": "X-Delivery",
}
ONE_OF_EACH = [
    pytest.param(make(secret="psp.webhook", **(TIMED if name == "hmac" else {})), id=name)
    for name, make in SCHEMES.items()
]


def bound(scheme: Signed, *secrets: bytes, now_seconds: int = NOW_SECONDS) -> Verify:
    return verifier(scheme, Bound(*secrets), FakeClock(now_seconds * 1_000_000))


def standard(*secrets: bytes) -> Verify:
    return bound(standard_webhooks(secret="psp.webhook"), *secrets)


def from_github(*secrets: bytes) -> Verify:
    return bound(github(secret="psp.webhook"), *secrets)


def as_the_library_signs(body: str, id: str = "msg_1") -> list[tuple[str, str]]:
    at = datetime.fromtimestamp(NOW_SECONDS, UTC)
    signature = Webhook(SECRET.decode()).sign(id, at, body)
    return [("webhook-id", id), ("webhook-timestamp", str(NOW_SECONDS)), ("webhook-signature", signature)]


def as_github_signs(secret: bytes, body: bytes) -> str:
    return "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()


@pytest.mark.parametrize("vector", VECTORS["cases"], ids=lambda vector: vector["name"])
def test_every_published_vector_has_its_result(vector):
    scheme = SCHEMES[vector["scheme"]](secret="psp.webhook", **vector.get("options", {}))
    secrets = [secret.encode() for secret in vector["secrets"]]
    verify = bound(scheme, *secrets, now_seconds=vector["now_seconds"])
    found = verify([(name, value) for name, value in vector["headers"]], base64.b64decode(vector["body_base64"]))
    if vector["result"] == "verified":
        assert found == Verified(vector["id"], vector["secret"])
    else:
        assert isinstance(found, NotVerified)
        assert found.category == vector["result"]


@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_what_the_standardwebhooks_library_signs_is_verified(body):
    assert standard(SECRET)(as_the_library_signs(body), body.encode()) == Verified("msg_1", 0)


def test_the_vectors_are_of_every_scheme_and_every_category():
    assert {vector["scheme"] for vector in VECTORS["cases"]} == set(SCHEMES)
    for name in SCHEMES:
        results = {vector["result"] for vector in VECTORS["cases"] if vector["scheme"] == name}
        timed = set() if name in {"github", "shopify"} else {"too-old", "too-new"}
        assert results == {"verified", "missing", "malformed", "mismatch", "no-secret"} | timed | (
            results & {"body-changed"}
        )


TEXT = st.text(alphabet=st.characters(codec="utf-8"))
WORDS = st.text(alphabet=st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=40)


@given(TEXT, WORDS)
def test_what_stripes_library_signs_is_verified(body, secret):
    field = WebhookSignature.generate_signature_header(body, secret, timestamp=NOW_SECONDS)
    found = bound(stripe(secret="psp.webhook"), secret.encode())([("stripe-signature", field)], body.encode())
    assert found == Verified(None, 0)


@given(WORDS)
def test_the_id_of_a_stripe_event_is_that_in_its_body(id):
    body = json.dumps({"id": id, "object": "event", "data": {"object": {"id": "ch_1"}}})
    field = WebhookSignature.generate_signature_header(body, "secret", timestamp=NOW_SECONDS)
    found = bound(stripe(secret="psp.webhook"), b"secret")([("stripe-signature", field)], body.encode())
    assert found == Verified(id, 0)


@given(TEXT, WORDS)
def test_what_slacks_library_signs_is_verified(body, secret):
    at = str(NOW_SECONDS)
    signature = SignatureVerifier(secret).generate_signature(timestamp=at, body=body)
    headers = [("x-slack-request-timestamp", at), ("x-slack-signature", signature)]
    assert bound(slack(secret="psp.webhook"), secret.encode())(headers, body.encode()) == Verified(None, 0)


@given(TEXT, st.sampled_from([-301, -300, 300, 301]))
def test_slacks_library_and_we_agree_on_what_is_out_of_time(body, age):
    at = NOW_SECONDS - age
    headers = [
        ("x-slack-request-timestamp", str(at)),
        ("x-slack-signature", SignatureVerifier("secret").generate_signature(timestamp=str(at), body=body)),
    ]
    at_now = SignatureVerifier("secret", Standing(NOW_SECONDS))
    found = bound(slack(secret="psp.webhook"), b"secret")(headers, body.encode())
    assert isinstance(found, Verified) == at_now.is_valid_request(body, dict(headers))


class Standing:
    """A clock as Slack's library takes one."""

    def __init__(self, seconds: int) -> None:
        self._seconds = seconds

    def now(self) -> float:
        return float(self._seconds)


@given(st.binary(), st.binary(min_size=1))
def test_what_is_signed_as_github_documents_is_verified(body, secret):
    headers = [("x-hub-signature-256", as_github_signs(secret, body)), ("x-github-delivery", "d-1")]
    assert from_github(b"the new one", secret)(headers, body) == Verified("d-1", 0 if secret == b"the new one" else 1)


@given(st.data())
def test_one_flipped_bit_anywhere_is_refused(data):
    """In the body, the id, the timestamp or the signature: what was signed is what is accepted, to the bit."""
    body = data.draw(st.binary(min_size=1, max_size=200).filter(lambda body: body.isascii()))
    headers = as_the_library_signs(body.decode())
    signed = [value.encode() for _, value in headers] + [body]
    part = data.draw(st.integers(0, 3))
    at = data.draw(st.integers(0, len(signed[part]) - 1))
    flipped = bytearray(signed[part])
    flipped[at] ^= 1 << data.draw(st.integers(0, 7))
    signed[part] = bytes(flipped)
    fields = [(name, value.decode("latin-1")) for (name, _), value in zip(headers, signed, strict=False)]
    assert isinstance(standard(SECRET)(fields, signed[3]), NotVerified)


@pytest.mark.parametrize("scheme", ONE_OF_EACH)
@given(data=st.data())
def test_one_flipped_bit_of_what_is_signed_is_refused_whatever_the_scheme(scheme, data):
    body = data.draw(st.binary(min_size=1, max_size=200))
    headers = dict(signed(scheme, SECRET, Delivery("d-1", body, NOW_SECONDS * 1_000_000)))
    assert isinstance(bound(scheme, SECRET)(list(headers.items()), body), Verified)
    unsigned = {"x-github-delivery", "x-shopify-webhook-id", "x-delivery"}
    parts = {name: value.encode() for name, value in headers.items() if name not in unsigned} | {"": body}
    name = data.draw(st.sampled_from(sorted(parts)))
    flipped = bytearray(parts[name])
    flipped[data.draw(st.integers(0, len(flipped) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    if name:
        headers[name] = flipped.decode("latin-1")
    found = bound(scheme, SECRET)(list(headers.items()), body if name else bytes(flipped))
    assert isinstance(found, NotVerified)


@pytest.mark.parametrize("scheme", ONE_OF_EACH)
def test_every_scheme_tells_which_secret_matched_and_what_is_the_matter_otherwise(scheme):
    """The categories of the operator, one after the other, for one request of each scheme."""
    body = b'{"id":"d-1","event_id":"d-1"}\n'
    headers = signed(scheme, SECRET, Delivery("d-1", body, NOW_SECONDS * 1_000_000))
    other = b"whsec_" + base64.b64encode(b"n" * 32)

    def category(*secrets: bytes, body: bytes = body, headers=headers, at: int = NOW_SECONDS) -> str:
        found = bound(scheme, *secrets, now_seconds=at)(headers, body)
        return found.category if isinstance(found, NotVerified) else f"{found.id} {found.secret}"

    assert category(SECRET) == "d-1 0"
    assert category(other, SECRET) == "d-1 1"
    assert category(other) == "mismatch"
    assert category() == "no-secret"
    assert category(SECRET, body=body.replace(b"\n", b"\r\n")) == "body-changed"
    assert category(SECRET, body=body[1:]) == "mismatch"
    assert category(SECRET, headers=[]) == "missing"
    assert category(SECRET, headers=headers * 2) == "malformed"
    timed = any("timestamp" in name or name == "stripe-signature" for name, _ in headers)
    assert category(SECRET, at=NOW_SECONDS + 301) == ("too-old" if timed else "d-1 0")
    assert category(SECRET, at=NOW_SECONDS - 301) == ("too-new" if timed else "d-1 0")


LATIN = st.text(alphabet=st.characters(max_codepoint=255), max_size=80)
HEX = st.text(alphabet="0123456789abcdefABCDEF", min_size=64, max_size=64)
FIELD = st.tuples(
    st.sampled_from(
        [
            "webhook-id",
            "webhook-timestamp",
            "webhook-signature",
            "x-hub-signature-256",
            "x-github-delivery",
            "stripe-signature",
            "x-slack-signature",
            "x-slack-request-timestamp",
            "x-shopify-hmac-sha256",
            "x-shopify-webhook-id",
            "x-signature",
            "x-timestamp",
            "x-delivery",
            "accept",
        ]
    ),
    LATIN
    | st.from_regex(r"v1a?,[A-Za-z0-9+/]*={0,2}", fullmatch=True)
    | st.from_regex(r"(t=[0-9]{1,13}|v[01]=[0-9a-f]{64})(,(t=[0-9]{1,13}|v[01]=[0-9a-f]{0,64})){0,3}", fullmatch=True)
    | st.just(str(NOW_SECONDS))
    | HEX
    | HEX.map("sha256=".__add__)
    | HEX.map("v0=".__add__)
    | st.binary(min_size=32, max_size=32).map(lambda digest: base64.b64encode(digest).decode())
    | st.binary(min_size=64, max_size=64).map(lambda digest: "v1=" + base64.b64encode(digest).decode()),
)


@pytest.mark.parametrize("scheme", ONE_OF_EACH)
@given(
    headers=st.lists(FIELD, max_size=6),
    body=st.binary(max_size=64),
    secrets=st.lists(st.binary(max_size=60), max_size=3),
)
def test_no_fields_body_or_secret_make_a_verifier_raise_or_accept(scheme, headers, body, secrets):
    assert isinstance(bound(scheme, *secrets)(headers, body), NotVerified)


@pytest.mark.parametrize("scheme", [stripe(secret="psp.webhook"), slack(secret="psp.webhook")], ids=["stripe", "slack"])
@given(body=st.binary(max_size=200) | st.binary(max_size=60).map(lambda more: b'{"id":"a","event_id":"b"}' + more))
def test_a_signed_body_of_any_bytes_has_an_id_or_none_and_never_fails(scheme, body):
    headers = signed(scheme, SECRET, Delivery("", body, NOW_SECONDS * 1_000_000))
    found = bound(scheme, SECRET)(headers, body)
    assert isinstance(found, Verified)
    assert found.id in {None, "a", "b"}


def test_a_secret_that_was_rotated_is_seen_by_the_next_request():
    secrets = Bound(b"old")
    verify = verifier(github(secret="psp.webhook"), secrets, FakeClock())
    headers = [("x-hub-signature-256", as_github_signs(b"new", b"{}"))]
    assert isinstance(verify(headers, b"{}"), NotVerified)
    secrets.values = (b"new", b"old")
    assert verify(headers, b"{}") == Verified(None, 0)
    secrets.values = ()
    assert verify(headers, b"{}") == NotVerified("no-secret", "no usable secret is bound under psp.webhook")


@pytest.mark.parametrize("scheme", ONE_OF_EACH)
def test_no_refusal_repeats_a_secret_or_a_signature(scheme):
    headers = signed(scheme, SECRET, Delivery("d-1", b"{}", NOW_SECONDS * 1_000_000))
    other = b"whsec_" + base64.b64encode(b"a value of twenty-four by")
    garbled = [(name, value[:-1] + "?") for name, value in headers]
    for sent in (headers, garbled):
        found = bound(scheme, other)(sent, b"{}")
        assert isinstance(found, NotVerified)
        assert not any(value[-30:-1] in found.detail for name, value in sent if len(value) > 40)
        assert other.decode() not in found.detail


def test_a_key_shows_nothing_of_its_secret():
    assert "s3cret" not in repr(HmacKey(b"s3cret", "sha256", "hex"))


def test_a_webhook_that_says_why_it_is_unverified_takes_anything():
    verify = verifier(Unverified("a sensor in our own rack"), Bound(), FakeClock())
    assert verify([], b"") == Verified(None, None)
