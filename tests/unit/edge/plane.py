"""A data plane without a network or a store: exchanges that remember their answers, and a log that is a list."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from interlock.core.event import Appended, Draft, Event, Shard
from interlock.core.outcome import Answer
from interlock.edge.app import DataPlane
from interlock.journal.decide import identity_conflict
from interlock.security.access import bearers
from interlock.security.signatures import verifier
from interlock.spec.bindings import Bindings
from interlock.spec.check import build_plan
from interlock.spec.declare import Integration
from interlock.spec.function import Hook
from interlock.spec.plan import Plan
from interlock.spec.signatures import (
    github,
    hmac_signature,
    no_verification,
    shopify,
    slack,
    standard_webhooks,
    stripe,
)
from interlock.testing import fakes
from interlock.testing.clock import FIRST_NOW, FakeClock
from interlock.testing.providers import Delivery, signed
from interlock.wire.exchange import Head

TOKEN = "ilt_a-token-that-is-long-enough"
GITHUB_SECRET = b"It's a Secret to Everybody"
PSP_SECRET = b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
STRIPE_SECRET = b"whsec_of_one_endpoint"
SLACK_SECRET = b"8f742231b10e8888abcd99yyyzzz85a5"
SHOPIFY_SECRET = b"hush"
ACME_SECRET = b"Jefe"
NOW_SECONDS = FIRST_NOW // 1_000_000


class FakeExchange(fakes.FakeExchange):
    """One request, answered into `status`, `fields` and `json`."""

    def __init__(self, method: str, target: str, headers: Sequence[tuple[str, str]] = (), body: bytes = b"") -> None:
        path, _, query = target.partition("?")
        head = Head(method, target, path, query, "HTTP/1.1", list(headers), "192.0.2.7", len(body))
        self.answers: list[Answer] = []
        self.collected = False
        super().__init__(head, body, self.answers.append)

    def collect(self, limit: int, then: Callable[[bytes], None]) -> None:
        self.collected = True
        super().collect(limit, then)

    @property
    def status(self) -> int:
        [answer] = self.answers
        return answer.status

    @property
    def fields(self) -> dict[str, str]:
        return dict(self.answers[0].headers)

    @property
    def json(self) -> Any:
        return json.loads(self.answers[0].body)


class ListLog:
    """The part of a journal that the edge uses. `failure` refuses appends; `holding` keeps answers back."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.failure: Exception | None = None
        self.holding = False
        self.held: list[Callable[[], None]] = []
        self.known: dict[tuple[str, str, str], Event] = {}
        self.commits = 0

    def submit(self, drafts: Sequence[Draft], cells: object, done: Callable[[Any], None]) -> None:
        self._answer(self.failure or [self._append(draft) for draft in drafts], done)

    def submit_whole(self, drafts: Sequence[Draft], done: Callable[[Any], None]) -> None:
        known = [self.known.get((draft.stream, draft.source, draft.id)) for draft in drafts]
        conflict = identity_conflict(drafts, known)
        self._answer(self.failure or conflict or [self._append(draft) for draft in drafts], done)

    def _answer(self, answer: object, done: Callable[[Any], None]) -> None:
        self.commits += isinstance(answer, list)
        if self.holding:
            self.held.append(lambda: done(answer))
        else:
            done(answer)

    def _append(self, draft: Draft) -> Appended:
        known = self.known.get((draft.stream, draft.source, draft.id))
        if known:
            return Appended(known.shard, known.offset, known.accepted_at, True, known.draft.data != draft.data)
        event = Event(Shard(draft.stream, 0), len(self.events) + 1, FIRST_NOW, draft)
        self.known[draft.stream, draft.source, draft.id] = event
        self.events.append(event)
        return Appended(event.shard, event.offset, event.accepted_at)

    @property
    def drafts(self) -> list[Draft]:
        return [event.draft for event in self.events]


class Bound:
    """Secrets by name."""

    def __init__(self) -> None:
        self.values: dict[str, Sequence[bytes]] = {
            "github.webhook": [GITHUB_SECRET],
            "psp.webhook": [PSP_SECRET],
            "stripe.webhook": [STRIPE_SECRET],
            "slack.signing": [SLACK_SECRET],
            "shopify.client": [SHOPIFY_SECRET],
            "acme.webhook": [ACME_SECRET],
        }

    def active(self, name: str) -> Sequence[bytes]:
        return self.values.get(name, ())


@dataclass
class Settled:
    account: str
    amount: int


@dataclass
class Pushed:
    repository: str
    ref: str


ACME = hmac_signature(
    secret="acme.webhook",
    header="X-Acme-Mac",
    algorithm="sha512",
    prefix="v1=",
    content="{timestamp}.{body}",
    timestamp_header="X-Acme-Time",
    id_header="X-Acme-Delivery",
)


def shop() -> Plan:
    """Webhooks of every scheme, one that is not signed, and event types with one and with two versions."""
    shop = Integration("shop", owner="shop-team", purpose="Pushes and settlements reach whoever waits for them")
    settled = shop.event("payment.settled", Settled, key=lambda payment: payment.account)
    settled_2 = shop.event("payment.settled", Settled, version=2, key=lambda payment: payment.account)
    shop.event("import.row", Settled, key=lambda it: f"{it.account}-{it.amount}", tenant=lambda it: it.account)
    pushed = shop.event("repository.pushed", Pushed, key=lambda push: push.repository)
    shop.event("broken.key", Settled, key=lambda payment: 1 / 0 if payment.amount else _fails())

    @shop.webhook("POST /hooks/github", verify=github(secret="github.webhook"), keep_headers=("X-Trace-Hint",))
    def from_github(hook: Hook):
        body = hook.json()
        if body.get("private"):
            return []
        return [pushed.draft(Pushed(body["repository"]["full_name"], body["ref"]), id=hook.id)]

    @shop.webhook("POST /hooks/psp", verify=standard_webhooks(secret="psp.webhook"), body_bytes_max=2000)
    def from_psp(hook: Hook):
        for entry in hook.json()["entries"]:
            yield settled.draft(Settled(entry["account"], entry["amount"]), id=entry["id"])

    @shop.webhook("POST /hooks/sensor", verify=no_verification(reason="it cannot sign"), dedupe="X-Reading")
    def from_sensor(hook: Hook):
        kind = hook.json()["kind"]
        if kind == "endless":
            return (settled_2.draft(Settled("a", n), id=str(n)) for n in iter(int, 1))
        if kind == "surrogate":
            return [settled_2.draft(Settled("a", 1), id="1", source=chr(0xD800))]
        if kind == "foreign":
            return [Draft("elsewhere", "no.such@1", "s", "1", b"{}")]
        if kind == "misfit":
            return [Draft("shop", "payment.settled@2", "s", "1", b'{"account":1}')]
        if kind == "none":
            return None
        return [settled_2.draft(Settled("a", 1), id=hook.id)]

    def known_by_its_id(name: str):
        def accept(hook: Hook):
            hook.json()
            return [pushed.draft(Pushed("octo/hello", "main"), id=hook.id)]

        accept.__name__ = name
        return accept

    for name, scheme in (
        ("stripe", stripe(secret="stripe.webhook")),
        ("slack", slack(secret="slack.signing")),
        ("shopify", shopify(secret="shopify.client")),
        ("acme", ACME),
    ):
        shop.webhook(f"POST /hooks/{name}", verify=scheme)(known_by_its_id(f"from_{name}"))

    return build_plan([shop], Bindings())


class _Odd(Exception):
    """An error that nobody expects of a key."""


def _fails() -> str:
    raise _Odd


class Plane:
    """A `DataPlane` over `shop()`, its log, its secrets and what it emitted."""

    def __init__(self) -> None:
        self.log = ListLog()
        self.secrets = Bound()
        self.emitted: list[tuple[str, dict[str, object]]] = []
        self.clock = FakeClock()
        self.app = DataPlane(
            _SHOP,
            self.log,  # type: ignore[arg-type]  # the part of it that is used
            lambda webhook: verifier(webhook.verify, self.secrets, self.clock),
            bearers(lambda: [TOKEN]),
            self.clock,
            self.emit,
        )

    def emit(self, record: str, /, **fields: object) -> None:
        self.emitted.append((record, fields))

    def records(self, name: str) -> list[dict[str, object]]:
        return [fields for record, fields in self.emitted if record == name]

    def send(
        self, method: str, target: str, headers: Sequence[tuple[str, str]] = (), body: bytes = b""
    ) -> FakeExchange:
        exchange = FakeExchange(method, target, headers, body)
        self.app(exchange)
        return exchange

    def from_github(self, body: bytes, *more: tuple[str, str], delivery: str = "d-1", event: str = "push"):
        signature = "sha256=" + hmac.new(GITHUB_SECRET, body, hashlib.sha256).hexdigest()
        own = [("x-github-event", event), ("x-github-delivery", delivery), ("x-hub-signature-256", signature)]
        return self.send("POST", "/hooks/github", [("content-type", "application/json"), *own, *more], body)

    def from_provider(self, name: str, body: bytes, *more: tuple[str, str], id: str = "d-1") -> FakeExchange:
        """A delivery of `stripe`, `slack`, `shopify` or `acme`, rightly signed."""
        [webhook] = [webhook for webhook in _SHOP.webhooks if webhook.path == f"/hooks/{name}"]
        secret = self.secrets.active(webhook.verify.secret)[0]
        headers = signed(webhook.verify, secret, Delivery(id, body, self.clock.now()))
        return self.send("POST", webhook.path, [("content-type", "application/json"), *headers, *more], body)

    def from_sensor(self, body: bytes, *more: tuple[str, str]) -> FakeExchange:
        return self.send("POST", "/hooks/sensor", more, body)

    def post(self, body: bytes, *headers: tuple[str, str]) -> FakeExchange:
        return self.send("POST", "/events", [("authorization", f"Bearer {TOKEN}"), *headers], body)

    def post_json(self, event: object, media_type: str = "application/cloudevents+json") -> FakeExchange:
        return self.post(json.dumps(event).encode(), ("content-type", media_type))


_SHOP = shop()


def cloud_event(**attributes: object) -> dict[str, object]:
    """A structured event that is accepted as it is."""
    plain = {"specversion": "1.0", "id": "e-1", "source": "/till/4", "type": "payment.settled@1"}
    return {**plain, "data": {"account": "a-1", "amount": 5}, **attributes}
