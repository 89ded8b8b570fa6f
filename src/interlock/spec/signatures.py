"""How a webhook's sender is known: records that name a scheme and a *reference* to its secret, never the secret.

The edge asks `security.signatures` to carry them out, over the raw bytes and before anything is parsed.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final, Literal, TypedDict, Unpack

import msgspec

from interlock.spec.span import microseconds

Algorithm = Literal["sha256", "sha512", "sha1"]
Encoding = Literal["hex", "base64"]

TOLERANCE: Final = timedelta(minutes=5)
"""What the libraries of the providers allow. Their clocks and ours may be apart, a captured request is not for ever."""


class StandardWebhooks(msgspec.Struct, frozen=True, tag=True):
    """Standard Webhooks 1.0.0: `webhook-id`, `webhook-signature`, and `webhook-timestamp`, within the tolerance."""

    secret: str
    tolerance_us: int


class GitHub(msgspec.Struct, frozen=True, tag=True):
    """GitHub: `X-Hub-Signature-256` over the body; `X-GitHub-Delivery` is the id. There is no timestamp to check."""

    secret: str


class Stripe(msgspec.Struct, frozen=True, tag=True):
    """Stripe: `Stripe-Signature` over timestamp and body; the `id` of the event in the body is the id."""

    secret: str
    tolerance_us: int


class Slack(msgspec.Struct, frozen=True, tag=True):
    """Slack: `X-Slack-Signature` over `X-Slack-Request-Timestamp` and body; `event_id` in the body is the id."""

    secret: str
    tolerance_us: int


class Shopify(msgspec.Struct, frozen=True, tag=True):
    """Shopify: `X-Shopify-Hmac-Sha256` over the body; `X-Shopify-Webhook-Id` is the id. There is no timestamp."""

    secret: str


class HmacSignature(msgspec.Struct, frozen=True, tag=True):
    """Anyone else who signs with an HMAC: one signature in one field. What each part means: `HmacOptions`."""

    secret: str
    header: str
    algorithm: Algorithm
    encoding: Encoding
    prefix: str
    content: str
    timestamp_header: str | None
    tolerance_us: int
    id_header: str | None
    id_member: str | None
    sha1_reason: str


class Unverified(msgspec.Struct, frozen=True, tag=True):
    """Anyone may send. The reason is shown wherever the webhook is."""

    reason: str


Signed = StandardWebhooks | GitHub | Stripe | Slack | Shopify | HmacSignature
Timed = StandardWebhooks | Stripe | Slack | HmacSignature
Verifier = Signed | Unverified


class HmacOptions(TypedDict, total=False):
    """What `hmac_signature` may state.

    Attributes:
        algorithm: `sha256` (the default) or `sha512`; `sha1` only with a `sha1_reason`.
        encoding: of the signature, `hex` (the default, in either case) or `base64` (the usual alphabet, padded).
        prefix: what stands before the signature in its field, as `sha256=`.
        content: what is signed, `{body}` unless stated; `{timestamp}.{body}` where the sender signs a timestamp too.
        timestamp_header: the field with the `{timestamp}`, in whole seconds since 1970.
        tolerance: how far that may be from our clock, both ways; 5 minutes unless stated.
        id_header: the field with the provider's id of a delivery, or of the fact; the same when it is sent again.
        id_member: the member of the JSON body that has it, at the top level, where no field has it.
        sha1_reason: why this sender can do no better than SHA-1.
    """

    algorithm: Algorithm
    encoding: Encoding
    prefix: str
    content: str
    timestamp_header: str
    tolerance: timedelta
    id_header: str
    id_member: str
    sha1_reason: str


def standard_webhooks(*, secret: str, tolerance: timedelta = TOLERANCE) -> StandardWebhooks:
    """Verify as Standard Webhooks 1.0.0 says; `secret` is a name under `[secrets]` in `interlock.toml`."""
    return StandardWebhooks(secret, microseconds(tolerance))


def github(*, secret: str) -> GitHub:
    """Verify as GitHub signs; `secret` is a name under `[secrets]` in `interlock.toml`."""
    return GitHub(secret)


def stripe(*, secret: str, tolerance: timedelta = TOLERANCE) -> Stripe:
    """Verify as Stripe signs; `secret` is the name, under `[secrets]`, of the endpoint's signing secret (`whsec_`)."""
    return Stripe(secret, microseconds(tolerance))


def slack(*, secret: str, tolerance: timedelta = TOLERANCE) -> Slack:
    """Verify as Slack signs, and answer its `url_verification`; `secret` is the name of the app's signing secret."""
    return Slack(secret, microseconds(tolerance))


def shopify(*, secret: str) -> Shopify:
    """Verify as Shopify signs; `secret` is the name, under `[secrets]`, of the app's client secret."""
    return Shopify(secret)


def hmac_signature(*, secret: str, header: str, **options: Unpack[HmacOptions]) -> HmacSignature:
    """Verify an HMAC that stands in `header`; `secret` is a name under `[secrets]`, its text the key as it is."""
    return HmacSignature(
        secret,
        header,
        algorithm=options.get("algorithm", "sha256"),
        encoding=options.get("encoding", "hex"),
        prefix=options.get("prefix", ""),
        content=options.get("content", "{body}"),
        timestamp_header=options.get("timestamp_header"),
        tolerance_us=microseconds(options.get("tolerance", TOLERANCE)),
        id_header=options.get("id_header"),
        id_member=options.get("id_member"),
        sha1_reason=options.get("sha1_reason", ""),
    )


def no_verification(*, reason: str) -> Unverified:
    """Accept from anyone, and say why that is right here."""
    return Unverified(reason)
