"""GCRA against a token bucket in exact fractions."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.call.gcra import Gcra
from interlock.core.errors import SpecError
from interlock.core.limits import US_PER_SECOND

RATES = st.one_of(
    st.floats(0.001, 100_000), st.sampled_from([1.0, 3.0, 7.0, 0.1, 0.3, 1 / 3, 2 / 3, 999.999, 1_000_000.0])
)


class TokenBucket:
    """The same limit as people usually describe it, in exact fractions."""

    def __init__(self, rate: float, burst: int) -> None:
        self.rate = Fraction(rate).limit_denominator(1_000_000) / US_PER_SECOND
        self.burst = self.tokens = Fraction(burst)
        self.at = 0

    def take(self, now: int) -> bool:
        self.tokens = min(self.burst, self.tokens + (now - self.at) * self.rate)
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


@given(RATES, st.integers(1, 50), st.lists(st.integers(0, 3 * US_PER_SECOND), max_size=200))
def test_it_admits_exactly_what_a_token_bucket_admits(rate: float, burst: int, gaps: list[int]):
    gcra, bucket, now = Gcra(rate, burst), TokenBucket(rate, burst), US_PER_SECOND
    for gap in gaps:
        now += gap
        admitted = gcra.wait_us(now) == 0
        assert admitted == bucket.take(now)
        if admitted:
            assert gcra.take(now) == 0


@given(RATES, st.integers(1, 50), st.lists(st.integers(0, 300_000), max_size=100))
def test_calls_that_wait_as_long_as_they_are_told_never_exceed_the_rate(rate: float, burst: int, gaps: list[int]):
    gcra, bucket, now = Gcra(rate, burst), TokenBucket(rate, burst), US_PER_SECOND
    for gap in gaps:
        now += gap
        assert bucket.take(max(bucket.at, now + gcra.take(now)))


@given(RATES, st.integers(1, 20), st.lists(st.integers(0, 400_000), max_size=40), st.integers(0, 40))
def test_the_wait_behind_others_is_the_wait_after_they_have_gone(rate: float, burst: int, gaps: list[int], ahead: int):
    asked, taken, now = Gcra(rate, burst), Gcra(rate, burst), US_PER_SECOND
    for gap in gaps:
        now += gap
        asked.take(now)
        taken.take(now)
    wait = asked.wait_us(now, ahead)
    for _ in range(ahead):
        taken.take(now)
    # Each of the others may have to wait for the end of a microsecond.
    assert wait <= taken.wait_us(now) <= wait + ahead


def test_asking_counts_nothing():
    gcra = Gcra(1, 1)
    assert [gcra.wait_us(0) for _ in range(5)] == [0] * 5
    assert gcra.take(0) == 0
    assert [gcra.wait_us(0) for _ in range(5)] == [US_PER_SECOND] * 5


def test_a_rate_that_is_no_whole_number_of_microseconds_does_not_drift():
    gcra, now = Gcra(3, 2), US_PER_SECOND
    for _ in range(3_001):
        now += gcra.wait_us(now)
        gcra.take(now)
    assert now + gcra.wait_us(now) == 1_001 * US_PER_SECOND


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (-1, 1), (float("nan"), 1), (float("inf"), 1), (1, 0), (1, -1)])
def test_what_is_no_limit_is_refused(rate: float, burst: int):
    with pytest.raises(SpecError, match=r"system\.rate-invalid"):
        Gcra(rate, burst)
