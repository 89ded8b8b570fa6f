"""What the edge reads in the header fields of a request, beside signatures: which ones are kept, and the trace."""

from __future__ import annotations

import re
from typing import Final

from interlock.core.errors import SpecError
from interlock.core.redact import is_secret_name
from interlock.spec.plan import WebhookSpec
from interlock.spec.signatures import GitHub, HmacSignature, Shopify, Slack, StandardWebhooks, Verifier
from interlock.wire.exchange import Head

_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_ALWAYS: Final = ("content-type", "user-agent")
_GITHUB: Final = (
    "x-github-delivery",
    "x-github-event",
    "x-github-hook-id",
    "x-github-hook-installation-target-id",
    "x-github-hook-installation-target-type",
)
_STANDARD: Final = ("webhook-id", "webhook-timestamp")
_SLACK: Final = ("x-slack-request-timestamp", "x-slack-retry-num", "x-slack-retry-reason")
_SHOPIFY: Final = (
    "x-shopify-api-version",
    "x-shopify-event-id",
    "x-shopify-shop-domain",
    "x-shopify-sub-topic",
    "x-shopify-topic",
    "x-shopify-triggered-at",
    "x-shopify-webhook-id",
)


def kept_fields(webhook: WebhookSpec) -> frozenset[str]:
    """The names (in lower case) of the fields that go to the function and, with a failed request, to the inbox.

    Raises:
        SpecError: `webhook.header-secret`, if one that is asked for carries a credential or a signature.
    """
    scheme = webhook.verify
    declared = (scheme.id_header, scheme.timestamp_header) if isinstance(scheme, HmacSignature) else ()
    asked = [name.lower() for name in (*webhook.keep_headers, webhook.id_header, *declared) if name]
    for name in asked:
        if name == _signature(scheme) or is_secret_name(name):
            raise SpecError(
                "webhook.header-secret",
                f"webhook {webhook.name} asks to keep {name!r}, which carries a credential or a signature",
                "Leave it out of keep_headers: what verifies a request is not kept with it.",
                where=str(webhook.where),
            )
    return frozenset((*_ALWAYS, *_own(scheme), *asked))


def _signature(scheme: Verifier) -> str | None:
    """The field of a signature that does not say so in its name."""
    match scheme:
        case Shopify():
            return "x-shopify-hmac-sha256"
        case HmacSignature():
            return scheme.header.lower()
        case _:
            return None


def _own(scheme: Verifier) -> tuple[str, ...]:
    match scheme:
        case GitHub():
            return _GITHUB
        case StandardWebhooks():
            return _STANDARD
        case Slack():
            return _SLACK
        case Shopify():
            return _SHOPIFY
        case _:
            return ()


def traceparent_of(head: Head) -> str | None:
    """The caller's trace context (W3C Trace Context level 1); malformed or sent twice, there is none."""
    value = head.only("traceparent")
    if value is None or not _TRACEPARENT.match(value):
        return None
    # Version 00 ends after its flags; a later one may go on, and only what is known of it is read.
    return value[:55] if len(value) == 55 or (value[:2] != "00" and value[55:56] == "-") else None
