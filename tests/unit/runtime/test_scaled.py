"""The scaled clock: a Clock in every respect, with another pace."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.core.limits import US_PER_SECOND
from interlock.runtime.scaled import ScaledClock
from interlock.testing.clock import FakeClock


@pytest.mark.parametrize("speed", [0.5, 1, 8])
def test_both_of_its_readings_go_at_its_pace_from_where_the_other_clock_was(speed: float) -> None:
    async def story() -> None:
        clock = FakeClock()
        scaled = ScaledClock(clock, speed)
        assert (scaled.now(), scaled.monotonic()) == (clock.now(), clock.monotonic())
        now, monotonic = scaled.now(), scaled.monotonic()
        await clock.advance(10 * US_PER_SECOND)
        passed = int(10 * US_PER_SECOND * speed)
        assert (scaled.now() - now, scaled.monotonic() - monotonic) == (passed, passed)

    asyncio.run(story())


@given(speed=st.sampled_from([0.5, 0.7, 1, 3, 8, 12.5]), after=st.integers(1, 1_000_000))
def test_its_timers_are_due_at_its_own_instants_and_never_early(speed: float, after: int) -> None:
    async def story() -> None:
        clock = FakeClock()
        scaled = ScaledClock(clock, speed)
        when = scaled.monotonic() + after
        fired: list[int] = []
        scaled.call_at(when, lambda: fired.append(scaled.monotonic()))
        due = clock.next_at()
        assert due is not None
        await clock.advance(due - clock.monotonic())
        assert when <= fired[0] <= when + speed

    asyncio.run(story())


def test_a_sleep_and_a_deadline_end_by_it() -> None:
    async def story() -> None:
        clock = FakeClock()
        scaled = ScaledClock(clock, 8)

        async def bounded() -> str:
            try:
                async with scaled.deadline(scaled.monotonic() + 4 * US_PER_SECOND):
                    await scaled.sleep_until(scaled.monotonic() + 8 * US_PER_SECOND)
            except TimeoutError:
                return "too late"
            return "in time"

        task = asyncio.create_task(bounded())
        await clock.advance(US_PER_SECOND // 2 - 1)
        assert not task.done()
        await clock.advance(1)
        assert await task == "too late"

    asyncio.run(story())
