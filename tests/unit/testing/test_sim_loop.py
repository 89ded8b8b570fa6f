"""SimLoop: virtual time, one seed one run, processes that die and stall, deadlocks that are told."""

from __future__ import annotations

import asyncio

import pytest

from interlock.testing.sim.loop import Process, Schedule, SimDeadlock, SimLivelock, SimLoop, run

SCHEDULES: tuple[Schedule, ...] = ("fifo", "random", "pct")


async def wait(loop: SimLoop, us: int) -> None:
    woken = loop.create_future()
    loop.call_at_us(loop.now_us + us, lambda: woken.done() or woken.set_result(None))
    await woken


async def race(loop: SimLoop) -> list[int]:
    order: list[int] = []

    async def runner(n: int) -> None:
        for _ in range(4):
            await asyncio.sleep(0)
            order.append(n)

    await asyncio.gather(*[runner(n) for n in range(5)])
    return order


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_same_seed_takes_the_same_steps(schedule: Schedule) -> None:
    first, loop = run(race, 7, schedule)
    second, again = run(race, 7, schedule)
    assert (first, loop.trace_hash()) == (second, again.trace_hash())


@pytest.mark.parametrize("schedule", ["random", "pct"])
def test_other_seeds_take_other_orders(schedule: Schedule) -> None:
    assert len({tuple(run(race, seed, schedule)[0]) for seed in range(20)}) > 5


def test_fifo_is_the_order_of_asyncio() -> None:
    assert run(race, 1, "fifo")[0] == [n for _ in range(4) for n in range(5)]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_plain_callbacks_keep_their_order_under_every_schedule(schedule: Schedule) -> None:
    async def main(loop: SimLoop) -> list[int]:
        seen: list[int] = []
        for n in range(50):
            loop.call_soon(seen.append, n)
        await wait(loop, 10_000_000)
        return seen

    for seed in range(5):
        assert run(main, seed, schedule)[0] == list(range(50))


def test_a_day_passes_at_once_and_asyncio_timeouts_follow_it() -> None:
    async def main(loop: SimLoop) -> float:
        start = loop.time()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(86_400):
                await loop.create_future()
        return loop.time() - start

    assert run(main, 1)[0] == pytest.approx(86_400, abs=0.1)


def test_a_deadlock_is_told_with_the_names_of_the_suspended() -> None:
    async def main(loop: SimLoop) -> None:
        task = loop.create_task(asyncio.Event().wait(), name="waiter")
        await task

    with pytest.raises(SimDeadlock, match="waiter"):
        run(main, 1)


def test_a_livelock_is_told() -> None:
    async def main(loop: SimLoop) -> None:
        def again() -> None:
            loop.call_soon(again)

        again()
        await loop.create_future()

    with pytest.raises(SimLivelock):
        run(main, 1)


def test_a_spinning_task_does_not_starve_the_one_it_waits_for_under_pct() -> None:
    async def main(loop: SimLoop) -> bool:
        done = asyncio.Event()

        async def work() -> None:
            done.set()

        loop.create_task(work())
        while not done.is_set():  # noqa: ASYNC110  (spinning is what is tested)
            await asyncio.sleep(0)
        return True

    for seed in range(10):
        assert run(main, seed, "pct")[0]


def test_a_killed_process_runs_nothing_more_not_even_finally() -> None:
    async def main(loop: SimLoop) -> list[str]:
        seen: list[str] = []
        process = Process(loop, "p")

        async def body() -> None:
            try:
                loop.call_at_us(loop.now_us + 50, lambda: seen.append("timer"))
                await wait(loop, 100)
                seen.append("resumed")
            finally:
                seen.append("finally")

        process.spawn(body())
        await wait(loop, 10)
        process.kill()
        await wait(loop, 1_000)
        return list(seen)  # When the run is over, what is left is closed.

    assert run(main, 1)[0] == []


def test_tasks_made_by_a_process_belong_to_it() -> None:
    async def main(loop: SimLoop) -> list[str]:
        seen: list[str] = []
        process = Process(loop, "p")

        async def child() -> None:
            await wait(loop, 100)
            seen.append("child")

        async def parent() -> None:
            loop.create_task(child())

        process.spawn(parent())
        await wait(loop, 10)
        process.kill()
        await wait(loop, 1_000)
        return seen

    assert run(main, 1)[0] == []


def test_a_fuse_kills_between_two_steps_and_tells_who_listens() -> None:
    async def main(loop: SimLoop) -> tuple[list[int], list[str]]:
        seen: list[int] = []
        deaths: list[str] = []
        process = Process(loop, "p")
        process.fuse = 3
        process.on_death.append(lambda: deaths.append("p"))

        async def body() -> None:
            for n in range(10):
                seen.append(n)
                await asyncio.sleep(0)

        process.spawn(body())
        await wait(loop, 1_000)
        return seen, deaths

    assert run(main, 1)[0] == ([0, 1, 2], ["p"])


def test_a_stopped_process_catches_up_when_it_is_resumed() -> None:
    async def main(loop: SimLoop) -> list[int]:
        seen: list[int] = []
        process = Process(loop, "p")
        start = loop.now_us

        async def body() -> None:
            for _ in range(3):
                await wait(loop, 100)
                seen.append((loop.now_us - start) // 1_000_000)

        process.spawn(body())
        await wait(loop, 10)
        process.stop()
        await wait(loop, 60_000_000)
        assert seen == []
        process.resume()
        await wait(loop, 1_000_000)
        return seen

    assert run(main, 1)[0] == [60, 60, 60]


def test_threads_and_names_are_refused() -> None:
    async def main(loop: SimLoop) -> None:
        with pytest.raises(RuntimeError, match="Offload"):
            await asyncio.to_thread(int)
        with pytest.raises(RuntimeError, match="Net"):
            await loop.getaddrinfo("example.org", 80)

    run(main, 1)


def test_an_exception_in_a_callback_is_kept_as_an_error_of_the_run() -> None:
    async def main(loop: SimLoop) -> None:
        loop.call_soon(lambda: 1 // 0)
        await wait(loop, 1_000)

    assert "ZeroDivisionError" in run(main, 1)[1].errors[0]
