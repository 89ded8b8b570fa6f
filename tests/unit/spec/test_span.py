"""Durations as people write them."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.core.errors import SpecError
from interlock.spec.span import instant, microseconds, moment, parse_span, write_span


@pytest.mark.parametrize(
    ("text", "span_us"),
    [("30s", 30_000_000), ("5m", 300_000_000), ("1h30m", 5_400_000_000), ("1h 30m", 5_400_000_000), ("500ms", 500_000)],
)
def test_a_span_is_read_with_its_unit(text, span_us):
    assert parse_span(text) == span_us


@pytest.mark.parametrize(
    "text", ["", "30", "s", "-5s", "+5s", "1_0s", "１s", "5 s", "5s ", "1.5s", "5S", "1y", "9" * 5_000 + "s", "5s\n"]
)
def test_what_is_no_span_is_refused(text):
    with pytest.raises(ValueError, match="not a duration"):
        parse_span(text)


@given(st.integers(0, 10**15))
def test_a_span_is_written_as_it_is_read(span_us):
    assert parse_span(write_span(span_us)) == span_us


@given(st.text(alphabet="0123456789smhdu _+-.", max_size=30) | st.text(max_size=30))
def test_any_text_is_a_span_or_refused(text):
    with contextlib.suppress(ValueError):
        assert parse_span(text) >= 0


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_moment_is_kept_to_the_microsecond(time):
    assert moment(instant(time)) == time


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=10_000)))
def test_a_timedelta_is_kept_to_the_microsecond(span):
    assert timedelta(microseconds=microseconds(span)) == span


def test_a_moment_without_a_zone_is_refused():
    with pytest.raises(SpecError, match="time zone"):
        instant(datetime(2026, 1, 1))  # noqa: DTZ001  # that is the point
