"""What the edge reads in the header fields of a request, beside signatures: which ones are kept, and the trace."""

from __future__ import annotations

import re
from typing import Final

from interlock.core.errors import SpecError
from interlock.core.redact import is_secret_name
from interlock.spec.plan import WebhookSpec
from interlock.spec.signatures import GitHub, StandardWebhooks
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


def kept_fields(webhook: WebhookSpec) -> frozenset[str]:
    """The names (in lower case) of the fields that go to the function and, with a failed request, to the inbox.

    Raises:
        SpecError: `webhook.header-secret`, if one that is asked for carries a credential or a signature.
    """
    asked = [name.lower() for name in (*webhook.keep_headers, *([webhook.dedupe] if webhook.dedupe else []))]
    for name in asked:
        if is_secret_name(name):
            raise SpecError(
                "webhook.header-secret",
                f"webhook {webhook.name} asks to keep {name!r}, which carries a credential or a signature",
                "Leave it out of keep_headers: what verifies a request is not kept with it.",
                where=str(webhook.where),
            )
    match webhook.verify:
        case GitHub():
            own: tuple[str, ...] = _GITHUB
        case StandardWebhooks():
            own = _STANDARD
        case _:
            own = ()
    return frozenset((*_ALWAYS, *own, *asked))


def traceparent_of(head: Head) -> str | None:
    """The caller's trace context (W3C Trace Context level 1); malformed or sent twice, there is none."""
    value = head.only("traceparent")
    if value is None or not _TRACEPARENT.match(value):
        return None
    # Version 00 ends after its flags; a later one may go on, and only what is known of it is read.
    return value[:55] if len(value) == 55 or (value[:2] != "00" and value[55:56] == "-") else None
