"""Lanes as users meet them: order, retries, dead letters, requests, crashes, leases, deadlines."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.delivery.bench_of_lanes import Behaviour, Bench, Order, run, succeed
from tests.unit.delivery.model import ID, Driver, Log, event

from interlock import Later, OnDead, Outcome, Reject, RetryPolicy
from interlock.core.cursor import Cursor, Mark, Row
from interlock.core.limits import LEASE_RENEWAL_US, LEASE_TTL_US, US_PER_HOUR, US_PER_SECOND
from interlock.core.requests import LaneRequest
from interlock.delivery import deadletter
from interlock.delivery.deadletter import Ask
from interlock.delivery.turn import Turn
from interlock.journal.ports import Opened


async def reject_first(order: Order, attempt: int) -> Outcome | None:
    return Reject("no") if order.number == 0 else None


def failing(*keys: str, outcome: Outcome) -> Behaviour:
    async def behaviour(order: Order, attempt: int) -> Outcome | None:
        return outcome if order.key in keys else None

    return behaviour


def test_events_reach_their_function_in_order_and_balance() -> None:
    async def story() -> None:
        bench = Bench()
        await bench.start()
        await bench.put(*[("a", n) for n in range(5)], *[("b", n) for n in range(5)])
        await bench.advance(1)
        assert [n for key, n in bench.calls if key == "a"] == [0, 1, 2, 3, 4]
        assert len(bench.calls) == 10
        bench.balance()
        ledger = bench.disk.ledgers[bench.id]
        assert ledger.held.cursor.counters.delivered == 10

    run(story())


def test_a_retry_keeps_its_place_while_other_keys_flow() -> None:
    async def story() -> None:
        bench = Bench()

        async def twice(order: Order, attempt: int) -> Outcome | None:
            return Later("http 503") if order == Order("a", 0) and attempt < 3 else None

        bench.behaviour = twice
        await bench.start()
        await bench.put(("a", 0), ("a", 1), ("b", 0), ("b", 1))
        await bench.advance(0.1)
        assert bench.calls == [("a", 0), ("b", 0), ("b", 1)]
        await bench.advance(10)
        assert bench.calls == [("a", 0), ("b", 0), ("b", 1), ("a", 0), ("a", 0), ("a", 1)]
        assert await bench.rows() == []
        bench.balance()

    run(story())


def test_a_dead_event_is_durable_before_its_follower_starts() -> None:
    async def story() -> None:
        bench = Bench(on_dead="skip")
        states: list[str] = []

        async def poison(order: Order, attempt: int) -> Outcome | None:
            if order.number == 0:
                return Reject("http 422", status=422)
            states.extend(row.state for row in bench.disk.ledgers[bench.id].rows.values())
            return None

        bench.behaviour = poison
        await bench.start()
        await bench.put(("a", 0), ("a", 1))
        await bench.advance(1)
        assert bench.calls == [("a", 0), ("a", 1)]
        assert states == ["dead"]
        (row,) = await bench.rows()
        assert (row.reason, row.attempts_total, row.fingerprint is not None) == ("permanent", 1, True)

    run(story())


def test_a_halted_key_waits_for_a_person_and_others_flow() -> None:
    async def story() -> None:
        bench = Bench(on_dead="halt")
        bench.behaviour = failing("a", outcome=Reject("http 422"))
        await bench.start()
        await bench.put(("a", 0), ("a", 1), ("b", 0))
        await bench.advance(48 * 3600)
        assert bench.calls == [("a", 0), ("b", 0)]
        bench.behaviour = succeed
        assert await bench.ask("retry", 1) == {1: "retried"}
        await bench.advance(1)
        assert bench.calls[2:] == [("a", 0), ("a", 1)]
        assert await bench.rows() == []
        bench.balance()

    run(story())


def test_block_then_skip_holds_a_rejected_event_for_its_time_and_then_lets_the_key_go_on() -> None:
    async def story() -> None:
        bench = Bench(on_dead=OnDead("block_then_skip", US_PER_HOUR))
        bench.behaviour = reject_first
        await bench.start()
        await bench.put(("a", 0), ("a", 1))
        await bench.advance(3590)
        assert bench.calls == [("a", 0)]
        await bench.advance(20)
        assert bench.calls == [("a", 0), ("a", 1)]
        (row,) = await bench.rows()
        assert row.state == "dead"

    run(story())


def test_discard_and_restore_move_a_dead_letter_and_the_books_balance() -> None:
    async def story() -> None:
        bench = Bench(on_dead="skip")
        bench.behaviour = failing("a", outcome=Reject("no"))
        await bench.start()
        await bench.put(("a", 0), ("b", 0))
        await bench.advance(1)
        assert await bench.ask("discard", 1) == {1: "discarded"}
        bench.balance()
        assert bench.disk.ledgers[bench.id].held.cursor.counters.discarded == 1
        assert await bench.ask("discard", 1) == {1: "refused"}
        assert await bench.ask("restore", 1) == {1: "restored"}
        assert [row.state for row in await bench.rows()] == ["dead"]
        assert await bench.ask("retry", 2) == {2: "settled"}
        assert await bench.ask("retry", 9) == {9: "not-found"}
        bench.balance()

    run(story())


def test_a_skip_lets_the_followers_of_a_held_event_go_on() -> None:
    async def story() -> None:
        bench = Bench(on_dead="halt")
        bench.behaviour = reject_first
        await bench.start()
        await bench.put(("a", 0), ("a", 1))
        assert await bench.ask("skip", 1) == {1: "skipped"}
        assert bench.calls == [("a", 0), ("a", 1)]
        assert [(row.state, row.reason) for row in await bench.rows()] == [("dead", "skipped_by_operator")]

    run(story())


def test_after_a_crash_what_was_not_settled_is_delivered_again_and_retries_go_on() -> None:
    async def story() -> None:
        bench = Bench()
        bench.behaviour = failing("a", outcome=Later("http 503"))
        await bench.start()
        await bench.put(("a", 0), ("a", 1), ("b", 0))
        await bench.advance(1)
        await bench.kill()
        bench.behaviour = succeed
        bench.calls.clear()
        await bench.start()
        await bench.advance(61)
        assert [call for call in bench.calls if call[0] == "a"] == [("a", 0), ("a", 1)]
        assert await bench.rows() == []
        bench.balance()

    run(story())


@pytest.mark.parametrize(("effect", "waits"), [("keyed", False), ("natural", True), ("once", True)])
def test_a_crash_in_the_very_first_call_is_taken_over_at_once_only_if_repeating_it_is_harmless(
    effect: str, waits: bool
) -> None:
    async def story() -> None:
        bench = Bench(proves_deaths=True)

        async def never_answered(order: Order, attempt: int) -> Outcome | None:
            if effect != "keyed":
                assert await bench.announce(effect)
            await asyncio.Event().wait()
            return None

        bench.behaviour = never_answered
        await bench.start()
        await bench.put(("a", 0), ("b", 0))
        await bench.kill()
        assert bench.calls == [("a", 0), ("b", 0)]
        bench.behaviour = succeed
        bench.calls.clear()
        await bench.advance(1)
        await bench.start()
        await bench.put(("c", 0))
        await bench.advance(5)
        assert bench.calls == ([] if waits else [("a", 0), ("b", 0), ("c", 0)])
        await bench.advance(61)
        assert ("c", 0) in bench.calls

    run(story())


def test_an_attempt_that_outlives_its_deadline_is_ended_and_tried_again() -> None:
    async def story() -> None:
        bench = Bench()

        async def hangs_once(order: Order, attempt: int) -> Outcome | None:
            if attempt == 1:
                await asyncio.Event().wait()
            return None

        bench.behaviour = hangs_once
        await bench.start()
        await bench.put(("a", 0))
        await bench.advance(29)
        assert bench.calls == [("a", 0)]
        await bench.advance(5)
        assert bench.calls == [("a", 0), ("a", 0)]
        failed = [fields for record, fields in bench.records if record == "attempt.failed"]
        assert [fields["error"] for fields in failed] == ["timeout"]
        assert await bench.rows() == []

    run(story())


def test_a_lease_that_was_lost_stops_the_worker_and_it_comes_back_with_a_new_one() -> None:
    async def story() -> None:
        bench = Bench()
        await bench.start()
        worker = bench.fleet.worker
        bench.clock.jump(2 * LEASE_TTL_US)  # the store's clock: the lease has ended before its renewal
        await bench.put(("a", 0))
        await bench.advance(61)
        assert bench.fleet.worker != worker
        await bench.put(("a", 1))
        await bench.advance(61)
        assert ("a", 1) in bench.calls
        assert [n for _, n in bench.calls] == sorted(n for _, n in bench.calls)
        bench.balance()

    run(story())


def test_while_a_system_is_not_available_nothing_starts_and_nothing_is_counted() -> None:
    async def story() -> None:
        bench = Bench()
        await bench.start()
        (lane,) = bench.fleet.lanes()
        lane.systems["shop.erp"] = None
        bench.wait_us = 5 * US_PER_SECOND
        await bench.put(("a", 0))
        await bench.advance(60)
        assert bench.calls == []
        assert await bench.rows() == []
        bench.wait_us = None
        await bench.advance(6)
        assert bench.calls == [("a", 0)]

    run(story())


def test_a_stop_lets_what_runs_end_and_gives_the_cursors_back() -> None:
    async def story() -> None:
        bench = Bench()
        await bench.start()
        await bench.put(("a", 0), ("b", 0))
        stopping = asyncio.ensure_future(bench.fleet.stop(US_PER_SECOND))
        await bench.advance(2)
        await stopping
        cursor = bench.disk.ledgers[bench.id].held.cursor
        assert (cursor.floor, cursor.unclean) == (2, 0)
        await bench.store.close()

    run(story())


@pytest.mark.parametrize("effect", ["keyed", "natural"])
def test_a_stop_that_cuts_off_a_call_gives_its_cursor_back_only_if_repeating_it_is_harmless(effect: str) -> None:
    async def story() -> None:
        bench = Bench()

        async def never_answered(order: Order, attempt: int) -> Outcome | None:
            if effect != "keyed":
                await bench.announce(effect)
            await asyncio.Event().wait()
            return None

        bench.behaviour = never_answered
        await bench.start()
        await bench.put(("a", 0))
        stopping = asyncio.ensure_future(bench.fleet.stop(US_PER_SECOND))
        await bench.advance(5)
        await stopping
        await bench.kill()
        assert bench.disk.ledgers[bench.id].held.cursor.unclean == 0, "nothing died"
        bench.behaviour = succeed
        bench.calls.clear()
        await bench.start()
        await bench.advance(5)
        assert bench.calls == ([("a", 0)] if effect == "keyed" else [])
        await bench.advance(61)
        assert bench.calls == [("a", 0)]

    run(story())


def test_the_fortieth_attempt_is_the_last_one_and_a_bug_gets_five() -> None:
    async def story() -> None:
        bench = Bench(retry=RetryPolicy(cap_us=US_PER_SECOND))

        async def bug(order: Order, attempt: int) -> Outcome | None:
            raise KeyError("member")

        bench.behaviour = bug
        await bench.start()
        await bench.put(("a", 0))
        await bench.advance(60)
        assert len(bench.calls) == 5
        (row,) = await bench.rows()
        assert (row.state, row.reason) == ("dead", "exhausted")
        assert row.error is not None
        assert "KeyError" in row.error

    run(story())


def test_a_request_that_was_applied_in_a_lost_settlement_is_applied_again() -> None:
    async def story() -> None:
        bench = Bench(on_dead="halt")
        bench.behaviour = failing("a", outcome=Reject("no"))
        await bench.start()
        await bench.put(("a", 0))
        await bench.advance(1)
        (lane,) = bench.fleet.lanes()
        bench.behaviour = succeed
        bench.refuse_commits = 1
        await bench.request("retry", 1)
        await bench.advance(0.1)
        assert lane.turn is None, "the settlement that held the answer is in doubt"
        await bench.advance(5)
        assert await bench.answers() == {1: "retried"}
        assert bench.calls == [("a", 0), ("a", 0)]

    run(story())


def test_a_skip_finds_an_event_settled_while_the_settlement_that_put_its_row_is_in_flight() -> None:
    row = Row(1, "k", "due", due_at=0)
    turn = Turn(Opened(Cursor(ID, 0, 1), [row], []), Driver(Log([]), 1, OnDead("skip")).terms, True, 100, False)
    start = turn.next_start(100)
    assert start is not None
    start.event = event(1, "k")
    turn.begin_durably(start, None, 100)
    assert turn.settlement("w", 100) is not None
    turn.done(start, 200, 200, None)
    ask = Ask(LaneRequest("skip", (1,), "ann", "a test", 200), "job_1", 200)
    assert deadletter.apply(turn, ask, 1, row) == "settled"
    stale = Row(1, "k", "dead", died_at=1)
    assert deadletter.apply(turn, ask, 1, stale) == "settled", "what the ledger still shows is older"
    assert (turn.dead, turn.delivered) == (0, 1)


def test_a_mark_that_counts_events_that_are_not_there_is_said_and_does_not_spin() -> None:
    async def story() -> None:
        bench = Bench(on_dead="halt")
        bench.behaviour = failing("a", outcome=Reject("http 422"))
        await bench.start()
        await bench.put(("a", 0))
        await bench.kill()
        bench.disk.ledgers[bench.id].marks["b"] = Mark("b", first=9, last=3, count=2)
        await bench.start()
        await bench.advance(1)
        (failed, *_) = [fields for record, fields in bench.records if record == "lane.failed"]
        assert "the mark of 'b' counts events that are not there" in str(failed["error"])
        del bench.disk.ledgers[bench.id].marks["b"]
        await bench.put(("c", 0))
        await bench.advance(5)
        assert bench.calls == [("a", 0), ("c", 0)]

    run(story())


@pytest.mark.parametrize("effect", ["keyed", "natural"])
def test_a_lane_that_is_opened_anew_waits_for_what_it_cut_off_unless_repeating_it_is_harmless(effect: str) -> None:
    async def story() -> None:
        bench = Bench()

        async def slow(order: Order, attempt: int) -> Outcome | None:
            if order.key == "a":
                if effect != "keyed":
                    assert await bench.announce(effect)
                await asyncio.Event().wait()
            return None

        bench.behaviour = slow
        await bench.start()
        await bench.put(("a", 0))
        await bench.advance(1)
        bench.lose_answers = 1
        await bench.put(("b", 0))
        bench.behaviour = succeed
        await bench.advance(10)
        assert bench.calls[2:] == ([] if effect == "natural" else [("a", 0)])
        await bench.advance(30)
        assert bench.calls[2:] == [("a", 0)]

    run(story())


def test_after_a_store_that_took_nothing_for_longer_than_a_lease_every_lane_is_back_at_once() -> None:
    """One lane finds out by its settlement and takes a new lease; the idle ones still held the old one."""

    async def story() -> None:
        bench = Bench()
        bench.shards = 8
        await bench.start()
        await bench.put(*((f"k{number}", 0) for number in range(40)))
        await bench.advance(1)
        bench.refuse_renewals, bench.refuse_commits = True, 1
        await bench.put(("k0", 1))
        await bench.advance(LEASE_TTL_US / US_PER_SECOND + 25)
        bench.refuse_renewals = False
        await bench.advance(1)
        await bench.put(*((f"k{number}", 2) for number in range(40)))
        await bench.advance(3)
        assert {key for key, number in bench.calls if number == 2} == {f"k{number}" for number in range(40)}
        assert all(state.open for state in bench.fleet.states())
        lost = [fields["why"] for record, fields in bench.records if record == "lane.lost"]
        assert "the cursor is assigned to another worker or epoch" not in lost
        await bench.advance(1)
        settled = sum(lane.turn.floor for lane in bench.fleet.lanes() if lane.turn is not None)
        assert settled == 81

    run(story())


def test_a_lane_that_is_lost_in_the_moment_it_was_woken_works_again() -> None:
    async def story() -> None:
        bench = Bench()
        await bench.start()
        (lane,) = bench.fleet.lanes()
        lane.wake()
        lane.lose("the lease has ended")
        await bench.advance(5)
        await bench.put(("a", 0))
        await bench.advance(5)
        assert bench.calls == [("a", 0)]

    run(story())


def test_a_stop_before_what_was_cut_off_is_over_gives_no_cursor_back() -> None:
    async def story() -> None:
        bench = Bench()

        async def slow(order: Order, attempt: int) -> Outcome | None:
            if order.key == "a":
                assert await bench.announce("natural")
                await asyncio.Event().wait()
            return None

        bench.behaviour = slow
        await bench.start()
        await bench.put(("a", 0))
        await bench.advance(1)
        bench.lose_answers = 1
        await bench.put(("b", 0))
        await bench.advance(2)
        bench.behaviour = succeed
        stopping = asyncio.ensure_future(bench.fleet.stop(0))
        await bench.advance(3)
        await stopping
        await bench.start()
        await bench.advance(5)
        assert bench.calls == [("a", 0), ("b", 0)], "the first call may still be under way"
        await bench.advance(61)
        assert bench.calls[2:] == [("a", 0)]

    run(story())


def test_what_is_delivered_again_by_a_lane_that_was_lost_is_known_to_have_been_tried() -> None:
    async def story() -> None:
        bench = Bench()
        tried: list[bool] = []

        async def note(order: Order, _: int) -> None:
            tried.append(bench.run.work.again)

        bench.behaviour = note
        await bench.start()
        bench.refuse_commits = 1
        await bench.put(("a", 0))
        await bench.advance(5)
        # A call with effect="probe" asks first, the second time: the first attempt may have made it.
        assert tried == [False, True]

    run(story())


def test_what_a_drain_cut_off_is_known_to_have_been_tried_in_the_next_process() -> None:
    async def story() -> None:
        bench = Bench()
        tried: list[bool] = []

        async def note(order: Order, _: int) -> None:
            tried.append(bench.run.work.again)
            if len(tried) == 1:
                assert await bench.announce("probe")
                await asyncio.Event().wait()

        bench.behaviour = note
        await bench.start()
        await bench.put(("a", 0))
        await bench.advance(1)
        for _ in range(2):
            # The second of them closes well, and has not come to the event.
            stopping = asyncio.ensure_future(bench.fleet.stop(0))
            await bench.advance(3)
            await stopping
            await bench.start()
        await bench.advance(66)
        await bench.put(("a", 1))
        await bench.advance(1)
        assert tried == [False, True, False], "what came later was begun by nobody"

    run(story())


def test_the_calls_of_a_dead_letter_that_is_retried_have_the_keys_that_they_had() -> None:
    async def story() -> None:
        bench = Bench()
        identities: list[object] = []

        async def behaviour(order: Order, attempt: int) -> Outcome | None:
            identities.append((bench.run.scope.identity, bench.run.scope.subscription))
            return Reject("http 422") if len(identities) == 1 else None

        bench.behaviour = behaviour
        await bench.start()
        await bench.put(("a", 0))
        await bench.advance(1)
        assert await bench.ask("retry", 1) == {1: "retried"}
        assert len(identities) == 2
        assert identities[0] == identities[1]

    run(story())


def test_the_lease_lasts_from_when_its_renewal_was_sent_however_late_the_answer_comes() -> None:
    async def story() -> None:
        bench = Bench()
        await bench.start()
        sent = bench.clock.monotonic() + LEASE_RENEWAL_US
        bench.renewal_us = 15 * US_PER_SECOND
        await bench.advance((LEASE_RENEWAL_US + bench.renewal_us) / US_PER_SECOND)
        assert bench.fleet.lease_until == sent + LEASE_TTL_US

    run(story())


def test_each_of_several_attempts_is_ended_at_its_own_deadline() -> None:
    async def story() -> None:
        bench = Bench()

        async def hang(order: Order, attempt: int) -> Outcome | None:
            return await asyncio.get_running_loop().create_future()

        bench.behaviour = hang
        await bench.start()
        await bench.put(("a", 0))
        await bench.advance(10)
        await bench.put(("b", 0))
        await bench.advance(20.1)
        assert [row.key for row in await bench.rows()] == ["a"]
        await bench.advance(10)
        assert [row.key for row in await bench.rows()] == ["a", "b"]

    run(story())


def test_after_a_crash_an_attempt_knows_that_another_may_have_got_as_far_as_sending() -> None:
    async def story() -> None:
        bench = Bench()
        again: list[bool] = []

        async def hang(order: Order, attempt: int) -> Outcome | None:
            again.append(bench.run.work.again)
            return await asyncio.get_running_loop().create_future()

        bench.behaviour = hang
        await bench.start()
        await bench.put(("a", 0))
        await bench.kill()
        await bench.start()
        await bench.advance(LEASE_TTL_US / US_PER_SECOND)
        assert again[:2] == [False, True]

    run(story())


def test_a_lane_that_does_not_do_what_it_could_is_told_of_and_woken() -> None:
    async def story() -> None:
        bench = Bench()
        await bench.start()
        (lane,) = bench.fleet.lanes()
        bench.live = False
        await bench.put(("a", 0))
        bench.live = True
        assert bench.calls == [], "nobody has told it"
        await bench.advance(LEASE_RENEWAL_US / US_PER_SECOND + 4)
        assert bench.calls == [("a", 0)]
        assert [fields for record, fields in bench.records if record == "lane.stalled"] == [
            {"subscription": lane.id.subscription, "shard": 0}
        ]
        await bench.put(("a", 1), ("b", 2))
        await bench.advance(100)
        assert len([record for record, _ in bench.records if record == "lane.stalled"]) == 1

    run(story())
