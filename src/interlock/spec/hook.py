"""What a webhook's function gets, and how a request that it could not read is kept in the webhook's inbox.

The edge writes the inbox, the inbox subscription reads it: both use this codec, so neither needs the other.
"""

from __future__ import annotations

from typing import Any

import msgspec

from interlock.core.event import Draft, Event
from interlock.spec import jsontext
from interlock.spec.plan import WebhookSpec

INBOX_TYPE = "interlock.webhook.received@1"
"""The type of a request in an inbox. It has no model: its payload is the body as it came, in any media type."""

_POISON = "poison"


class Hook(msgspec.Struct, frozen=True, gc=False):
    """A verified request of a provider.

    Attributes:
        id: the provider's delivery id; where it gives none, a hash of the body.
        headers: those that are kept (names in lower case): the media type, the provider's own, `keep_headers`.
        body: the raw bytes that were signed.
    """

    id: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """The first kept header of that name, in any case."""
        wanted = name.lower()
        return next((value for key, value in self.headers if key == wanted), None)

    def json(self) -> Any:  # Any: JSON from outside, before it has a model.
        """The body, decoded strictly.

        Raises:
            PayloadError: if it is not JSON, or is nested too deeply.
        """
        return jsontext.decode(self.body)


def inbox_draft(webhook: WebhookSpec, hook: Hook, poison: str) -> Draft:
    """The event that keeps a request whose function failed; `poison` names the failure, without any of its content."""
    return Draft(
        stream=webhook.inbox,
        type=INBOX_TYPE,
        source=f"/webhooks/{webhook.name}",
        id=hook.id,
        data=hook.body,
        datacontenttype=hook.header("content-type") or "application/octet-stream",
        headers=hook.headers,
        extensions=((_POISON, poison),),
    )


def decode_inbox(event: Event) -> Hook:
    """The request again, as the function got it when it came in."""
    draft = event.draft
    return Hook(draft.id, draft.headers, draft.data)


def poison_of(event: Event) -> str:
    """Why the request went to the inbox."""
    return next((value for name, value in event.draft.extensions if name == _POISON), "")
