"""Producers on the simulated network: they post events or webhooks and send again until they know, as they are told to.

They write down what they asked for and what they were told. Their parser is not the product's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import httptools

from interlock.core.limits import US_PER_SECOND
from interlock.testing.sim.auditor import digest_of
from interlock.testing.sim.history import History, Kind, Published
from interlock.testing.sim.loop import SimLoop
from interlock.testing.sim.net import SimNet
from interlock.testing.sim.ports import HUSH, SimClock

PATIENCE_US = 5 * US_PER_SECOND
PAUSE_US = 500_000
CREDENTIAL = f"{HUSH}client-credential"
"""What clients show to be let in: nothing that is kept or told may hold it."""


Fields = Sequence[tuple[str, str]]


class Posting(NamedTuple):
    """What is posted: an event, or a webhook, which is signed anew each time that it is sent."""

    stream: str
    type: str
    id: str
    key: str | None
    body: bytes
    target: str = "/events"
    signed: Callable[[], Fields] | None = None

    def fields(self) -> Fields:
        """The header fields of its request."""
        if self.signed is not None:
            return self.signed()
        attributes = {"specversion": "1.0", "type": self.type, "source": "/simulator", "id": self.id}
        named = [(f"ce-{name}", value) for name, value in attributes.items()]
        return [("authorization", f"Bearer {CREDENTIAL}"), ("content-type", "application/json"), *named]


class Reply(NamedTuple):
    """What a client was told; status 0 if it does not know."""

    status: int
    body: bytes = b""

    @property
    def kind(self) -> Kind:
        """What it means for whoever asked."""
        return "ok" if 200 <= self.status < 300 else "fail" if 400 <= self.status < 500 else "info"


class Producer:
    """One client. `target` is asked for the host and port to post to, before each try; None while there is none."""

    def __init__(
        self, loop: SimLoop, net: SimNet, name: str, history: History, target: Callable[[], tuple[str, int] | None]
    ) -> None:
        self.name = name
        self._loop = loop
        self._net = net
        self._history = history
        self._target = target
        self._clock = SimClock(loop)

    async def post(self, posting: Posting) -> Reply:
        """Post until it is acknowledged or refused."""
        while True:
            target = self._target()
            if target is not None:
                self._note(posting, "invoke", target[0])
                reply = await self._try(posting, target)
                self._note(posting, reply.kind, target[0])
                if reply.kind != "info":
                    return reply
            await self._clock.sleep_until(self._loop.now_us + PAUSE_US)

    def _note(self, posting: Posting, kind: Kind, server: str) -> None:
        self._history.add(
            Published(
                t=self._loop.now_us,
                process=self.name,
                kind=kind,
                stream=posting.stream,
                id=posting.id,
                key=posting.key,
                type=posting.type,
                digest=digest_of(posting.body),
                server=server,
            )
        )

    async def _try(self, posting: Posting, target: tuple[str, int]) -> Reply:
        host, port = target
        transport: asyncio.Transport | None = None
        try:
            async with self._clock.deadline(self._loop.now_us + PATIENCE_US):
                transport = await self._net.connect(lambda: _Answer(self._loop), host, port)
                transport.write(_request(posting, host, port))
                return await cast("_Answer", transport.get_protocol()).reply
        except (TimeoutError, OSError):
            return Reply(0)
        finally:
            if transport is not None:
                transport.close()


def _request(posting: Posting, host: str, port: int) -> bytes:
    fields = [("host", f"{host}:{port}"), ("content-length", str(len(posting.body))), *posting.fields()]
    head = "".join(f"{name}: {value}\r\n" for name, value in fields)
    return f"POST {posting.target} HTTP/1.1\r\n{head}\r\n".encode() + posting.body


class _Answer(asyncio.Protocol):
    """Waits for one answer."""

    def __init__(self, loop: SimLoop) -> None:
        self.reply: asyncio.Future[Reply] = loop.create_future()
        self._parser = httptools.HttpResponseParser(self)
        self._body = b""

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        if not self.reply.done():
            self.reply.set_result(Reply(self._parser.get_status_code(), self._body))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.reply.done():
            self.reply.set_exception(exc or ConnectionResetError(104, "closed before the answer"))
            self.reply.exception()  # Whoever has given up waiting need not hear of it.
