"""A server's connection: order, deadlines, flow control, framing of answers, faults of the app, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from tests.unit.wire.lines import Line, answers, on_loop, site

from interlock.wire.exchange import Exchange, Writer
from interlock.wire.server_limits import ServerLimits

GET = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n"
CHUNKED = b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
SECOND = 1_000_000


class Held:
    """An app that holds every exchange for the test to answer."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        self.bodies: list[bytes] = []

    def __call__(self, exchange: Exchange) -> None:
        self.exchanges.append(exchange)
        exchange.collect(1 << 20, self.bodies.append)


class Streamed:
    """An app that streams every body into itself."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.told: list[str] = []

    def __call__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        exchange.stream(self)

    def data(self, part: bytes) -> None:
        self.parts.append(part)

    def end(self) -> None:
        self.told.append("end")

    def lost(self) -> None:
        self.told.append("lost")


def responding(status: int, body: bytes = b"") -> Callable[[Exchange], None]:
    return lambda exchange: exchange.respond(status, (("x-a", "b"),), body)


# Order and keep-alive.


def test_pipelined_requests_are_answered_in_order_and_each_waits_for_the_one_before():
    def scenario() -> None:
        app = Held()
        line = site(app).connect()
        line.feed(GET.replace(b"/a", b"/1") + POST % 2 + b"hi" + GET.replace(b"/a", b"/3"))
        assert [exchange.head.target for exchange in app.exchanges] == ["/1"]
        app.exchanges[0].respond(200, body=b"one")
        assert app.bodies == [b"", b"hi"]
        app.exchanges[1].respond(200, body=b"two")
        app.exchanges[2].respond(200, body=b"three")
        assert [answer.body for answer in answers(line.sent)] == [b"one", b"two", b"three"]

    on_loop(scenario)


def test_a_client_that_pipelines_without_end_is_not_read_and_is_read_again_later():
    def scenario() -> None:
        app = Held()
        line = site(app).connect()
        line.feed(GET * 4_000)
        assert len(app.exchanges) == 1
        assert not line.reading
        while not line.reading:
            app.exchanges[-1].respond(204)
        assert len(line.protocol._buffer) <= 64 * 1024
        while len(app.exchanges) < 4_000:
            app.exchanges[-1].respond(204)
        assert line.sent.count(b"HTTP/1.1 204") == 3_999

    on_loop(scenario)


def test_thousands_of_pipelined_requests_do_not_grow_the_stack():
    def scenario() -> None:
        here = site()
        line = here.connect()
        line.feed(GET * 5_000)
        assert len(answers(line.sent)) == 5_000

    on_loop(scenario)


@pytest.mark.parametrize(
    ("version", "connection", "kept", "said"),
    [
        ("1.1", None, True, None),
        ("1.1", "close", False, "close"),
        ("1.1", "Foo , CLOSE", False, "close"),
        ("1.1", "keep-alive", True, None),
        ("1.0", None, False, "close"),
        ("1.0", "Keep-Alive", True, "keep-alive"),
        ("1.0", "keep-alive, close", False, "close"),
    ],
)
def test_a_connection_is_kept_as_version_and_connection_say(
    version: str, connection: str | None, kept: bool, said: str | None
):
    def scenario() -> None:
        line = site().connect()
        field = f"Connection: {connection}\r\n" if connection else ""
        line.feed(f"GET /a HTTP/{version}\r\nHost: h\r\n{field}\r\n".encode())
        [answer] = answers(line.sent)
        assert answer.headers.get("connection") == said
        assert line.closed is not kept

    on_loop(scenario)


def test_a_late_answer_to_a_finished_exchange_does_nothing():
    def scenario() -> None:
        app = Held()
        line = site(app).connect()
        line.feed(GET)
        app.exchanges[0].respond(200, body=b"one")
        line.feed(GET)
        app.exchanges[0].respond(500, body=b"again")
        app.exchanges[0].begin(500).write(b"again")
        assert app.exchanges[0].closed
        assert not app.exchanges[1].closed
        app.exchanges[1].respond(200, body=b"two")
        assert [answer.body for answer in answers(line.sent)] == [b"one", b"two"]

    on_loop(scenario)


# Answers.


@pytest.mark.parametrize("status", [204, 304])
def test_answers_without_a_body_have_neither_body_nor_length(status: int):
    def scenario() -> None:
        line = site(responding(status, b"ignored")).connect()
        line.feed(GET)
        assert b"content-length" not in line.sent
        assert line.sent.endswith(b"x-a: b\r\n\r\n")

    on_loop(scenario)


def test_the_answer_to_head_has_the_length_of_the_body_and_not_the_body():
    def scenario() -> None:
        line = site(responding(200, b"body")).connect()
        line.feed(GET.replace(b"GET", b"HEAD") * 2)
        assert line.sent.count(b"content-length: 4\r\n\r\n") == 2
        assert b"body" not in line.sent

    on_loop(scenario)


def test_answers_carry_the_date_of_the_clock():
    def scenario() -> None:
        here = site()
        line = here.connect()
        line.feed(GET)
        here.clock.jump(61 * SECOND)
        line.feed(GET)
        dates = [answer.headers["date"] for answer in answers(line.sent)]
        assert dates == ["Thu, 01 Jan 2026 00:00:00 GMT", "Thu, 01 Jan 2026 00:01:01 GMT"]

    on_loop(scenario)


def test_the_fields_of_the_connection_are_the_servers():
    fields = [
        ("Content-Length", "99"),
        ("connection", "x"),
        ("Transfer-Encoding", "chunked"),
        ("Date", "x"),
        ("OK", "1"),
    ]

    def scenario() -> None:
        line = site(lambda exchange: exchange.respond(200, fields, b"body")).connect()
        line.feed(GET)
        [answer] = answers(line.sent)
        assert set(answer.headers) == {"date", "content-length", "ok"}
        assert answer.body == b"body"

    on_loop(scenario)


@pytest.mark.parametrize(
    "field", [("a", "b\r\nc: d"), ("a", "b\nc"), ("a\r\nb", "c"), ("a b", "c"), ("", "c"), ("a", "\x00"), ("a", "€")]
)
def test_an_answer_that_would_split_is_a_fault_of_the_app_and_is_never_sent(field: tuple[str, str]):
    def scenario() -> None:
        app = Held()
        here = site(app)
        line = here.connect()
        line.feed(GET)
        app.exchanges[0].respond(200, (field,), b"body")
        assert [answer.status for answer in answers(line.sent)] == [500]
        assert [fields["error"] for fields in here.named("wire.app-failed")] == ["InterlockError"]

    on_loop(scenario)


def test_a_streamed_answer_is_chunked_and_the_connection_goes_on():
    def app(exchange: Exchange) -> None:
        writer = exchange.begin(200)
        assert writer.write(b"hello")
        assert writer.write(b"")
        assert writer.write(b" world")
        writer.end()
        writer.write(b"late")

    def scenario() -> None:
        line = site(app).connect()
        line.feed(GET * 2)
        assert [answer.body for answer in answers(line.sent)] == [b"hello world"] * 2
        assert not line.closed

    on_loop(scenario)


def test_a_streamed_answer_of_a_declared_length_is_not_chunked():
    def app(exchange: Exchange) -> None:
        writer = exchange.begin(200, length=5)
        writer.write(b"hello")
        writer.end()

    def scenario() -> None:
        line = site(app).connect()
        line.feed(GET * 2)
        assert [(answer.body, answer.headers["content-length"]) for answer in answers(line.sent)] == [
            (b"hello", "5")
        ] * 2

    on_loop(scenario)


@pytest.mark.parametrize("parts", [[b"hell"], [b"hello", b"!"]])
def test_a_streamed_answer_that_breaks_its_declared_length_is_cut(parts: list[bytes]):
    def app(exchange: Exchange) -> None:
        writer = exchange.begin(200, length=5)
        for part in parts:
            writer.write(part)
        writer.end()

    def scenario() -> None:
        line = site(app).connect()
        line.feed(GET)
        assert line.aborted
        assert not line.sent.endswith(b"!")

    on_loop(scenario)


def test_a_streamed_answer_to_http_1_0_ends_with_the_connection():
    def app(exchange: Exchange) -> None:
        writer = exchange.begin(200)
        writer.write(b"hello")
        writer.end()

    def scenario() -> None:
        line = site(app).connect()
        line.feed(b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert line.sent.endswith(b"connection: close\r\n\r\nhello")
        assert line.closed

    on_loop(scenario)


def test_a_streamed_answer_to_head_sends_only_its_head():
    def app(exchange: Exchange) -> None:
        writer = exchange.begin(200)
        writer.write(b"hello")
        writer.end()

    def scenario() -> None:
        line = site(app).connect()
        line.feed(GET.replace(b"GET", b"HEAD"))
        assert line.sent.endswith(b"\r\n\r\n")
        assert b"hello" not in line.sent
        assert not line.closed

    on_loop(scenario)


def test_an_aborted_answer_closes_the_connection_without_a_clean_end():
    def app(exchange: Exchange) -> None:
        writer = exchange.begin(200)
        writer.write(b"hello")
        writer.abort()
        writer.end()

    def scenario() -> None:
        line = site(app).connect()
        line.feed(GET)
        assert line.aborted
        assert not line.sent.endswith(b"0\r\n\r\n")

    on_loop(scenario)


# Bodies.


def test_the_body_is_bounded_by_the_app_and_by_the_server():
    def scenario() -> None:
        for limit, ceiling in ((3, 100), (100, 3)):
            bodies: list[bytes] = []
            here = site(
                lambda exchange, limit=limit, bodies=bodies: exchange.collect(limit, bodies.append),
                ServerLimits(body_bytes_max=ceiling),
            )
            for request in (POST % 4 + b"hell", CHUNKED + b"2\r\nhe\r\n2\r\nll\r\n0\r\n\r\n"):
                line = here.connect()
                line.feed(request, 3)
                assert [answer.status for answer in answers(line.sent)] == [413]
            assert bodies == []

    on_loop(scenario)


def test_a_streamed_body_arrives_in_parts_before_it_is_whole():
    def scenario() -> None:
        app = Streamed()
        line = site(app).connect()
        line.feed(POST % 10 + b"hello")
        assert (b"".join(app.parts), app.told) == (b"hello", [])
        line.feed(b"world" + GET)
        assert (b"".join(app.parts), app.told) == (b"helloworld", ["end"])

    on_loop(scenario)


def test_a_paused_body_is_not_read_and_its_deadline_waits():
    async def scenario() -> None:
        app = Streamed()
        here = site(app)
        line = here.connect()
        line.feed(CHUNKED + b"5\r\nhello\r\n")
        app.exchange.pause()
        assert not line.reading
        line.feed(b"5\r\nworld\r\n0\r\n\r\n")
        assert b"".join(app.parts) == b"hello"
        await here.clock.advance(3_600 * SECOND)
        assert not line.closed
        app.exchange.resume()
        assert (b"".join(app.parts), app.told) == (b"helloworld", ["end"])
        assert line.reading
        app.exchange.respond(200)
        assert [answer.status for answer in answers(line.sent)] == [200]

    asyncio.run(scenario())


def test_a_body_that_breaks_off_is_said_to_be_lost():
    def scenario() -> None:
        app = Streamed()
        line = site(app).connect()
        line.feed(POST % 10 + b"hello")
        line.end()
        line.lose()
        assert app.told == ["lost"]
        assert app.exchange.closed
        held = Held()
        line = site(held).connect()
        line.feed(POST % 10 + b"hello")
        line.lose(ConnectionResetError())
        held.exchanges[0].respond(200)
        assert (held.bodies, line.sent, held.exchanges[0].closed) == ([], b"", True)

    on_loop(scenario)


def test_malformed_chunks_in_a_streamed_body_are_refused_and_the_sink_loses_it():
    def scenario() -> None:
        app = Streamed()
        line = site(app).connect()
        line.feed(CHUNKED + b"5\r\nhello\r\nx\r\n")
        assert app.told == ["lost"]
        assert [answer.status for answer in answers(line.sent)] == [400]

    on_loop(scenario)


def test_an_answer_before_the_body_keeps_the_connection_only_if_the_rest_is_small():
    def scenario() -> None:
        line = site(responding(401)).connect()
        line.feed(POST % 10 + b"hello")
        line.feed(b"world" + GET)
        assert [answer.status for answer in answers(line.sent)] == [401, 401]
        for request in (POST % 100_000 + b"hello", CHUNKED + b"5\r\nhello\r\n"):
            line = site(responding(401)).connect()
            line.feed(request)
            line.feed(GET)
            [answer] = answers(line.sent)
            assert answer.headers["connection"] == "close"
            assert line.half_closed

    on_loop(scenario)


def test_both_directions_may_stream_at_once():
    class Both:
        def __init__(self, exchange: Exchange) -> None:
            self.exchange = exchange
            self.writer: Writer | None = None

        def data(self, part: bytes) -> None:
            self.writer = self.writer or self.exchange.begin(200)
            self.writer.write(part)

        def end(self) -> None:
            (self.writer or self.exchange.begin(200)).end()

        def lost(self) -> None: ...

    def scenario() -> None:
        line = site(lambda exchange: exchange.stream(Both(exchange))).connect()
        line.feed(CHUNKED + b"5\r\nhello\r\n")
        assert line.sent.endswith(b"5\r\nhello\r\n")
        line.feed(b"1\r\n!\r\n0\r\n\r\n" + GET)
        assert [answer.body for answer in answers(line.sent)] == [b"hello!", b""]

    on_loop(scenario)


def test_an_answer_may_begin_before_the_body_is_taken():
    def app(exchange: Exchange) -> None:
        writer = exchange.begin(200)

        def whole(body: bytes) -> None:
            writer.write(body)
            writer.end()

        exchange.collect(100, whole)

    def scenario() -> None:
        line = site(app).connect()
        line.feed(POST % 5 + b"he")
        line.feed(b"llo" + GET)
        assert [answer.body for answer in answers(line.sent)] == [b"hello", b""]

    on_loop(scenario)


# Expect: 100-continue.


EXPECTING = b"POST /a HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"


def test_the_client_is_asked_for_the_body_only_when_the_app_takes_it():
    def scenario() -> None:
        line = site().connect()
        line.feed(EXPECTING)
        assert line.sent == b"HTTP/1.1 100 Continue\r\n\r\n"
        line.feed(b"hello" + GET)
        assert [answer.body for answer in answers(line.sent)] == [b"hello", b""]

    on_loop(scenario)


def test_a_final_answer_from_the_head_comes_instead_of_100():
    def scenario() -> None:
        for app, status in (
            (responding(401), 401),
            (lambda exchange: exchange.collect(4, lambda body: None), 413),
        ):
            line = site(app).connect()
            line.feed(EXPECTING)
            [answer] = answers(line.sent)
            assert b"100 Continue" not in line.sent
            assert (answer.status, answer.headers["connection"]) == (status, "close")

    on_loop(scenario)


def test_no_100_goes_to_http_1_0_nor_to_a_client_that_has_begun_the_body():
    def scenario() -> None:
        line = site().connect()
        line.feed(EXPECTING.replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert line.sent == b""
        line = site().connect()
        line.feed(EXPECTING + b"he")
        assert line.sent == b""
        line.feed(b"llo")
        assert [answer.body for answer in answers(line.sent)] == [b"hello"]

    on_loop(scenario)


# Flow control of answers.


def test_a_slow_reader_stops_the_writer_and_wakes_it_when_there_is_room():
    drained: list[int] = []
    writers: list[Writer] = []

    def app(exchange: Exchange) -> None:
        writers.append(exchange.begin(200, on_drain=lambda: drained.append(1)))

    def scenario() -> None:
        line = site(app).connect()
        line.stall()
        line.feed(GET)
        [writer] = writers
        assert writer.write(b"x" * 60_000)
        assert not writer.write(b"x" * 60_000)
        assert drained == []
        line.flow()
        assert drained == [1]
        assert writer.write(b"y")
        writer.end()
        [answer] = answers(line.sent)
        assert len(answer.body) == 120_001

    on_loop(scenario)


def test_a_writer_that_waits_is_woken_when_the_peer_goes_away():
    drained: list[bool] = []
    writers: list[Writer] = []

    def app(exchange: Exchange) -> None:
        writers.append(exchange.begin(200, on_drain=lambda: drained.append(exchange.closed)))

    def scenario() -> None:
        line = site(app).connect()
        line.stall()
        line.feed(GET)
        assert not writers[0].write(b"x" * 100_000)
        line.lose(ConnectionResetError())
        assert drained == [True]
        assert not writers[0].write(b"y")
        writers[0].end()

    on_loop(scenario)


def test_no_new_request_is_begun_while_the_peer_does_not_take_its_answers():
    def scenario() -> None:
        app = Held()
        line = site(app).connect()
        line.stall()
        line.feed(GET * 3)
        app.exchanges[0].respond(200, body=b"x" * 100_000)
        assert len(app.exchanges) == 1
        line.flow()
        assert len(app.exchanges) == 2

    on_loop(scenario)


def test_a_peer_that_takes_nothing_is_cut_and_one_that_takes_a_little_is_not():
    async def scenario() -> None:
        here = site(responding(200, b"x" * 200_000))
        line = here.connect()
        line.stall()
        line.feed(GET)
        await here.clock.advance(29 * SECOND)
        line.flow(1_000)
        await here.clock.advance(29 * SECOND)
        assert not line.closed
        await here.clock.advance(35 * SECOND)
        assert line.aborted
        assert here.server.connections == 0

    asyncio.run(scenario())


# Deadlines.


def test_a_slow_head_is_answered_408_and_a_silent_connection_is_closed():
    async def scenario() -> None:
        here = site()
        slow, silent = here.connect(), here.connect()
        for byte in GET[:-1]:
            slow.feed(bytes([byte]))
            await here.clock.advance(SECOND)
        assert [answer.headers["x-code"] for answer in answers(slow.sent)] == ["http.head-timeout"]
        assert (silent.sent, silent.closed) == (b"", True)
        await here.clock.advance(10 * SECOND)
        assert here.server.connections == 0

    asyncio.run(scenario())


def test_a_slow_collected_body_is_answered_408_however_it_trickles():
    async def scenario() -> None:
        here = site()
        for request, part in ((POST % 100, b"x"), (CHUNKED, b"1\r\nx\r\n")):
            line = here.connect()
            line.feed(request)
            for _ in range(32):
                line.feed(part)
                await here.clock.advance(SECOND)
            assert [answer.headers["x-code"] for answer in answers(line.sent)] == ["http.body-timeout"]

    asyncio.run(scenario())


def test_a_streamed_body_may_take_long_if_it_moves():
    async def scenario() -> None:
        app = Streamed()
        here = site(app)
        line = here.connect()
        line.feed(POST % 100)
        for _ in range(10):
            line.feed(b"x" * 10)
            await here.clock.advance(20 * SECOND)
        assert app.told == ["end"]
        app.exchange.respond(200)
        line.feed(POST % 100 + b"x")
        await here.clock.advance(31 * SECOND)
        assert app.told == ["end", "lost"]
        assert [answer.status for answer in answers(line.sent)] == [200, 408]

    asyncio.run(scenario())


def test_an_idle_connection_is_closed_and_one_whose_app_thinks_is_not():
    async def scenario() -> None:
        app = Held()
        here = site(app)
        idle, thinking = here.connect(), here.connect()
        idle.feed(GET)
        app.exchanges[0].respond(200)
        thinking.feed(GET)
        await here.clock.advance(74 * SECOND)
        assert not idle.closed
        await here.clock.advance(2 * SECOND)
        assert (idle.closed, idle.aborted) == (True, False)
        await here.clock.advance(3_600 * SECOND)
        assert not thinking.closed
        app.exchanges[1].respond(200)
        assert [answer.status for answer in answers(thinking.sent)] == [200]

    asyncio.run(scenario())


def test_there_are_two_timers_for_all_connections_and_none_without():
    async def scenario() -> None:
        here = site()
        lines = [here.connect() for _ in range(100)]
        for line in lines:
            line.feed(GET)
        assert sum(timer.callback is not None for _, _, timer in here.clock._timers) == 2  # deadlines, durations
        for line in lines:
            line.lose()
        assert here.clock.next_at() is None

    asyncio.run(scenario())


# Faults of the app.


def _raising(exchange: Exchange) -> None:
    raise ValueError("a bug")


def _raising_later(exchange: Exchange) -> None:
    exchange.collect(100, lambda body: 1 // 0)


def _silent(exchange: Exchange) -> None:
    del exchange


@pytest.mark.parametrize("app", [_raising, _raising_later, _silent, responding(101), responding(99), responding(600)])
def test_a_fault_of_the_app_is_reported_and_answered_500(app: Callable[[Exchange], None]):
    def scenario() -> None:
        here = site(app)
        line = here.connect()
        line.feed(POST % 2 + b"hi" + GET)
        assert [answer.headers["x-code"] for answer in answers(line.sent)] == ["http.app-failed"]
        [record] = here.named("wire.app-failed")
        assert (record["method"], record["path"]) == ("POST", "/a")
        assert isinstance(record["exception"], Exception)

    on_loop(scenario)


def test_an_app_that_fails_after_its_answer_sends_no_second_one():
    def whole(exchange: Exchange) -> None:
        exchange.respond(200, body=b"fine")
        raise ValueError("a bug")

    def begun(exchange: Exchange) -> None:
        exchange.begin(200).write(b"fi")
        raise ValueError("a bug")

    def scenario() -> None:
        line = site(whole).connect()
        line.feed(GET * 2)
        assert [answer.body for answer in answers(line.sent)] == [b"fine"]
        assert line.closed
        line = site(begun).connect()
        line.feed(GET * 2)
        assert line.aborted
        assert line.sent.count(b"HTTP/1.1") == 1

    on_loop(scenario)


def test_a_sink_that_fails_is_reported_and_the_server_goes_on():
    class Bad(Streamed):
        def data(self, part: bytes) -> None:
            raise ValueError("a bug")

        def lost(self) -> None:
            raise ValueError("another")

    def scenario() -> None:
        here = site(Bad())
        line = here.connect()
        line.feed(POST % 2 + b"h")
        assert [answer.status for answer in answers(line.sent)] == [500]
        assert len(here.named("wire.app-failed")) == 2

    on_loop(scenario)


def test_a_body_can_be_taken_once():
    def twice(exchange: Exchange) -> None:
        exchange.collect(10, lambda body: None)
        exchange.collect(10, lambda body: None)

    def scenario() -> None:
        here = site(twice)
        line = here.connect()
        line.feed(POST % 2)
        assert [answer.status for answer in answers(line.sent)] == [500]

    on_loop(scenario)


# The end.


def test_after_a_refusal_the_rest_is_dropped_for_a_while_and_then_the_connection_is_cut():
    async def scenario() -> None:
        here = site()
        line = here.connect()
        line.feed(b"bad\r\n\r\n")
        line.feed(GET * 100)
        assert len(answers(line.sent)) == 1
        assert (line.half_closed, line.closed) == (True, False)
        await here.clock.advance(3 * SECOND)
        assert line.aborted
        polite = here.connect()
        polite.feed(b"bad\r\n\r\n")
        polite.end()
        assert (polite.closed, polite.aborted) == (True, False)
        over_tls = here.connect(can_half_close=False)
        over_tls.feed(b"bad\r\n\r\n")
        assert (over_tls.closed, over_tls.aborted) == (True, False)

    asyncio.run(scenario())


def test_a_client_may_close_its_side_and_still_gets_its_answers():
    def scenario() -> None:
        app = Held()
        line = site(app).connect()
        line.feed(GET * 2)
        line.end()
        app.exchanges[0].respond(200)
        app.exchanges[1].respond(200)
        assert [answer.headers.get("connection") for answer in answers(line.sent)] == [None, "close"]
        assert line.closed

    on_loop(scenario)


def test_more_connections_than_allowed_are_told_so():
    def scenario() -> None:
        here = site(limits=ServerLimits(connections_max=2))
        first, second, third = here.connect(), here.connect(), here.connect()
        assert [answer.headers["x-code"] for answer in answers(third.sent)] == ["http.connections-exhausted"]
        first.feed(GET)
        second.feed(GET)
        assert len(here.seen) == 2
        third.lose()
        first.lose()
        here.connect().feed(GET)
        assert len(here.seen) == 3

    on_loop(scenario)


def test_drain_closes_idle_connections_at_once_and_lets_running_exchanges_finish():
    async def scenario() -> None:
        app = Held()
        here = site(app)
        idle, running = here.connect(), here.connect()
        idle.feed(GET)
        app.exchanges[0].respond(200)
        running.feed(GET * 2)
        draining = asyncio.create_task(here.server.drain(here.clock.monotonic() + 10 * SECOND))
        await here.clock.settle()
        assert idle.closed
        assert not draining.done()
        late = here.connect()
        assert [answer.status for answer in answers(late.sent)] == [503]
        late.lose()
        app.exchanges[1].respond(200)
        assert [answer.headers["connection"] for answer in answers(running.sent)] == ["close"]
        await here.clock.settle()
        assert draining.done()
        assert here.named("wire.drained") == [{"cut": 0}]

    asyncio.run(scenario())


def test_drain_cuts_at_its_deadline_what_has_not_finished():
    async def scenario() -> None:
        app = Held()
        here = site(app)
        line = here.connect()
        line.feed(GET)
        draining = asyncio.create_task(here.server.drain(here.clock.monotonic() + 10 * SECOND))
        await here.clock.advance(11 * SECOND)
        await draining
        assert line.aborted
        assert app.exchanges[0].closed
        assert here.named("wire.drained") == [{"cut": 1}]

    asyncio.run(scenario())


def test_nothing_is_written_to_a_transport_that_is_closing():
    def scenario() -> None:
        app = Held()
        line: Line = site(app).connect()
        line.feed(GET)
        line.close()
        app.exchanges[0].respond(200)
        assert line.sent == b""

    on_loop(scenario)
