"""The upstream pool against origins that answer well, badly, late or not at all, in memory and on a fake clock."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from socket import gaierror
from typing import Any

import pytest
from tests.unit.wire.lines import Line

from interlock.core.errors import InterlockError
from interlock.core.outcome import Answer
from interlock.testing.clock import FakeClock
from interlock.wire.outgoing import Origin, Outgoing, PoolLimits, WireFailure
from interlock.wire.pool import Pool

SECOND = 1_000_000
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
GET = Outgoing("GET", "/a")
POST = Outgoing("POST", "/a", (("x-key", "1"),), b"body")


class World:
    """A Net whose connections the test holds in its hand."""

    def __init__(self, **limits: int) -> None:
        self.clock = FakeClock()
        self.lines: list[Line] = []
        self.error: BaseException | None = None
        self.hangs = False
        self.pool = Pool(Origin("origin.example", 80), self, self.clock, PoolLimits(**limits))

    async def connect(self, factory: Callable[[], Any], host: str, port: int, **options: object) -> Line:
        assert (host, port) == ("origin.example", 80)
        if self.hangs:
            await asyncio.get_running_loop().create_future()
        if self.error is not None:
            raise self.error
        protocol = factory()
        line = Line(protocol)
        self.lines.append(line)
        protocol.connection_made(line)
        return line

    async def listen(self, *_: object, **__: object) -> Any:
        raise NotImplementedError

    async def start(self, request: Outgoing = GET, seconds: int = 10, **options: Any) -> asyncio.Task[Answer]:
        """A request that has been sent and waits for what the test answers."""
        deadline = self.clock.monotonic() + seconds * SECOND
        task = asyncio.create_task(self.pool.exchange(request, deadline=deadline, **options))
        await self.clock.settle()
        return task

    async def answered(self, reply: bytes, request: Outgoing = GET, size: int = 0) -> Answer:
        task = await self.start(request)
        self.lines[-1].feed(reply, size)
        await self.clock.settle()
        if not task.done():
            self.lines[-1].end()
        return await task


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(scenario())


async def failure(task: asyncio.Task[Answer]) -> WireFailure:
    with pytest.raises(WireFailure) as caught:
        await task
    return caught.value


def test_a_request_is_sent_as_it_was_given_with_host_and_length():
    async def scenario() -> None:
        world = World()
        await world.answered(OK, POST)
        assert world.lines[0].sent == (
            b"POST /a HTTP/1.1\r\nhost: origin.example\r\nx-key: 1\r\ncontent-length: 4\r\n\r\nbody"
        )
        await world.answered(OK, Outgoing("GET", "/b?c", (("Host", "evil"), ("Content-Length", "9"), ("TE", "x"))))
        assert world.lines[0].sent.endswith(b"bodyGET /b?c HTTP/1.1\r\nhost: origin.example\r\n\r\n")

    run(scenario)


@pytest.mark.parametrize(
    ("origin", "authority"),
    [
        (Origin("a", 80), "a"),
        (Origin("a", 8080), "a:8080"),
        (Origin("::1", 80), "[::1]"),
        (Origin("a", 443, ssl.create_default_context()), "a"),
        (Origin("a", 80, ssl.create_default_context()), "a:80"),
    ],
)
def test_the_authority_has_a_port_only_if_it_is_not_the_schemes(origin: Origin, authority: str):
    assert origin.authority == authority


@pytest.mark.parametrize(
    "request_",
    [
        Outgoing("GET", "/a", (("x", "a\r\nb: c"),)),
        Outgoing("GET", "/a", (("x", "a\x00"),)),
        Outgoing("GET", "/a", (("x\n", "a"),)),
        Outgoing("GET", "/a", (("x y", "a"),)),
        Outgoing("GET", "/a", (("x", "€"),)),
        Outgoing("GET", "/a b"),
        Outgoing("GET", "/a\r\n"),
        Outgoing("GET", ""),
        Outgoing("GET", "/é"),
        Outgoing("G T", "/a"),
        Outgoing("GET\r\n", "/a"),
    ],
)
def test_a_request_that_would_inject_is_refused_before_anything_is_opened(request_: Outgoing):
    async def scenario() -> None:
        world = World()
        with pytest.raises(InterlockError) as caught:
            await world.pool.exchange(request_, deadline=world.clock.monotonic() + SECOND)
        assert caught.value.code in {"wire.header-invalid", "wire.request-invalid"}
        assert world.lines == []

    run(scenario)


GOOD = [
    (OK, GET, b"ok", True),
    (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", GET, b"ok", True),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x\r\no\r\n1\r\nk\r\n0\r\nA: b\r\n\r\n", GET, b"ok", True),
    (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK, GET, b"ok", True),
    (b"HTTP/1.1 204 No Content\r\n\r\n", POST, b"", True),
    (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n", GET, b"", True),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", Outgoing("HEAD", "/a"), b"", True),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Outgoing("HEAD", "/a"), b"", True),
    (b"HTTP/1.1 200 OK\r\n\r\n", Outgoing("HEAD", "/a"), b"", True),
    (OK.replace(b"\r\n\r\n", b"\r\nConnection: foo, Close\r\n\r\n"), GET, b"ok", False),
    (OK.replace(b"1.1", b"1.0"), GET, b"ok", False),
    (OK.replace(b"1.1 200 OK", b"1.0 200 OK\r\nConnection: keep-alive"), GET, b"ok", True),
    (b"HTTP/1.1 200 OK\r\n\r\nok", GET, b"ok", False),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", GET, b"", True),
]


@pytest.mark.parametrize("size", [0, 1], ids=["whole", "bytes"])
@pytest.mark.parametrize(("reply", "request_", "body", "kept"), GOOD, ids=range(len(GOOD)))
def test_answers_are_read_whole_and_the_connection_is_kept_if_both_may(
    reply: bytes, request_: Outgoing, body: bytes, kept: bool, size: int
):
    async def scenario() -> None:
        world = World()
        answer = await world.answered(reply, request_, size)
        assert answer.body == body
        assert world.pool.connections == kept
        assert await world.answered(OK)
        assert len(world.lines) == (1 if kept else 2)

    run(scenario)


H = b"HTTP/1.1 200 OK\r\n"
BAD = [
    (b"SSH-2.0-OpenSSH\r\n", "malformed"),
    (b"HTTP/2.0 200 OK\r\n\r\n", "malformed"),
    (b"HTTP/1.1 2000 OK\r\n\r\n", "malformed"),
    (b"HTTP/1.1 20 OK\r\n\r\n", "malformed"),
    (b"HTTP/1.1 +20 OK\r\n\r\n", "malformed"),
    (b"HTTP/1.1  200 OK\r\n\r\n", "malformed"),
    ("HTTP/1.1 ٢٠٠ OK\r\n\r\n".encode(), "malformed"),
    (b"HTTP/1.1 700 OK\r\n\r\n", "malformed"),
    (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", "malformed"),
    (b"HTTP/1.1 102 Processing\r\n\r\n" * 20, "malformed"),
    (H + b"A: b\nC: d\r\n\r\n", "malformed"),
    (H + b"A: b\r\n c\r\n\r\n", "malformed"),
    (H + b"A : b\r\n\r\n", "malformed"),
    (H + b"A: b\x00\r\n\r\n", "malformed"),
    (H + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nok", "malformed"),
    (H + b"Content-Length: +2\r\n\r\nok", "malformed"),
    (H + b"Content-Length: 2_0\r\n\r\nok", "malformed"),
    (H + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "malformed"),
    (H + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "malformed"),
    (H.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "malformed"),
    (H + b"Transfer-Encoding: chunked\r\n\r\n0x2\r\nok\r\n0\r\n\r\n", "malformed"),
    (H + b"Transfer-Encoding: chunked\r\n\r\n2\nok\r\n0\r\n\r\n", "malformed"),
    (H + b"Content-Length: 3\r\n\r\nok", "reset"),
    (H + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", "reset"),
    (H + b"A: b", "reset"),
    (b"", "reset"),
    (H + b"Content-Length: 1001\r\n\r\n", "too-large"),
    (H + b"Transfer-Encoding: chunked\r\n\r\n3e9\r\n" + b"x" * 1_001, "too-large"),
    (H + b"\r\n" + b"x" * 1_001, "too-large"),
    (H + b"A: " + b"b" * 40_000, "too-large"),
    (H + b"A: b\r\n" * 101 + b"\r\n", "too-large"),
]


@pytest.mark.parametrize("size", [0, 1], ids=["whole", "bytes"])
@pytest.mark.parametrize(("reply", "kind"), BAD, ids=range(len(BAD)))
def test_an_answer_that_is_not_exactly_one_is_a_failure_and_costs_the_connection(reply: bytes, kind: str, size: int):
    async def scenario() -> None:
        world = World(answer_bytes_max=1_000)
        with pytest.raises(WireFailure) as caught:
            await world.answered(reply, POST, size)
        assert (caught.value.kind, caught.value.sent, caught.value.code) == (kind, True, f"wire.{kind}")
        assert world.lines[0].closed
        assert world.pool.connections == 0

    run(scenario)


def test_bytes_after_an_answer_are_never_the_next_answer():
    async def scenario() -> None:
        world = World()
        answer = await world.answered(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        assert (answer.body, world.pool.connections) == (b"ok", 0)
        await world.answered(OK)
        world.lines[-1].feed(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        answer = await world.answered(OK)
        assert answer.body == b"ok"
        assert len(world.lines) == 3

    run(scenario)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (gaierror(-2, "unknown"), "dns"),
        (UnicodeError("label too long"), "dns"),
        (ssl.SSLCertVerificationError(1, "bad certificate"), "tls"),
        (ConnectionRefusedError(111, "refused"), "connect"),
        (OSError(101, "unreachable"), "connect"),
        (TimeoutError(110, "timed out"), "timeout"),
    ],
)
def test_a_connection_that_cannot_be_made_says_why_and_that_nothing_was_sent(error: BaseException, kind: str):
    async def scenario() -> None:
        world = World()
        world.error = error
        failed = await failure(await world.start())
        assert (failed.kind, failed.sent) == (kind, False)

    run(scenario)


def test_deadlines_hold_while_connecting_while_waiting_and_while_answering():
    async def scenario() -> None:
        world = World(connections_max=1)
        world.hangs = True
        connecting = await world.start(seconds=10)
        await world.clock.advance(3 * SECOND)
        failed = await failure(connecting)
        assert (failed.kind, failed.sent) == ("timeout", False)
        world.hangs = False
        answering, waiting = await world.start(seconds=5), await world.start(seconds=2)
        await world.clock.advance(2 * SECOND)
        failed = await failure(waiting)
        assert (failed.kind, failed.sent) == ("timeout", False)
        world.lines[0].feed(H + b"Content-Length: 100\r\n\r\n")
        await world.clock.advance(3 * SECOND)
        failed = await failure(answering)
        assert (failed.kind, failed.sent) == ("timeout", True)
        assert world.lines[0].aborted
        late = await failure(await world.start(seconds=0))
        assert (late.kind, late.sent) == ("timeout", False)
        assert world.clock.next_at() is None or world.pool.connections == 1

    run(scenario)


def test_requests_wait_for_a_connection_in_order_and_only_so_many():
    async def scenario() -> None:
        world = World(connections_max=2, waiting_max=2)
        tasks = [await world.start(Outgoing("GET", f"/{number}")) for number in range(5)]
        assert (await failure(tasks[4])).kind == "not-sent"
        assert len(world.lines) == 2
        for number in range(4):
            line = world.lines[number % 2]
            assert f"GET /{number} ".encode() in line.sent
            line.feed(OK)
            await world.clock.settle()
        assert [(await task).status for task in tasks[:4]] == [200] * 4
        assert len(world.lines) == 2

    run(scenario)


def test_the_connection_used_last_is_used_next_and_idle_ones_are_closed():
    async def scenario() -> None:
        world = World()
        tasks = [await world.start() for _ in range(3)]
        for line in world.lines:
            line.feed(OK)
        await asyncio.gather(*tasks)
        await world.clock.advance(30 * SECOND)
        used = [line.sent.count(b"GET") for line in world.lines]
        task = await world.start()
        [again] = [line for line, count in zip(world.lines, used, strict=True) if line.sent.count(b"GET") > count]
        again.feed(OK)
        await task
        await world.clock.advance(31 * SECOND)
        assert [line.closed for line in world.lines] == [line is not again for line in world.lines]
        await world.clock.advance(31 * SECOND)
        assert (world.pool.connections, world.clock.next_at()) == (0, None)

    run(scenario)


def test_an_origin_that_says_how_long_it_keeps_a_connection_is_left_before():
    async def scenario() -> None:
        world = World()
        await world.answered(OK.replace(b"\r\n\r\n", b"\r\nKeep-Alive: max=9, timeout=5\r\n\r\n"))
        await world.clock.advance(3 * SECOND)
        assert world.pool.connections == 1
        await world.clock.advance(SECOND)
        assert world.pool.connections == 0

    run(scenario)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_safe_request_on_an_idle_connection_that_was_closed_is_sent_again_once(method: str):
    async def scenario() -> None:
        world = World()
        await world.answered(OK)
        task = await world.start(Outgoing(method, "/b"))
        world.lines[0].lose()
        await world.clock.settle()
        assert len(world.lines) == 2
        world.lines[1].lose()
        failed = await failure(task)
        assert (failed.kind, failed.sent) == ("reset", True)
        assert len(world.lines) == 2

    run(scenario)


def test_an_unsafe_request_is_never_sent_twice():
    async def scenario() -> None:
        world = World()
        await world.answered(OK)
        task = await world.start(POST)
        world.lines[0].lose()
        failed = await failure(task)
        assert (failed.kind, failed.sent, len(world.lines)) == ("reset", True, 1)

    run(scenario)


def test_a_safe_request_is_not_sent_again_once_its_answer_has_begun():
    async def scenario() -> None:
        world = World()
        await world.answered(OK)
        task = await world.start()
        world.lines[0].feed(b"H")
        world.lines[0].lose()
        assert (await failure(task)).kind == "reset"
        assert len(world.lines) == 1

    run(scenario)


def test_an_idle_connection_that_is_known_to_be_closed_is_passed_over_for_any_method():
    async def scenario() -> None:
        world = World()
        await world.answered(OK)
        world.lines[0].end()
        assert (await world.answered(OK, POST)).status == 200
        assert len(world.lines) == 2

    run(scenario)


def test_may_send_is_asked_in_the_step_of_the_write_and_its_no_keeps_the_connection():
    async def scenario() -> None:
        world = World()
        failed = await failure(await world.start(POST, may_send=lambda: False))
        assert (failed.kind, failed.sent, world.lines[0].sent) == ("not-sent", False, b"")
        asked: list[bytes] = []
        task = await world.start(POST, may_send=lambda: asked.append(world.lines[0].sent) or True)
        assert asked == [b""]
        world.lines[0].feed(OK)
        assert (await task).status == 200
        assert len(world.lines) == 1

    run(scenario)


def test_cancelling_a_request_ends_its_connection_and_frees_its_place():
    async def scenario() -> None:
        world = World(connections_max=1)
        task, waiting = await world.start(), await world.start()
        task.cancel()
        await world.clock.settle()
        assert task.cancelled()
        assert world.lines[0].aborted
        world.lines[1].feed(OK)
        assert (await waiting).status == 200

    run(scenario)


def test_an_answer_before_the_request_was_read_is_given_and_the_connection_is_not_used_again():
    async def scenario() -> None:
        world = World()
        await world.answered(OK)
        world.lines[0].stall()
        task = await world.start(POST)
        world.lines[0].feed(OK.replace(b"200 OK", b"413 Content Too Large"))
        assert (await task).status == 413
        assert world.lines[0].aborted

    run(scenario)


def test_a_closed_pool_sends_nothing_and_lets_what_is_under_way_finish():
    async def scenario() -> None:
        world = World()
        first, second = await world.start(), await world.start()
        world.lines[0].feed(OK)
        await first
        world.pool.close()
        assert world.lines[0].closed
        assert (await failure(await world.start())).kind == "not-sent"
        world.lines[1].feed(OK)
        assert (await second).status == 200
        assert world.lines[1].closed
        assert (world.pool.connections, world.clock.next_at()) == (0, None)

    run(scenario)
