"""What of RFC 9112 is taken and what is refused, whether it comes in one piece or byte by byte."""

from __future__ import annotations

import pytest
from tests.unit.wire.cases import REFUSED, TAKEN, G, Refused, Taken
from tests.unit.wire.lines import answers, on_loop, site

from interlock.wire.exchange import Exchange

SIZES = pytest.mark.parametrize("size", [0, 1, 7], ids=["whole", "bytes", "sevens"])


@SIZES
@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name[:60])
def test_what_is_malformed_or_too_large_is_refused_with_its_code_and_the_connection_ends(case: Refused, size: int):
    if size == 1 and len(case.request) > 50_000:
        size = 1_000

    def scenario() -> None:
        here = site()
        line = here.connect()
        line.feed(case.request, size)
        [answer] = answers(line.sent)
        assert (answer.status, answer.headers["x-code"]) == (case.status, case.code)
        assert answer.headers["connection"] == "close"
        assert line.half_closed
        assert here.seen == []
        assert [fields["code"] for fields in here.named("wire.refused")] == [case.code]

    on_loop(scenario)


@SIZES
@pytest.mark.parametrize("case", TAKEN, ids=lambda case: case.name)
def test_what_is_well_formed_reaches_the_app_as_it_was_meant(case: Taken, size: int):
    def scenario() -> None:
        here = site()
        line = here.connect()
        line.feed(case.request, size)
        [answer] = answers(line.sent)
        [(head, body)] = here.seen
        assert (answer.status, answer.body) == (200, case.body)
        assert (head.target, body) == (case.target, case.body)
        assert head.peer == "192.0.2.1"

    on_loop(scenario)


@SIZES
def test_a_request_hidden_behind_another_body_is_never_seen(size: int):
    hidden = b"GET /hidden HTTP/1.1\r\nHost: h\r\n\r\n"
    chunked = b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"

    def scenario() -> None:
        here = site()
        line = here.connect()
        line.feed(b"POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%b" % (len(hidden), hidden), size)
        line.feed(chunked % (len(hidden), hidden), size)
        assert [(head.target, body) for head, body in here.seen] == [("/b", hidden), ("/a", hidden)]

    on_loop(scenario)


def test_trailers_never_become_headers():
    def scenario() -> None:
        here = site()
        line = here.connect()
        line.feed(b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nAuthorization: x\r\n\r\n")
        [(head, _)] = here.seen
        assert head.header("authorization") is None

    on_loop(scenario)


def test_an_absolute_target_replaces_the_host_and_only_the_host():
    def scenario() -> None:
        here = site(hosts=frozenset({"other"}))
        here.connect().feed(b"GET http://other:81/a?b HTTP/1.1\r\nA: 1\r\nHost: h\r\nB: 2\r\n\r\n")
        [(head, _)] = here.seen
        assert head.every("host") == ["other:81"]
        assert (head.path, head.query, head.header("a"), head.header("b")) == ("/a", "b", "1", "2")

    on_loop(scenario)


@pytest.mark.parametrize("host", ["api.example", "API.example:8080", "api.example:1", "[::1]:8080"])
def test_a_host_on_the_list_is_served_whatever_its_port_and_case(host: str):
    def scenario() -> None:
        here = site(hosts=frozenset({"api.example", "[::1]:8080"}))
        here.connect().feed(f"GET /a HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert len(here.seen) == 1

    on_loop(scenario)


@pytest.mark.parametrize("host", ["evil.example", "api.example.evil", "[::1]:8081", "localhost"])
def test_a_host_that_is_not_on_the_list_is_misdirected(host: str):
    def scenario() -> None:
        here = site(hosts=frozenset({"api.example", "[::1]:8080"}))
        line = here.connect()
        line.feed(f"GET /a HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert [answer.status for answer in answers(line.sent)] == [421]
        old = here.connect()
        old.feed(b"GET /a HTTP/1.0\r\n\r\n")
        assert [answer.status for answer in answers(old.sent)] == [400]

    on_loop(scenario)


def test_a_flood_of_strange_names_and_hosts_is_forgotten_again():
    def scenario() -> None:
        here = site()
        line = here.connect()
        for number in range(3_000):
            line.feed(f"GET /a HTTP/1.1\r\nHost: h{number}\r\nX-{number}: y\r\n\r\n".encode())
        assert len(here.seen) == 3_000
        reader = here.server._shared.reader
        assert len(reader.names) <= 1_024
        assert len(reader._hosts) <= 1_024

    on_loop(scenario)


def test_the_refusal_of_a_head_request_has_no_body():
    def too_small(exchange: Exchange) -> None:
        exchange.collect(3, lambda body: None)

    def scenario() -> None:
        line = site(too_small).connect()
        line.feed(b"HEAD /a HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n")
        assert line.sent.startswith(b"HTTP/1.1 413 ")
        assert line.sent.endswith(b"\r\n\r\n")

    on_loop(scenario)


def test_limits_hold_to_the_byte():
    def scenario() -> None:
        for name, target, status in (("longest", 8_191, 200), ("too long", 8_192, 414)):
            for size in (0, 13):
                line = site().connect()
                line.feed(b"GET /" + b"a" * target + b" HTTP/1.1\r\nHost: h\r\n\r\n", size)
                assert [answer.status for answer in answers(line.sent)] == [status], name
        room = 32 * 1024 - len(G) - len(b"A: ")
        for name, value, status in (("largest", room, 200), ("too large", room + 1, 431)):
            for size in (0, 13):
                line = site().connect()
                line.feed(G + b"A: " + b"b" * value + b"\r\n\r\n", size)
                assert [answer.status for answer in answers(line.sent)] == [status], name
        line = site().connect()
        line.feed(G + b"A: b\r\n" * 99 + b"\r\n")
        assert [answer.status for answer in answers(line.sent)] == [200]

    on_loop(scenario)
