"""The guard's windows against a reference that keeps everything; and what they name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.core.cursor import CursorId
from interlock.core.event import Shard
from interlock.core.limits import GUARD_EVENTS
from interlock.delivery.guard import Cause, Guard, Window

BOOK, TELL = CursorId("shop.book", Shard("shop", 0)), CursorId("shop.tell", Shard("shop", 0))


def cause(error: str, system: str | None = None, type: str = "a") -> Cause:
    return Cause(error, 422 if system else 0, system, f"fp_{error}{type}")


@given(st.lists(st.tuples(st.integers(0, 40), st.sampled_from(["", "", "x", "y"])), max_size=200))
def test_a_window_counts_each_of_the_last_events_once_as_it_ended_last(ends: list[tuple[int, str]]):
    window = Window()
    reference: dict[int, str] = {}
    for offset, error in ends:
        is_quiet = not error and not any(reference.values()) and len(reference) >= GUARD_EVENTS
        if not is_quiet:  # one more good event among good ones only moves which of them are the last
            reference.pop(offset, None)
            reference[offset] = error
            reference = dict(list(reference.items())[-GUARD_EVENTS:])
        if not error:
            window.good(BOOK, offset)
            continue
        same = list(reference.values()).count(error)
        too_many = len(reference) >= GUARD_EVENTS and 2 * same >= len(reference)
        assert window.bad(BOOK, offset, cause(error)) == (same if too_many else 0)


@pytest.mark.parametrize(("good", "bad"), [(0, 20), (10, 10), (11, 10), (200, 10)])
def test_it_trips_at_half_of_the_last_and_not_before(good: int, bad: int):
    guard = Guard()
    for offset in range(good):
        guard.good(BOOK, offset, ())
    trips = [guard.bad(BOOK, 1_000 + number, cause("KeyError")) for number in range(bad)]
    assert trips[:-1] == [None] * (bad - 1)
    trip = trips[-1]
    assert trip is not None
    assert (trip.kind, trip.subject, trip.events, trip.of) == ("subscription", "shop.book", bad, GUARD_EVENTS)


def test_a_fault_that_takes_several_event_types_is_one_cause_and_two_faults_are_two():
    guard, other = Guard(), Guard()
    one = [guard.bad(BOOK, number, cause("KeyError", type="abc"[number % 3])) for number in range(20)]
    three = [other.bad(BOOK, number, cause(("A", "B", "C")[number % 3])) for number in range(60)]
    assert one[-1] is not None
    assert three == [None] * 60


def test_the_system_is_named_if_it_refuses_everybody_and_its_evidence_is_spent_with_that_of_its_subscriptions():
    guard = Guard()
    for number in range(9):
        assert guard.bad(BOOK, number, cause("http 403", "shop.erp")) is None
        assert guard.bad(TELL, number, cause("http 403", "shop.erp")) is None
    assert guard.bad(BOOK, 9, cause("http 403", "shop.erp")) is None
    trip = guard.bad(TELL, 9, cause("http 403", "shop.erp"))
    assert trip is not None
    assert (trip.kind, trip.subject) == ("system", "shop.erp")
    assert [guard.bad(BOOK, 10 + number, cause("http 403", "shop.erp")) for number in range(19)] == [None] * 19
    again = guard.bad(BOOK, 50, cause("http 403", "shop.erp"))
    assert again is not None
    assert again.kind == "system"


def test_a_subscription_is_named_if_the_system_serves_others():
    guard = Guard()
    trip = None
    for number in range(20):
        guard.good(TELL, 2 * number, ("shop.erp",))
        guard.good(TELL, 2 * number + 1, ("shop.erp",))
        trip = trip or guard.bad(BOOK, number, cause("http 422", "shop.erp"))
    assert trip is not None
    assert (trip.kind, trip.subject) == ("subscription", "shop.book")
    assert trip.why == "20 of the last 20 events would have died of answers of shop.erp: http 422 (fp_http 422a)"
