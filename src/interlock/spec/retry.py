"""Retry policies to choose from, and what follows when they are used up. Delivery decides when an attempt is due."""

from __future__ import annotations

from datetime import timedelta

from interlock.core import limits
from interlock.spec.plan import OnDead, RetryPolicy
from interlock.spec.span import microseconds

PATIENT = RetryPolicy()
"""The default: from 1 s doubling to 1 h, for 24 h, at most 40 attempts."""

WEBHOOK = RetryPolicy(
    schedule=(
        5 * limits.US_PER_SECOND,
        5 * limits.US_PER_MINUTE,
        30 * limits.US_PER_MINUTE,
        2 * limits.US_PER_HOUR,
        5 * limits.US_PER_HOUR,
        10 * limits.US_PER_HOUR,
        14 * limits.US_PER_HOUR,
        20 * limits.US_PER_HOUR,
        24 * limits.US_PER_HOUR,
    ),
    age_max_us=4 * limits.US_PER_DAY,
    attempts_max=10,
)
"""The list of Standard Webhooks 1.0.0: ten attempts in about three days."""

INTERACTIVE = RetryPolicy(cap_us=5 * limits.US_PER_SECOND, age_max_us=limits.US_PER_MINUTE, attempts_max=3)
"""Someone is waiting: three attempts within a minute."""


def block_then_skip(after: timedelta) -> OnDead:
    """A key waits for its failing event this long, counted from its first failure; then it goes on without it."""
    return OnDead("block_then_skip", microseconds(after))
