"""When a segment begins, and which one may be retired."""

from __future__ import annotations

import pytest

from interlock.core.limits import US_PER_DAY
from interlock.journal.ports import Retention
from interlock.journal.segments import Segment, may_retire, segment_for

DAY = US_PER_DAY
FOR_EVER = Retention(10_000 * DAY, 10**12)


def segment(number: int, day: int, last: dict[int, int], size: int = 100, events: int = 10) -> Segment:
    return Segment(number, number * 10, day, events, size, day * DAY + 5, last)


def test_a_segment_begins_with_a_stream_a_day_or_when_the_last_is_full() -> None:
    first = segment_for([], 1, 3 * DAY + 7)
    assert (first.number, first.first, first.day) == (1, 1, 3)
    assert segment_for([first], 2, 4 * DAY - 1) is first
    second = segment_for([first], 2, 4 * DAY)
    assert (second.number, second.first, second.day) == (2, 2, 4)
    first.events = 5
    assert segment_for([first], 6, 3 * DAY, events_max=5).number == 2
    assert segment_for([first], 6, 3 * DAY, events_max=6) is first


def test_a_clock_that_went_back_does_not_begin_a_segment_of_an_earlier_day() -> None:
    today = segment(1, 10, {})
    assert segment_for([today], 2, 9 * DAY) is today


@pytest.mark.parametrize(
    ("retention", "floors", "may"),
    [
        (FOR_EVER, {}, False),
        (Retention(DAY, 10**12), {}, True),
        (Retention(3 * DAY, 10**12), {}, False),
        (Retention(10_000 * DAY, 199), {}, True),
        (Retention(10_000 * DAY, 200), {}, False),
        (Retention(DAY, 0), {0: 8, 1: 2}, True),
        (Retention(DAY, 0), {0: 7, 1: 2}, False),
        (Retention(DAY, 0), {1: 1}, False),
        (Retention(DAY, 0), {5: 0}, True),
    ],
)
def test_the_oldest_may_go_when_out_of_bounds_and_read_by_all(
    retention: Retention, floors: dict[int, int], may: bool
) -> None:
    segments = [segment(1, 10, {0: 8, 1: 2}), segment(2, 12, {0: 20})]
    assert may_retire(segments, retention, floors, now=12 * DAY) is may


def test_of_no_segments_none_may_go() -> None:
    assert not may_retire([], Retention(0, 0), {}, now=0)
