"""Stand-ins for what is outside: Systems that answer as they are told, exchanges, secrets by name.

A fake System stands where the transport would: the layers above it (breaker, limiter, keys) are the real ones.
"""

from __future__ import annotations

import ssl
from asyncio import BaseProtocol, Transport
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec

from interlock.call.classify import Failure, answered, failed
from interlock.call.judge import verdict
from interlock.core.handler import SAFE_METHODS, Call
from interlock.core.outcome import Answer, Done, Outcome
from interlock.core.ports import Clock, Listening
from interlock.spec.plan import SystemSpec
from interlock.wire.exchange import Fields, Head, Sink, Writer

Reply = int | Answer | Failure
"""A status, a whole answer, or how the connection failed."""


class Made(NamedTuple):
    """One call that reached a System. `json` is None for a body that is none; `status` 0 where none was answered.

    `succeeded`: it was answered 2xx, and the System's `success_when` takes that for a success.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    json: Any  # Any: whatever the function sent.
    key: str
    status: int
    at: int
    succeeded: bool


class FakeSystem:
    """A System under a test's control; it answers 200 until it is told otherwise.

    Attributes:
        calls: everything that it got, in order.
    """

    def __init__(self, spec: SystemSpec, clock: Clock, paused: Callable[[], str | None]) -> None:
        self.name = spec.name
        self.calls: list[Made] = []
        self._success_when = spec.success_when
        self._clock = clock
        self._paused = paused
        self._replies: deque[Reply] = deque()

    def answers(self, *replies: Reply) -> None:
        """Answer the next calls with these, one each; afterwards 200 again."""
        self._replies.extend(replies)

    @property
    def paused(self) -> str | None:
        """Why nothing is sent to it, if it is paused."""
        return self._paused()

    @property
    def accepted(self) -> list[Any]:
        """The JSON bodies of the calls that had an effect: they succeeded; each idempotency key once, in order."""
        seen: dict[str, None] = {}
        bodies: list[Any] = []
        for call in self.calls:
            if not call.succeeded or call.method in SAFE_METHODS or (call.key and call.key in seen):
                continue
            seen[call.key] = None
            bodies.append(call.json)
        return bodies

    async def handle(self, call: Call) -> Outcome:
        """Stand for the transport."""
        if call.may_send is not None and not call.may_send():
            return failed(call, Failure("not-sent", False, ""))
        reply = self._replies.popleft() if self._replies else 200
        answer = Answer(reply) if isinstance(reply, int) else reply
        status = answer.status if isinstance(answer, Answer) else 0
        now, headers = self._clock.now(), dict(reversed(call.headers))
        outcome = answered(call, answer, now) if isinstance(answer, Answer) else failed(call, answer)
        self.calls.append(
            Made(
                call.method,
                call.target,
                headers,
                call.body,
                _json(call.body),
                call.key,
                status,
                now,
                self._is_success(call, outcome),
            )
        )
        return outcome

    def _is_success(self, call: Call, outcome: Outcome) -> bool:
        if isinstance(outcome, Done) and outcome.answer is not None and self._success_when is not None:
            outcome = verdict(call, outcome.answer, self._success_when)
        return isinstance(outcome, Done)


class FakeSecrets:
    """A secret for every name, the same each time, in the form that Standard Webhooks has."""

    def active(self, name: str) -> Sequence[bytes]:
        return (b"whsec_" + b64encode(sha256(name.encode()).digest()),)


class NoNet:
    """The Net port of a test without a network: every connection is refused, and says so."""

    async def connect(
        self,
        factory: Callable[[], BaseProtocol],
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None = None,
        server_name: str | None = None,
    ) -> Transport:
        raise ConnectionRefusedError(f"there is no network in a Lab: {host}:{port}")

    async def listen(
        self, factory: Callable[[], BaseProtocol], host: str, port: int, *, tls: ssl.SSLContext | None = None
    ) -> Listening:
        raise OSError(f"there is no network in a Lab: {host}:{port}")


def anyone(_: Sequence[str], /) -> str:
    """The Access port of a test: every caller may."""
    return "test"


class FakeExchange:
    """An `Exchange` with its whole body at hand; `done` is called with the answer."""

    def __init__(self, head: Head, body: bytes, done: Callable[[Answer], None]) -> None:
        self.head = head
        self.closed = False
        self.route = ""
        self._body = body
        self._done = done

    def collect(self, limit: int, then: Callable[[bytes], None]) -> None:
        if len(self._body) > limit:
            self.respond(413)
        else:
            then(self._body)

    def stream(self, sink: Sink) -> None:
        sink.data(self._body)
        sink.end()

    def pause(self) -> None:
        """There is nobody to hold up."""

    def resume(self) -> None:
        """As `pause`."""

    def respond(self, status: int, headers: Fields = (), body: bytes = b"") -> None:
        self.closed = True
        self._done(Answer(status, tuple(headers), body))

    def begin(
        self,
        status: int,
        headers: Fields = (),
        *,
        length: int | None = None,
        on_drain: Callable[[], None] | None = None,
    ) -> Writer:
        return _Collected(self, status, headers)


class _Collected:
    """A streamed answer, put together."""

    def __init__(self, exchange: FakeExchange, status: int, headers: Fields) -> None:
        self._exchange = exchange
        self._status = status
        self._headers = headers
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> bool:
        self._parts.append(data)
        return True

    def end(self) -> None:
        self._exchange.respond(self._status, self._headers, b"".join(self._parts))

    def abort(self) -> None:
        self._exchange.respond(0)


def _json(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body) if body else None
    except msgspec.DecodeError:
        return None
