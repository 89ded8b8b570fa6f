"""Webhooks: verify the raw bytes, let the user's function make drafts of them, answer 202 when those are durable.

A verified request that the function cannot read is kept whole in the webhook's inbox and answered 202 as well: the
provider did nothing wrong, and `dead retry` runs the function of the day over it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

import msgspec

from interlock.call.usercode import Raised, called
from interlock.core import limits
from interlock.core.event import Appended, Draft
from interlock.core.ports import Emit, NotVerified, Verified, Verify
from interlock.edge.admission import Admission
from interlock.edge.drafts import checked_drafts
from interlock.edge.fields import kept_fields, traceparent_of
from interlock.edge.handshake import handshake
from interlock.edge.problem import Refused, problem, refuse
from interlock.edge.receipt import JSON, acknowledge
from interlock.spec.function import Headers, Hook
from interlock.spec.hook import inbox_draft
from interlock.spec.plan import EventTypeSpec, SubscriptionSpec, WebhookSpec
from interlock.wire.exchange import Exchange, Head

_NO_SECRET_RETRY_SECONDS: Final = 60


class WebhookEndpoint:
    """Answers for one webhook.

    Args:
        webhook: what was declared.
        inbox: the subscription that reads its inbox.
        types: every event type of the plan, by id.
        verify: its scheme, bound to its secrets.
        admission: the way to the log.

    Raises:
        SpecError: `webhook.header-secret`.
    """

    def __init__(
        self,
        webhook: WebhookSpec,
        inbox: SubscriptionSpec,
        types: Mapping[str, EventTypeSpec],
        verify: Verify,
        admission: Admission,
        emit: Emit,
    ) -> None:
        self._spec = webhook
        self._inbox = inbox
        self._types = types
        self._verify = verify
        self._admission = admission
        self._emit = emit
        self._kept = kept_fields(webhook)
        self._handshake = handshake(webhook.verify)

    def __call__(self, exchange: Exchange, params: Mapping[str, str]) -> None:
        """Take a request whose head is complete."""
        if self._admission.open(exchange):
            exchange.collect(self._spec.body_bytes_max, partial(self._received, exchange))

    def _received(self, exchange: Exchange, body: bytes) -> None:
        head = exchange.head
        headers = head.headers
        verified = self._verify(headers, body)
        if isinstance(verified, NotVerified):
            self._refuse(exchange, verified)
            return
        reply = self._handshake(head, body)
        if reply is not None:
            exchange.respond(200, JSON, reply)
            return
        kept = tuple([field for field in headers if field[0] in self._kept])
        id = verified.id or self._declared_id(head)
        made = called(self._drafts, Hook(body, Headers(kept), id, verified.secret))
        if isinstance(made, Raised):
            self._emit("webhook.poison", webhook=self._spec.name, error=made.what, delivery=id)
            drafts = [inbox_draft(self._inbox, kept, body, id=id, poison=made.what)]
        else:
            trace = traceparent_of(head)
            drafts = [msgspec.structs.replace(draft, headers=kept, traceparent=trace) for draft in made]
        if drafts:
            self._admission.append(exchange, drafts, partial(self._recorded, exchange, verified))
        else:
            self._recorded(exchange, verified, ())

    def _declared_id(self, head: Head) -> str | None:
        id = head.only(self._spec.id_header) if self._spec.id_header else None
        return id if id and len(id) <= limits.ID_CHARS_MAX else None

    def _drafts(self, hook: Hook) -> list[Draft]:
        return checked_drafts(self._spec.name, self._spec.function(hook), self._types)

    def _recorded(self, exchange: Exchange, verified: Verified, appended: Sequence[Appended]) -> None:
        acknowledge(exchange, appended)
        duplicates = 0
        for one in appended:
            duplicates += one.duplicate
            if one.conflict:
                self._emit("webhook.duplicate-conflict", webhook=self._spec.name, event=one.id)
        self._emit(
            "webhook.accepted",
            webhook=self._spec.name,
            events=len(appended),
            duplicates=duplicates,
            secret=verified.secret,
        )

    def _refuse(self, exchange: Exchange, why: NotVerified) -> None:
        self._emit(
            "webhook.refused",
            webhook=self._spec.name,
            category=why.category,
            detail=why.detail,
            peer=exchange.head.peer,
        )
        if why.category == "no-secret":
            # The sender did nothing wrong: told to come back, it loses nothing while the secret is being bound.
            exchange.respond(503, *problem(503, _NO_SECRET, retry_after=_NO_SECRET_RETRY_SECONDS))
        else:
            refuse(exchange, _UNSIGNED)


_NO_SECRET: Final = Refused(
    503, "webhook.not-ready", "This webhook cannot verify signatures at the moment.", "Send again after Retry-After."
)
_UNSIGNED: Final = Refused(
    401,
    "webhook.signature-refused",
    "The request is not signed as this webhook demands.",
    "Sign the raw body with the current secret; the operator's log says which part was refused.",
    headers=[("www-authenticate", "Webhook-Signature")],
)
