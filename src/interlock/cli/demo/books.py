"""The books of the story: what the shop was told against what the Systems took and what is dead. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from interlock.cli.demo.scenes import POISONS, SYSTEMS
from interlock.cli.demo.shop import Fact
from interlock.cli.demo.systems import Entry

EVENT_TYPES = {
    "order.paid": "shop.order.paid@1",
    "order.cancelled": "shop.order.cancelled@1",
    "refund.created": "shop.refund.created@1",
}
Fate = tuple[str, str]
"""Type and order: what a fact is known by at the Systems and among the dead letters."""


class Told(NamedTuple):
    """What the operator was told of one subscription: by `interlock subscriptions ls` and `interlock dead ls`."""

    delivered: int
    unsettled: int
    dead: Collection[Fate]


class Seen(NamedTuple):
    """Everything that is compared.

    `balances` is what `interlock doctor` says of the conservation equation; `refused` counts the facts that the shop
    sent again and again in vain.
    """

    accepted: Sequence[Fact]
    taken: Mapping[str, Sequence[Entry]]
    told: Mapping[str, Told]
    balances: bool
    refused: int = 0


class Account(NamedTuple):
    """Facts that were accepted for a System (or at all), and where each of them is."""

    accepted: int
    delivered: int
    dead: int
    waiting: int
    lost: int

    def __str__(self) -> str:
        waiting = f" + {self.waiting:,} waiting" if self.waiting else ""
        parts = f"{self.delivered:,} delivered + {self.dead:,} dead{waiting} + {self.lost:,} lost"
        return f"{self.accepted:,} accepted = {parts}"


class Figures(NamedTuple):
    """What the story promises to show besides."""

    duplicates: int
    was_open: bool
    has_recovered: bool
    limited: int
    causes: int


def account(seen: Seen, system: str) -> Account:
    """The books of one System. What is missing there waits if the engine says that so many do; the others are lost."""
    wanted = _wanted(seen, system)
    taken, dead = _taken(seen, system), set(seen.told[system].dead)
    missing = sum(fate not in taken and fate not in dead for fate in wanted)
    waiting = min(missing, seen.told[system].unsettled)
    delivered = sum(fate in taken for fate in wanted)
    return Account(len(wanted), delivered, len(wanted) - delivered - missing, waiting, missing - waiting)


def total(seen: Seen) -> Account:
    """The books of the shop: delivered is what every System has that should, dead what one at least could not take."""
    lost_at_most = sum(account(seen, system).lost for system in SYSTEMS)
    taken = {system: _taken(seen, system) for system in SYSTEMS}
    ends: Counter[str] = Counter(_end(seen, taken, fact) for fact in seen.accepted)
    lost = min(ends["missing"], lost_at_most)
    return Account(len(seen.accepted), ends["delivered"], ends["dead"], ends["missing"] - lost, lost)


def broken(seen: Seen) -> Iterator[str]:
    """The promises that did not hold."""
    if seen.refused:
        yield f"every signed webhook is accepted in the end ({seen.refused} never were)"
    if not seen.balances:
        yield "doctor finds that the books balance"
    for system in SYSTEMS:
        books, entries = account(seen, system), seen.taken[system]
        fates = [(entry.type, entry.order) for entry in entries]
        if books.lost:
            yield f"nothing is lost on the way to {system}"
        if len(set(fates)) < len(fates):
            yield f"{system} does nothing twice"
        if seen.told[system].delivered != books.delivered:
            yield f"{system} has as many as the engine says that it delivered there ({seen.told[system].delivered})"
        if not _in_order(fates, _wanted(seen, system)):
            yield f"{system} has what is about an order in the order of its acceptance"


def unshown(seen: Seen, figures: Figures) -> Iterator[str]:
    """What the whole story has to show and did not."""
    books = total(seen)
    dead = account(seen, "warehouse").dead
    if books.waiting:
        yield f"everything is settled at the end ({books.waiting} wait)"
    if (books.dead, dead, figures.causes) != (POISONS, POISONS, 1):
        yield f"{POISONS} dead letters of one cause, at the warehouse ({books.dead} of {figures.causes})"
    if not figures.duplicates:
        yield "the shop sends some facts twice"
    if not figures.was_open or not figures.has_recovered:
        yield "the breaker of the ERP opens, and lets calls through again"
    if not figures.limited:
        yield "the CRM refuses calls above its rate"


def _wanted(seen: Seen, system: str) -> list[Fate]:
    return [_fate(fact) for fact in seen.accepted if fact.kind in SYSTEMS[system]]


def _taken(seen: Seen, system: str) -> set[Fate]:
    return {(entry.type, entry.order) for entry in seen.taken[system]}


def _fate(fact: Fact) -> Fate:
    return EVENT_TYPES[fact.kind], fact.order


def _end(seen: Seen, taken: Mapping[str, Collection[Fate]], fact: Fact) -> str:
    fate = _fate(fact)
    missing = [system for system, kinds in SYSTEMS.items() if fact.kind in kinds and fate not in taken[system]]
    if not missing:
        return "delivered"
    return "dead" if all(fate in seen.told[system].dead for system in missing) else "missing"


def _in_order(fates: Sequence[Fate], wanted: Sequence[Fate]) -> bool:
    """Whether what each order has at a System stands there in the order of the shop's acceptances."""
    place = {fate: number for number, fate in enumerate(wanted)}
    last: dict[str, int] = {}
    for fate in fates:
        number = place.get(fate, -1)
        if number < last.get(fate[1], -1):
            return False
        last[fate[1]] = number
    return True
