"""No flood keeps others waiting: neither a tenant's, nor that of one key, however far it reaches into the log."""

from __future__ import annotations

import pytest
from tests.unit.delivery.bench_of_lanes import Bench, Order, run

from interlock import Outcome
from interlock.core.limits import RUNNING_MAX, SIGHT_ROWS_MAX, US_PER_SECOND
from interlock.delivery.keys import Line
from interlock.delivery.ready import Ready


def tenant_of(order: Order) -> str:
    return order.key.partition("/")[0]


class Slow:
    """A function that takes its time, and notes when it was called with what."""

    def __init__(self, bench: Bench, seconds: float) -> None:
        self.bench = bench
        self.seconds = seconds
        self.started: dict[str, float] = {}
        bench.behaviour = self

    async def __call__(self, order: Order, attempt: int) -> Outcome | None:
        clock = self.bench.clock
        self.started[f"{order.key} {order.number}"] = clock.monotonic() / US_PER_SECOND
        await clock.sleep_until(clock.monotonic() + round(self.seconds * US_PER_SECOND))
        return None

    def begun(self, tenant: str) -> int:
        return sum(key.startswith(f"{tenant}/") for key in self.started)


@pytest.mark.parametrize("flood", [400, 6_000], ids=["within-the-window", "beyond-the-window"])
def test_a_tenant_that_comes_after_a_flood_of_another_gets_the_next_slots(flood: int) -> None:
    async def story() -> None:
        bench = Bench(tenant=tenant_of)
        slow = Slow(bench, 1.0)
        await bench.start()
        await bench.put(*[(f"flood/{n}", n) for n in range(flood)])
        await bench.put(*[(f"late/{n}", n) for n in range(40)])
        await bench.advance(8)
        assert slow.begun("late") == 40, "at 32 calls a second the flood alone takes 12 s or 3 minutes"
        assert slow.begun("flood") >= 100, "and it goes on meanwhile"
        bench.balance()
        await bench.advance(300)
        assert (slow.begun("flood"), slow.begun("late")) == (flood, 40)
        assert await bench.rows() == []
        bench.balance()

    run(story())


def test_a_flood_of_one_key_leaves_the_other_slots_to_what_comes_after_it() -> None:
    async def story() -> None:
        bench = Bench()
        slow = Slow(bench, 0.1)
        await bench.start()
        await bench.put(*[("hot", n) for n in range(3_000)], *[(f"other/{n}", n) for n in range(40)])
        await bench.advance(5)
        assert slow.begun("other") == 40, "at 10 calls a second the hot key takes 5 minutes"
        bench.balance()
        await bench.advance(400)
        assert [n for key, n in bench.calls if key == "hot"] == list(range(3_000))
        bench.balance()

    run(story())


def test_what_was_passed_for_others_outlives_a_crash() -> None:
    async def story() -> None:
        bench = Bench(tenant=tenant_of, proves_deaths=True)
        slow = Slow(bench, 1.0)
        await bench.start()
        await bench.put(*[(f"flood/{n}", n) for n in range(4_000)])
        await bench.advance(4)
        await bench.kill()
        await bench.start()
        await bench.put(("late/0", 0))
        await bench.advance(5)
        assert slow.begun("late") == 1
        await bench.advance(200)
        assert slow.begun("flood") == 4_000
        assert await bench.rows() == []
        bench.balance()

    run(story())


def test_how_far_a_lane_looks_is_bounded() -> None:
    async def story() -> None:
        bench = Bench(tenant=tenant_of)
        Slow(bench, 20.0)
        await bench.start()
        for start in range(0, 20_000, 1_000):
            await bench.put(*[(f"flood/{n}", n) for n in range(start, start + 1_000)])
        await bench.advance(200)
        (lane,) = bench.fleet.lanes()
        assert lane.turn is not None
        assert SIGHT_ROWS_MAX <= len(lane.turn.rows) < SIGHT_ROWS_MAX + 300
        bench.balance()

    run(story())


def test_without_tenants_a_slow_backlog_is_not_passed() -> None:
    async def story() -> None:
        bench = Bench()
        Slow(bench, 1.0)
        await bench.start()
        await bench.put(*[(f"k{n}", n) for n in range(3_000)])
        await bench.advance(10)
        assert await bench.rows() == [], "every slot is taken, and nobody waits who need not"

    run(story())


def lines(*tenants: str) -> list[Line]:
    return [Line(f"{tenant}-{n}", tenant) for n, tenant in enumerate(tenants)]


def test_the_tenant_with_the_fewest_attempts_is_next_and_equals_take_turns() -> None:
    ready = Ready()
    for line in lines("a", "a", "a", "b", "b", "", "", "c"):
        ready.push(line)
    started: list[str] = []
    for _ in range(8):
        started.append(ready.pop().tenant)
        ready.started(started[-1])
    assert sorted(started[:4]) == ["", "a", "b", "c"]
    assert sorted(started[4:7]) == ["", "a", "b"]
    assert started[7] == "a"
    assert len(ready) == 0


def test_slots_that_one_tenant_has_filled_go_to_whoever_comes() -> None:
    ready = Ready()
    for _ in range(RUNNING_MAX):
        ready.started("slow")
    for line in lines(*["slow"] * 50, *["quick"] * 10):
        ready.push(line)
    for _ in range(10):
        ready.ended("slow")
        assert ready.pop().tenant == "quick"
        ready.started("quick")
    assert ready.pop().tenant == "slow"
