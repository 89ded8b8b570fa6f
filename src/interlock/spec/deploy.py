"""What a deploy would change: a plan held against what the store remembers of the plans that it ran. Pure.

The engine refuses a plan with a change that blocks; `interlock plan` tells of all changes before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Final, Literal, NamedTuple

import msgspec

from interlock.spec.findings import Known
from interlock.spec.plan import Plan

KNOWN_CELL: Final = "plan/known"
"""Where a store keeps its `Known`, as JSON."""


class Change(NamedTuple):
    """One difference. With a `remedy` it blocks the deploy until that is done."""

    what: Literal["new", "gone", "reshaped"]
    kind: Literal["subscription", "stream", "system", "event type"]
    name: str
    remedy: str | None = None

    def __str__(self) -> str:
        return f"{self.kind} {self.name}" + (" in another shape" if self.what == "reshaped" else "")


def known_of(plan: Plan) -> Known:
    """What a store is to remember of a plan."""
    return Known(
        frozenset(plan.subscriptions),
        frozenset(stream.name for stream in plan.streams),
        frozenset(plan.systems),
        {type.id: type.schema_digest for type in plan.types.values()},
    )


def remembered(known: Known, plan: Plan) -> Known:
    """What a store remembers once it runs a plan that forgets nothing."""
    now = known_of(plan)
    return Known(
        now.subscriptions | known.subscriptions,
        now.streams | known.streams,
        now.systems | known.systems,
        {**known.types, **now.types},
        _first_names(known, now),
    )


def _first_names(known: Known, now: Known) -> dict[str, str]:
    """A new subscription under a name that a renamed one had is given another for its keys: they are its calls."""
    names = dict(known.first_names)
    for name in sorted(now.subscriptions - known.subscriptions):
        if name in names.values():
            taken = {*names.values(), *now.subscriptions}
            names[name] = next(each for number in count(2) if (each := f"{name}#{number}") not in taken)
    return names


def renamed(known: Known, old: str, new: str | None) -> Known:
    """What a store remembers once a subscription has a new name, or, without one, is forgotten.

    The idempotency keys of its calls hold its first name for ever: an event that was under way when it was renamed has
    the same key after it.
    """
    names = dict(known.first_names)
    first = names.pop(old, old)
    if new is not None and first != new:
        names[new] = first
    subscriptions = (known.subscriptions - {old}) | ({new} if new else frozenset[str]())
    return msgspec.structs.replace(known, subscriptions=subscriptions, first_names=names)


def changes(known: Known, plan: Plan) -> Sequence[Change]:
    """Every difference, those that block first."""
    found = [*_subscriptions(known, plan), *_shapes(known, plan), *_names(known, known_of(plan))]
    return sorted(found, key=lambda change: change.remedy is None)


def _subscriptions(known: Known, plan: Plan) -> Iterator[Change]:
    """A subscription that is gone has a cursor that pins the log: it has to be said what becomes of it."""
    new = sorted(plan.subscriptions.keys() - known.subscriptions)
    # Where only one is new, it is the likely name; otherwise the reader knows.
    name = new[0] if len(new) == 1 else "NEW"
    for old in sorted(known.subscriptions - plan.subscriptions.keys()):
        remedy = f"`interlock subscriptions rename {old} {name}` or `interlock subscriptions retire {old}`"
        yield Change("gone", "subscription", old, remedy)
    for each in new:
        yield Change("new", "subscription", each)


def _shapes(known: Known, plan: Plan) -> Iterator[Change]:
    for id, digest in sorted(known.types.items()):
        if id in plan.types and plan.types[id].schema_digest != digest:
            yield Change("reshaped", "event type", id, f"give {id} a new version")


def _names(known: Known, now: Known) -> Iterator[Change]:
    """Streams, Systems and types come and go: what the log holds of them stays readable."""
    kinds: tuple[tuple[Literal["stream", "system", "event type"], frozenset[str], frozenset[str]], ...] = (
        ("stream", known.streams, now.streams),
        ("system", known.systems, now.systems),
        ("event type", frozenset(known.types), frozenset(now.types)),
    )
    for kind, before, after in kinds:
        yield from (Change("new", kind, name) for name in sorted(after - before))
        yield from (Change("gone", kind, name) for name in sorted(before - after))
