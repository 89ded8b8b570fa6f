"""What goes between `interlock simulate` and its workers, as lines of JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from interlock.testing.simulate.run import Verdict
from interlock.testing.simulate.script import Kind


class Job(msgspec.Struct):
    """What a worker does: every `step`-th seed from `first` on, `count` of them."""

    folder: str
    overlay: str | None
    module: str | None
    first: int
    count: int
    step: int
    faults: list[Kind]
    story: str | None = None


class Told(NamedTuple):
    """How much happens in a run."""

    arrivals: int
    faults: int


class Rule(msgspec.Struct):
    """A rule that was broken; with its timeline where it is told for the first time."""

    rule: str
    subject: str
    message: str = ""
    fix: str = ""
    where: str | None = None
    timeline: Sequence[str] = ()
    before: Told = Told(0, 0)
    after: Told = Told(0, 0)


class Result(msgspec.Struct, tag="result"):
    """What came of one seed. `dead`: dead letters by subscription and reason."""

    seed: int
    trace: str
    broken: list[Rule]
    arrivals: int
    accepted: int
    calls: int
    faults: int
    virtual_us: int
    dead: dict[str, int]
    unfed: Sequence[str] = ()


class StoryTold(msgspec.Struct, tag="story"):
    """What there was to be seen of a story, a line each; `settled`: everything came to its end."""

    lines: Sequence[str]
    settled: bool


class Refused(msgspec.Struct, tag="refused"):
    """Nothing can be simulated, and why."""

    code: str
    message: str
    remedy: str


def result_of(verdict: Verdict, broken: list[Rule], unfed: Sequence[str]) -> Result:
    """A verdict as it crosses from worker to parent."""
    counts = verdict.counts
    dead = {f"{subscription}: {reason}": count for (subscription, reason), count in verdict.dead.items()}
    return Result(
        verdict.seed,
        verdict.trace,
        broken,
        counts.arrivals,
        counts.accepted,
        counts.calls,
        counts.faults,
        counts.virtual_us,
        dead,
        unfed,
    )
