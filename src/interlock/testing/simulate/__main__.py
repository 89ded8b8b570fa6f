"""A worker of `interlock simulate`: a job on standard input, results on standard output.

A process of its own, because hashes of text are random in each process unless that is turned off before it starts.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import msgspec

from interlock.core.errors import InterlockError, SpecError
from interlock.runtime.load import load
from interlock.runtime.settings import Setup, process_environment
from interlock.spec.bindings import Bindings
from interlock.spec.declare import Integration
from interlock.testing.simulate.judge import Broken
from interlock.testing.simulate.result import Job, Refused, Result, Rule, StoryTold, Told, result_of
from interlock.testing.simulate.run import Verdict, shortest, simulated
from interlock.testing.simulate.story import parse_story, tell_story
from interlock.testing.simulate.subject import Subject, subject
from interlock.testing.simulation import Simulation

T = TypeVar("T")

BESIDE = "simulation"
"""The module beside `interlock.toml` that says what a simulation has to know."""
TWICE_EVERY = 20
"""Each so many seeds one is run twice: a run that cannot be repeated proves nothing."""


def main() -> None:
    """Take the job, and tell of each of its seeds as it ends."""
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    known: set[tuple[str, str]] = set()
    try:
        of = found(job)
        if job.story is not None:
            _tell(StoryTold(*tell_story(of, parse_story(job.story, of))))
            return
        for seed in range(job.first, job.first + job.count * job.step, job.step):
            _tell(_result(of, seed, job, known))
    except InterlockError as error:
        _tell(Refused(error.code, error.message, error.remedy))


def found(job: Job) -> Subject:
    """What the job is about: the project's integrations, or those of one module, with the `Simulation` beside them.

    Raises:
        SpecError: if they cannot be loaded, or cannot be simulated as they are declared.
    """
    folder = Path(job.folder)
    loaded = load(Setup(folder, job.overlay, process_environment()))
    integrations, bindings = list(loaded.integrations), loaded.settings.bindings
    modules: list[ModuleType] = []
    if job.module:
        modules.append(_imported(job.module, folder))
        named = _all(modules[0], Integration)
        if named:
            integrations, bindings = named, bindings if set(named) <= set(integrations) else Bindings()
    elif (folder / f"{BESIDE}.py").exists():
        modules.append(_imported(BESIDE, folder))
    wrong = [finding for finding in loaded.findings if finding.severity == "error"]
    if wrong and not job.module:
        first = wrong[0]
        raise SpecError(first.rule, f"{first.subject}: {first.why}", "interlock check says it all")
    simulations = [simulation for module in modules for simulation in _all(module, Simulation)]
    return subject(integrations, bindings, simulations[0] if simulations else Simulation())


def _imported(name: str, folder: Path) -> ModuleType:
    home = str(folder.resolve())
    if home not in sys.path:
        sys.path.insert(0, home)
    try:
        return import_module(name)
    except ImportError as error:
        raise SpecError(
            "simulate.no-module", f"{name} cannot be imported: {error}", "name a module of the project"
        ) from error


def _all(module: ModuleType, kind: type[T]) -> list[T]:
    return [value for value in vars(module).values() if isinstance(value, kind)]


def _result(of: Subject, seed: int, job: Job, known: set[tuple[str, str]]) -> Result:
    verdict = simulated(of, seed, job.faults)
    broken = list(verdict.broken)
    if seed % TWICE_EVERY == 0 and simulated(of, seed, job.faults).trace != verdict.trace:
        message = "two runs of one seed took different steps: something in the functions is not a part of the run"
        fix = "keep nothing between events in variables of a module, and draw nothing by chance"
        broken.append(Broken("simulate.not-repeatable", "the integration", message, fix))
    rules: list[Rule] = []
    for one in broken:
        # Each is told once: a thousand seeds that break one rule have one thing to say.
        if one.name not in known or job.count == 1:
            known.add(one.name)
            rules.append(_shown(of, verdict._replace(broken=[one]), job))
        else:
            rules.append(Rule(one.rule, one.subject))
    return result_of(verdict, rules, of.unfed)


def _shown(of: Subject, verdict: Verdict, job: Job) -> Rule:
    (one,) = verdict.broken
    short = verdict if one.rule == "simulate.not-repeatable" else shortest(of, verdict, job.faults)
    one = short.broken[0]
    timeline = short.tale.about(one.events, one.subscriptions)
    before = Told(len(verdict.play.arrivals), len(verdict.play.acts))
    after = Told(len(short.play.arrivals), len(short.play.acts))
    where = str(one.where) if one.where else None
    return Rule(one.rule, one.subject, one.message, one.fix, where, timeline, before, after)


def _tell(what: Result | StoryTold | Refused) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(what) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
