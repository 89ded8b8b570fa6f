"""What the providers of webhooks send: a delivery, signed as each scheme says."""

from __future__ import annotations

from base64 import b64decode, b64encode
from hmac import digest as hmac_digest
from typing import NamedTuple, assert_never

from interlock.core.limits import US_PER_SECOND
from interlock.spec.signatures import (
    GitHub,
    HmacSignature,
    Shopify,
    Slack,
    StandardWebhooks,
    Stripe,
    Unverified,
    Verifier,
)


class Delivery(NamedTuple):
    """What a provider sends with a webhook. `id` is what the scheme has in a field; in a body it stands already."""

    id: str
    body: bytes
    sent_at: int


def signed(scheme: Verifier, secret: bytes, delivery: Delivery) -> list[tuple[str, str]]:
    """The header fields that a provider of this scheme would send."""
    id, body, seconds = delivery.id, delivery.body, str(delivery.sent_at // US_PER_SECOND)
    match scheme:
        case StandardWebhooks():
            key = b64decode(secret.removeprefix(b"whsec_"))
            signature = _base64(key, f"{id}.{seconds}.".encode() + body)
            return [("webhook-id", id), ("webhook-timestamp", seconds), ("webhook-signature", f"v1,{signature}")]
        case GitHub():
            return [("x-github-delivery", id), ("x-hub-signature-256", f"sha256={_hex(secret, body)}")]
        case Stripe():
            return [("stripe-signature", f"t={seconds},v1={_hex(secret, f'{seconds}.'.encode() + body)}")]
        case Slack():
            signature = _hex(secret, f"v0:{seconds}:".encode() + body)
            return [("x-slack-request-timestamp", seconds), ("x-slack-signature", f"v0={signature}")]
        case Shopify():
            return [("x-shopify-webhook-id", id), ("x-shopify-hmac-sha256", _base64(secret, body))]
        case HmacSignature():
            return _declared(scheme, secret, delivery, seconds)
        case Unverified():
            return []
        case _:
            assert_never(scheme)


def _declared(scheme: HmacSignature, secret: bytes, delivery: Delivery, seconds: str) -> list[tuple[str, str]]:
    before, _, after = scheme.content.replace("{timestamp}", seconds).partition("{body}")
    content = before.encode() + delivery.body + after.encode()
    write = _hex if scheme.encoding == "hex" else _base64
    fields = [(scheme.header, scheme.prefix + write(secret, content, scheme.algorithm))]
    if scheme.timestamp_header:
        fields.append((scheme.timestamp_header, seconds))
    if scheme.id_header:
        fields.append((scheme.id_header, delivery.id))
    return [(name.lower(), value) for name, value in fields]


def _hex(key: bytes, content: bytes, algorithm: str = "sha256") -> str:
    return hmac_digest(key, content, algorithm).hex()


def _base64(key: bytes, content: bytes, algorithm: str = "sha256") -> str:
    return b64encode(hmac_digest(key, content, algorithm)).decode()
