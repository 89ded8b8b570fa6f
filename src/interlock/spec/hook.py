"""The inbox of a webhook: how a verified request that its function could not read is kept, and becomes a `Hook` again.

The edge writes the inbox and the inbox subscription reads it; both use this codec, so neither needs the other.
"""

from __future__ import annotations

from hashlib import blake2b

from interlock.core.event import Draft, Event
from interlock.spec.function import Headers, Hook
from interlock.spec.plan import SubscriptionSpec

_DELIVERY = "deliveryid"
_POISON = "poison"


def inbox_draft(
    inbox: SubscriptionSpec, headers: tuple[tuple[str, str], ...], body: bytes, *, id: str | None, poison: str
) -> Draft:
    """The event that keeps a request, its body as it came in any media type.

    Args:
        inbox: the subscription of kind `inbox` that will read it.
        headers: the fields that are kept, names in lower case.
        body: the raw bytes.
        id: the provider's id of the delivery; without one the request is known by a hash of its body.
        poison: what failed (class and place), without any of the request's content.
    """
    media_type = next((value for name, value in headers if name == "content-type"), "application/octet-stream")
    return Draft(
        stream=inbox.stream,
        type=inbox.types[0].id,
        source=f"/webhook/{inbox.name}",
        id=id or blake2b(body, digest_size=20).hexdigest(),
        data=body,
        datacontenttype=media_type,
        headers=headers,
        extensions=((_POISON, poison),) if id is None else ((_DELIVERY, id), (_POISON, poison)),
    )


def decode_inbox(event: Event) -> Hook:
    """The request again, as the function was given it when it came in."""
    draft = event.draft
    return Hook(draft.data, Headers(draft.headers), dict(draft.extensions).get(_DELIVERY))
