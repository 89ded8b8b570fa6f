"""Signatures of webhooks: decided over the raw bytes, before anything parses them. Whatever comes, it is an answer.

What a request claims is read by `claim`, tried with the secrets of the day by `verifying_key`, and judged here. How a
webhook names its scheme is `spec.signatures`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, assert_never

import msgspec

from interlock.core import limits
from interlock.core.ports import Clock, NotVerified, Secrets, Verified, Verify
from interlock.security import verifying_key
from interlock.security.claim import Claim, Headers, is_printable, reader
from interlock.security.verifying_key import Parse, VerifyingKeys
from interlock.spec import jsontext
from interlock.spec.signatures import (
    GitHub,
    HmacSignature,
    Shopify,
    Signed,
    Slack,
    StandardWebhooks,
    Stripe,
    Timed,
    Unverified,
    Verifier,
)

_RESTORED_BYTES_MAX: Final = 64 * 1024
"""Larger bodies are not searched for rewritten line ends: a wrong signature must stay cheap to refuse."""


def verifier(scheme: Verifier, secrets: Secrets, clock: Clock) -> Verify:
    """What carries `scheme` out, with the secrets that are active when a request comes."""
    if isinstance(scheme, Unverified):
        return _unverified
    active, read, member = VerifyingKeys(scheme.secret, secrets, _parse(scheme)), reader(scheme), _member(scheme)
    tolerance_us = scheme.tolerance_us if isinstance(scheme, Timed) else 0

    def verify(headers: Headers, body: bytes) -> Verified | NotVerified:
        claim = read(headers)
        if isinstance(claim, NotVerified):
            return claim
        place = active.matching(claim.before + body + claim.after, claim)
        if place is None:
            return _unmatched(active, claim, body)
        # The time is looked at last, so that "outside the tolerance" is only ever said of a request rightly signed.
        out_of_time = None if claim.sent_at is None else _out_of_time(claim.sent_at, clock.now(), tolerance_us)
        return out_of_time or Verified(claim.id or (member(body) if member else None), place)

    return verify


def _parse(scheme: Signed) -> Parse:
    match scheme:
        case StandardWebhooks():
            return verifying_key.standard
        case GitHub() | Stripe() | Slack():
            return verifying_key.plain("sha256", "hex")
        case Shopify():
            return verifying_key.plain("sha256", "base64")
        case HmacSignature():
            return verifying_key.plain(scheme.algorithm, scheme.encoding)
        case _:
            assert_never(scheme)


def _unverified(_headers: Headers, _body: bytes) -> Verified:
    return Verified(None, None)


def _out_of_time(sent_at: int, now: int, tolerance_us: int) -> NotVerified | None:
    age_us = now - sent_at * limits.US_PER_SECOND
    if abs(age_us) <= tolerance_us:
        return None
    seconds = abs(age_us) // limits.US_PER_SECOND
    if age_us > 0:
        return NotVerified("too-old", f"signed {seconds} s ago: a replay, a queue on the way, or a wrong clock")
    return NotVerified("too-new", f"signed {seconds} s in the future: one of the two clocks is wrong")


def _unmatched(active: VerifyingKeys, claim: Claim, body: bytes) -> NotVerified:
    if not active.active():
        return NotVerified("no-secret", f"no usable secret is bound under {active.name}")
    contents = (claim.before + restored + claim.after for restored in _restored(body))
    if any(active.matching(content, claim) is not None for content in contents):
        return NotVerified("body-changed", "the body verifies with other line ends: something on the way rewrites it")
    return NotVerified("mismatch", "signed with another secret, or the body was changed on its way")


def _restored(body: bytes) -> Iterator[bytes]:
    if len(body) <= _RESTORED_BYTES_MAX:
        lf = body.replace(b"\r\n", b"\n")
        yield from {body.rstrip(b"\r\n"), body + b"\n", lf, lf.replace(b"\n", b"\r\n")} - {body}


def _member(scheme: Signed) -> Callable[[bytes], str | None] | None:
    """What reads the id where the body has it. The body is signed by then; one that has no such id has none."""
    match scheme:
        case Stripe():
            return _reading("id")
        case Slack():
            return _reading("event_id")
        case HmacSignature(id_member=str(name)):
            return _reading(name)
        case _:
            return None


def _reading(member: str) -> Callable[[bytes], str | None]:
    known = msgspec.defstruct("Known", [("id", str | int)], rename={"id": member})
    decoder = msgspec.json.Decoder(known)

    def read(body: bytes) -> str | None:
        try:
            (id,) = msgspec.structs.astuple(jsontext.strictly(decoder.decode, body))
        except jsontext.PayloadError:
            return None
        return str(id) if is_printable(str(id)) else None

    return read
