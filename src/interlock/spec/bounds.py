"""The rules of `check` about numbers: deadlines, and every other bound. What they are and why: `core.limits`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import NamedTuple

from interlock.core import limits
from interlock.spec.findings import Finding, Material
from interlock.spec.plan import HttpBinding, RetryPolicy, Where
from interlock.spec.signatures import Timed
from interlock.spec.span import write_span


class Range(NamedTuple):
    """What a number may be, both ends included, and how it is told. `high` None: no upper end."""

    low: float
    high: float | None = None
    write: Callable[[int], str] = str


_DEADLINES = Range(limits.DEADLINE_MIN_US, limits.DEADLINE_MAX_US, write_span)


def deadline(material: Material) -> Iterator[Finding]:
    """Every attempt ends, and ends under the lease that it started under."""
    for spec in chain(material.subscriptions, material.polls, material.schedules):
        yield from within("spec.deadline", spec.name, spec.where, "deadline", spec.deadline_us, _DEADLINES)
    for name, binding in material.bindings.systems.items():
        where = material.bindings.place(f"systems.{name}")
        yield from within("spec.deadline", name, where, "deadline", binding.deadline_us, _DEADLINES)
        yield from within("spec.deadline", name, where, "connect", binding.connect_us, _DEADLINES)


def bounds(material: Material) -> Iterator[Finding]:
    """Every number is within the bounds that it was tested in."""
    for spec in material.written():
        for name, value, bound in _retry_bounds(spec.retry):
            yield from within("spec.bound", spec.name, spec.where, f"retry {name}", value, bound)
    for webhook in material.webhooks:
        bound = Range(1, limits.BODY_BYTES_CEILING)
        yield from within("spec.bound", webhook.name, webhook.where, "body_bytes_max", webhook.body_bytes_max, bound)
        if isinstance(webhook.verify, Timed):
            bound = Range(limits.US_PER_SECOND, limits.US_PER_HOUR, write_span)
            tolerance = webhook.verify.tolerance_us
            yield from within("spec.bound", webhook.name, webhook.where, "tolerance", tolerance, bound)
    for poll in material.polls:
        bound = Range(limits.POLL_EVERY_MIN_US, limits.POLL_EVERY_MAX_US, write_span)
        yield from within("spec.bound", poll.name, poll.where, "every", poll.every_us, bound)
    for schedule in material.schedules:
        if schedule.every_us is not None:
            bound = Range(limits.SCHEDULE_EVERY_MIN_US, limits.SCHEDULE_EVERY_MAX_US, write_span)
            yield from within("spec.bound", schedule.name, schedule.where, "every", schedule.every_us, bound)
    for type in material.types:
        yield from within("spec.bound", type.id, type.where, "version", type.version, Range(1, limits.VERSION_MAX))
    for name, binding in material.bindings.systems.items():
        where = material.bindings.place(f"systems.{name}")
        for what, value, bound in _binding_bounds(binding):
            yield from within("spec.bound", name, where, what, value, bound)
    for name, stream in material.bindings.streams.items():
        where = material.bindings.place(f"streams.{name}")
        yield from within("spec.bound", name, where, "shards", stream.shards, Range(1, limits.SHARDS_CEILING))
        yield from within(
            "spec.bound", name, where, "keep", stream.keep_us, Range(limits.US_PER_MINUTE, None, write_span)
        )
        yield from within("spec.bound", name, where, "keep_bytes", stream.keep_bytes, Range(1024 * 1024))


def within(rule: str, subject: str, where: Where, what: str, value: float, bound: Range) -> Iterator[Finding]:
    """One finding if the value is out of bounds."""
    if bound.low <= value and (bound.high is None or value <= bound.high):
        return
    low, high = bound.write(int(bound.low)), None if bound.high is None else bound.write(int(bound.high))
    span = f"at least {low}" if high is None else f"from {low} to {high}"
    shown = bound.write(int(value)) if value >= 0 else "below zero"
    why, fix = f"{what} is {shown}, which is out of bounds", f"Choose a value {span}."
    yield Finding(rule, "error", subject, where, why, fix)


def _retry_bounds(retry: RetryPolicy) -> Iterator[tuple[str, float, Range]]:
    ms, age = limits.US_PER_MS, limits.RETRY_AGE_CEILING_US
    yield "base", retry.base_us, Range(ms, retry.cap_us, write_span)
    yield "cap", retry.cap_us, Range(ms, age, write_span)
    yield "age_max", retry.age_max_us, Range(ms, age, write_span)
    yield "attempts_max", retry.attempts_max, Range(1, limits.RETRY_ATTEMPTS_CEILING)
    yield "schedule's length", len(retry.schedule), Range(0, limits.RETRY_SCHEDULE_MAX)
    for delay_us in retry.schedule:
        yield "schedule", delay_us, Range(0, age, write_span)


def _binding_bounds(binding: HttpBinding) -> Iterator[tuple[str, float, Range]]:
    yield "concurrency", binding.concurrency, Range(1, limits.SYSTEM_CONCURRENCY_CEILING)
    yield "burst", binding.burst, Range(1, limits.RATE_PER_SECOND_CEILING)
    yield "answer_bytes_max", binding.answer_bytes_max, Range(1, limits.BODY_BYTES_CEILING)
    if binding.rate_per_second is not None:
        yield "rate", binding.rate_per_second, Range(1 / limits.US_PER_DAY, limits.RATE_PER_SECOND_CEILING)
