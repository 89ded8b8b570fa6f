"""A settled event again from the log: what comes back, in which order, what is told, and what is refused."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.delivery.bench_of_lanes import Bench, Chance, Order, no_client, run

from interlock import Done, Draft, Integration, Later, Outcome, Reject
from interlock.core.cursor import Counters, Past, Row
from interlock.core.event import Event, Shard
from interlock.core.limits import US_PER_HOUR, US_PER_MINUTE, US_PER_SECOND
from interlock.core.requests import LaneRequest, decode_request, encode_request
from interlock.delivery import replay
from interlock.delivery.attempt import Ports, Program, Run
from interlock.delivery.work import Work
from interlock.journal.memory import Inline
from interlock.journal.ports import CellWrite, Retention
from interlock.spec.bindings import Bindings
from interlock.spec.check import planned
from interlock.testing.clock import FakeClock


def counters(bench: Bench) -> Counters:
    return bench.disk.ledgers[bench.id].held.cursor.counters


async def delivered(bench: Bench, *orders: tuple[str, int]) -> None:
    await bench.start()
    await bench.put(*orders)
    await bench.advance(1)
    assert bench.calls == list(orders)


def test_a_replayed_event_is_delivered_again_and_its_attempt_says_who_and_why() -> None:
    async def story() -> None:
        bench = Bench()
        await delivered(bench, ("a", 0), ("b", 1))
        assert await bench.ask("replay", 1) == {1: "replayed"}
        assert bench.calls == [("a", 0), ("b", 1), ("a", 0)]
        assert (await bench.rows(), counters(bench)) == ([], Counters(delivered=2))
        bench.balance()
        (record,) = bench.disk.ledgers[bench.id].attempts
        assert (record.offset, record.number, record.outcome) == (1, 2, "done")
        assert (record.trigger, record.actor, record.why, record.job) == ("replay", "ann", "a test", "job_1")
        assert bench.run.scope.replay == "job_1", "its calls carry the header"
        assert await bench.ask("replay", 1) == {1: "replayed"}, "as often as a person wants"
        past = (await bench.store.past(bench.id, [1]))[1]
        assert (past.attempts, past.jobs) == (3, {"job_1", "job_2"})

    run(story())


def test_while_it_waits_it_is_a_straggler_and_in_no_counter() -> None:
    async def story() -> None:
        bench = Bench()
        await delivered(bench, ("a", 0))
        bench.fleet.lanes()[0].pause(True)
        assert await bench.ask("replay", 1) == {1: "replayed"}
        (row,) = await bench.rows()
        assert (row.state, row.trigger, row.replays, row.attempts, row.since) == ("due", "replay", 1, 0, None)
        assert (row.actor, row.why, row.job) == ("ann", "a test", "job_1")
        assert counters(bench) == Counters()
        bench.balance()
        assert await bench.ask("replay", 1) == {1: "refused"}, "it waits for its delivery already"
        bench.fleet.lanes()[0].pause(False)
        await bench.advance(1)
        assert (await bench.rows(), counters(bench)) == ([], Counters(delivered=1))

    run(story())


def test_it_waits_for_the_running_one_of_its_key_and_goes_before_the_others() -> None:
    async def story() -> None:
        bench = Bench()
        gate = asyncio.Event()

        async def slow(order: Order, attempt: int) -> Outcome | None:
            if order.number == 3:
                await gate.wait()
            return None

        bench.behaviour = slow
        await delivered(bench, ("a", 0), ("a", 1), ("a", 2))
        await bench.put(("a", 3), ("a", 4), ("b", 5))
        assert await bench.ask("replay", 3, 1) == {1: "replayed", 3: "replayed"}
        assert bench.calls[3:] == [("a", 3), ("b", 5)], "the running one is not overtaken"
        gate.set()
        await bench.advance(1)
        assert bench.calls[5:] == [("a", 0), ("a", 2), ("a", 4)], "in its own order, before what is new"
        bench.balance()

    run(story())


def test_what_has_a_row_is_refused_and_what_was_never_covered_is_not_found() -> None:
    async def story() -> None:
        bench = Bench(on_dead="halt")

        async def some_fail(order: Order, attempt: int) -> Outcome | None:
            return Reject("no") if order.key == "held" else Later("503") if order.key == "due" else None

        bench.behaviour = some_fail
        await bench.start()
        await bench.put(("held", 0), ("held", 1), ("due", 2), ("fine", 3), ("dead", 4))
        await bench.store.append([Draft("shop", "other@1", "/shop", "o", b"{}", key="fine")])
        await bench.advance(0.5)
        assert await bench.ask("skip", 1) == {1: "skipped"}
        assert await bench.ask("replay", 1, 3, 6, 99) == {1: "refused", 3: "refused", 6: "not-found", 99: "not-found"}
        assert await bench.ask("discard", 1) == {1: "discarded"}
        assert await bench.ask("replay", 1) == {1: "refused"}
        bench.balance()

    run(story())


def test_an_event_that_waits_behind_a_mark_is_not_settled() -> None:
    async def story() -> None:
        bench = Bench(on_dead="halt")
        bench.behaviour = lambda order, attempt: _rejects(order)
        await bench.start()
        await bench.put(("a", 0), ("a", 1), ("b", 2))
        await bench.advance(90)
        assert bench.disk.ledgers[bench.id].marks["a"].count == 1
        assert await bench.ask("replay", 2, 3) == {2: "refused", 3: "replayed"}
        bench.balance()

    run(story())


async def _rejects(order: Order) -> Outcome | None:
    return Reject("no") if order.key == "a" else None


def test_what_was_filtered_leaves_that_counter_and_may_be_delivered_this_time() -> None:
    async def story() -> None:
        bench = Bench()

        async def nothing_to_say(order: Order, attempt: int) -> Outcome | None:
            return Done(filtered=True)

        bench.behaviour = nothing_to_say
        await delivered(bench, ("a", 0), ("b", 1))
        assert counters(bench) == Counters(filtered=2)
        bench.behaviour = _rejects_never
        assert await bench.ask("replay", 1) == {1: "replayed"}
        assert counters(bench) == Counters(delivered=1, filtered=1)
        bench.behaviour = nothing_to_say
        assert await bench.ask("replay", 1) == {1: "replayed"}
        assert counters(bench) == Counters(filtered=2), "a record of a straggler says it, too"

    run(story())


async def _rejects_never(order: Order, attempt: int) -> Outcome | None:
    return None


def test_a_replay_that_fails_is_retried_dies_and_is_retried_by_a_person_like_any_other() -> None:
    async def story() -> None:
        bench = Bench()
        await delivered(bench, ("a", 0))

        async def no(order: Order, attempt: int) -> Outcome | None:
            return Reject("no") if attempt == 2 else None

        bench.behaviour = no
        assert await bench.ask("replay", 1) == {1: "replayed"}
        (row,) = await bench.rows()
        assert (row.state, row.job, counters(bench).dead) == ("dead", "job_1", 1)
        assert await bench.ask("retry", 1) == {1: "retried"}
        records = bench.disk.ledgers[bench.id].attempts
        assert [(each.trigger, each.job, each.outcome) for each in records] == [
            ("replay", "job_1", "reject"),
            ("replay", "job_2", "done"),
        ], "it is still a replay: what it emits must not be taken for known"
        bench.balance()

    run(story())


def test_a_job_replays_an_event_once_however_often_its_cell_is_read() -> None:
    async def story() -> None:
        bench = Bench()
        await delivered(bench, ("a", 0))
        key = await bench.request("replay", 1)
        asked = LaneRequest("replay", (1,), "ann", "a test", bench.clock.now())
        await bench.advance(1)
        assert len(bench.calls) == 2
        await bench.store.put([CellWrite(key, encode_request(asked))])
        await bench.advance(1)
        assert (len(bench.calls), await bench.answers()) == (2, {1: "replayed"})

    run(story())


def test_a_replay_whose_settlement_was_lost_is_applied_anew_and_one_whose_answer_was_lost_is_not() -> None:
    async def story() -> None:
        bench = Bench()
        await delivered(bench, ("a", 0))
        bench.refuse_commits = 1
        await bench.request("replay", 1)
        await bench.advance(0.1)
        assert bench.fleet.lanes()[0].turn is None
        await bench.advance(5)
        assert await bench.answers() == {1: "replayed"}
        calls = len(bench.calls)
        bench.lose_answers = 1
        await bench.request("replay", 1)
        await bench.advance(5)
        assert await bench.answers() == {1: "replayed"}
        assert counters(bench) == Counters(delivered=1)
        assert calls + 1 <= len(bench.calls) <= calls + 2, "at least once, and not for ever"
        bench.balance()

    run(story())


def test_a_paced_replay_goes_on_over_a_restart_and_repeats_nothing() -> None:
    async def story() -> None:
        bench = Bench(proves_deaths=True)
        orders = [("a", n) for n in range(10)]
        await delivered(bench, *orders)
        await bench.request("replay", *range(1, 11), pace_us=US_PER_SECOND)
        await bench.advance(3.5)
        told = await bench.answers()
        assert set(told.values()) == {"replayed"}
        assert 3 <= len(told) <= 5, "one a second"
        await bench.kill()
        await bench.start()
        await bench.advance(8)
        assert await bench.answers() == dict.fromkeys(range(1, 11), "replayed")
        assert bench.calls[10:] == orders
        bench.balance()

    run(story())


def test_a_restart_in_the_middle_of_a_request_repeats_nothing_of_it_whatever_became_of_its_rows() -> None:
    async def story() -> None:
        bench = Bench(proves_deaths=True)
        await delivered(bench, ("a", 0), ("b", 1))
        bench.fleet.lanes()[0].pause(True)
        paced = await bench.request("replay", 1, 2, pace_us=US_PER_HOUR)
        await bench.advance(1)
        assert await bench.ask("retry", 1) == {1: "retried"}, "so the row names another job"
        bench.fleet.lanes()[0].pause(False)
        await bench.advance(1)
        assert bench.calls[2:] == [("a", 0)]
        await bench.kill()
        await bench.start()
        await bench.advance(5)
        assert bench.calls[2:] == [("a", 0)], "the cell of the request has the answer"
        await bench.advance(3600)
        assert bench.calls[2:] == [("a", 0), ("b", 1)]
        found = (await bench.store.get([paced]))[paced]
        assert decode_request(found.value).results == {1: "replayed", 2: "replayed"}
        bench.balance()

    run(story())


def test_a_retired_event_is_not_found_and_a_lane_that_was_late_with_its_row_opens_anew() -> None:
    async def story() -> None:
        bench = Bench(segment_events=1)
        await delivered(bench, ("a", 0), ("b", 1))
        (lane,) = bench.fleet.lanes()
        assert lane.turn is not None
        (event,) = await bench.store.fetch(bench.id.shard, [1])
        ask = replay.Ask(LaneRequest("replay", (1,), "ann", "", bench.clock.now()), "job_9", bench.clock.now())
        assert replay.put_back(lane.turn, ask, event, Past(1), None) == "replayed"
        assert await bench.store.retire("shop", Retention(0, 1 << 40)) == 2
        lane.crew.dirty(lane)
        await bench.advance(2)
        assert ("lane.lost", "the event at 1 was retired before its row was put") in [
            (name, fields.get("why")) for name, fields in bench.records
        ]
        assert (await bench.rows(), counters(bench)) == ([], Counters(delivered=2)), "it is settled, as it was"
        assert await bench.ask("replay", 1) == {1: "not-found"}
        bench.balance()

    run(story())


def test_an_unordered_subscription_replays_too() -> None:
    async def story() -> None:
        bench = Bench(order="none")
        await delivered(bench, ("a", 0), ("a", 1))
        assert await bench.ask("replay", 2) == {2: "replayed"}
        assert bench.calls[2:] == [("a", 1)]
        bench.balance()
        (lane,) = bench.fleet.lanes()
        assert lane.turn is not None
        assert not lane.turn.lines, "nothing is left of it in memory"

    run(story())


def test_how_fresh_events_are_delivered_is_not_told_of_replays() -> None:
    async def story() -> None:
        bench = Bench()
        await delivered(bench, ("a", 0))
        await bench.advance(3600)
        bench.records.clear()
        await bench.ask("replay", 1)
        assert "events.delivered" not in [name for name, _ in bench.records]

    run(story())


@pytest.mark.parametrize(
    ("pace_us", "after_us", "due"),
    [
        (0, 0, 100),
        (US_PER_SECOND // 20, 0, 1),
        (US_PER_SECOND // 20, US_PER_SECOND - 1, 1),
        (US_PER_SECOND // 20, US_PER_SECOND, 21),
        (US_PER_MINUTE, 59 * US_PER_SECOND, 1),
        (US_PER_MINUTE, US_PER_HOUR, 61),
    ],
)
def test_a_pace_is_kept_in_steps_of_a_second_or_of_itself(pace_us: int, after_us: int, due: int) -> None:
    request = LaneRequest("replay", tuple(range(1, 101)), "ann", "", 1_000, pace_us=pace_us)
    assert replay.due(request, 1_000 + after_us) == due
    at = replay.next_at(request, 1_000 + after_us)
    assert (at is None) == (due >= 100)
    if at is not None:
        assert at > 1_000 + after_us
        assert replay.due(request, at) > due


def test_what_a_translation_derives_again_has_an_id_of_the_job_and_of_nothing_else() -> None:
    async def story() -> None:
        shop = Integration("shop", owner="shop-team", purpose="tests")
        raw, clean = shop.event("raw", Order, key=lambda it: it.key), shop.event("clean", Order, key=lambda it: it.key)
        shop.translate(raw, into=clean, on_dead="skip")(lambda it: it)
        (spec,) = planned([shop], Bindings()).subscriptions.values()
        ports = Ports(FakeClock(), Chance(), Inline(), lambda record, /, **fields: None, no_client)
        event = Event(Shard("shop", 0), 1, 1, raw.draft(Order("a", 0), id="r-1"))

        async def derived(row: Row | None) -> str:
            work = Work(event, row, 1 << 62, lambda: True, lambda effect, call: never())
            (draft,) = (await Run(Program.of(spec, ports, spec.name), work).run()).emits
            return draft.id

        def row(trigger: str, job: str) -> Row:
            return Row(1, "a", "due", trigger=trigger, job=job)  # type: ignore[arg-type]

        first = await derived(None)
        assert await derived(row("retry", "job_1")) == first, "nothing was derived by what is retried"
        again = await derived(row("replay", "job_1"))
        assert again != first, "the log would take it for known"
        assert await derived(row("replay", "job_1")) == again, "a crash between attempt and commit derives nothing new"
        assert await derived(row("replay", "job_2")) not in (first, again)

    run(story())


async def never() -> bool:
    raise AssertionError("a translation calls nothing")
