"""The real ports, each over the thing itself: loopback sockets, threads, a folder."""

from __future__ import annotations

import asyncio
import threading
import time
from functools import partial

import pytest
import uvloop

from interlock.runtime.clock import SystemClock
from interlock.runtime.ports import FunctionThreads, SystemNet, SystemRandom, ThreadOffload


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_timer_is_never_early(loop: type[asyncio.AbstractEventLoop]) -> None:
    async def scenario() -> list[int]:
        clock = SystemClock()
        early: list[int] = []
        for step in (1, 300, 999, 1_001, 2_500):
            when = clock.monotonic() + step
            fired: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            clock.call_at(when, lambda fired=fired: fired.set_result(clock.monotonic()))
            early.append(min(0, await fired - when))
            await clock.sleep_until(when + 500)
            early.append(min(0, clock.monotonic() - when - 500))
        return early

    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(scenario()) == [0] * 10


def test_a_deadline_raises_timeout_error() -> None:
    async def scenario() -> None:
        clock = SystemClock()
        with pytest.raises(TimeoutError):
            async with clock.deadline(clock.monotonic() + 1_000):
                await asyncio.get_running_loop().create_future()

    asyncio.run(scenario())


def test_sleeping_until_the_past_still_yields_once() -> None:
    async def scenario() -> list[str]:
        order: list[str] = []
        asyncio.get_running_loop().call_soon(lambda: order.append("other"))
        await SystemClock().sleep_until(0)
        return [*order, "sleeper"]

    assert asyncio.run(scenario()) == ["other", "sleeper"]


def test_two_random_ports_differ_and_keep_their_bounds() -> None:
    first, second = SystemRandom(), SystemRandom()
    assert first.bytes(16) != second.bytes(16)
    assert all(2 <= first.uniform(2, 3) <= 3 for _ in range(100))


def test_a_connection_reaches_the_listener_on_the_port_it_tells() -> None:
    class Greeter(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            transport.write(b"hello")
            transport.close()

    class Reader(asyncio.Protocol):
        def __init__(self) -> None:
            self.seen = b""
            self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def data_received(self, data: bytes) -> None:
            self.seen += data

        def connection_lost(self, exc: Exception | None) -> None:
            self.lost.set_result(None)

    async def scenario() -> bytes:
        net = SystemNet()
        listening = await net.listen(Greeter, "127.0.0.1", 0)
        transport = await net.connect(Reader, "127.0.0.1", listening.port)
        reader = transport.get_protocol()
        assert isinstance(reader, Reader)
        await reader.lost
        listening.close()
        with pytest.raises(ConnectionRefusedError):
            await net.connect(Reader, "127.0.0.1", listening.port)
        return reader.seen

    assert asyncio.run(scenario()) == b"hello"


def test_an_offload_gives_back_what_its_function_returns_or_raises_and_keeps_the_order() -> None:
    order: list[int] = []

    def work(n: int) -> str:
        order.append(n)
        if n == 3:
            raise ValueError("three")
        return threading.current_thread().name

    async def scenario() -> list[str | BaseException]:
        offload = ThreadOffload("writer")
        calls = [offload.run(lambda n=n: work(n)) for n in range(5)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        offload.close()
        return results

    results = asyncio.run(scenario())
    assert order == [0, 1, 2, 3, 4]
    assert isinstance(results[3], ValueError)
    assert results[0] == results[4] == "interlock-writer-0"


def test_stop_iteration_from_a_function_does_not_hang_its_awaiter() -> None:
    async def scenario() -> None:
        offload = ThreadOffload("user")
        with pytest.raises(RuntimeError):
            await offload.run(lambda: next(iter(())))
        offload.close()

    asyncio.run(scenario())


def test_a_cancelled_awaiter_does_not_stop_the_work_nor_break_the_thread() -> None:
    async def scenario() -> tuple[bool, int]:
        offload = ThreadOffload("user")
        gate, done = threading.Event(), threading.Event()

        def slow() -> None:
            gate.wait(5)
            done.set()

        call = asyncio.ensure_future(offload.run(slow))
        await asyncio.sleep(0)
        call.cancel()
        gate.set()
        second = await offload.run(lambda: 2)
        offload.close()
        return done.is_set(), second

    assert asyncio.run(scenario()) == (True, 2)


def test_two_offloads_do_not_wait_for_each_other() -> None:
    async def scenario() -> int:
        stuck, free = ThreadOffload("stuck"), ThreadOffload("free")
        gate = threading.Event()
        waiting = stuck.run(lambda: gate.wait(5))
        result = await free.run(lambda: 7)
        gate.set()
        await waiting
        stuck.close()
        free.close()
        return result

    assert asyncio.run(scenario()) == 7


def test_functions_that_wait_run_side_by_side_and_one_that_computes_runs_on_one_thread_at_a_time() -> None:
    under_way: dict[str, int] = {"wait": 0, "compute": 0}
    most = dict(under_way)
    lock = threading.Lock()

    def entered(name: str, by: int) -> None:
        with lock:
            under_way[name] += by
            most[name] = max(most[name], under_way[name])

    together = threading.Barrier(3)

    def wait(_: int) -> None:
        entered("wait", 1)
        together.wait(20)
        entered("wait", -1)

    def compute(_: int) -> None:
        entered("compute", 1)
        until = time.thread_time() + 0.02
        while time.thread_time() < until:
            sum(range(1_000))
        entered("compute", -1)

    async def scenario() -> None:
        functions = FunctionThreads("functions", 4)
        computing = [functions.run(partial(compute, number)) for number in range(6)]
        waiting = [functions.run(partial(wait, number)) for number in range(3)]
        await asyncio.gather(*waiting, *computing)
        functions.close()

    asyncio.run(scenario())
    assert most == {"wait": 3, "compute": 1}


def test_a_long_queue_of_one_function_does_not_hold_up_another() -> None:
    order: list[str] = []
    gate = threading.Event()

    def first(_: int) -> None:
        gate.wait(20)
        order.append("first")

    def second(_: int) -> None:
        order.append("second")

    async def scenario() -> None:
        functions = FunctionThreads("functions", 1)
        calls = [functions.run(partial(first, number)) for number in range(5)]
        calls.append(functions.run(partial(second, 0)))
        gate.set()
        await asyncio.gather(*calls)
        functions.close()

    asyncio.run(scenario())
    assert order.index("second") <= 1


def test_functions_that_have_not_begun_when_the_threads_are_closed_never_begin() -> None:
    begun: list[int] = []
    gate = threading.Event()

    async def scenario() -> None:
        loop, first_began = asyncio.get_running_loop(), asyncio.Event()

        def function(number: int) -> None:
            begun.append(number)
            loop.call_soon_threadsafe(first_began.set)
            gate.wait(20)

        functions = FunctionThreads("functions", 1)
        calls = [functions.run(partial(function, number)) for number in range(3)]
        await first_began.wait()
        functions.close()
        gate.set()
        await calls[0]

    asyncio.run(scenario())
    assert begun == [0]


def test_what_a_function_raises_reaches_whoever_asked_for_it() -> None:
    async def scenario() -> None:
        functions = FunctionThreads("functions", 1)
        with pytest.raises(ZeroDivisionError):
            await functions.run(partial(lambda number: 1 // number, 0))
        assert await functions.run(partial(lambda number: number, 7)) == 7
        functions.close()

    asyncio.run(scenario())
