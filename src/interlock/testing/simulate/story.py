"""`interlock simulate --story "erp 503 for 10m"`: one thing goes wrong, and what operators would see of it, and when.

Events arrive steadily, nothing else is broken, and the tale is that of the product's own records.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal, NamedTuple

from interlock.core.errors import SpecError
from interlock.core.limits import US_PER_MINUTE, US_PER_SECOND
from interlock.core.words import many
from interlock.spec.span import parse_span
from interlock.testing.sim.loop import START_US, SimLoop
from interlock.testing.simulate.script import Act, Arriving, Kill, Outage, Restart, Script
from interlock.testing.simulate.subject import Subject
from interlock.testing.simulate.tale import clock
from interlock.testing.simulate.world import World
from interlock.testing.standing import waiting

ARRIVALS_MAX: Final = 600
QUIET_US: Final = US_PER_MINUTE
"""Before the first thing goes wrong, and after the last."""
LOOKS: Final = 8
"""How often the waiting are counted while something is wrong."""
_CLAUSE: Final = re.compile(
    r"(?P<who>\S+)(?:\s+(?:is\s+)?(?P<how>\S+))?(?:\s+for\s+(?P<span>\S+))?(?:\s+at\s+(?P<at>\S+))?"
)
_HOW: Final[Mapping[str, Literal["down", "limiting", "slow", "hanging"]]] = {
    "503": "down",
    "down": "down",
    "429": "limiting",
    "limiting": "limiting",
    "slow": "slow",
    "hangs": "hanging",
    "hanging": "hanging",
}


class Story(NamedTuple):
    """What was told: lines for a person, and whether everything came to its end."""

    lines: Sequence[str]
    settled: bool


def parse_story(text: str, of: Subject) -> Script:
    """A script from words: clauses with `;` between, as `erp 503 for 10m; crash at 5m`.

    Raises:
        SpecError: `simulate.story-unknown`, which says what can be told.
    """
    acts: list[Act] = []
    until_us = QUIET_US
    for clause in text.split(";"):
        found = _CLAUSE.fullmatch(" ".join(clause.split()))
        if found is None:
            raise _unknown(clause, of)
        at = QUIET_US if found["at"] is None else _span(found["at"], clause, of)
        act = _act(found, at, clause, of)
        acts.append(act)
        until_us = max(until_us, at + (act.lasts_us if isinstance(act, Outage) else 0))
    lasts_us = until_us + QUIET_US
    count = min(ARRIVALS_MAX, lasts_us // US_PER_SECOND)
    sources = of.cast.sources
    arrivals = [
        Arriving(number * lasts_us // count, sources[number % len(sources)], number + 1)
        for number in range(count if sources else 0)
    ]
    return Script(arrivals, acts, lasts_us)


def tell_story(of: Subject, play: Script) -> Story:
    """Play it, and give what was to be seen."""
    loop = SimLoop(1, "random")
    world = World(loop, of, play)
    looks = sorted({QUIET_US + (play.lasts_us - 2 * QUIET_US) * step // LOOKS for step in range(1, LOOKS + 1)})
    seen: list[tuple[int, str]] = []
    for at in looks:
        loop.call_at_us(START_US + at, lambda: seen.append((loop.now_us - START_US, _counted(world))))
    try:
        loop.run_until_complete(world.run())
    finally:
        loop.close()
    every = play.lasts_us / max(1, len(play.arrivals)) / US_PER_SECOND
    opening = f"every {every:.1f} s something arrives; every System is well"
    told = [(0, opening), *seen, *_records(world), (loop.now_us - START_US, "nothing waits any more")]
    told.sort(key=lambda line: line[0])
    return Story([f"{clock(at)}  {text}" for at, text in told] + ["", *_ending(world)], not waiting(world.disk))


def _records(world: World) -> Iterator[tuple[int, str]]:
    """Faults, turns of breakers and of processes as they come; of failures the first of each kind."""
    known: set[tuple[str, str]] = set()
    for moment in world.tale.moments:
        if moment.is_fault:
            yield moment.t, f"! {moment.text}"
        elif not moment.event and moment.who not in ("outside", "world"):
            yield moment.t, f"{moment.who}: {moment.text}"
        elif moment.subscription == moment.who and " ended: " in moment.text:
            kind = moment.text.partition(" ended: ")[2]
            if (moment.who, kind) not in known:
                known.add((moment.who, kind))
                yield moment.t, f"{moment.who}: first attempt that ended so: {kind}"


def _counted(world: World) -> str:
    found = waiting(world.disk)
    if not found:
        return "nothing waits"
    now = world.clock.now()
    parts = [
        f"{name} {one.events} (the oldest for {(now - one.since) / US_PER_SECOND:.0f} s)"
        for name, one in sorted(found.items())
    ]
    return "waiting: " + ", ".join(parts)


def _ending(world: World) -> Iterator[str]:
    """The books of each subscription."""
    accepted = many(len(set(world.acknowledged)), "event")
    yield f"{accepted} accepted"
    for name in world.of.cast.subscriptions:
        ledgers = [ledger for id, ledger in world.disk.ledgers.items() if id.subscription == name]
        delivered = sum(ledger.held.cursor.counters.delivered for ledger in ledgers)
        dead = sum(ledger.held.cursor.counters.dead for ledger in ledgers)
        yield f"  {name}: {delivered} delivered, {many(dead, 'dead letter')}"
    for name in world.of.cast.systems:
        calls = [took for took in world.took if took.system == name]
        refused = sum(not 200 <= took.reaction.status < 300 for took in calls)
        yield f"  {name}: {many(len(calls), 'call')}, {refused} of them refused or without an answer"


def _act(found: re.Match[str], at: int, clause: str, of: Subject) -> Act:
    who, how = found["who"], found["how"]
    if who in ("crash", "restart") and how is None and found["span"] is None:
        return Kill(at, 0) if who == "crash" else Restart(at)
    systems = [name for name in of.cast.systems if who in (name, name.rpartition(".")[2])]
    if len(systems) != 1 or how not in _HOW:
        raise _unknown(clause, of)
    lasts_us = _span(found["span"], clause, of) if found["span"] else 10 * US_PER_MINUTE
    return Outage(at, systems[0], _HOW[how], lasts_us)


def _span(text: str, clause: str, of: Subject) -> int:
    try:
        return parse_span(text)
    except ValueError:
        raise _unknown(clause, of) from None


def _unknown(clause: str, of: Subject) -> SpecError:
    systems = ", ".join(of.cast.systems)
    return SpecError(
        "simulate.story-unknown",
        f"{clause.strip()!r} is not understood",
        f"say SYSTEM down|429|slow|hangs [for 10m] [at 1m], crash [at 1m] or restart [at 1m], "
        f"with ; between; there is: {systems}",
    )
