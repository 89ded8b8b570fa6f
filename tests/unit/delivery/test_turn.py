"""A turn by example, where the order of a few steps matters: walls and timers that are out of date."""

from __future__ import annotations

from tests.unit.delivery.model import LedgerModel, event

from interlock.core.limits import US_PER_HOUR, US_PER_SECOND
from interlock.core.outcome import Later, Reject
from interlock.core.requests import LaneRequest, Verb
from interlock.delivery import deadletter
from interlock.delivery.deadletter import Ask
from interlock.delivery.schedule import Terms
from interlock.delivery.start import Failed
from interlock.delivery.turn import Turn
from interlock.spec.plan import OnDead, RetryPolicy

NOW = 10_000_000


def turn_of(on_dead: OnDead, count: int) -> Turn:
    """A turn with so many events of one key to start."""
    turn = Turn(LedgerModel().open(), Terms(RetryPolicy(), on_dead), True, NOW, False)
    turn.offer([event(offset, "k") for offset in range(1, count + 1)], count, NOW)
    return turn


def fail(turn: Turn, outcome: Later | Reject, now: int = NOW) -> None:
    start = turn.next_start(now)
    assert start is not None
    turn.failed(start, Failed(outcome, None), now, 0.5)


def ask(turn: Turn, verb: Verb, offset: int, now: int = NOW) -> None:
    request = LaneRequest(verb, (offset,), "ann", "a test", now)
    deadletter.apply(turn, Ask(request, "job_1", now), offset, None)


def test_a_key_waits_for_the_newest_settlement_that_makes_a_death_of_it_durable() -> None:
    turn = turn_of(OnDead("skip"), 2)
    fail(turn, Reject("http 422"))
    assert turn.settlement("w", NOW) is not None
    ask(turn, "discard", 1)
    turn.committed(1)
    assert turn.next_start(NOW) is None, "the discard is not durable yet"
    assert turn.settlement("w", NOW) is not None
    turn.committed(2)
    start = turn.next_start(NOW)
    assert start is not None
    assert start.offset == 2


def test_a_timer_of_what_a_row_was_does_not_end_what_it_has_become() -> None:
    turn = turn_of(OnDead("block_then_skip", US_PER_HOUR), 1)
    fail(turn, Later("http 503"))
    due_at = turn.rows[1].due_at
    assert due_at is not None
    ask(turn, "retry", 1)
    fail(turn, Reject("http 422"))
    turn.fire(due_at, lambda _: False)
    assert turn.rows[1].state == "held"
    turn.fire(NOW + US_PER_HOUR + US_PER_SECOND, lambda _: False)
    assert 1 not in turn.rows
