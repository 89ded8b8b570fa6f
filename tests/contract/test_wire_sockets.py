"""The server and the pool on real sockets, on asyncio's loop and on uvloop: what the tests in memory cannot see."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.unit.wire.cases import REFUSED, TAKEN
from tests.unit.wire.lines import answers, refuse

from interlock.runtime.clock import SystemClock
from interlock.runtime.ports import SystemNet
from interlock.wire.exchange import App, Exchange, Writer
from interlock.wire.outgoing import Origin, Outgoing, WireFailure
from interlock.wire.pool import Pool
from interlock.wire.server import Server

SECOND = 1_000_000
Scenario = Callable[[], Coroutine[Any, Any, None]]


def on_asyncio(scenario: Scenario) -> None:
    asyncio.run(scenario())


def on_uvloop(scenario: Scenario) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())


@pytest.fixture(params=[on_asyncio, on_uvloop])
def run(request: pytest.FixtureRequest) -> Callable[[Scenario], None]:
    return request.param


def echo(exchange: Exchange) -> None:
    exchange.collect(1 << 20, lambda body: exchange.respond(200, (("content-type", "text/plain"),), body))


@asynccontextmanager
async def serving(app: App = echo, tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[Server, int]]:
    clock = SystemClock()
    server = Server(app, clock=clock, emit=lambda record, /, **fields: None, refuse=refuse)
    listening = await server.listen(SystemNet(), "127.0.0.1", 0, tls=tls)
    yield server, listening.port
    await server.drain(clock.monotonic() + SECOND)


async def told(port: int, request: bytes, size: int = 0, *, half_close: bool = True) -> bytes:
    """What the server sends until it closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for at in range(0, len(request), size or len(request)):
            writer.write(request[at : at + (size or len(request))])
            await writer.drain()
        if half_close:
            writer.write_eof()
        return await reader.read()
    finally:
        writer.close()


def deadline() -> int:
    return SystemClock().monotonic() + 10 * SECOND


def test_every_refusal_arrives_whole_before_the_connection_closes(run: Callable[[Scenario], None]):
    async def scenario() -> None:
        async with serving() as (_, port):
            for case in REFUSED:
                [answer] = answers(await told(port, case.request, half_close=False))
                assert (answer.status, answer.headers["x-code"]) == (case.status, case.code), case.name

    run(scenario)


def test_every_good_request_is_answered_on_a_connection_that_is_then_half_closed(run: Callable[[Scenario], None]):
    async def scenario() -> None:
        async with serving() as (_, port):
            for case in TAKEN:
                for size in (0, 1):
                    [answer] = answers(await told(port, case.request, size))
                    assert (answer.status, answer.body) == (200, case.body), case.name

    run(scenario)


def test_a_stream_through_the_server_is_held_back_by_a_slow_reader(run: Callable[[Scenario], None]):
    total = 16 * 1024 * 1024
    here: list[Relay] = []
    full = asyncio.Event()

    class Relay:
        """Sends every part back and stops reading while the peer does not take them."""

        def __init__(self, exchange: Exchange) -> None:
            here.append(self)
            self.held = self.held_max = 0
            self.exchange = exchange
            self.writer: Writer = exchange.begin(200, on_drain=self.resumed)
            exchange.stream(self)

        def resumed(self) -> None:
            self.held = 0
            self.exchange.resume()

        def data(self, part: bytes) -> None:
            if not self.writer.write(part):
                self.held += len(part)
                self.held_max = max(self.held_max, self.held)
                self.exchange.pause()
                full.set()

        def end(self) -> None:
            self.writer.end()

        def lost(self) -> None: ...

    async def scenario() -> None:
        async with serving(Relay) as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % total)
            sending = asyncio.create_task(_send(writer, total))
            # Nothing is read before every buffer on the way is full and the app has stopped reading.
            await full.wait()
            assert not sending.done()
            [answer] = answers(await reader.read())
            await sending
            writer.close()
            assert len(answer.body) == total
            assert here[0].held_max <= 1024 * 1024

    run(scenario)


async def _send(writer: asyncio.StreamWriter, total: int) -> None:
    for _ in range(total // 65_536):
        writer.write(b"x" * 65_536)
        await writer.drain()


def test_the_pool_and_the_server_understand_each_other_over_kept_connections(run: Callable[[Scenario], None]):
    async def scenario() -> None:
        async with serving() as (server, port):
            pool = Pool(Origin("127.0.0.1", port), SystemNet(), SystemClock())
            for _ in range(5):
                requests = [Outgoing("POST", "/a", (), b"%d" % number * 1_000) for number in range(20)]
                replies = await asyncio.gather(*(pool.exchange(each, deadline=deadline()) for each in requests))
                assert [reply.body for reply in replies] == [each.body for each in requests]
            assert server.connections == pool.connections <= 20
            pool.close()

    run(scenario)


def test_a_server_that_drains_finishes_what_runs_and_refuses_new_connections(run: Callable[[Scenario], None]):
    held: list[Exchange] = []
    arrived = asyncio.Event()

    def holding(exchange: Exchange) -> None:
        held.append(exchange)
        exchange.collect(9, lambda body: arrived.set())

    async def scenario() -> None:
        async with serving(holding) as (server, port):
            pool = Pool(Origin("127.0.0.1", port), SystemNet(), SystemClock())
            asking = asyncio.create_task(pool.exchange(Outgoing("GET", "/"), deadline=deadline()))
            await arrived.wait()
            draining = asyncio.create_task(server.drain(deadline()))
            await asyncio.sleep(0)
            held[0].respond(200, body=b"done")
            assert (await asking).body == b"done"
            await draining
            with pytest.raises(WireFailure) as caught:
                await pool.exchange(Outgoing("GET", "/"), deadline=deadline())
            assert (caught.value.kind, caught.value.sent) == ("connect", False)

    run(scenario)


def test_tls_is_spoken_and_a_certificate_for_another_name_is_refused(run: Callable[[Scenario], None], tmp_path: Path):
    server_side, client_side = _contexts(tmp_path)

    async def scenario() -> None:
        async with serving(tls=server_side) as (_, port):
            pool = Pool(Origin("127.0.0.1", port, client_side, "origin.example"), SystemNet(), SystemClock())
            for body in (b"small", b"x" * 300_000):
                assert (await pool.exchange(Outgoing("POST", "/", (), body), deadline=deadline())).body == body
            assert pool.connections == 1
            pool.close()
            other = Pool(Origin("127.0.0.1", port, client_side, "other.example"), SystemNet(), SystemClock())
            with pytest.raises(WireFailure) as caught:
                await other.exchange(Outgoing("GET", "/"), deadline=deadline())
            assert (caught.value.kind, caught.value.sent) == ("tls", False)

    run(scenario)


def _contexts(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "origin.example")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("origin.example")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "server.pem").write_bytes(pem + secret)
    server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_side.load_cert_chain(folder / "server.pem")
    return server_side, ssl.create_default_context(cadata=pem.decode())
