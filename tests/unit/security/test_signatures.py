"""Signatures of webhooks against published vectors and another implementation."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook

from interlock.core.ports import NotVerified, Verified, Verify
from interlock.security.signatures import verifier
from interlock.spec.signatures import GitHub, StandardWebhooks, Unverified
from interlock.testing.clock import FakeClock

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "signatures.json").read_text())
NOW_SECONDS = 1_767_225_600
SECRET = b"whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef")


class Bound:
    """Secrets of one name, which a test may change."""

    def __init__(self, *values: bytes) -> None:
        self.values: Sequence[bytes] = values

    def active(self, name: str) -> Sequence[bytes]:
        return self.values if name == "psp.webhook" else ()


def standard(*secrets: bytes, now_seconds: int = NOW_SECONDS) -> Verify:
    scheme = StandardWebhooks("psp.webhook", 300_000_000)
    return verifier(scheme, Bound(*secrets), FakeClock(now_seconds * 1_000_000))


def github(*secrets: bytes) -> Verify:
    return verifier(GitHub("psp.webhook"), Bound(*secrets), FakeClock())


def as_the_library_signs(body: str, id: str = "msg_1") -> list[tuple[str, str]]:
    at = datetime.fromtimestamp(NOW_SECONDS, UTC)
    signature = Webhook(SECRET.decode()).sign(id, at, body)
    return [("webhook-id", id), ("webhook-timestamp", str(NOW_SECONDS)), ("webhook-signature", signature)]


def as_github_signs(secret: bytes, body: bytes) -> str:
    return "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()


@pytest.mark.parametrize("vector", VECTORS["cases"], ids=lambda vector: vector["name"])
def test_every_published_vector_has_its_result(vector):
    scheme = GitHub("psp.webhook") if vector["scheme"] == "github" else StandardWebhooks("psp.webhook", 300_000_000)
    secrets = Bound(*(secret.encode() for secret in vector["secrets"]))
    verify = verifier(scheme, secrets, FakeClock(vector["now_seconds"] * 1_000_000))
    found = verify([(name, value) for name, value in vector["headers"]], base64.b64decode(vector["body_base64"]))
    if vector["result"] == "verified":
        assert found == Verified(vector["id"], vector["secret"])
    else:
        assert isinstance(found, NotVerified)
        assert found.category == vector["result"]


@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_what_the_standardwebhooks_library_signs_is_verified(body):
    assert standard(SECRET)(as_the_library_signs(body), body.encode()) == Verified("msg_1", 0)


@given(st.binary(), st.binary(min_size=1))
def test_what_is_signed_as_github_documents_is_verified(body, secret):
    headers = [("x-hub-signature-256", as_github_signs(secret, body)), ("x-github-delivery", "d-1")]
    assert github(b"the new one", secret)(headers, body) == Verified("d-1", 0 if secret == b"the new one" else 1)


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


@given(st.data())
def test_one_flipped_bit_of_a_github_delivery_is_refused(data):
    body = data.draw(st.binary(min_size=1, max_size=200))
    signed = [as_github_signs(b"s3cret", body).encode(), body]
    part = data.draw(st.integers(0, 1))
    flipped = bytearray(signed[part])
    flipped[data.draw(st.integers(0, len(flipped) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    signed[part] = bytes(flipped)
    assert isinstance(github(b"s3cret")([("x-hub-signature-256", signed[0].decode("latin-1"))], signed[1]), NotVerified)


LATIN = st.text(alphabet=st.characters(max_codepoint=255), max_size=80)
FIELD = st.tuples(
    st.sampled_from(
        ["webhook-id", "webhook-timestamp", "webhook-signature", "x-hub-signature-256", "x-github-delivery", "accept"]
    ),
    LATIN | st.from_regex(r"v1a?,[A-Za-z0-9+/]*={0,2}", fullmatch=True) | st.just(str(NOW_SECONDS)),
)


@given(st.lists(FIELD, max_size=6), st.binary(max_size=64), st.lists(st.binary(max_size=60), max_size=3))
def test_no_fields_body_or_secret_make_a_verifier_raise_or_accept(headers, body, secrets):
    assert isinstance(standard(*secrets)(headers, body), NotVerified)
    assert isinstance(github(*secrets)(headers, body), NotVerified)


def test_a_secret_that_was_rotated_is_seen_by_the_next_request():
    secrets = Bound(b"old")
    verify = verifier(GitHub("psp.webhook"), secrets, FakeClock())
    headers = [("x-hub-signature-256", as_github_signs(b"new", b"{}"))]
    assert isinstance(verify(headers, b"{}"), NotVerified)
    secrets.values = (b"new", b"old")
    assert verify(headers, b"{}") == Verified(None, 0)
    secrets.values = ()
    assert verify(headers, b"{}") == NotVerified("no-secret", "no usable secret is bound under psp.webhook")


def test_no_refusal_repeats_a_secret_or_a_signature():
    headers = as_the_library_signs("{}")
    found = standard(b"whsec_" + base64.b64encode(b"a value of twenty-four by"))(headers, b"{}")
    assert isinstance(found, NotVerified)
    assert headers[2][1].removeprefix("v1,") not in found.detail
    assert "twenty-four" not in found.detail


def test_a_webhook_that_says_why_it_is_unverified_takes_anything():
    verify = verifier(Unverified("a sensor in our own rack"), Bound(), FakeClock())
    assert verify([], b"") == Verified(None, None)
