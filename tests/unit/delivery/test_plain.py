"""Plain functions in threads: nothing can end them, so their attempts last as long as they do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from tests.unit.delivery.bench_of_lanes import Bench, run

from interlock.core.limits import US_PER_SECOND


class Threads:
    """Offload whose threads begin and end a call when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Callable[[], Any], asyncio.Future[Any]]] = []
        self.begun: list[tuple[Any, asyncio.Future[Any]]] = []

    def run(self, function: Callable[[], Any]) -> Awaitable[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.waiting.append((function, future))
        return future

    def begin(self) -> None:
        """The oldest call begins; what it returns is given by `end`."""
        function, future = self.waiting.pop(0)
        self.begun.append((function(), future))

    def end(self) -> None:
        result, future = self.begun.pop(0)
        if not future.done():
            future.set_result(result)


def bench_with(threads: Threads) -> Bench:
    bench = Bench(plain=True)
    bench.offload = threads
    return bench


def test_what_waited_for_a_thread_past_its_deadline_was_not_tried_and_does_not_count() -> None:
    async def story() -> None:
        threads = Threads()
        bench = bench_with(threads)
        await bench.start()
        await bench.put(("a", 0))
        await bench.advance(31)
        assert bench.calls == []
        assert await bench.rows() == []
        threads.begin()
        threads.end()
        assert bench.calls == [], "the first run was called off: its thread finds nothing to do"
        await bench.advance(2)
        threads.begin()
        threads.end()
        await bench.advance(1)
        assert bench.calls == [("a", 0)]
        bench.balance()
        assert bench.disk.ledgers[bench.id].held.cursor.counters.delivered == 1

    run(story())


def test_a_plain_function_that_runs_past_its_deadline_keeps_its_key_until_it_ends() -> None:
    async def story() -> None:
        threads = Threads()
        bench = bench_with(threads)
        await bench.start()
        await bench.put(("a", 0), ("a", 1))
        threads.begin()
        await bench.advance(300)
        assert bench.calls == [("a", 0)]
        assert threads.waiting == [], "no second attempt beside the first"
        threads.end()
        await bench.advance(5)
        failed = [fields["error"] for record, fields in bench.records if record == "attempt.failed"]
        assert failed == ["timeout"]
        threads.begin()
        threads.end()
        await bench.advance(1)
        assert bench.calls == [("a", 0), ("a", 0)]

    run(story())


def test_a_stop_does_not_wait_for_ever_for_a_function_in_its_thread() -> None:
    async def story() -> None:
        threads = Threads()
        bench = bench_with(threads)
        await bench.start()
        await bench.put(("a", 0))
        threads.begin()
        stopping = asyncio.ensure_future(bench.fleet.stop(US_PER_SECOND))
        await bench.advance(5)
        assert stopping.done()
        threads.end()

    run(story())
