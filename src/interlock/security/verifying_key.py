"""The keys that a scheme verifies with: how a secret's text becomes one, and how one is tried on a request."""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from hmac import compare_digest
from hmac import digest as hmac_digest
from typing import NamedTuple, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from interlock.core.ports import Secrets
from interlock.security.claim import Claim
from interlock.spec.signatures import Algorithm, Encoding


class VerifyingKey(Protocol):
    """One usable secret."""

    def signed(self, content: bytes, claim: Claim) -> bool:
        """Whether a claimed signature is this key's over the content; the time does not tell how near one is."""
        ...


class HmacKey:
    """A shared secret, which it never shows.

    Signatures are compared as text: what decodes to the same bytes is not what the sender wrote.
    """

    __slots__ = ("_algorithm", "_encoding", "_secret")

    def __init__(self, secret: bytes, algorithm: Algorithm, encoding: Encoding) -> None:
        self._secret = secret
        self._algorithm = algorithm
        self._encoding = encoding

    def signed(self, content: bytes, claim: Claim) -> bool:
        made = hmac_digest(self._secret, content, self._algorithm)
        expected = made.hex().encode() if self._encoding == "hex" else b64encode(made)
        return any(compare_digest(expected, signature) for signature in claim.hmacs)


class Ed25519Key(NamedTuple):
    """The public half of a sender's own ed25519 key."""

    key: Ed25519PublicKey

    def signed(self, content: bytes, claim: Claim) -> bool:
        return any(self._signed(content, signature) for signature in claim.ed25519)

    def _signed(self, content: bytes, text: bytes) -> bool:
        try:
            signature = b64decode(text, validate=True)
            self.key.verify(signature, content)
        except (binascii.Error, InvalidSignature):
            return False
        return b64encode(signature) == text


Parse = Callable[[bytes], VerifyingKey | None]
"""A secret's text as a key; None if it cannot be one."""


def plain(algorithm: Algorithm, encoding: Encoding) -> Parse:
    """The text of the secret is the key."""

    def parse(secret: bytes) -> VerifyingKey | None:
        # Anyone can sign with an empty secret.
        return HmacKey(secret, algorithm, encoding) if secret else None

    return parse


def standard(secret: bytes) -> VerifyingKey | None:
    """As Standard Webhooks writes keys: `whsec_` (or nothing) before a shared one, `whpk_` before a public one."""
    kind, _, text = secret.strip().rpartition(b"_")
    try:
        key = b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        return None
    if kind == b"whpk":
        return Ed25519Key(Ed25519PublicKey.from_public_bytes(key)) if len(key) == 32 else None
    return HmacKey(key, "sha256", "base64") if key and kind in {b"whsec", b""} else None


class VerifyingKeys:
    """The usable keys under one secret's name, each with its place; parsed again only when the secrets change."""

    def __init__(self, name: str, secrets: Secrets, parse: Parse) -> None:
        self.name = name
        self._secrets = secrets
        self._parse = parse
        self._seen: tuple[bytes, ...] = ()
        self._keys: Sequence[tuple[int, VerifyingKey]] = ()

    def active(self) -> Sequence[tuple[int, VerifyingKey]]:
        """The current one first; empty if no secret is bound or none can be used."""
        secrets = tuple(self._secrets.active(self.name))
        if secrets != self._seen:
            parsed = ((place, self._parse(secret)) for place, secret in enumerate(secrets))
            self._keys = [(place, key) for place, key in parsed if key is not None]
            self._seen = secrets
        return self._keys

    def matching(self, content: bytes, claim: Claim) -> int | None:
        """The place of the key that signed the content; None if it was none of them."""
        for place, key in self.active():
            if key.signed(content, claim):
                return place
        return None
