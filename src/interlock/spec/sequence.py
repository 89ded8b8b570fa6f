"""The rules of `check` about resequencers."""

from __future__ import annotations

from collections.abc import Iterator

from interlock.core import limits
from interlock.spec.bounds import Range, within
from interlock.spec.findings import Finding, Material
from interlock.spec.newness import fields_of
from interlock.spec.plan import SubscriptionSpec
from interlock.spec.resequencer import as_it_is
from interlock.spec.span import write_span


def sequences(material: Material) -> Iterator[Finding]:
    """A resequencer has a key to count in, numbers to count with, and an end to its waiting."""
    for spec in material.subscriptions:
        if spec.kind == "resequence":
            for rule, why, fix in _wrong(spec):
                yield Finding(rule, "error", spec.name, spec.where, why, fix)
            yield from _bounds(spec)


def _wrong(spec: SubscriptionSpec) -> Iterator[tuple[str, str, str]]:
    """Rule, reason and fix."""
    raw, into, how = spec.types[0], spec.into, spec.resequencing
    assert into is not None, "a resequencer says what it makes"
    assert how is not None, "a resequencer says how"
    if spec.order != "key" or spec.if_newer_than is not None:
        why = 'it keeps an order of its own, so order="none" and if_newer_than= contradict it'
        yield "spec.sequence-contradicted", why, "Leave them out."
    if raw.stream != spec.integration or into.stream != spec.integration:
        why = f"it reads {raw.id} and makes {into.id}, which are not both of {spec.integration}"
        yield "spec.sequence-elsewhere", why, "Declare it where both types are; others subscribe to what it makes."
    if raw.id == into.id:
        why = f"it would read {raw.id} and make it again, without end"
        yield "spec.sequence-circular", why, "Declare another type for what is in order."
    if spec.function is as_it_is and raw.model is not into.model:
        why = f"the payloads of {raw.id} and {into.id} are of different models"
        yield "spec.sequence-unmapped", why, "Give map=, a function from one to the other, or one model to both types."
    fields = fields_of(raw.model) if isinstance(how.by, str) else None
    if isinstance(how.by, str) and fields is not None and fields.get(how.by) is not int:
        why = f"{raw.id} has no field {how.by!r} that is an int, so nothing numbers its events"
        yield "spec.sequence-unnumbered", why, "Name another field in by=, or give a function."


def _bounds(spec: SubscriptionSpec) -> Iterator[Finding]:
    how = spec.resequencing
    assert how is not None, "asked of resequencers"
    span = Range(limits.US_PER_MS, limits.SEQUENCE_GAP_MAX_US, write_span)
    yield from within("spec.bound", spec.name, spec.where, "gap_after", how.gap_after_us, span)
    buffer = Range(1, limits.SEQUENCE_BUFFER_CEILING)
    yield from within("spec.bound", spec.name, spec.where, "buffer_max", how.buffer_max, buffer)
