"""When a failed event is tried again, and what becomes of it in the end: pure decisions.

Now and chance are arguments; nothing here reads a clock or sends anything.
"""

from __future__ import annotations

from typing import Final, NamedTuple, assert_never, get_args

from msgspec.structs import replace

from interlock.core import limits
from interlock.core.cursor import DeadReason, Row, RowState
from interlock.core.outcome import Later, Reject, Unknown
from interlock.spec.plan import OnDead, RetryPolicy

Failure = Later | Reject | Unknown

_REASONS: Final = frozenset(get_args(DeadReason))


class Terms(NamedTuple):
    """What a subscription says about failure."""

    retry: RetryPolicy
    on_dead: OnDead


def backoff_us(policy: RetryPolicy, attempt: int, chance: float) -> int:
    """The wait after the `attempt`-th counted attempt (from 1), for a `chance` in [0, 1).

    A schedule is never cut short, so its jitter only adds, up to a tenth; the formula has equal or full jitter.
    """
    if policy.schedule:
        delay = policy.schedule[min(attempt, len(policy.schedule)) - 1]
        return delay + int(delay * chance / 10)
    # The exponent is bounded so that attempt 2,000 does not make a number of 2,000 bits.
    delay = min(policy.cap_us, policy.base_us << min(attempt - 1, 40))
    return int(delay * chance) if policy.jitter == "full" else delay // 2 + int(delay * chance / 2)


def bound_at(since: int, terms: Terms) -> int:
    """The last moment at which a budget that began at `since` still has an attempt due: the first of its two ages."""
    ages = [terms.retry.age_max_us]
    if terms.on_dead.kind == "block_then_skip" and terms.on_dead.after_us is not None:
        ages.append(terms.on_dead.after_us)
    return since + min(ages)


def after_failure(row: Row, failure: Failure, started_at: int, now: int, terms: Terms, chance: float) -> Row:
    """The row after an attempt that counted, started at `started_at`, ended in `failure`.

    Rule 7: death is only ever the outcome of an attempt. The last due time is cut to the bound, so that an attempt
    which started at or after the bound is the last one.
    """
    row = _noted(row, failure, started_at)
    row = replace(row, attempts=row.attempts + 1)
    since = started_at if row.since is None else row.since
    match failure:
        case Later():
            attempts_max = min(terms.retry.attempts_max, failure.attempts_max or terms.retry.attempts_max)
            if row.attempts >= attempts_max or started_at >= bound_at(since, terms):
                return _given_up(row, "exhausted", now, terms.on_dead)
            due_at = min(now + backoff_us(terms.retry, row.attempts, chance), bound_at(since, terms))
            return replace(row, state="due", due_at=max(due_at, now + (failure.after_us or 0)))
        case Reject():
            reason = failure.reason if failure.reason in _REASONS else "permanent"
            return _needs_a_person(row, reason, now, terms.on_dead)
        case Unknown():
            return _needs_a_person(row, "ambiguous", now, terms.on_dead)
        case _:
            assert_never(failure)


def after_outage(row: Row, failure: Failure, started_at: int, now: int, terms: Terms, chance: float) -> Row:
    """The row after an attempt that failed while its System was down: a probe, or one of those that found it out.

    What may pass says nothing about the event then. It is not counted, and ages do not end an event by it: the attempt
    that decides is made when the System is open again (rule 7).
    """
    if not isinstance(failure, Later):
        return after_failure(row, failure, started_at, now, terms, chance)
    return held_back(row, failure, started_at, now, terms, chance)


def held_back(row: Row, failure: Later | Reject, started_at: int, now: int, terms: Terms, chance: float) -> Row:
    """The row after an attempt that is not counted, whatever it ended in: the event is tried again."""
    asked_us = failure.after_us or 0 if isinstance(failure, Later) else 0
    wait_us = max(backoff_us(terms.retry, max(row.attempts, 1), chance), asked_us)
    return replace(_noted(row, failure, started_at), state="due", due_at=now + wait_us)


def _noted(row: Row, failure: Failure, started_at: int) -> Row:
    """The row with what its last attempt, which was sent, has come to."""
    return replace(
        row,
        since=started_at if row.since is None else row.since,
        attempts_total=row.attempts_total + 1,
        first_failed_at=started_at if row.first_failed_at is None else row.first_failed_at,
        error=f"{failure.reason}: {failure.detail}" if failure.detail else failure.reason,
        status=failure.status,
        call=None,
        due_at=None,
    )


def is_suspect(row: Row) -> bool:
    """It ran at so many deaths of the process that it may be their cause: from now on it runs alone (rule 12)."""
    return row.crashes >= limits.CRASHES_TOGETHER_MAX


def is_culprit(row: Row) -> bool:
    """The process died too often while of all suspects only this one ran (rule 12)."""
    return row.crashes >= limits.CRASHES_TOGETHER_MAX + limits.CRASHES_ALONE_MAX


def recovered(row: Row, now: int, terms: Terms, *, crashed: bool) -> Row:
    """A row that ran under an older epoch: a `once` call may have happened (rule 8), else it is due again."""
    if row.call is not None:
        return ambiguous_after_crash(row, now, terms)
    row = replace(row, state="due", due_at=now, crashes=row.crashes + crashed)
    return after_crash(row, now, terms) if is_culprit(row) else row


def after_crash(row: Row, now: int, terms: Terms) -> Row:
    """The row of an event that ran when its process died once more than may be blamed on chance (rule 12)."""
    return _needs_a_person(
        replace(row, due_at=None, error="the process died while it ran"), "crashed", now, terms.on_dead
    )


def ambiguous_after_crash(row: Row, now: int, terms: Terms) -> Row:
    """The row of a `once` call that was under way when its process died (rule 8)."""
    error = f"the process died during the call {row.call!r}: it may have happened"
    return _needs_a_person(replace(row, due_at=None, error=error), "ambiguous", now, terms.on_dead)


def dead(row: Row, reason: str, now: int) -> Row:
    """The row, dead for `reason`: it blocks nothing from the commit of this on."""
    return replace(row, state="dead", due_at=None, reason=reason, died_at=now, call=None)


def put_back(row: Row, now: int) -> Row:
    """The row as a person's retry leaves it: due at once, with a new budget."""
    return replace(
        row,
        state="due",
        due_at=now,
        since=None,
        attempts=0,
        reason=None,
        died_at=None,
        call=None,
        replays=row.replays + 1,
    )


def _given_up(row: Row, reason: str, now: int, on_dead: OnDead) -> Row:
    """A budget is used up: under `halt` a person decides, else the event is dead."""
    if on_dead.kind == "halt":
        return _held(row, reason, None)
    return dead(row, reason, now)


def _needs_a_person(row: Row, reason: str, now: int, on_dead: OnDead) -> Row:
    """No further attempt can help by itself: hold the key for a person, for as long as `on_dead` says."""
    match on_dead.kind:
        case "skip":
            return dead(row, reason, now)
        case "halt":
            return _held(row, reason, None)
        case "block_then_skip":
            until = (now if row.since is None else row.since) + (on_dead.after_us or 0)
            return dead(row, reason, now) if until <= now else _held(row, reason, until)
        case _:
            assert_never(on_dead.kind)


def _held(row: Row, reason: str, until: int | None) -> Row:
    state: RowState = "held"
    return replace(row, state=state, due_at=until, reason=reason)
