"""FakeClock: timers in order, deadlines as asyncio's, sleeping without waiting."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from interlock.testing.clock import FakeClock, NeverQuiet

SECOND = 1_000_000


def test_timers_fire_at_their_instants_in_order_and_in_the_order_asked_when_equal() -> None:
    async def scenario() -> list[tuple[str, int]]:
        clock = FakeClock()
        start = clock.monotonic()
        fired: list[tuple[str, int]] = []

        def note(name: str) -> None:
            fired.append((name, clock.monotonic() - start))

        clock.call_at(start + 2, lambda: note("c"))
        clock.call_at(start + 1, lambda: note("a"))
        clock.call_at(start + 1, lambda: note("b"))
        clock.call_at(start + 3, lambda: note("late"))
        await clock.advance(2)
        return fired

    assert asyncio.run(scenario()) == [("a", 1), ("b", 1), ("c", 2)]


def test_a_timer_set_by_a_timer_fires_within_the_same_advance_at_its_own_instant() -> None:
    async def scenario() -> list[int]:
        clock = FakeClock()
        start = clock.monotonic()
        ticks: list[int] = []

        async def tick() -> None:
            for n in range(1, 6):
                await clock.sleep_until(start + n * SECOND)
                ticks.append(clock.monotonic() - start)

        task = asyncio.create_task(tick())
        await clock.advance(timedelta(seconds=3))
        task.cancel()
        return ticks

    assert asyncio.run(scenario()) == [SECOND, 2 * SECOND, 3 * SECOND]


def test_a_cancelled_timer_does_not_fire_even_when_it_was_already_due() -> None:
    async def scenario() -> list[str]:
        clock = FakeClock()
        fired: list[str] = []
        past = clock.call_at(clock.monotonic(), lambda: fired.append("past"))
        future = clock.call_at(clock.monotonic() + 1, lambda: fired.append("future"))
        past.cancel()
        future.cancel()
        await clock.advance(10)
        assert clock.next_at() is None
        return fired

    assert asyncio.run(scenario()) == []


def test_a_deadline_cancels_the_body_and_raises_timeout_error() -> None:
    async def scenario() -> int:
        clock = FakeClock()
        start = clock.monotonic()

        async def body() -> int:
            with pytest.raises(TimeoutError):
                async with clock.deadline(start + SECOND):
                    await asyncio.get_running_loop().create_future()
            return clock.monotonic() - start

        task = asyncio.create_task(body())
        await clock.advance(5 * SECOND)
        return task.result()

    assert asyncio.run(scenario()) == SECOND


def test_a_deadline_in_the_past_cancels_at_the_first_suspension() -> None:
    async def scenario() -> None:
        clock = FakeClock()
        with pytest.raises(TimeoutError):
            async with clock.deadline(clock.monotonic() - 1):
                await asyncio.get_running_loop().create_future()

    asyncio.run(scenario())


def test_a_body_that_ends_in_time_leaves_no_timer() -> None:
    async def scenario() -> int | None:
        clock = FakeClock()
        async with clock.deadline(clock.monotonic() + SECOND):
            await clock.sleep_until(0)
        return clock.next_at()

    assert asyncio.run(scenario()) is None


def test_a_cancellation_from_elsewhere_is_not_turned_into_a_timeout() -> None:
    async def scenario() -> bool:
        clock = FakeClock()

        async def body() -> None:
            async with clock.deadline(clock.monotonic() + SECOND):
                await asyncio.get_running_loop().create_future()

        task = asyncio.create_task(body())
        await clock.settle()
        task.cancel()
        await clock.settle()
        return task.cancelled()

    assert asyncio.run(scenario())


def test_a_cancellation_that_meets_the_deadline_wins_over_it() -> None:
    async def scenario() -> bool:
        clock = FakeClock()

        async def body() -> None:
            async with clock.deadline(clock.monotonic()):
                await asyncio.get_running_loop().create_future()

        task = asyncio.create_task(body())
        await clock.sleep_until(0)  # The deadline has just fired; the body has not been resumed yet.
        task.cancel()
        await clock.settle()
        return task.cancelled()

    assert asyncio.run(scenario())


def test_a_jump_of_the_wall_clock_moves_neither_timers_nor_monotonic() -> None:
    clock = FakeClock()
    now, monotonic = clock.now(), clock.monotonic()
    clock.jump(-timedelta(hours=2))
    assert (clock.now() - now, clock.monotonic() - monotonic) == (-7200 * SECOND, 0)


def test_settle_gives_up_on_a_callback_that_wakes_itself_for_ever() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()

        def again() -> None:
            loop.call_soon(again)

        again()
        with pytest.raises(NeverQuiet):
            await FakeClock().settle()

    asyncio.run(scenario())
