"""The data plane's application: which routes it has, and who answers for them. Everything is compiled once, here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from interlock.core.ports import Access, Clock, Emit, Verify
from interlock.edge.admission import Admission, Level
from interlock.edge.events import EventsEndpoint
from interlock.edge.problem import refuse
from interlock.edge.router import Endpoint, Found, Options, Route, Router
from interlock.edge.webhook import WebhookEndpoint
from interlock.journal.ports import Journal
from interlock.spec.plan import Plan, WebhookSpec
from interlock.wire.exchange import Exchange

EVENTS_PATH: Final = "/events"


class DataPlane:
    """An `App` over a plan: its webhooks and `POST /events`.

    Args:
        plan: what was declared.
        journal: where accepted events go.
        verify: gives a webhook's scheme, bound to its secrets.
        access: who may post events.

    Raises:
        SpecError: `route.duplicate`, `route.path-invalid`, `webhook.header-secret`.
    """

    def __init__(
        self,
        plan: Plan,
        journal: Journal,
        verify: Callable[[WebhookSpec], Verify],
        access: Access,
        clock: Clock,
        emit: Emit,
    ) -> None:
        self._admission = Admission(journal, clock, emit)
        events = EventsEndpoint(plan.types, access, self._admission, emit)
        routes = [Route("POST", EVENTS_PATH, _named(EVENTS_PATH, events))]
        for webhook in plan.webhooks:
            inbox = plan.subscriptions[webhook.inbox]
            endpoint = WebhookEndpoint(webhook, inbox, plan.types, verify(webhook), self._admission, emit)
            routes.append(Route(webhook.method, webhook.path, _named(webhook.path, endpoint)))
        self._router = Router(routes)

    @property
    def level(self) -> Level:
        """How full the way to the store is."""
        return self._admission.level

    def drain(self) -> None:
        """Answer 503 to what comes from now on; what was taken is still answered when it is durable."""
        self._admission.draining = True

    def __call__(self, exchange: Exchange) -> None:
        """Take a request whose head is complete."""
        head = exchange.head
        found = self._router.find(head.method, head.path)
        if isinstance(found, Found):
            found.endpoint(exchange, found.params)
        elif isinstance(found, Options):
            exchange.respond(204, [("allow", found.allow)])
        else:
            refuse(exchange, found)


def _named(path: str, endpoint: Endpoint) -> Endpoint:
    """The endpoint, after the exchange was told by which route it answers."""

    def named(exchange: Exchange, params: Mapping[str, str]) -> None:
        exchange.route = path
        endpoint(exchange, params)

    return named
