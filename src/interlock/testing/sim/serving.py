"""Peers on the simulated network: HTTP/1.1 with keep-alive, one request at a time, answered as the peer decides.

Their parser is not the product's: a peer is somebody else's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Literal, Protocol, cast

import httptools
import msgspec

from interlock.testing.sim.loop import SimLoop

HTTP_PORT = 80
Ending = Literal["answer", "lost", "hang", "garbage"]
"""How a request ends: answered; its effect takes place and the answer is lost; never answered; answered with noise."""


class Arrived(msgspec.Struct, frozen=True):
    """A whole request, names of fields in lower case; `sender` is the host that it came from."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    sender: str


class Reaction(msgspec.Struct, frozen=True):
    """What a peer makes of one request. `after_us`: how long it takes; `retry_after`: the field's value."""

    status: int
    ending: Ending = "answer"
    after_us: int = 0
    retry_after: int | None = None
    body: bytes | None = None
    headers: tuple[tuple[str, str], ...] = ()


class Peer(Protocol):
    """Whoever answers."""

    def react(self, request: Arrived) -> Reaction: ...


class Serving(asyncio.Protocol):
    """One accepted connection of a peer."""

    def __init__(self, loop: SimLoop, peer: Peer) -> None:
        self._loop = loop
        self._peer = peer
        self._parser = httptools.HttpRequestParser(self)
        self._target = ""
        self._headers: dict[str, str] = {}
        self._body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._target, self._headers, self._body = "", {}, b""

    def on_url(self, url: bytes) -> None:
        self._target += url.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        sender, _ = self._transport.get_extra_info("peername")
        method = self._parser.get_method().decode("ascii")
        reaction = self._peer.react(Arrived(method, self._target, self._headers, self._body, sender))
        if reaction.ending != "hang":
            self._loop.call_at_us(self._loop.now_us + reaction.after_us, self._answer, reaction)

    def _answer(self, reaction: Reaction) -> None:
        if self._transport.is_closing():
            return
        match reaction.ending:
            case "lost":
                self._transport.abort()
            case "garbage":
                self._transport.write(b"HTTP/1.1 2OO VERY WELL\r\n\r\n")
                self._transport.close()
            case _:
                self._transport.write(_written(reaction))


def _written(reaction: Reaction) -> bytes:
    bare = reaction.status == 204
    content = b"" if bare else b'{"status":%d}' % reaction.status if reaction.body is None else reaction.body
    fields = [("content-type", "application/json")]
    if not bare:
        fields.append(("content-length", str(len(content))))
    if reaction.retry_after is not None:
        fields.append(("retry-after", str(reaction.retry_after)))
    named = {name for name, _ in reaction.headers}
    fields = [field for field in fields if field[0] not in named] + list(reaction.headers)
    head = "".join(f"{name}: {value}\r\n" for name, value in fields)
    return f"HTTP/1.1 {reaction.status} X\r\n{head}\r\n".encode() + content
