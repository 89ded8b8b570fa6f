"""Mutated requests: never a 5xx, never a hang, the same meaning however they are cut, and no meaning that others deny.

The other readers are llhttp (httptools) and h11. Whatever ours takes, they must take to mean the same; that they take
more is what ours is for.
"""

from __future__ import annotations

import asyncio
from itertools import takewhile
from typing import Any

import h11
import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.wire.cases import REFUSED, TAKEN
from tests.unit.wire.lines import answers, site

SEEDS = [case.request for case in (*REFUSED, *TAKEN) if len(case.request) < 1_000]
SPICES = [
    b"\r",
    b"\n",
    b"\r\n",
    b"\x00",
    b" ",
    b"\t",
    b":",
    b",",
    b";",
    b"+",
    b"_",
    b"\xb2",
    b"0",
    b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Host: g\r\n",
    b"Connection: close\r\n",
    b"Connection: upgrade\r\nUpgrade: h2c\r\n",
    b"Expect: 100-continue\r\n",
    b"HTTP/1.0",
    b"0\r\n\r\n",
    b"3\r\nabc\r\n",
    b"GET /b HTTP/1.1\r\nHost: h\r\n\r\n",
]
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
Seen = list[tuple[str, str, bytes]]


@st.composite
def mutants(draw: st.DrawFn) -> bytes:
    """One or two requests with some bytes put in, taken out, doubled or changed."""
    request = b"".join(draw(st.lists(st.sampled_from(SEEDS), min_size=1, max_size=2)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(request)))
        to = draw(st.integers(at, min(at + 12, len(request))))
        spice = draw(st.one_of(st.sampled_from(SPICES), st.binary(max_size=3), st.just(request[at:to] * 2)))
        request = request[:at] + spice + request[to:]
    return request


def ours(request: bytes, size: int = 0) -> tuple[Seen, list[int]]:
    """What the app saw, and the statuses that were sent, until the client gives up and the deadlines have passed."""

    async def scenario() -> tuple[Seen, list[int]]:
        here = site()
        line = here.connect()
        line.feed(request, size)
        await here.clock.advance(200_000_000)
        assert line.closed, "the connection hangs"
        assert here.server.connections == 0
        assert here.named("wire.app-failed") == []
        statuses = [answer.status for answer in answers(_without_interim(line.sent))]
        return [(head.method, head.target, body) for head, body in here.seen], statuses

    return asyncio.run(scenario())


def _without_interim(sent: bytes) -> bytes:
    return sent.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")


@settings(max_examples=400)
@given(mutants())
def test_no_mutant_gets_a_5xx_or_keeps_its_connection_for_ever(request_: bytes):
    seen, statuses = ours(request_)
    assert [status for status in statuses if status >= 500] == []
    assert statuses.count(200) == len(seen)
    assert all(status == 200 for status in statuses[:-1])


@settings(max_examples=200)
@given(mutants(), st.integers(1, 9))
def test_a_mutant_means_the_same_however_it_is_cut(request_: bytes, size: int):
    assert ours(request_, size) == ours(request_)


class _Llhttp:
    def __init__(self) -> None:
        self.seen: Seen = []

    def on_message_begin(self) -> None:
        self.target, self.body = b"", b""

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_body(self, part: bytes) -> None:
        self.body += part

    def on_message_complete(self) -> None:
        self.seen.append((self.parser.get_method().decode(), self.target.decode("latin-1"), self.body))


def llhttp(request: bytes) -> Seen | None:
    """What llhttp takes the first requests to be; None if it stops for an upgrade, of which ours knows nothing."""
    reader: Any = _Llhttp()
    reader.parser = httptools.HttpRequestParser(reader)
    try:
        reader.parser.feed_data(request)
    except httptools.HttpParserUpgrade:
        return None
    except httptools.HttpParserError:
        pass
    return reader.seen


def by_h11(request: bytes) -> Seen:
    """What h11 takes the first requests to be."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(request)
    seen: Seen = []
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                method, target, body = event.method.decode(), event.target.decode("latin-1"), b""
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                seen.append((method, target, body))
                connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
                connection.send(h11.EndOfMessage())
                if connection.our_state is not h11.DONE:
                    return seen
                connection.start_next_cycle()
            else:
                return seen
    except h11.ProtocolError:
        return seen


def _origin_form(seen: Seen) -> Seen:
    """Absolute targets as ours hands them on."""
    plain: Seen = []
    for method, target, body in seen:
        if target.lower().startswith(("http://", "https://")):
            rest = target.partition("://")[2]
            at = min((rest.find(mark) for mark in "/?" if mark in rest), default=len(rest))
            target = rest[at:] if rest[at : at + 1] == "/" else "/" + rest[at:]
        plain.append((method, target, body))
    return plain


@settings(max_examples=400)
@given(mutants())
def test_what_is_taken_has_the_same_meaning_for_llhttp(request_: bytes):
    seen, _ = ours(request_)
    theirs = llhttp(request_)
    if theirs is not None:
        # It knows a closed list of methods and stops at any other.
        known = list(takewhile(lambda each: each[0] in METHODS, seen))
        assert _origin_form(theirs)[: len(known)] == known


@settings(max_examples=400)
@given(mutants())
def test_what_is_taken_has_the_same_meaning_for_h11(request_: bytes):
    seen, _ = ours(request_)
    # It takes one empty line before a request, and one length given twice; what both take must be the same.
    for mine, theirs in zip(seen, _origin_form(by_h11(request_)), strict=False):
        assert mine == theirs


@pytest.mark.parametrize("case", TAKEN, ids=lambda case: case.name)
def test_the_readers_agree_about_requests_that_are_fine(case: Any):
    seen, _ = ours(case.request)
    assert [(target, body) for _, target, body in seen] == [(case.target, case.body)]
    assert _origin_form(by_h11(case.request.lstrip(b"\r\n"))) == seen


@settings(max_examples=100)
@given(st.binary(max_size=300))
def test_random_bytes_are_refused_or_time_out(request_: bytes):
    _, statuses = ours(request_)
    assert all(400 <= status < 500 for status in statuses)
