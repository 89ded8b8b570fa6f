"""The retry schedule and what becomes of failures, as tables and properties."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.core.cursor import Row
from interlock.core.limits import US_PER_HOUR, US_PER_SECOND
from interlock.core.outcome import Later, Reject, Unknown
from interlock.delivery.schedule import Terms, after_crash, after_failure, after_outage, backoff_us, bound_at, put_back
from interlock.spec.plan import OnDead, RetryPolicy

SECOND = US_PER_SECOND
SKIP, HALT = OnDead("skip"), OnDead("halt")
BLOCK = OnDead("block_then_skip", US_PER_HOUR)
FRESH = Row(7, "k", "due")


@given(st.integers(1, 5_000), st.floats(0, 1, exclude_max=True))
def test_equal_jitter_stays_between_half_and_the_whole_delay(attempt: int, chance: float) -> None:
    policy = RetryPolicy()
    whole = min(policy.cap_us, policy.base_us * 2 ** min(attempt - 1, 60))
    assert whole // 2 <= backoff_us(policy, attempt, chance) <= whole


@given(st.integers(1, 50), st.floats(0, 1, exclude_max=True))
def test_full_jitter_may_be_anything_up_to_the_delay(attempt: int, chance: float) -> None:
    policy = RetryPolicy(jitter="full")
    assert 0 <= backoff_us(policy, attempt, chance) <= min(policy.cap_us, policy.base_us * 2 ** (attempt - 1))


@given(st.integers(1, 50), st.floats(0, 1, exclude_max=True))
def test_a_schedule_is_never_cut_short_and_repeats_its_last_delay(attempt: int, chance: float) -> None:
    policy = RetryPolicy(schedule=(0, 5 * SECOND, 60 * SECOND))
    delay = policy.schedule[min(attempt, 3) - 1]
    assert delay <= backoff_us(policy, attempt, chance) <= delay * 1.1


@pytest.mark.parametrize(
    ("on_dead", "failure", "state", "reason"),
    [
        (SKIP, Reject("http 422"), "dead", "permanent"),
        (SKIP, Reject("contract"), "dead", "contract"),
        (SKIP, Unknown("timeout"), "dead", "ambiguous"),
        (HALT, Reject("http 422"), "held", "permanent"),
        (HALT, Unknown("timeout"), "held", "ambiguous"),
        (BLOCK, Reject("http 422"), "held", "permanent"),
        (BLOCK, Unknown("timeout"), "held", "ambiguous"),
        (SKIP, Later("http 503"), "due", None),
        (HALT, Later("http 503"), "due", None),
        (BLOCK, Later("http 503"), "due", None),
    ],
)
def test_a_first_failure_ends_as_its_policy_says(
    on_dead: OnDead, failure: Later | Reject | Unknown, state: str, reason: str | None
) -> None:
    row = after_failure(FRESH, failure, 100, 200, Terms(RetryPolicy(), on_dead), 0.5)
    assert (row.state, row.reason, row.attempts, row.since) == (state, reason, 1, 100)


def test_a_held_event_ends_by_a_timer_only_under_block_then_skip() -> None:
    held = after_failure(FRESH, Reject("no"), 100, 200, Terms(RetryPolicy(), BLOCK), 0.5)
    assert held.due_at == 100 + US_PER_HOUR
    assert after_failure(FRESH, Reject("no"), 100, 200, Terms(RetryPolicy(), HALT), 0.5).due_at is None


def test_the_last_due_time_is_cut_to_the_bound_and_that_attempt_decides() -> None:
    terms = Terms(RetryPolicy(base_us=10 * US_PER_HOUR, cap_us=10 * US_PER_HOUR), BLOCK)
    row = after_failure(FRESH, Later("http 503"), 100, 200, terms, 0.5)
    assert row.due_at == bound_at(100, terms) == 100 + US_PER_HOUR
    last = after_failure(row, Later("http 503"), 100 + US_PER_HOUR, 300 + US_PER_HOUR, terms, 0.5)
    assert (last.state, last.reason) == ("dead", "exhausted")


def test_an_outage_kills_nothing_before_an_attempt_was_made_after_it() -> None:
    terms = Terms(RetryPolicy(), BLOCK)
    row = after_failure(FRESH, Later("http 503"), 100, 200, terms, 0.5)
    before = after_failure(row, Later("http 503"), 99 + US_PER_HOUR, 50 * US_PER_HOUR, terms, 0.5)
    assert before.state == "due", "an attempt that started before the bound is not the last one"


def test_what_fails_while_its_system_is_down_is_not_counted_and_dies_of_no_age() -> None:
    terms = Terms(RetryPolicy(attempts_max=3), BLOCK)
    row, now = FRESH, 0
    for _ in range(200):
        row = after_outage(row, Later("http 503", after_us=600 * SECOND), now, now, terms, 0.5)
        assert (row.state, row.attempts, row.due_at) == ("due", 0, now + 600 * SECOND)
        now += 600 * SECOND
    assert (row.attempts_total, row.since, row.first_failed_at, row.error) == (200, 0, 0, "http 503")
    last = after_failure(row, Later("http 503"), now, now, terms, 0.5)
    assert (last.state, last.reason) == ("dead", "exhausted"), "the attempt after the outage decides"


def test_retry_after_extends_the_backoff_and_never_shortens_it() -> None:
    terms = Terms(RetryPolicy(), SKIP)
    slow = after_failure(FRESH, Later("http 503", after_us=90 * SECOND), 0, 0, terms, 0.5)
    quick = after_failure(FRESH, Later("http 503", after_us=1), 0, 0, terms, 0.5)
    assert slow.due_at == 90 * SECOND
    assert quick.due_at is not None
    assert quick.due_at >= SECOND // 2


def test_what_looks_like_a_bug_is_tried_five_times_and_not_forty() -> None:
    terms, row = Terms(RetryPolicy(), SKIP), FRESH
    for _ in range(5):
        assert row.state == "due"
        row = after_failure(row, Later("KeyError", attempts_max=5), 0, 0, terms, 0.5)
    assert (row.state, row.attempts) == ("dead", 5)


def test_attempts_without_end_are_stopped_and_held_under_halt() -> None:
    terms, row = Terms(RetryPolicy(attempts_max=3), HALT), FRESH
    for _ in range(3):
        row = after_failure(row, Later("http 503"), 0, 0, terms, 0.5)
    assert (row.state, row.reason, row.due_at) == ("held", "exhausted", None)


def test_a_retry_by_a_person_starts_a_new_budget_and_keeps_the_count_of_all_attempts() -> None:
    dead = after_failure(FRESH, Reject("no"), 5, 6, Terms(RetryPolicy(), SKIP), 0.5)
    again = put_back(dead, 1_000)
    assert (again.state, again.since, again.attempts, again.attempts_total) == ("due", None, 0, 1)
    assert (again.due_at, again.replays, again.first_failed_at) == (1_000, 1, 5)


def test_an_event_that_was_running_at_every_death_of_its_process_needs_a_person() -> None:
    assert after_crash(FRESH, 10, Terms(RetryPolicy(), HALT)).state == "held"
    assert after_crash(FRESH, 10, Terms(RetryPolicy(), SKIP)).reason == "crashed"


def test_what_failed_together_does_not_come_back_together() -> None:
    policy = RetryPolicy()
    whole = policy.base_us * 4
    assert [backoff_us(policy, 3, chance) for chance in (0.0, 0.5, 0.75)] == [
        whole // 2,
        whole * 3 // 4,
        whole * 7 // 8,
    ]
