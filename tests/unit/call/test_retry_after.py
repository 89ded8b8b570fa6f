"""Retry-After: both forms, and everything that is neither."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from interlock.call.retry_after import http_date, retry_after_us
from interlock.core.limits import RETRY_AFTER_MAX_US, US_PER_SECOND

NOW_AT = datetime(2026, 11, 20, 8, 0, 0, tzinfo=UTC)
NOW = int(NOW_AT.timestamp()) * US_PER_SECOND


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("1", 1),
        ("120", 120),
        ("007", 7),
        (" 5\t", 5),
        ("Fri, 20 Nov 2026 08:00:30 GMT", 30),
        ("Friday, 20-Nov-26 08:00:30 GMT", 30),
        ("Fri Nov 20 08:00:30 2026", 30),
        ("Fri, 20 Nov 2026 08:00:60 GMT", 59),
    ],
)
def test_both_forms_are_read_and_the_two_obsolete_dates(value: str, seconds: int):
    assert retry_after_us(value, NOW) == seconds * US_PER_SECOND


@pytest.mark.parametrize(
    "value",
    [
        "", " ", "0", "00", "-1", "+5", "5_0", "1.5", "0x10",
        "٣", "１２", "1e3", "5 s", "5,6", "5;q=1", "NaN", "inf", "5\n", "\x0b5",
        "Fri, 20 Nov 2026 07:59:59 GMT", "Fri, 20 Nov 2026 08:00:00 GMT", "Fri, 31 Feb 2027 08:00:00 GMT",
        "Fri, 20 Nov 2026 24:00:00 GMT", "Fri, 20 Nov 2026 08:00:61 GMT", "Fri, 20 Nov 0000 08:00:00 GMT",
        "fri, 20 nov 2026 08:00:30 gmt", "Fri, 20 Nov 2026 08:00:30 UTC", "Fri, 20 Nov 2026 08:00:30 +0000",
        "2026-11-20T08:00:30Z", "Fri,  20 Nov 2026 08:00:30 GMT", "Fri, 20 Nov 2026 08:00:30 GMT x",
    ],
)  # fmt: skip
def test_what_is_neither_form_or_asks_for_nothing_is_ignored(value: str):
    assert retry_after_us(value, NOW) is None


@pytest.mark.parametrize(
    "value", ["3601", "9" * 10, "9" * 11, "9" * 5_000, "1" + "0" * 4_400, "Sat, 20 Nov 9999 08:00:00 GMT"]
)
def test_a_long_wait_is_clamped(value: str):
    assert retry_after_us(value, NOW) == RETRY_AFTER_MAX_US


def test_a_two_digit_year_is_never_more_than_fifty_years_ahead():
    assert http_date("Friday, 20-Nov-77 08:00:00 GMT", NOW) == int(
        datetime(1977, 11, 20, 8, tzinfo=UTC).timestamp() * 1_000_000
    )
    assert http_date("Friday, 20-Nov-76 08:00:00 GMT", NOW) == int(
        datetime(2076, 11, 20, 8, tzinfo=UTC).timestamp() * 1_000_000
    )


@given(st.integers(min_value=1, max_value=3_600))
def test_a_date_as_another_implementation_writes_it_is_read(seconds: int):
    value = format_datetime(NOW_AT + timedelta(seconds=seconds), usegmt=True)
    assert retry_after_us(value, NOW) == seconds * US_PER_SECOND


@given(
    st.one_of(st.text(), st.from_regex(r"[0-9+\-_ ]{0,30}"), st.from_regex(r"Fri, [0-9]{2} Nov [0-9]{4} [0-9:]{8} GMT"))
)
@example("9" * 100_000)
def test_no_text_breaks_it_and_every_wait_is_within_bounds(value: str):
    wait = retry_after_us(value, NOW)
    assert wait is None or 0 < wait <= RETRY_AFTER_MAX_US
