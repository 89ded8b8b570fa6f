"""Durations of requests: gathered by route, told once a second, and when the last connection has gone."""

from __future__ import annotations

import asyncio

from tests.unit.wire.lines import site

from interlock.core.limits import US_PER_MS, US_PER_SECOND
from interlock.wire.exchange import Exchange

POST = b"POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n"


def test_answers_of_one_kind_are_one_record_a_second() -> None:
    async def scenario() -> None:
        waiting: list[Exchange] = []

        def app(exchange: Exchange) -> None:
            exchange.route = "/{x}"
            exchange.collect(10, lambda _: waiting.append(exchange))

        here = site(app)
        line = here.connect()
        for took_ms in (3, 5):
            line.feed(POST)
            await here.clock.advance(took_ms * US_PER_MS)
            waiting.pop().respond(202)
        line.feed(POST)
        waiting.pop().respond(503)
        assert here.named("http.served") == []
        await here.clock.advance(US_PER_SECOND)
        kind = {"method": "POST", "route": "/{x}"}
        assert here.named("http.served") == [
            {**kind, "status": 202, "durations_us": [3_000, 5_000]},
            {**kind, "status": 503, "durations_us": [0]},
        ]
        await here.clock.advance(5 * US_PER_SECOND)
        assert len(here.named("http.served")) == 2

    asyncio.run(scenario())


def test_a_streamed_answer_counts_until_its_end() -> None:
    async def scenario() -> None:
        writers = []
        here = site(lambda exchange: writers.append(exchange.begin(200, length=2)))
        line = here.connect()
        line.feed(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        await here.clock.advance(2 * US_PER_SECOND)
        assert here.named("http.served") == []
        writers[0].write(b"ok")
        writers[0].end()
        line.lose()
        (told,) = here.named("http.served")
        assert (told["route"], told["status"], told["durations_us"]) == ("", 200, [2 * US_PER_SECOND])

    asyncio.run(scenario())


def test_methods_that_a_peer_makes_up_do_not_fill_the_memory() -> None:
    async def scenario() -> None:
        here = site(lambda exchange: exchange.respond(405))
        line = here.connect()
        for number in range(1_001):
            line.feed(f"M{number} / HTTP/1.1\r\nhost: a\r\n\r\n".encode())
        assert len(here.named("http.served")) == 1_000

    asyncio.run(scenario())
