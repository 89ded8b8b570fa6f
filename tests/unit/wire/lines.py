"""A server and its clients in memory: a transport that a test holds in its hand, on a clock that it moves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import httptools

from interlock.testing.clock import FakeClock
from interlock.wire.exchange import App, Exchange, Fields, Head, Refusal
from interlock.wire.server import Server
from interlock.wire.server_limits import ServerLimits

HIGH_WATER = 64 * 1024


class Line(asyncio.Transport):
    """The transport of a protocol under test. What it writes is in `sent`, or in `unsent` while the peer is stalled."""

    def __init__(self, protocol: asyncio.Protocol, *, can_half_close: bool = True) -> None:
        super().__init__({"peername": ("192.0.2.1", 4711)})
        self.protocol = protocol
        self.sent = b""
        self.unsent = b""
        self.stalled = False
        self.reading = True
        self.half_closed = self.closed = self.aborted = self.lost = False
        self._can_half_close = can_half_close
        self._paused = False

    def feed(self, data: bytes, size: int = 0) -> None:
        """Bytes of the peer, in pieces of `size`."""
        for at in range(0, len(data), size or len(data) or 1):
            if self.closed:
                return
            self.protocol.data_received(data[at : at + (size or len(data))])

    def end(self) -> None:
        """The peer closes its side."""
        if not self.closed and not self.protocol.eof_received():
            self.close()

    def stall(self) -> None:
        self.stalled = True

    def flow(self, count: int | None = None) -> None:
        """The peer takes `count` bytes, or everything from here on."""
        taken = len(self.unsent) if count is None else count
        self.sent += self.unsent[:taken]
        self.unsent = self.unsent[taken:]
        self.stalled = count is not None
        if self._paused and not self.unsent:
            self._paused = False
            self.protocol.resume_writing()

    def write(self, data: bytes) -> None:
        assert not self.half_closed, "written after the half-close"
        assert not self.closed, "written after the close"
        if not self.stalled:
            self.sent += data
            return
        self.unsent += data
        if len(self.unsent) > HIGH_WATER and not self._paused:
            self._paused = True
            self.protocol.pause_writing()

    def get_write_buffer_size(self) -> int:
        return len(self.unsent)

    def can_write_eof(self) -> bool:
        return self._can_half_close

    def write_eof(self) -> None:
        assert self._can_half_close
        self.half_closed = True

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            asyncio.get_running_loop().call_soon(self.lose)

    def abort(self) -> None:
        self.aborted = True
        self.close()

    def lose(self, error: Exception | None = None) -> None:
        """The connection is gone."""
        self.closed = True
        if not self.lost:
            self.lost = True
            self.protocol.connection_lost(error)

    def pause_reading(self) -> None:
        assert self.reading
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading
        self.reading = True

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self.protocol


@dataclass
class Told:
    """An answer as the client's parser read it."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


class _Reader:
    def __init__(self, told: list[Told]) -> None:
        self.told = told

    def on_message_begin(self) -> None:
        self.current = Told()

    def on_header(self, name: bytes, value: bytes) -> None:
        self.current.headers[name.decode()] = value.decode("latin-1")

    def on_body(self, part: bytes) -> None:
        self.current.body += part

    def on_message_complete(self) -> None:
        self.current.status = self.parser.get_status_code()
        if self.current.status != 100:
            self.told.append(self.current)


def answers(sent: bytes) -> list[Told]:
    """The whole answers in what was sent, read by another implementation than ours (llhttp)."""
    told: list[Told] = []
    reader = _Reader(told)
    reader.parser = httptools.HttpResponseParser(reader)
    reader.parser.feed_data(sent)
    return told


@dataclass
class Site:
    """A server with an app that keeps what it saw."""

    server: Server
    clock: FakeClock
    records: list[tuple[str, dict[str, object]]]
    seen: list[tuple[Head, bytes]]

    def connect(self, **options: bool) -> Line:
        protocol = self.server.protocol()
        line = Line(protocol, **options)
        protocol.connection_made(line)
        return line

    def named(self, record: str) -> list[dict[str, object]]:
        return [fields for name, fields in self.records if name == record]


def refuse(refusal: Refusal, head: Head | None) -> tuple[Fields, bytes]:
    """What the edge does in earnest: the code in a field and in the body."""
    return (("content-type", "text/plain"), ("x-code", refusal.code)), refusal.code.encode()


def site(app: App | None = None, limits: ServerLimits | None = None, hosts: frozenset[str] | None = None) -> Site:
    """A server whose app, unless given, takes each body and answers 200 with it."""
    seen: list[tuple[Head, bytes]] = []
    records: list[tuple[str, dict[str, object]]] = []

    def echo(exchange: Exchange) -> None:
        def whole(body: bytes) -> None:
            seen.append((exchange.head, body))
            exchange.respond(200, (("content-type", "text/plain"),), body)

        exchange.collect(1 << 20, whole)

    def emit(record: str, /, **fields: object) -> None:
        records.append((record, fields))

    clock = FakeClock()
    server = Server(app or echo, clock=clock, emit=emit, refuse=refuse, limits=limits or ServerLimits(), hosts=hosts)
    return Site(server, clock, records, seen)


def on_loop(scenario: Callable[[], object]) -> None:
    """Run a scenario that needs a running loop but awaits nothing."""

    async def body() -> None:
        scenario()

    asyncio.run(body())
