"""How a webhook's sender is known: records that name a scheme and a *reference* to its secret, never the secret.

The edge asks `security.signatures` to carry them out, over the raw bytes and before anything is parsed.
"""

from __future__ import annotations

from datetime import timedelta

import msgspec

from interlock.spec.span import microseconds


class StandardWebhooks(msgspec.Struct, frozen=True, tag=True):
    """Standard Webhooks 1.0.0: `webhook-id`, `webhook-signature`, and `webhook-timestamp`, within the tolerance."""

    secret: str
    tolerance_us: int


class GitHub(msgspec.Struct, frozen=True, tag=True):
    """GitHub: `X-Hub-Signature-256` over the body; `X-GitHub-Delivery` is the id. There is no timestamp to check."""

    secret: str


class Unverified(msgspec.Struct, frozen=True, tag=True):
    """Anyone may send. The reason is shown wherever the webhook is."""

    reason: str


Verifier = StandardWebhooks | GitHub | Unverified


def standard_webhooks(*, secret: str, tolerance: timedelta = timedelta(minutes=5)) -> StandardWebhooks:
    """Verify as Standard Webhooks 1.0.0 says; `secret` is a name under `[secrets]` in `interlock.toml`."""
    return StandardWebhooks(secret, microseconds(tolerance))


def github(*, secret: str) -> GitHub:
    """Verify as GitHub signs; `secret` is a name under `[secrets]` in `interlock.toml`."""
    return GitHub(secret)


def no_verification(*, reason: str) -> Unverified:
    """Accept from anyone, and say why that is right here."""
    return Unverified(reason)
