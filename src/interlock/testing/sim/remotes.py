"""Simulated Systems: HTTP peers on the simulated network that fail in every way that peers do, and keep a record.

They honour idempotency keys as a good receiver does. Their parser is not the product's: a peer is somebody else's.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from typing import Any, Literal, cast

import httptools
import msgspec

from interlock.call.timeout import TIMEOUT_HEADER
from interlock.core.ids import parse_event_id
from interlock.core.limits import US_PER_MS, US_PER_SECOND
from interlock.testing.sim.history import Called, History
from interlock.testing.sim.loop import SimLoop

HTTP_PORT = 80
Mood = Literal["well", "flapping", "slow", "down", "limiting"]
Ending = Literal["answer", "lost", "hang"]
"""How a request ends: answered; its effect takes place and the answer is lost; it is never answered."""


class CallBody(msgspec.Struct, frozen=True):
    """What the simulated functions send: enough for the receiver to say what it got."""

    subscription: str
    stream: str
    shard: int
    offset: int
    id: str
    key: str | None
    label: str
    digest: str


class Verdict(msgspec.Struct, frozen=True):
    """What a remote makes of one request. `after_us`: how long it takes; `retry_after`: the field's value."""

    status: int
    ending: Ending = "answer"
    after_us: int = 0
    retry_after: int | None = None


class Remote:
    """One peer. Its mood changes as the world says; `is_poison` says which bodies it will never accept.

    Args:
        effect: how it treats what it gets: `keyed` and `natural` are harmless to repeat, `once` is not.
    """

    def __init__(self, loop: SimLoop, name: str, history: History, effect: Literal["keyed", "natural", "once"]) -> None:
        self.name = name
        self.effect = effect
        self.mood: Mood = "well"
        self.is_poison: Callable[[CallBody], bool] = lambda _body: False
        self.on_slow: Callable[[CallBody, int], None] = lambda _body, _took_us: None
        self.requests = 0
        self._loop = loop
        self._history = history
        self._chance: random.Random = loop.stream(f"remote/{name}")
        self._answers: dict[str, int] = {}

    def connection(self) -> asyncio.Protocol:
        """A protocol for one accepted connection."""
        return _Connection(self._loop, self)

    def decide(self, headers: Mapping[str, str], content: bytes, sender: str) -> Verdict:
        """Take a whole request of a host, have its effect, and say how it is answered."""
        self.requests += 1
        body = msgspec.json.decode(content, type=CallBody)
        token = headers.get("idempotency-key", "")
        verdict = self._verdict(body)
        if verdict.after_us > US_PER_SECOND:
            self.on_slow(body, verdict.after_us)
        given_us = int(headers.get(TIMEOUT_HEADER, "0")) * US_PER_MS
        lasts_us = given_us if verdict.ending == "hang" else min(verdict.after_us, given_us)
        applied = verdict.status < 300 and verdict.ending != "hang"
        known = self.effect == "keyed" and token in self._answers
        if applied and token:
            self._answers[token] = verdict.status
        self._history.add(
            Called(
                t=self._loop.now_us,
                process=self.name,
                subscription=body.subscription,
                stream=body.stream,
                shard=body.shard,
                offset=body.offset,
                id=body.id,
                label=body.label,
                status=verdict.status if verdict.ending == "answer" else 0,
                fresh=applied and not known,
                key=body.key,
                token=token,
                digest=body.digest,
                retry_after_us=(verdict.retry_after or 0) * US_PER_SECOND,
                sender=sender,
                until=self._loop.now_us + lasts_us,
                gap=_gap(headers.get("interlock-gap")),
            )
        )
        return verdict

    def _verdict(self, body: CallBody) -> Verdict:
        if self.is_poison(body):
            return Verdict(422)
        draw = self._chance.random()
        took = int(self._chance.expovariate(1 / 5_000))
        match self.mood:
            case "well":
                return Verdict(self._chance.choice((200, 201, 204)), after_us=took)
            case "flapping" if draw < 0.35:
                return Verdict(503, after_us=took, retry_after=self._chance.choice((None, None, 1, 7)))
            case "flapping" if draw < 0.45:
                return Verdict(200, "lost", after_us=took)
            case "flapping" if draw < 0.5:
                return Verdict(500, after_us=took)
            case "slow":
                ending: Ending = "hang" if draw < 0.1 else "answer"
                return Verdict(200, ending, after_us=int(self._chance.uniform(0, 20) * US_PER_SECOND))
            case "limiting" if draw < 0.4:
                return Verdict(429, after_us=took, retry_after=self._chance.choice((1, 2, 30)))
            case "down":
                return Verdict(503, after_us=took)
            case _:
                return Verdict(200, after_us=took)


def _gap(field: str | None) -> tuple[int, int, int] | None:
    """How many events are said to be missing, and the offsets of the first and the last of them."""
    if field is None:
        return None
    count, *rest = field.split(";")
    parameters = dict(one.split("=") for one in rest)
    return int(count), parse_event_id(parameters["first"]).offset, parse_event_id(parameters["last"]).offset


class _Connection(asyncio.Protocol):
    """HTTP/1.1 with keep-alive, one request at a time."""

    def __init__(self, loop: SimLoop, remote: Remote) -> None:
        self._loop = loop
        self._remote = remote
        self._parser = httptools.HttpRequestParser(self)
        self._headers: dict[str, str] = {}
        self._body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._headers, self._body = {}, b""

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        sender, _ = self._transport.get_extra_info("peername")
        verdict = self._remote.decide(self._headers, self._body, sender)
        if verdict.ending != "hang":
            self._loop.call_at_us(self._loop.now_us + verdict.after_us, self._answer, verdict)

    def _answer(self, verdict: Verdict) -> None:
        if self._transport.is_closing():
            return
        if verdict.ending == "lost":
            self._transport.abort()
            return
        content = b"" if verdict.status == 204 else b'{"status":%d}' % verdict.status
        fields: dict[str, Any] = {"content-type": "application/json"}
        if verdict.status != 204:
            fields["content-length"] = len(content)
        if verdict.retry_after is not None:
            fields["retry-after"] = verdict.retry_after
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self._transport.write(f"HTTP/1.1 {verdict.status} X\r\n{head}\r\n".encode() + content)
