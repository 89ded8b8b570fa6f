"""The gate before a System: pause, breaker, limiter and ramp together, on a fake clock."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine

import pytest
from tests.awaits import cancelled_at

from interlock.call.breaker import Published
from interlock.call.gate import Gate, GatePorts, GateTerms, verdict_of
from interlock.core.handler import Call
from interlock.core.limits import (
    RATE_WAIT_US,
    RECHECK_US,
    SLOT_WAIT_US,
    SLOT_WAITERS_MAX,
    START_PROMISE_US,
    THROTTLED_US,
    US_PER_SECOND,
    WAIT_FOR_A_PERSON_US,
)
from interlock.core.outcome import Answer, Done, Later, Outcome, Reject, Unavailable, Unknown
from interlock.testing.clock import FakeClock

SYSTEM = "shop.crm"
OK = Done(Answer(200))
DOWN = Later("http 503", status=503)
THROTTLED = Later("http 429", status=429)


class Chance:
    """The Random port with one answer."""

    def uniform(self, low: float, high: float) -> float:
        return (low + high) / 2

    def bytes(self, count: int) -> bytes:
        return b"\1" * count


class Bench:
    """A gate before a handler that answers what the test says, when the test says."""

    def __init__(self, concurrency: int = 4, rate: float | None = None, burst: int = 1) -> None:
        self.clock = FakeClock()
        self.records: list[tuple[str, dict[str, object]]] = []
        self.ended: list[dict[str, object]] = []
        self.changed: list[str] = []
        self.turned: list[Published] = []
        self.gone: list[str] = []
        self.open: list[tuple[str, asyncio.Future[Outcome]]] = []
        self.sent: list[str] = []
        ports = GatePorts(
            self.clock,
            Chance(),
            self._emit,
            self.changed.append,
            lambda _system, found: self.turned.append(found),
            lambda system, _: self.gone.append(system),
        )
        self.gate = Gate(GateTerms(SYSTEM, concurrency, 5 * US_PER_SECOND, rate, burst), ports)
        self.reply: Outcome | None = OK
        self.handler = self.gate.layer(self._inner)

    def _emit(self, record: str, /, **fields: object) -> None:
        if record == "call.ended":
            self.ended.append(fields)
        else:
            self.records.append((record, fields))

    async def _inner(self, call: Call) -> Outcome:
        self.sent.append(call.event)
        if self.reply is not None:
            return self.reply
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.open.append((call.event, future))
        return await future

    def made(self, event: str, deadline_us: int = 15 * US_PER_SECOND) -> Call:
        return Call(SYSTEM, "POST", "/x", event=event, deadline=self.clock.monotonic() + deadline_us)

    def call(self, event: str, deadline_us: int = 15 * US_PER_SECOND) -> Awaitable[Outcome]:
        return self.handler(self.made(event, deadline_us))

    def start(self, *events: str, deadline_us: int = 15 * US_PER_SECOND) -> list[asyncio.Task[Outcome]]:
        return [asyncio.ensure_future(self.call(event, deadline_us)) for event in events]

    async def trip(self) -> None:
        former, self.reply = self.reply, DOWN
        for number in range(5):
            await self.call(f"down{number}")
        self.reply = former

    async def recover(self) -> None:
        """Through half-open to the begin of the ramp."""
        former, self.reply = self.reply, OK
        await self.clock.advance(self.gate.offer("") or 0)
        for number in range(3):
            assert await self.call(f"probe{number}") == OK
        self.reply = former


def run(test: Callable[[], Coroutine[None, None, None]]) -> None:
    asyncio.run(test())


def test_a_call_passes_a_gate_where_nothing_is_wrong():
    async def body() -> None:
        bench = Bench()
        assert bench.gate.offer("e") is None
        assert await bench.call("e") == OK
        assert bench.records == []
        assert bench.gate.state().minute.calls == 1

    run(body)


def test_every_call_that_was_sent_is_told_with_its_status_or_its_error_and_how_long_it_took():
    async def body() -> None:
        bench = Bench()
        await bench.call("a")
        bench.reply = None
        (call,) = bench.start("b")
        await bench.clock.advance(US_PER_SECOND)
        bench.open.pop()[1].set_result(Later("timeout"))
        await call
        bench.gate.pause()
        await bench.call("c")
        told = [(record["status"], record["error"], record["duration_us"]) for record in bench.ended]
        assert told == [(200, "", 0), (0, "timeout", US_PER_SECOND)]

    run(body)


def test_a_paused_system_is_sent_nothing_and_its_lanes_hear_of_the_end_of_the_pause():
    async def body() -> None:
        bench = Bench()
        bench.gate.pause()
        assert await bench.call("e") == Unavailable("paused", None, SYSTEM)
        assert bench.gate.offer("e") == WAIT_FOR_A_PERSON_US
        bench.gate.resume()
        assert bench.changed == [SYSTEM]
        assert await bench.call("e") == OK
        assert bench.sent == ["e"]

    run(body)


def test_a_tripped_breaker_refuses_without_sending_and_says_until_when():
    async def body() -> None:
        bench = Bench()
        await bench.trip()
        assert await bench.call("e") == Unavailable("breaker", 10 * US_PER_SECOND, SYSTEM)
        assert bench.gate.offer("e") == 10 * US_PER_SECOND
        assert len(bench.sent) == 5
        name, fields = bench.records[-1]
        assert name == "breaker.transition"
        assert (fields["was"], fields["state"], fields["calls"], fields["failures"]) == ("closed", "open", 5, 5)
        assert fields["retry_at"] == bench.clock.now() + 10 * US_PER_SECOND
        assert bench.turned[-1].state == "open"

    run(body)


def test_an_outage_costs_no_more_calls_than_those_that_are_under_way():
    async def body() -> None:
        bench = Bench(concurrency=4)
        bench.reply = None
        calls = bench.start(*(f"e{number}" for number in range(40)))
        await bench.clock.settle()
        for _ in range(5):
            bench.open.pop(0)[1].set_result(DOWN)
            await bench.clock.settle()
        assert bench.gate.breaker.state == "open"
        # Those that waited for a slot are answered at once; none of them is sent to a System that is down.
        assert sum(call.done() for call in calls) == 5 + 32
        waiting = [call.result() for call in calls if call.done()][5:]
        assert {type(outcome) for outcome in waiting} == {Unavailable}
        assert len(bench.sent) <= 9
        for _, future in bench.open:
            future.set_result(DOWN)
        await asyncio.gather(*calls)
        assert bench.gate.state().in_flight == 0

    run(body)


def test_recovery_goes_through_one_probe_at_a_time_and_a_ramp():
    async def body() -> None:
        bench = Bench(concurrency=4)
        await bench.trip()
        await bench.clock.advance(10 * US_PER_SECOND)
        bench.reply = None
        first, second = bench.start("a", "b")
        await bench.clock.settle()
        assert isinstance(second.result(), Unavailable)
        bench.open.pop()[1].set_result(OK)
        assert await first == OK
        bench.reply = OK
        assert [await bench.call(event) for event in ("b", "c")] == [OK, OK]
        assert bench.gate.breaker.state == "ramping"
        assert bench.gate.state().concurrency == 1
        await bench.clock.advance(5 * US_PER_SECOND)
        assert bench.gate.state().concurrency == 2
        await bench.clock.advance(5 * US_PER_SECOND)
        assert bench.gate.state().breaker == "closed"
        states = [fields["state"] for name, fields in bench.records if name == "breaker.transition"]
        assert states == ["open", "half_open", "ramping", "closed"]
        assert [found.state for found in bench.turned] == ["open", "ramping", "closed"]

    run(body)


def test_during_the_ramp_no_more_calls_are_under_way_than_its_level_and_no_more_work_is_told_to_start():
    async def body() -> None:
        bench = Bench(concurrency=8)
        await bench.trip()
        await bench.recover()
        assert [bench.gate.offer(event) for event in ("a", "b")] == [None, RECHECK_US]
        bench.reply = None
        calls = bench.start("a", "b", "c")
        await bench.clock.settle()
        assert bench.sent[-1:] == ["a"]
        assert len(bench.open) == 1
        bench.open.pop()[1].set_result(OK)
        await bench.clock.settle()
        assert bench.sent[-1:] == ["b"]
        await bench.clock.advance(SLOT_WAIT_US)
        assert calls[2].result() == Unavailable("limiter", RECHECK_US, SYSTEM)
        bench.open.pop()[1].set_result(OK)
        await asyncio.gather(*calls)

    run(body)


def test_a_cancelled_probe_frees_its_slot_and_proves_nothing():
    async def body() -> None:
        bench = Bench()
        await bench.trip()
        await bench.clock.advance(10 * US_PER_SECOND)
        bench.reply = None
        (probe,) = bench.start("a")
        await bench.clock.settle()
        probe.cancel()
        await asyncio.gather(probe, return_exceptions=True)
        assert bench.gate.breaker.state == "half_open"
        bench.reply = OK
        assert await bench.call("b") == OK

    run(body)


def test_slots_are_given_in_the_order_of_asking_and_the_wait_is_bounded():
    async def body() -> None:
        bench = Bench(concurrency=1)
        bench.reply = None
        calls = bench.start("a", "b", "c", "d")
        await bench.clock.settle()
        calls[1].cancel()
        await bench.clock.settle()
        bench.open.pop()[1].set_result(OK)
        await bench.clock.settle()
        assert bench.sent == ["a", "c"]
        await bench.clock.advance(SLOT_WAIT_US)
        assert calls[3].result() == Unavailable("limiter", RECHECK_US, SYSTEM)
        bench.open.pop()[1].set_result(OK)
        assert await calls[2] == OK
        assert bench.gate.state().in_flight == bench.gate.state().waiting == 0

    run(body)


def test_a_slot_that_is_handed_over_in_the_moment_of_a_cancellation_is_not_lost():
    async def body() -> None:
        bench = Bench(concurrency=1)
        bench.reply = None
        first, second = bench.start("a", "b")
        await bench.clock.settle()
        bench.open.pop()[1].set_result(OK)
        await asyncio.sleep(0)  # the first has ended and given its slot to the second, which has not run yet
        second.cancel()
        await asyncio.gather(first, second, return_exceptions=True)
        assert bench.gate.state().in_flight == 0

    run(body)


def test_a_short_deadline_is_not_spent_waiting_for_a_slot():
    async def body() -> None:
        bench = Bench(concurrency=1)
        bench.reply = None
        bench.start("a")
        (second,) = bench.start("b", deadline_us=US_PER_SECOND)
        await bench.clock.advance(US_PER_SECOND // 4)
        assert isinstance(second.result(), Unavailable)

    run(body)


def test_the_queue_for_slots_has_a_bound():
    async def body() -> None:
        bench = Bench(concurrency=1)
        bench.reply = None
        calls = bench.start(*(f"e{number}" for number in range(SLOT_WAITERS_MAX + 2)))
        await bench.clock.settle()
        assert [call.done() for call in calls].count(True) == 1
        assert isinstance(calls[-1].result(), Unavailable)
        bench.gate.pause()
        bench.open.pop()[1].set_result(OK)
        await asyncio.gather(*calls)

    run(body)


def test_work_waits_while_the_slots_are_full_and_is_woken_when_one_is_free():
    async def body() -> None:
        bench = Bench(concurrency=1)
        bench.reply = None
        (call,) = bench.start("a")
        await bench.clock.settle()
        assert bench.gate.offer("b") == RECHECK_US
        bench.open.pop()[1].set_result(OK)
        await call
        assert bench.changed == [SYSTEM]
        assert bench.gate.offer("b") is None

    run(body)


def test_a_short_wait_for_the_rate_is_waited_and_a_long_one_is_the_events():
    async def body() -> None:
        bench = Bench(rate=5, burst=1)
        assert await bench.call("a") == OK
        (second,) = bench.start("b")
        await bench.clock.advance(199_999)
        assert not second.done()
        await bench.clock.advance(1)
        assert second.result() == OK
        third, fourth = bench.start("c", "d")
        await bench.clock.settle()
        assert fourth.result() == Unavailable("limiter", 400_000, SYSTEM)
        await bench.clock.advance(RATE_WAIT_US)
        assert third.result() == OK
        assert bench.sent == ["a", "b", "c"]

    run(body)


def test_no_more_work_is_told_to_start_than_the_rate_admits():
    async def body() -> None:
        bench = Bench(rate=10, burst=3)
        offers = [bench.gate.offer(f"e{number}") for number in range(6)]
        assert offers == [None, None, None, 100_000, 100_000, 100_000]
        assert bench.gate.offer("e0") is None
        bench.gate.release("e0")
        assert bench.gate.offer("e9") is None
        await bench.clock.advance(START_PROMISE_US)
        assert [bench.gate.offer(f"f{number}") for number in range(3)] == [None, None, None]

    run(body)


def test_a_429_pauses_the_system_for_all_and_is_no_failure_to_the_breaker():
    async def body() -> None:
        bench = Bench()
        bench.reply = Later("http 429", after_us=30 * US_PER_SECOND, status=429)
        assert await bench.call("a") == bench.reply
        bench.reply = OK
        assert await bench.call("b") == Unavailable("limiter", 30 * US_PER_SECOND, SYSTEM)
        assert bench.gate.offer("b") == 30 * US_PER_SECOND
        assert bench.gate.state().throttled_until == bench.clock.now() + 30 * US_PER_SECOND
        assert bench.records == [("limiter.paused", {"system": SYSTEM, "after_us": 30 * US_PER_SECOND})]
        await bench.clock.advance(30 * US_PER_SECOND)
        assert bench.gate.offer("b") is None
        assert await bench.call("b") == OK
        assert bench.gate.state().minute.failures == 0

    run(body)


def test_a_429_that_names_no_time_rests_the_system_for_a_second():
    async def body() -> None:
        bench = Bench()
        bench.reply = THROTTLED
        await bench.call("a")
        assert await bench.call("b") == Unavailable("limiter", THROTTLED_US, SYSTEM)

    run(body)


def test_a_503_with_a_wait_delays_the_system_only_once_the_breaker_trips():
    async def body() -> None:
        bench = Bench()
        bench.reply = Later("http 503", after_us=60 * US_PER_SECOND, status=503)
        for number in range(4):
            await bench.call(f"e{number}")
        assert bench.gate.offer("x") is None
        await bench.call("e4")
        assert bench.gate.offer("x") == 60 * US_PER_SECOND

    run(body)


def test_a_410_pauses_the_system_and_says_so_once():
    async def body() -> None:
        bench = Bench()
        bench.reply = None
        calls = bench.start("a", "b")
        await bench.clock.settle()
        for _, future in bench.open:
            future.set_result(Later("http 410", status=410))
        await asyncio.gather(*calls)
        assert bench.gone == [SYSTEM]
        assert [name for name, _ in bench.records] == ["system.gone"]
        assert await bench.call("c") == Unavailable("paused", None, SYSTEM)

    run(body)


def test_time_spent_waiting_for_our_own_limits_does_not_make_a_call_slow():
    async def body() -> None:
        bench = Bench(concurrency=1)
        bench.reply = None
        calls = bench.start("a", "b", deadline_us=60 * US_PER_SECOND)
        await bench.clock.advance(SLOT_WAIT_US - 1)
        bench.open.pop()[1].set_result(OK)
        await bench.clock.advance(4 * US_PER_SECOND)
        bench.open.pop()[1].set_result(OK)
        await asyncio.gather(*calls)
        assert bench.gate.state().minute.slow == 0
        (call,) = bench.start("c")
        await bench.clock.advance(5 * US_PER_SECOND)
        bench.open.pop()[1].set_result(OK)
        await call
        assert bench.gate.state().minute.slow == 1

    run(body)


def test_an_operators_hold_is_obeyed_announced_and_not_published():
    async def body() -> None:
        bench = Bench()
        bench.gate.force("open")
        assert await bench.call("a") == Unavailable("breaker", WAIT_FOR_A_PERSON_US, SYSTEM)
        bench.gate.force(None)
        assert await bench.call("a") == OK
        assert bench.changed == [SYSTEM, SYSTEM]
        assert bench.turned == []

    run(body)


def test_what_another_process_found_holds_here_and_is_not_published_again():
    async def body() -> None:
        bench = Bench()
        wall = bench.clock.now()
        bench.gate.adopt(Published("open", 1, wall + 7 * US_PER_SECOND, wall + 1))
        assert await bench.call("a") == Unavailable("breaker", 7 * US_PER_SECOND, SYSTEM)
        assert bench.turned == []
        assert bench.records[-1][1]["own"] is False

    run(body)


@pytest.mark.parametrize(
    ("outcome", "verdict"),
    [
        (OK, "good"),
        (Later("timeout"), "bad"),
        (Later("connect"), "bad"),
        (DOWN, "bad"),
        (Reject("http 501", status=501), "bad"),
        (Unknown("timeout"), "bad"),
        (Unknown("http 500", status=500), "bad"),
        (THROTTLED, "answered"),
        (Later("http 408", status=408), "answered"),
        (Reject("http 404", status=404), "answered"),
        (Later("error-body", status=200), "bad"),
        (Reject("closed", status=200), "answered"),
        (Later("success_when KeyError", status=200, attempts_max=5), "answered"),
        (Later("quota", status=429), "answered"),
        (Reject("answer-too-large"), "answered"),
        (Unavailable("lease"), "void"),
    ],
)
def test_the_breaker_counts_what_is_the_systems_fault_and_nothing_else(outcome: Outcome, verdict: str):
    assert verdict_of(outcome) == verdict


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_call_that_is_cancelled_while_it_waits_ends_so_and_leaves_nothing_behind(at: int):
    """For its slot, for the rate, for its answer."""

    async def body() -> None:
        bench = Bench(concurrency=1, rate=5.0)
        bench.reply = None
        (first,) = bench.start("a")
        await bench.clock.settle()
        second = asyncio.ensure_future(cancelled_at(bench.handler(bench.made("b")), at))
        await bench.clock.settle()
        bench.open.pop()[1].set_result(OK)
        await bench.clock.advance(US_PER_SECOND)
        assert await first == OK
        assert second.cancelled()
        assert bench.sent == ["a", "b"][: 1 + (at == 3)]
        state = bench.gate.state()
        assert (state.in_flight, state.waiting, state.minute.failures) == (0, 0, 0)
        bench.reply = OK
        (third,) = bench.start("c")
        await bench.clock.advance(2 * US_PER_SECOND)
        assert third.result() == OK

    run(body)


def test_a_slot_is_not_given_to_who_was_cancelled_in_the_same_moment():
    async def body() -> None:
        bench = Bench(concurrency=1)
        bench.reply = None
        _, second, third = bench.start("a", "b", "c")
        await bench.clock.settle()
        bench.open.pop()[1].set_result(OK)
        second.cancel()
        await bench.clock.settle()
        assert bench.sent == ["a", "c"]
        bench.open.pop()[1].set_result(OK)
        assert await third == OK
        assert bench.gate.state().in_flight == 0

    run(body)


def test_a_shorter_wait_that_is_asked_for_later_does_not_end_a_longer_one():
    async def body() -> None:
        bench = Bench()
        bench.reply = None
        bench.start("a", "b")
        await bench.clock.settle()
        for (_, answer), seconds in zip(bench.open, (10, 2), strict=True):
            answer.set_result(Later("http 429", seconds * US_PER_SECOND, status=429))
            await bench.clock.settle()
        assert bench.gate.offer("c") == 10 * US_PER_SECOND

    run(body)
