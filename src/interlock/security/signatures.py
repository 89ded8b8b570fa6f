"""Signatures of webhooks: decided over the raw bytes, before anything parses them. Whatever comes, it is an answer.

Schemes: GitHub (https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries) and Standard Webhooks
1.0.0 (https://github.com/standard-webhooks/standard-webhooks). How a webhook names its scheme is `spec.signatures`.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Sequence
from hmac import compare_digest
from hmac import digest as hmac_digest
from typing import Final, Generic, NamedTuple, TypeVar, assert_never

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from interlock.core import limits
from interlock.core.ports import Clock, NotVerified, Secrets, Verified, Verify
from interlock.spec.signatures import GitHub, StandardWebhooks, Unverified, Verifier

K = TypeVar("K")
Headers = Sequence[tuple[str, str]]
StandardKey = bytes | Ed25519PublicKey

_GITHUB_FIELDS: Final = frozenset({"x-hub-signature-256", "x-github-delivery"})
_STANDARD_FIELDS: Final = frozenset({"webhook-id", "webhook-timestamp", "webhook-signature"})
_PRINTABLE: Final = re.compile(rf"[!-~]{{1,{limits.ID_CHARS_MAX}}}")
_SECONDS: Final = re.compile(r"[0-9]{1,12}")
_HUB: Final = re.compile(r"sha256=[0-9a-f]{64}")
_SIGNATURES_MAX: Final = 16
"""In one field: enough for any rotation, and a bound on the ed25519 checks that an unsigned request can cost."""
_RESTORED_BYTES_MAX: Final = 64 * 1024
"""Larger bodies are not searched for rewritten line ends: a wrong signature must stay cheap to refuse."""


def verifier(scheme: Verifier, secrets: Secrets, clock: Clock) -> Verify:
    """What carries `scheme` out, with the secrets that are active when a request comes."""
    match scheme:
        case GitHub(secret=name):
            return _github(_Keys(name, secrets, _github_key))
        case StandardWebhooks(secret=name, tolerance_us=tolerance_us):
            return _standard(_Keys(name, secrets, _standard_key), clock, tolerance_us)
        case Unverified():
            return _unverified
        case _:
            assert_never(scheme)


class _Keys(Generic[K]):
    """The usable keys under one secret's name, each with its place; parsed again only when the secrets change."""

    def __init__(self, name: str, secrets: Secrets, parse: Callable[[bytes], K | None]) -> None:
        self.name = name
        self._secrets = secrets
        self._parse = parse
        self._seen: tuple[bytes, ...] = ()
        self._keys: list[tuple[int, K]] = []

    def active(self) -> list[tuple[int, K]]:
        """The current one first; empty if no secret is bound or none can be used."""
        secrets = tuple(self._secrets.active(self.name))
        if secrets != self._seen:
            parsed = ((place, self._parse(secret)) for place, secret in enumerate(secrets))
            self._keys = [(place, key) for place, key in parsed if key is not None]
            self._seen = secrets
        return self._keys


def _github_key(secret: bytes) -> bytes | None:
    # Anyone can sign with an empty secret.
    return secret or None


def _github(keys: _Keys[bytes]) -> Verify:
    def verify(headers: Headers, body: bytes) -> Verified | NotVerified:
        fields = _once(headers, _GITHUB_FIELDS)
        if isinstance(fields, NotVerified):
            return fields
        signature, delivery = fields.get("x-hub-signature-256"), fields.get("x-github-delivery")
        if signature is None:
            return NotVerified("missing", "there is no x-hub-signature-256 field")
        if not _HUB.fullmatch(signature):
            return NotVerified("malformed", "x-hub-signature-256 is not sha256= and 64 lower-case hexadecimal digits")
        if delivery is not None and not _PRINTABLE.fullmatch(delivery):
            return NotVerified("malformed", "x-github-delivery is not printable ASCII of a sensible length")
        given = signature.removeprefix("sha256=").encode()

        def matching(content: bytes) -> int | None:
            for place, key in keys.active():
                if compare_digest(hmac_digest(key, content, "sha256").hex().encode(), given):
                    return place
            return None

        place = matching(body)
        return _unmatched(keys, matching, b"", body) if place is None else Verified(delivery, place)

    return verify


class _Offered(NamedTuple):
    """The signatures of a request, by their version; what stands behind the comma, as it came."""

    v1: list[bytes]
    v1a: list[bytes]


def _standard(keys: _Keys[StandardKey], clock: Clock, tolerance_us: int) -> Verify:
    def verify(headers: Headers, body: bytes) -> Verified | NotVerified:
        fields = _once(headers, _STANDARD_FIELDS)
        if isinstance(fields, NotVerified):
            return fields
        if len(fields) < len(_STANDARD_FIELDS):
            return NotVerified("missing", f"there is no {min(_STANDARD_FIELDS - fields.keys())} field")
        id, sent_at = fields["webhook-id"], fields["webhook-timestamp"]
        # A full stop in the id could move bytes between the three signed parts.
        if not _PRINTABLE.fullmatch(id) or "." in id:
            return NotVerified("malformed", "webhook-id is not printable ASCII without a full stop")
        if not _SECONDS.fullmatch(sent_at):
            return NotVerified("malformed", "webhook-timestamp is not a number of seconds")
        offered = _offered(fields["webhook-signature"])
        if isinstance(offered, NotVerified):
            return offered

        def matching(content: bytes) -> int | None:
            return next((place for place, key in keys.active() if _signed(key, content, offered)), None)

        prefix = f"{id}.{sent_at}.".encode()
        place = matching(prefix + body)
        if place is None:
            return _unmatched(keys, matching, prefix, body)
        # The time is looked at last, so that "outside the tolerance" is only ever said of a request rightly signed.
        age_us = clock.now() - int(sent_at) * limits.US_PER_SECOND
        if abs(age_us) > tolerance_us:
            seconds = abs(age_us) // limits.US_PER_SECOND
            late = NotVerified("too-old", f"signed {seconds} s ago: a replay, a queue on the way, or a wrong clock")
            early = NotVerified("too-new", f"signed {seconds} s in the future: one of the two clocks is wrong")
            return late if age_us > 0 else early
        return Verified(id, place)

    return verify


def _standard_key(secret: bytes) -> StandardKey | None:
    kind, _, text = secret.strip().rpartition(b"_")
    try:
        key = b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        return None
    if kind == b"whpk":
        return Ed25519PublicKey.from_public_bytes(key) if len(key) == 32 else None
    return key or None if kind in {b"whsec", b""} else None


def _offered(field: str) -> _Offered | NotVerified:
    items = field.split(" ")
    if len(items) > _SIGNATURES_MAX or not field.isascii():
        return NotVerified("malformed", f"webhook-signature is not ASCII with at most {_SIGNATURES_MAX} signatures")
    parts = [item.partition(",") for item in items]
    offered = _Offered(
        [signature.encode() for version, _, signature in parts if version == "v1"],
        [signature.encode() for version, _, signature in parts if version == "v1a"],
    )
    if not offered.v1 and not offered.v1a:
        return NotVerified("malformed", "webhook-signature holds neither a v1 nor a v1a signature")
    return offered


def _signed(key: StandardKey, content: bytes, offered: _Offered) -> bool:
    if isinstance(key, bytes):
        # Compared as text: base64 that decodes to the same bytes is still not what the sender wrote.
        expected = b64encode(hmac_digest(key, content, "sha256"))
        return any(compare_digest(expected, signature) for signature in offered.v1)
    return any(_signed_by_owner(key, content, signature) for signature in offered.v1a)


def _signed_by_owner(key: Ed25519PublicKey, content: bytes, text: bytes) -> bool:
    try:
        signature = b64decode(text, validate=True)
        key.verify(signature, content)
    except (binascii.Error, InvalidSignature):
        return False
    return b64encode(signature) == text


def _unverified(_headers: Headers, _body: bytes) -> Verified:
    return Verified(None, None)


def _once(headers: Headers, names: frozenset[str]) -> dict[str, str] | NotVerified:
    """The fields of these names; each may come once, so that no two readers can see different ones."""
    found: dict[str, str] = {}
    for name, value in headers:
        if name in names:
            if name in found:
                return NotVerified("malformed", f"{name} comes more than once")
            found[name] = value
    return found


def _unmatched(keys: _Keys[K], matching: Callable[[bytes], int | None], prefix: bytes, body: bytes) -> NotVerified:
    if not keys.active():
        return NotVerified("no-secret", f"no usable secret is bound under {keys.name}")
    if any(matching(prefix + restored) is not None for restored in _restored(body)):
        return NotVerified("body-changed", "the body verifies with other line ends: something on the way rewrites it")
    return NotVerified("mismatch", "signed with another secret, or the body was changed on its way")


def _restored(body: bytes) -> Iterator[bytes]:
    if len(body) <= _RESTORED_BYTES_MAX:
        lf = body.replace(b"\r\n", b"\n")
        yield from {body.rstrip(b"\r\n"), body + b"\n", lf, lf.replace(b"\n", b"\r\n")} - {body}
