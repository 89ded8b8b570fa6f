"""A seed of a user's integrations: its run, its verdict, and the shortest run that breaks the same rule."""

from __future__ import annotations

import gc
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Final, NamedTuple

from interlock.spec.plan import Where
from interlock.testing.sim.guard import sealed
from interlock.testing.sim.loop import START_US, SimLoop
from interlock.testing.simulate.judge import Broken, judged
from interlock.testing.simulate.script import Kind, Script, drawn
from interlock.testing.simulate.subject import Subject
from interlock.testing.simulate.tale import Tale
from interlock.testing.simulate.world import World

RUNS_MAX: Final = 150
"""Runs that are spent on making a failing one shorter."""
_NOT_THEIRS: Final = ("interlock.", "_pytest", "pytest")


class Counts(NamedTuple):
    """What one run was made of, for the summary of all."""

    arrivals: int
    accepted: int
    calls: int
    faults: int
    dead: int
    virtual_us: int


class Verdict(NamedTuple):
    """What came of one run."""

    seed: int
    play: Script
    broken: Sequence[Broken]
    tale: Tale
    trace: str
    counts: Counts
    dead: Counter[tuple[str, str]]
    """Dead letters by subscription and reason."""


def simulated(of: Subject, seed: int, faults: Sequence[Kind], play: Script | None = None) -> Verdict:
    """One run: the script of a seed, or another one under its chance.

    Raises:
        SpecError: if what arrives cannot be made up as it is declared.
    """
    play = play or drawn(seed, of.cast, faults)
    loop = SimLoop(seed, "random")
    world = World(loop, of, play)
    over: list[Broken] = []
    gc.collect()
    gc.disable()
    try:
        with sealed(_modules(of)):
            loop.run_until_complete(world.run())
    except AssertionError as error:  # A deadlock or a livelock: the run is over, and why is the finding.
        over.append(
            Broken("simulate.never-settles", type(error).__name__, str(error), "find what wakes itself, or never ends")
        )
    finally:
        loop.close()
        gc.enable()
    broken = [*_touched(loop), *over, *_bugs(world), *([] if over else judged(world))]
    dead = Counter(
        (id.subscription, row.error or row.reason or "")
        for id, ledger in world.disk.ledgers.items()
        for row in ledger.rows.values()
        if row.state == "dead"
    )
    counts = Counts(
        len(play.arrivals),
        len(set(world.acknowledged)),
        len(world.took),
        len(play.acts),
        dead.total(),
        loop.now_us - START_US,
    )
    return Verdict(seed, play, broken, world.tale, loop.trace_hash(), counts, dead)


def shortest(of: Subject, verdict: Verdict, faults: Sequence[Kind]) -> Verdict:
    """The shortest run that was found to break the same rule: less arrives, and less goes wrong.

    Zeller and Hildebrandt's ddmin (2002) over everything that arrives and everything that is broken.
    """
    name, best, left = verdict.broken[0].name, verdict, RUNS_MAX
    size = max(1, (len(best.play.arrivals) + len(best.play.acts)) // 2)
    while left:
        start = 0
        while left and start < len(best.play.arrivals) + len(best.play.acts):
            left -= 1
            tried = simulated(of, verdict.seed, faults, _without(best.play, start, size))
            if any(broken.name == name for broken in tried.broken):
                best = tried
            else:
                start += size
        if size == 1:
            break
        size //= 2
    chosen = [broken for broken in best.broken if broken.name == name]
    return best._replace(broken=chosen)


def _without(play: Script, start: int, count: int) -> Script:
    """The script without a part of what happens in it; arrivals come first in the count."""
    items = [*play.arrivals, *play.acts]
    kept = items[:start] + items[start + count :]
    arrivals = set(play.arrivals)
    return play._replace(
        arrivals=[item for item in kept if item in arrivals], acts=[item for item in kept if item not in arrivals]
    )


def _touched(loop: SimLoop) -> list[Broken]:
    found: list[Broken] = []
    for name, where in loop.touched:
        file, _, line = where.rpartition(":")
        message = f"{name} reaches into the real world, which a simulation cannot repeat"
        fix = "use what the event and the context give: event.accepted_at, event.id, context.deadline, context.use(...)"
        found.append(Broken("simulate.real-world", where, message, fix, where=Where(file, int(line))))
    return found


def _bugs(world: World) -> list[Broken]:
    bugs = [*world.loop.errors, *[bug for machine in world.machines for bug in machine.bugs]]
    return [
        Broken(
            "simulate.promise",
            "bug",
            bug,
            "this is a fault of Interlock: report it with this command and your integration",
        )
        for bug in bugs
    ]


def _modules(of: Subject) -> list[ModuleType]:
    """The user's modules: those of their functions, and what else stands beside them."""
    named = {spec.function.__module__ for spec in of.plan.subscriptions.values() if spec.kind != "delay"}
    named |= {source.function.__module__ for source in (*of.plan.webhooks, *of.plan.polls, *of.plan.schedules)}
    files = [getattr(sys.modules.get(name), "__file__", None) for name in named if not name.startswith(_NOT_THEIRS)]
    folders = {Path(file).parent for file in files if file}
    found: list[ModuleType] = []
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and not name.startswith(_NOT_THEIRS) and Path(file).parent in folders:
            found.append(module)
    return found
