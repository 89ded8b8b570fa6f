"""The fifteen rules of docs/design.md by name. `tests/sim/rules.py` removes each and sees simulation fail."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.delivery.bench_of_lanes import Bench, Order, run, succeed
from tests.unit.delivery.model import Driver, Log, event

from interlock import Later, OnDead, Outcome, Reject, Unavailable
from interlock.core import limits
from interlock.core.cursor import Counters, Row, TypesFrom
from interlock.core.event import Shard
from interlock.core.limits import LEASE_TTL_US, US_PER_HOUR, US_PER_SECOND
from interlock.delivery.start import Failed
from interlock.delivery.turn import Turn
from interlock.journal.ports import Assign, Lease, LeaseLost, Opened, Retention


async def rejects_zero(order: Order, attempt: int) -> Outcome | None:
    return Reject("http 422") if order.number == 0 else None


def test_rule_01_a_death_is_durable_before_the_next_event_of_its_key_is_sent() -> None:
    async def story() -> None:
        bench = Bench(on_dead="skip")
        durable: list[list[str]] = []

        async def behaviour(order: Order, attempt: int) -> Outcome | None:
            durable.append([row.state for row in bench.disk.ledgers[bench.id].rows.values()])
            return await rejects_zero(order, attempt)

        bench.behaviour = behaviour
        await bench.start()
        await bench.put(("a", 0), ("a", 1))
        await bench.advance(1)
        assert durable == [[], ["dead"]]

    run(story())


def test_rule_02_no_attempt_starts_that_could_outlive_the_lease() -> None:
    async def story() -> None:
        bench = Bench()
        await bench.start()
        lease_until = bench.fleet.lease_until
        bench.refuse_renewals = True
        await bench.advance((LEASE_TTL_US - 29 * US_PER_SECOND) / US_PER_SECOND)
        await bench.put(("a", 0))
        assert bench.clock.monotonic() < lease_until, "the lease still lasts"
        assert bench.calls == [], "but less than the function's deadline"

    run(story())


def test_rule_03_the_head_of_a_key_is_computed_and_nothing_at_or_above_its_mark_starts() -> None:
    log = Log([event(offset, "k") for offset in range(1, 2_000)])
    driver = Driver(log, 5, OnDead("skip"))
    driver.slow = frozenset({"k"})
    for _ in range(6_000):
        driver.step()
        if driver.ledger.marks:
            break
    assert [start.offset for start in driver.running] == [1], "everything else of the key waits behind it"
    assert (len(driver.ledger.rows), driver.ledger.marks["k"].first) == (1, 2)
    driver.drain()


def test_rule_04_retiring_a_segment_keeps_the_events_of_rows_and_marks() -> None:
    async def story() -> None:
        bench = Bench(on_dead="halt", segment_events=4)
        bench.behaviour = rejects_zero
        await bench.start()
        await bench.put(*[("a", n) for n in range(3)], *[("b", n) for n in range(1, 20)])
        await bench.advance(2 * 60)
        await bench.put(*[("c", n) for n in range(1, 9)])
        await bench.advance(2)
        bench.behaviour = succeed
        retired = await bench.store.retire("shop", Retention(US_PER_SECOND, 1 << 40))
        (kept,) = await bench.store.fetch(bench.id.shard, [1])
        assert (retired > 0, kept.offset) == (True, 1)
        assert await bench.ask("retry", 1) == {1: "retried"}
        await bench.advance(5)
        assert [call for call in bench.calls if call[0] == "a"] == [("a", 0), ("a", 0), ("a", 1), ("a", 2)]

    run(story())


def test_rule_05_a_change_of_types_holds_from_the_highest_accounted_offset() -> None:
    async def story() -> None:
        bench = Bench()
        await bench.start()
        await bench.put(("a", 0))
        await bench.advance(1)
        await bench.kill()
        lease = await bench.store.renew("other", LEASE_TTL_US)
        assert isinstance(lease, Lease)
        opened = await bench.store.open(lease, [Assign(bench.id, "now", frozenset({"order@2"}))])
        assert not isinstance(opened, LeaseLost)
        history = opened[0].cursor.types
        assert history == (TypesFrom(1, frozenset({"order@1"})), TypesFrom(2, frozenset({"order@2"})))
        turn = Turn(opened[0], Driver(Log([]), 1, OnDead("skip")).terms, True, 0, False)
        assert turn.types_after(0) == (frozenset({"order@1"}), 1)
        assert turn.types_after(1) == (frozenset({"order@2"}), None)

    run(story())


def test_rule_06_a_request_waits_for_the_attempt_that_runs_and_answers_what_it_finds() -> None:
    async def story() -> None:
        bench = Bench(on_dead="skip")
        gate = asyncio.Event()

        async def slow(order: Order, attempt: int) -> Outcome | None:
            if attempt == 2:
                await gate.wait()
                return None
            return Later("http 503")

        bench.behaviour = slow
        await bench.start()
        await bench.put(("a", 0))
        await bench.advance(5)
        assert len(bench.calls) == 2, "the second attempt runs"
        assert await bench.ask("discard", 1) == {}, "while it runs there is no answer"
        gate.set()
        await bench.advance(2)
        assert await bench.answers() == {1: "settled"}

    run(story())


def test_rule_07_an_outage_of_days_kills_nothing_before_an_attempt_was_made() -> None:
    async def story() -> None:
        bench = Bench(on_dead=OnDead("block_then_skip", US_PER_HOUR))
        outcome: list[Outcome | None] = [Later("http 503")]

        async def behaviour(order: Order, attempt: int) -> Outcome | None:
            return outcome[0]

        bench.behaviour = behaviour
        await bench.start()
        (lane,) = bench.fleet.lanes()
        lane.systems["shop.erp"] = None
        await bench.put(("a", 0))
        await bench.advance(10)
        outcome[0] = Unavailable("breaker", 5 * US_PER_SECOND, "shop.erp")
        bench.wait_us = 5 * US_PER_SECOND
        await bench.advance(3 * 24 * 3600)
        assert [row.state for row in await bench.rows()] == ["due"]
        outcome[0], bench.wait_us = None, None
        await bench.advance(10)
        assert await bench.rows() == []

    run(story())


@pytest.mark.parametrize("on_dead", ["skip", "halt"])
def test_rule_08_a_once_call_found_under_an_older_epoch_needs_a_person(on_dead: str) -> None:
    row = Row(1, "k", "running", epoch=1, call="shop.bank charge")
    opened = Opened(Driver(Log([]), 1, OnDead("skip")).ledger.cursor, [row], [])
    terms = Driver(Log([]), 1, OnDead("skip")).terms._replace(on_dead=OnDead(on_dead))  # type: ignore[arg-type]
    turn = Turn(opened, terms, True, 100, True)
    (found,) = turn.settlement("w", 100).put  # type: ignore[union-attr]
    assert (found.state, found.reason) == ("held" if on_dead == "halt" else "dead", "ambiguous")
    assert turn.next_start(10**15) is None


def test_rule_08_the_running_row_and_its_bit_are_in_one_settlement_before_the_call() -> None:
    driver = Driver(Log([event(1, "k")]), 1, OnDead("skip"))
    driver.turn.offer([event(1, "k")], 1, 0)
    start = driver.turn.next_start(0)
    assert start is not None
    number = driver.turn.begin_durably(start, "shop.bank charge", 0)
    settlement = driver.turn.settlement("w", 0)
    assert settlement is not None
    assert (settlement.number, settlement.floor, settlement.put[0].state) == (number, 1, "running")
    assert settlement.put[0].call == "shop.bank charge"


def test_rule_08_an_effect_is_durable_before_the_first_call_with_it_is_sent_and_costs_one_write_for_ever() -> None:
    async def story() -> None:
        bench = Bench()
        durable: list[list[str]] = []

        async def behaviour(order: Order, attempt: int) -> Outcome | None:
            assert await bench.announce("natural")
            durable.append(sorted(bench.disk.ledgers[bench.id].held.cursor.effects))
            return None

        bench.behaviour = behaviour
        await bench.start()
        await bench.put(("a", 0), ("b", 0))
        await bench.advance(1)
        await bench.put(("a", 1))
        await bench.kill()
        await bench.start()
        await bench.advance(61)
        assert durable[:2] == [["natural"], ["natural"]]
        assert len(durable) >= 3
        assert [settlement.effects for settlement in bench.settlements if settlement.effects] == [{"natural"}]

    run(story())


def test_rule_08_a_call_whose_announcement_is_lost_is_not_sent() -> None:
    async def story() -> None:
        bench = Bench()
        may_send: list[bool] = []

        async def behaviour(order: Order, attempt: int) -> Outcome | None:
            may_send.append(await bench.announce("natural"))
            return None

        bench.behaviour = behaviour
        await bench.start()
        bench.refuse_commits = 1
        await bench.put(("a", 0))
        await bench.advance(5)
        assert may_send == [True], "the first attempt was ended where it waited"
        assert bench.calls == [("a", 0), ("a", 0)]

    run(story())


def test_rule_08_the_row_of_a_once_call_and_its_effect_are_one_settlement() -> None:
    driver = Driver(Log([event(1, "k"), event(2, "l")]), 1, OnDead("skip"))
    turn = driver.turn
    turn.offer([event(1, "k"), event(2, "l")], 2, 0)
    first, second = turn.next_start(0), turn.next_start(0)
    assert first is not None
    assert second is not None
    number = turn.announce("once")
    assert turn.begin_durably(first, "shop.bank charge", 0) == number
    settlement = turn.settlement("w", 0)
    assert settlement is not None
    assert (settlement.number, settlement.effects, len(settlement.put)) == (number, {"once"}, 1)
    assert turn.announce("once") == number, "it is in flight"
    turn.committed(settlement.number)
    assert turn.announce("once") is None


def test_rule_09_a_settlement_without_an_answer_is_never_sent_again() -> None:
    async def story() -> None:
        bench = Bench()
        await bench.start()
        bench.lose_answers = 1
        await bench.put(("a", 0), ("a", 1))
        await bench.advance(2)
        await bench.put(("a", 2))
        await bench.advance(2)
        numbers = [(s.epoch, s.number) for s in bench.settlements]
        assert len(numbers) == len(set(numbers)), "no settlement was sent twice"
        epochs = [epoch for epoch, _ in numbers]
        assert epochs[-1] > epochs[0], "the cursor was opened anew"
        await bench.advance(2)
        bench.balance()
        assert bench.disk.ledgers[bench.id].held.cursor.counters == Counters(delivered=3)

    run(story())


def test_rule_10_a_lane_reopens_in_its_process_only_when_its_attempts_have_ended() -> None:
    async def story() -> None:
        bench = Bench()
        under_way: list[int] = []
        at_once: list[int] = []

        async def stubborn(order: Order, attempt: int) -> Outcome | None:
            if at_once:
                return None
            under_way.append(order.number)
            at_once.append(len(under_way))
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                await bench.clock.sleep_until(bench.clock.monotonic() + 3 * US_PER_SECOND)
                raise
            finally:
                under_way.pop()
            return None

        bench.behaviour = stubborn
        await bench.start()
        await bench.put(("a", 0))
        (lane,) = bench.fleet.lanes()
        lane.lose("a test says so")
        await bench.advance(2)
        assert lane.turn is None, "its attempt has not ended"
        await bench.advance(10)
        assert lane.turn is not None
        assert bench.calls == [("a", 0), ("a", 0)]

    run(story())


def test_rule_11_an_outcome_that_comes_at_once_starts_the_next_event_of_its_key_after_it() -> None:
    async def story() -> None:
        bench = Bench()
        running: list[str] = []

        async def behaviour(order: Order, attempt: int) -> Outcome | None:
            assert order.key not in running, "an event of a key starts while another runs"
            running.append(order.key)
            running.remove(order.key)
            return None

        bench.behaviour = behaviour
        await bench.start()
        await bench.put(*[("a", n) for n in range(500)])
        await bench.advance(1)
        assert [n for _, n in bench.calls] == list(range(500))

    run(story())


def test_rule_12_an_event_that_was_running_at_two_deaths_runs_alone() -> None:
    rows = [Row(1, "bad", "running", epoch=1, crashes=1, type="order@1"), Row(2, "good", "due", due_at=0)]
    driver = Driver(Log([]), 1, OnDead("halt"))
    cursor = driver.ledger.cursor
    turn = Turn(Opened(cursor, rows, []), driver.terms, True, 100, True)
    first = turn.next_start(200)
    assert first is not None
    if first.offset == 2:
        assert turn.next_start(200) is None, "the suspect waits until nothing else runs"
        turn.done(first, 300, 0, None)
        first = turn.next_start(300)
    assert first is not None
    assert (first.offset, turn.next_start(300)) == (1, None), "and nothing starts beside it"


def test_rule_12_an_event_is_held_when_the_process_has_died_three_times_while_it_ran_alone() -> None:
    driver = Driver(Log([]), 1, OnDead("halt"))
    before = [Row(1, "a", "running", epoch=1, crashes=3), Row(2, "b", "running", epoch=1, crashes=4)]
    turn = Turn(Opened(driver.ledger.cursor, before, []), driver.terms, True, 100, True)
    after = turn.rows
    assert [(after[n].state, after[n].crashes, after[n].reason) for n in (1, 2)] == [
        ("due", 4, None),
        ("held", 5, "crashed"),
    ]


def test_rule_12_an_attempt_that_ends_proves_that_the_event_does_not_kill_the_process() -> None:
    driver = Driver(Log([]), 1, OnDead("halt"))
    suspect = Row(1, "a", "running", epoch=1, crashes=1, type="order@1")
    turn = Turn(Opened(driver.ledger.cursor, [suspect], []), driver.terms, True, 100, True)
    start = turn.next_start(200)
    assert start is not None
    row = turn.failed(start, Failed(Later("http 503"), None), 300, 0.5)
    assert row is not None
    assert (row.state, row.crashes) == ("due", 0)


def test_rule_12_of_the_suspects_of_all_lanes_one_runs_at_a_time() -> None:
    async def story() -> None:
        bench = Bench()
        bench.shards = 8
        for _ in range(2):
            await bench.start()
            await bench.kill()
            await bench.advance(61)

        async def never_ends(order: Order, attempt: int) -> Outcome | None:
            await asyncio.get_running_loop().create_future()

        bench.behaviour = never_ends
        await bench.start()
        await bench.put(*[(f"k{n}", n) for n in range(20)])
        for _ in range(2):
            await bench.advance(1)
            assert len(bench.calls) == 20, "all that have not been suspects run side by side"
            await bench.kill()
            await bench.advance(61)
            bench.calls.clear()
            await bench.start()
        side_by_side: list[int] = []
        running = 0

        async def takes_a_while(order: Order, attempt: int) -> Outcome | None:
            nonlocal running
            running += 1
            side_by_side.append(running)
            await bench.clock.sleep_until(bench.clock.monotonic() + 10_000)
            running -= 1

        bench.behaviour = takes_a_while
        await bench.kill()
        await bench.advance(61)
        await bench.start()
        await bench.advance(5)
        assert side_by_side == [1] * 20
        assert await bench.rows() == []

    run(story())


def test_rule_12_after_two_unclean_openings_running_rows_are_written_before_starting() -> None:
    async def story() -> None:
        bench = Bench()
        for _ in range(2):
            await bench.start()
            await bench.kill()
            await bench.advance(61)
        states: list[list[str]] = []

        async def behaviour(order: Order, attempt: int) -> Outcome | None:
            states.append([row.state for row in bench.disk.ledgers[bench.id].rows.values()])
            return None

        bench.behaviour = behaviour
        await bench.start()
        await bench.advance(61)
        await bench.put(("a", 0))
        await bench.advance(1)
        assert states == [["running"]]

    run(story())


def test_rule_13_a_lane_with_too_many_blocked_keys_stops_reading() -> None:
    driver = Driver(Log([]), 1, OnDead("halt"))
    assert driver.turn.room() == limits.WINDOW_OFFSETS
    driver.turn.rows = {n: Row(n, f"k{n}", "held") for n in range(limits.BLOCKED_KEYS_MAX)}
    assert (driver.turn.room(), driver.turn.systemic) == (0, True)


def test_rule_14_offsets_of_a_shard_have_no_gaps_and_nothing_appears_below_what_was_read() -> None:
    async def story() -> None:
        bench = Bench()
        await bench.start()
        orders = [bench.order.draft(Order(f"k{n}", n), id=f"o{n}") for n in range(50)]
        appends = [bench.store.append([draft]) for draft in orders]
        await asyncio.gather(*appends)
        batch = await bench.store.read(Shard("shop", 0), 0, 100)
        assert [event.offset for event in batch.events] == list(range(1, 51))

    run(story())


def test_rule_15_a_floor_that_only_passed_filtered_events_is_committed_after_a_while() -> None:
    driver = Driver(Log([]), 1, OnDead("skip"))
    driver.turn.offer([], 700, 0)
    assert driver.turn.settlement("w", limits.FLOOR_IDLE_US - 1) is None
    assert driver.turn.next_timer() == limits.FLOOR_IDLE_US
    settlement = driver.turn.settlement("w", limits.FLOOR_IDLE_US)
    assert settlement is not None
    assert (settlement.floor, settlement.counters.filtered) == (700, 700)
