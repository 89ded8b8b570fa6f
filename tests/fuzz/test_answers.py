"""Mutated answers of an origin: one answer or one `WireFailure`, however they are cut, and the pool never hangs."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fuzz.test_http import SPICES
from tests.unit.wire.test_pool import BAD, GOOD, POST, World

from interlock.core.outcome import Answer
from interlock.wire.outgoing import WireFailure

SEEDS = [reply for reply, *_ in (*GOOD, *BAD) if len(reply) < 1_000]


@st.composite
def mutants(draw: st.DrawFn) -> bytes:
    """An answer with some bytes put in, taken out or changed."""
    reply = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(reply)))
        to = draw(st.integers(at, min(at + 12, len(reply))))
        reply = reply[:at] + draw(st.one_of(st.sampled_from(SPICES), st.binary(max_size=3))) + reply[to:]
    return reply


def outcome(reply: bytes, size: int = 0) -> tuple[str, bytes] | Answer:
    """What the caller gets from an origin that sends these bytes and then nothing more."""

    async def scenario() -> tuple[str, bytes] | Answer:
        world = World()
        task = await world.start(POST)
        world.lines[0].feed(reply, size)
        await world.clock.advance(20_000_000)
        assert task.done(), "the request hangs"
        # Without a clean answer, or with anything behind it, the connection must be gone.
        error = task.exception()
        if error is None:
            return task.result()
        assert isinstance(error, WireFailure)
        assert world.lines[0].closed
        return error.kind, b""

    return asyncio.run(scenario())


@settings(max_examples=300)
@given(mutants(), st.integers(1, 9))
def test_an_answer_is_the_same_however_it_is_cut_and_only_wire_failures_are_raised(reply: bytes, size: int):
    assert outcome(reply, size) == outcome(reply)
