"""Times of schedules: by the clocks of a zone or a span apart, and what is done about those that were missed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.core import limits
from interlock.spec.schedule import (
    CronTimes,
    EveryTimes,
    PassOver,
    Place,
    RunNow,
    WaitUntil,
    is_zone,
    next_step,
    place_of,
    why_not_cron,
)
from interlock.spec.span import instant, moment

HOUR = limits.US_PER_HOUR
BERLIN = "Europe/Berlin"


def at(text: str) -> int:
    return instant(datetime.fromisoformat(text))


def times(expression: str, start: str, count: int, timezone: str = BERLIN) -> list[str]:
    """The next times after a start, as the zone's clocks show them."""
    cron, place, found = CronTimes(expression, timezone), at(start), list[str]()
    for _ in range(count):
        place = cron.after(place) or 0
        found.append(moment(place).astimezone(cron.zone).strftime("%d. %H:%M %z"))
    return found


def test_a_time_that_spring_skips_is_at_the_end_of_the_gap():
    assert times("30 2 * * *", "2026-03-28T00:00+01:00", 3) == ["28. 02:30 +0100", "29. 03:00 +0200", "30. 02:30 +0200"]


def test_a_time_that_comes_twice_in_autumn_is_at_the_first_of_both():
    assert times("30 2 * * *", "2026-10-24T00:00+02:00", 3) == ["24. 02:30 +0200", "25. 02:30 +0200", "26. 02:30 +0100"]


def test_what_runs_all_the_time_runs_through_both_hours_of_autumn():
    told = times("*/30 * * * *", "2026-10-25T01:45+02:00", 4)
    assert told == ["25. 02:00 +0200", "25. 02:30 +0200", "25. 02:00 +0100", "25. 02:30 +0100"]


def test_a_span_is_counted_from_1970_whatever_the_start():
    every = EveryTimes(6 * HOUR)
    assert moment(every.after(at("2026-01-01T05:59:59+00:00"))) == datetime(2026, 1, 1, 6, tzinfo=UTC)
    assert moment(every.after(at("2026-01-01T06:00+00:00"))) == datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert moment(every.latest(at("2026-01-01T06:00+00:00"))) == datetime(2026, 1, 1, 6, tzinfo=UTC)


EXPRESSIONS = ["30 2 * * *", "0,45 1-3 * * *", "*/20 * * * *", "15 * * * *", "0 3 * * SUN", "59 23 L * *"]
CHANGES = [at("2026-03-29T01:00+00:00"), at("2026-10-25T01:00+00:00"), at("2026-10-04T15:30+00:00")]


@given(
    st.sampled_from(EXPRESSIONS),
    st.sampled_from([BERLIN, "UTC", "America/New_York", "Australia/Lord_Howe"]),
    st.sampled_from(CHANGES),
    st.integers(-6 * HOUR, 6 * HOUR),
)
def test_the_latest_time_is_the_last_that_comes_when_one_goes_on_from_before(expression, timezone, change, offset):
    cron, now = CronTimes(expression, timezone), change + offset
    latest, place = cron.latest(now), now - 40 * 24 * HOUR
    while (following := cron.after(place)) is not None and following <= now:
        assert following > place
        place = following
    assert latest == place


NINE, TEN, ELEVEN = (at(f"2026-01-01T{hour}:00+00:00") for hour in ("09", "10", "11"))
LATE = limits.SCHEDULE_LATE_US


@pytest.mark.parametrize(
    ("missed", "now", "begun", "step"),
    [
        ("run once", NINE, None, WaitUntil(TEN)),
        ("run once", TEN, None, RunNow(TEN)),
        ("run once", ELEVEN - 1, None, RunNow(TEN)),
        ("run once", ELEVEN + 1, None, RunNow(ELEVEN, missed=TEN)),
        ("run once", ELEVEN + 1, TEN, RunNow(ELEVEN, missed=TEN)),
        ("catch up", ELEVEN + 99 * HOUR, None, RunNow(TEN)),
        ("skip", TEN + LATE, None, RunNow(TEN)),
        ("skip", TEN + LATE + 1, None, PassOver(TEN, missed=TEN)),
        ("skip", TEN + LATE + 1, TEN, RunNow(TEN)),
        ("skip", ELEVEN + 1, TEN, RunNow(ELEVEN, missed=TEN)),
        ("skip", ELEVEN + LATE + 1, TEN, PassOver(ELEVEN, missed=TEN)),
    ],
)
def test_what_is_done_about_missed_times(missed, now, begun, step):
    assert next_step(EveryTimes(HOUR), missed, Place(NINE), now, begun) == step


def test_nothing_is_due_when_the_clock_is_set_back():
    assert next_step(EveryTimes(HOUR), "catch up", Place(TEN), NINE, None) == WaitUntil(ELEVEN)


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("0 6 * *", "it has 4 fields"),
        ("0 0 6 * * *", "it has 6 fields"),
        ("@daily", "it has 1 fields"),
        ("60 6 * * *", "bad minute"),
        ("0 0 31 2 *", "bad day-of-month"),
        ("* * */20 * 1L", "no day is ever like that"),
        ("0 6 * * FUN", "bad day-of-week"),
    ],
)
def test_an_expression_without_times_says_why(expression, why):
    assert why_not_cron(expression) == why


def test_expressions_and_zones_that_exist_are_right():
    assert [why_not_cron(expression) for expression in EXPRESSIONS] == [None] * len(EXPRESSIONS)
    assert [is_zone(name) for name in (BERLIN, "UTC", "Europe/Berlim", "../etc/passwd", "")] == [True, True] + [
        False
    ] * 3


def test_a_place_is_what_its_token_says():
    assert place_of(Place(NINE, TEN).token()) == Place(NINE, TEN)
    assert place_of(Place(NINE).token()) == Place(NINE)
