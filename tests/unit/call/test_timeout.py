"""Deadlines of calls, and what the other side is told of them."""

from __future__ import annotations

import asyncio

import pytest

from interlock.call.timeout import deadline, timeout_field
from interlock.core.handler import Call
from interlock.core.limits import US_PER_SECOND
from interlock.core.outcome import Done, Outcome, Unavailable
from interlock.testing.clock import FakeClock

SYSTEM_US = 10 * US_PER_SECOND


def through(left_us: int | None) -> tuple[Outcome, list[int]]:
    clock, seen = FakeClock(), list[int]()

    async def inner(call: Call) -> Outcome:
        seen.append(call.deadline - clock.monotonic())
        return Done()

    until = 0 if left_us is None else clock.monotonic() + left_us
    made = deadline(clock, SYSTEM_US)(inner)(Call("shop.crm", "GET", "/", deadline=until))

    async def body() -> Outcome:
        return await made

    return asyncio.run(body()), seen


@pytest.mark.parametrize(
    ("left_us", "given_us"),
    [(None, SYSTEM_US), (60 * US_PER_SECOND, SYSTEM_US), (4 * US_PER_SECOND, 4 * US_PER_SECOND), (500_000, 500_000)],
)
def test_the_earlier_of_the_two_deadlines_holds(left_us: int | None, given_us: int):
    assert through(left_us) == (Done(), [given_us])


@pytest.mark.parametrize("left_us", [499_999, 1, -1])
def test_a_call_with_less_than_a_twentieth_of_its_time_left_is_not_made(left_us: int):
    assert through(left_us) == (Unavailable("deadline", None, "shop.crm"), [])


@pytest.mark.parametrize(("left_us", "value"), [(1_500_999, "1500"), (999, "1"), (-5, "1")])
def test_the_other_side_is_told_how_many_milliseconds_it_has(left_us: int, value: str):
    assert timeout_field(10**9 + left_us, 10**9) == ("x-request-timeout-ms", value)
