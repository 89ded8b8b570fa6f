"""The Net port in memory: names, ports and streams of bytes between asyncio protocols, with the faults of a network.

Bytes of one direction arrive in order, in pieces, after a delay. What is sent to who is gone comes back as a reset.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
import socket
import ssl
from collections import deque
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import msgspec

from interlock.core.ports import Listening
from interlock.testing.sim.loop import Process, SimLoop, current_process

HIGH_WATER_BYTES = 64 * 1024
"""What a stream holds on its way before its writer is asked to pause; asyncio's own default."""
LOW_WATER_BYTES = HIGH_WATER_BYTES // 4
PIECES_MAX = 12
"""Into how many pieces one write is split at most: enough to cut a head anywhere, few enough for large bodies."""
FIRST_PORT = 40_000


class Conditions(msgspec.Struct, frozen=True):
    """What befalls one connection.

    Attributes:
        latency_us: low and high bounds of the time a piece takes.
        split: the probability that a write arrives in pieces.
        refuse: the host answers, and nothing listens.
        vanish: nothing answers at all.
        reset_request_at: the connection is reset when the connecting side has sent so many bytes; None for never.
        reset_answer_at: likewise for the listening side: the request was read, the answer is lost.
        mute_answer_at: from this byte of the answers on, nothing arrives any more, and nobody is told.
    """

    latency_us: tuple[int, int] = (100, 2_000)
    split: float = 0.1
    refuse: bool = False
    vanish: bool = False
    reset_request_at: int | None = None
    reset_answer_at: int | None = None
    mute_answer_at: int | None = None


FAIR = Conditions()


class Network:
    """The wires between hosts. Hosts have names; a process has the `SimNet` of its host.

    Args:
        conditions: asked for each new connection, with the host and port that it goes to.
    """

    def __init__(self, loop: SimLoop, conditions: Callable[[str, int], Conditions] = lambda _host, _port: FAIR) -> None:
        self.loop = loop
        self.chance = loop.stream("net")
        self.conditions = conditions
        self.connections = 0
        self._hosts: set[str] = set()
        self._listeners: dict[tuple[str, int], _Listener] = {}
        self._ends: list[SimTransport] = []
        self._next_port = FIRST_PORT

    def host(self, name: str) -> SimNet:
        """The Net port of a host; the host exists from then on."""
        self._hosts.add(name)
        return SimNet(self, name)

    def drop(self, process: Process) -> None:
        """What a kernel does for a process that was killed: its listeners close, its connections are reset."""
        for address in [address for address, listener in self._listeners.items() if listener.process is process]:
            del self._listeners[address]
        for end in [end for end in self._ends if end.process is process]:
            end.vanish()

    def cut(self, host: str) -> None:
        """Reset every connection to a host: neither side hears more of the other."""
        for end in [end for end in self._ends if end.get_extra_info("sockname", ("",))[0] == host]:
            end.vanish()
            end.lose_soon()

    async def connect(
        self, factory: Callable[[], asyncio.BaseProtocol], origin: str, host: str, port: int
    ) -> SimTransport:
        """Shake hands with whoever listens."""
        if host not in self._hosts:
            raise socket.gaierror(socket.EAI_NONAME, f"there is no host {host!r}")
        conditions = self.conditions(host, port)
        if conditions.vanish:
            await self.loop.create_future()
        await self._pause(conditions)
        listener = self._listeners.get((host, port))
        if listener is None or conditions.refuse:
            raise ConnectionRefusedError(111, f"{host}:{port} refuses connections")
        self.connections += 1
        near = SimTransport(self, conditions, f"{origin}>{host}:{port}/{self.connections}", current_process())
        far = SimTransport(self, conditions, f"{host}:{port}>{origin}/{self.connections}", listener.process)
        near.join(far, conditions.reset_request_at, None)
        far.join(near, conditions.reset_answer_at, conditions.mute_answer_at)
        self._ends += (near, far)
        origin_address = (origin, self._port())
        far.accept(listener.factory, listener.context, (host, port), origin_address)
        near.open(factory, contextvars.copy_context(), origin_address, (host, port))
        return near

    def listen(self, factory: Callable[[], asyncio.BaseProtocol], host: str, port: int) -> Listening:
        port = port or self._port()
        if (host, port) in self._listeners:
            raise OSError(98, f"{host}:{port} is taken")
        listener = _Listener(self, factory, (host, port))
        self._listeners[host, port] = listener
        return listener

    def forget(self, end: SimTransport) -> None:
        """A transport has ended."""
        if end in self._ends:
            self._ends.remove(end)

    def silence(self, listener: _Listener) -> None:
        """A listener closes."""
        if self._listeners.get(listener.address) is listener:
            del self._listeners[listener.address]

    def _port(self) -> int:
        self._next_port += 1
        return self._next_port

    async def _pause(self, conditions: Conditions) -> None:
        woken: asyncio.Future[None] = self.loop.create_future()
        self.loop.call_at_us(self.loop.now_us + self.chance.randint(*conditions.latency_us), _wake, woken)
        await woken


class _Listener:
    """A name and port that accept connections, for the process that asked."""

    def __init__(self, network: Network, factory: Callable[[], asyncio.BaseProtocol], address: tuple[str, int]) -> None:
        self.factory = factory
        self.address = address
        self.process = current_process()
        self.context = contextvars.copy_context()
        self._network = network

    @property
    def port(self) -> int:
        return self.address[1]

    def close(self) -> None:
        self._network.silence(self)


class SimNet:
    """The Net port of one host. TLS is not simulated: a context is taken and nothing is encrypted."""

    def __init__(self, network: Network, host: str) -> None:
        self._network = network
        self._host = host

    async def connect(
        self,
        factory: Callable[[], asyncio.BaseProtocol],
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None = None,
        server_name: str | None = None,
    ) -> asyncio.Transport:
        return await self._network.connect(factory, self._host, host, port)

    async def listen(
        self, factory: Callable[[], asyncio.BaseProtocol], host: str, port: int, *, tls: ssl.SSLContext | None = None
    ) -> Listening:
        """Listens under the name of its own host, whatever address is asked for."""
        return self._network.listen(factory, self._host, port)


class SimTransport(asyncio.Transport):
    """One end of a connection. Its protocol is called in the context, and so for the process, that opened it."""

    def __init__(self, network: Network, conditions: Conditions, label: str, process: Process | None) -> None:
        super().__init__()
        self.process = process
        self.label = label
        self._network = network
        self._loop = network.loop
        self._chance: random.Random = network.chance
        self._conditions = conditions
        self._arrives_at = 0
        self._sent = 0
        self._on_the_way = 0
        self._inbox: deque[bytes | None] = deque()
        self._closing = False
        self._gone = False
        self._lost = False
        self._eof_sent = False
        self._reading = True
        self._writer_paused = False
        self._high = HIGH_WATER_BYTES
        self._low = LOW_WATER_BYTES

    def join(self, peer: SimTransport, reset_at: int | None, mute_at: int | None) -> None:
        """Tie the two ends; the bounds are for the bytes that this end sends."""
        self._peer = peer
        self._reset_at = reset_at
        self._mute_at = mute_at

    def open(
        self,
        factory: Callable[[], asyncio.BaseProtocol],
        context: contextvars.Context,
        own: tuple[str, int],
        peer: tuple[str, int],
    ) -> None:
        """The connecting side: its protocol exists and knows its transport when `connect` returns."""
        self._context = context
        self._addresses = {"sockname": own, "peername": peer}
        self._make(factory)

    def accept(
        self,
        factory: Callable[[], asyncio.BaseProtocol],
        context: contextvars.Context,
        own: tuple[str, int],
        peer: tuple[str, int],
    ) -> None:
        """The listening side: the kernel shakes hands for a process that is stopped, and it learns of it later."""
        self._context = context
        self._addresses = {"sockname": own, "peername": peer}
        self._later(self._make, factory)

    def _make(self, factory: Callable[[], asyncio.BaseProtocol]) -> None:
        self._protocol = factory()
        self._protocol.connection_made(self)

    # What a protocol may ask of its transport.

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._addresses.get(name, default)

    def is_closing(self) -> bool:
        return self._closing

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if self._eof_sent:
            raise RuntimeError("Cannot call write() after write_eof()")
        if self._closing or not data:
            return
        for piece in self._pieces(bytes(data)):
            if self._reset_at is not None and self._sent + len(piece) > self._reset_at:
                self._send(piece[: self._reset_at - self._sent])
                self._loop.note(f"{self.label} is reset at byte {self._sent}")
                self.vanish()
                self.lose_soon()
                return
            self._send(piece)
        if not self._writer_paused and self._on_the_way > self._high:
            self._writer_paused = True
            self._protocol.pause_writing()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview[Any]]) -> None:
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        if not self._closing and not self._eof_sent:
            self._eof_sent = True
            self._deliver(None)

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            if not self._eof_sent:
                self._deliver(None)
            self._later(self._lose, None)

    def abort(self) -> None:
        if not self._gone:
            self._closing = True
            self._reset_peer()
            self._later(self._lose, None)

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True
        self._later(self._read)

    def is_reading(self) -> bool:
        return self._reading and not self._closing

    def get_write_buffer_size(self) -> int:
        return self._on_the_way

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = HIGH_WATER_BYTES if high is None else high
        self._low = self._high // 4 if low is None else low

    # What the network does.

    def vanish(self) -> None:
        """This end ceases to exist, as when its process is killed: the peer is reset."""
        self._gone = self._closing = True
        self._network.forget(self)
        self._reset_peer()

    def lose_soon(self) -> None:
        """This end is told that its connection was reset."""
        self._later(self._lose, ConnectionResetError(104, "reset by the simulated network"))

    def _pieces(self, data: bytes) -> list[bytes]:
        if len(data) < 2 or self._chance.random() >= self._conditions.split:
            return [data]
        cuts = {self._chance.randrange(1, len(data)) for _ in range(self._chance.randint(1, PIECES_MAX - 1))}
        edges = [0, *sorted(cuts), len(data)]
        return [data[start:end] for start, end in pairwise(edges)]

    def _send(self, piece: bytes) -> None:
        self._sent += len(piece)
        muted = self._mute_at is not None and self._sent > self._mute_at
        if piece and not muted:
            self._on_the_way += len(piece)
            self._deliver(piece)

    def _deliver(self, piece: bytes | None) -> None:
        latency = self._chance.randint(*self._conditions.latency_us)
        # Never before what was sent before: a stream has an order whatever its packets do.
        self._arrives_at = max(self._arrives_at, self._loop.now_us + latency)
        self._peer._at(self._arrives_at, self._peer._arrive, piece)  # noqa: SLF001

    def _arrive(self, piece: bytes | None) -> None:
        if self._gone:
            if piece is not None:
                self._reset_peer()
            return
        self._inbox.append(piece)
        self._read()

    def _read(self) -> None:
        while self._inbox and self._reading and not self._closing:
            piece = self._inbox.popleft()
            if piece is None:
                if not _eof_received(self._protocol):
                    self.close()
                continue
            self._peer._arrived(len(piece))  # noqa: SLF001
            _data_received(self._protocol, piece)

    def _arrived(self, count: int) -> None:
        self._on_the_way -= count
        if self._writer_paused and self._on_the_way <= self._low:
            self._writer_paused = False
            self._later(self._protocol.resume_writing)

    def _reset_peer(self) -> None:
        peer = self._peer
        if not peer._gone:  # noqa: SLF001
            when = self._loop.now_us + self._chance.randint(*self._conditions.latency_us)
            peer._at(when, peer._lose, ConnectionResetError(104, "Connection reset by peer"))  # noqa: SLF001

    def _lose(self, error: Exception | None) -> None:
        if self._lost:
            return
        self._lost = self._gone = self._closing = True
        self._network.forget(self)
        self._protocol.connection_lost(error)

    def _later(self, callback: Callable[..., object], *args: object) -> None:
        self._loop.call_soon(callback, *args, context=self._context)

    def _at(self, when: int, callback: Callable[..., object], *args: object) -> None:
        self._loop.call_at_us(when, callback, *args, context=self._context)


def _data_received(protocol: asyncio.BaseProtocol, data: bytes) -> None:
    if not isinstance(protocol, asyncio.BufferedProtocol):
        assert isinstance(protocol, asyncio.Protocol)
        protocol.data_received(data)
        return
    view = memoryview(data)
    while view:
        buffer = memoryview(protocol.get_buffer(len(view)))
        count = min(len(buffer), len(view))
        buffer[:count] = view[:count]
        protocol.buffer_updated(count)
        view = view[count:]


def _eof_received(protocol: asyncio.BaseProtocol) -> bool:
    assert isinstance(protocol, asyncio.Protocol | asyncio.BufferedProtocol)
    return bool(protocol.eof_received())


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
