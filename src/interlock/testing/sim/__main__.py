"""`python -m interlock.testing.sim --seeds 1000 [--seed S] [--jobs 2]`: run seeds, judge them, exit 1 if one fails.

A failing seed is told with what it broke, the end of its history, and the command that runs it again.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

from interlock.core.limits import US_PER_SECOND
from interlock.testing.sim.guard import sealed
from interlock.testing.sim.history import Accounted, AnyLine
from interlock.testing.sim.run import Verdict, simulate

TWICE_OF_100 = 5
"""So many of a hundred seeds are run twice: the replay is part of what is proven."""
SHOWN_LINES = 40
SHOWN_VIOLATIONS = 12


class Result(NamedTuple):
    """One seed's outcome as it crosses from worker to parent; `report` is empty for a seed that passed."""

    seed: int
    report: str
    steps: int
    virtual_us: int
    lines: int
    seconds: float


def run_seed(seed: int, *, verbose: bool = False) -> Result:
    """Run a seed, some of them twice, with collection only between runs."""
    began = time.process_time()
    verdict = _once(seed)
    report = told(verdict, verbose=verbose) if verdict.failed or verbose else ""
    if seed * 2_654_435_761 % 100 < TWICE_OF_100:
        again = _once(seed)
        if again.trace != verdict.trace:
            report += f"\nseed {seed}: two runs took different steps ({_parting(verdict, again)})\n{replay(seed)}"
    lines = len(verdict.history.lines)
    return Result(seed, report, verdict.steps, verdict.virtual_us, lines, time.process_time() - began)


def told(verdict: Verdict, *, verbose: bool = False) -> str:
    """What a person needs to know of a run."""
    shown = [str(violation) for violation in verdict.violations[:SHOWN_VIOLATIONS]] + verdict.bugs[:SHOWN_VIOLATIONS]
    lines = verdict.history.lines if verbose else list(_about(verdict))[-SHOWN_LINES:]
    return "\n".join(
        [
            f"seed {verdict.seed}: {'FAILED' if verdict.failed else 'passed'}",
            f"  {verdict.swarm}",
            *[f"  {text}" for text in shown],
            "  the history:" if verbose else "  the end of the history:",
            *[f"    {_shown(line)}" for line in lines],
            replay(verdict.seed),
        ]
    )


def replay(seed: int) -> str:
    """The command that runs a seed again."""
    return f"  replay: python -m interlock.testing.sim --seed {seed} --verbose"


def _once(seed: int) -> Verdict:
    gc.collect()
    gc.disable()
    try:
        with sealed():
            return simulate(seed)
    finally:
        gc.enable()


def _about(verdict: Verdict) -> Iterator[AnyLine]:
    """The lines up to the first violation; those of the books are left out, they are many."""
    last = min((violation.t for violation in verdict.violations), default=None)
    for line in verdict.history.lines:
        if not isinstance(line, Accounted) and (last is None or line.t <= last):
            yield line


def _shown(line: AnyLine) -> str:
    fields = {name: getattr(line, name) for name in line.__struct_fields__ if name not in ("t", "process")}
    told = " ".join(f"{name}={value}" for name, value in fields.items() if value not in ("", None, (), 0, False))
    return f"{line.t / US_PER_SECOND:12.6f} {line.process:<12} {type(line).__name__.lower():<10} {told}"


def _parting(first: Verdict, second: Verdict) -> str:
    for one, other in zip(first.timeline, second.timeline, strict=False):
        if one != other:
            return f"{one} and {other}"
    return f"{first.steps} and {second.steps} steps; they part before the last {len(first.timeline)}"


def _run_all(seeds: Iterable[int], jobs: int) -> Iterator[Result]:
    if jobs == 1:
        yield from map(run_seed, seeds)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(run_seed, seeds, chunksize=5)


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="interlock.testing.sim", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many seeds to run, from --first on")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--seed", type=int, help="run this seed alone")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--verbose", action="store_true", help="with --seed: the whole history")
    options = parser.parse_args(arguments)
    if options.seed is not None:
        result = run_seed(options.seed, verbose=options.verbose)
        _say(result.report or f"seed {result.seed}: passed, {result.steps} steps, {result.lines} lines of history")
        return 1 if "FAILED" in result.report or "different steps" in result.report else 0
    failed, steps, virtual_us, began = 0, 0, 0, time.monotonic()
    for result in _run_all(range(options.first, options.first + options.seeds), options.jobs):
        steps, virtual_us = steps + result.steps, virtual_us + result.virtual_us
        if result.report:
            failed += 1
            _say(result.report)
    hours = virtual_us / US_PER_SECOND / 3_600
    took = time.monotonic() - began
    _say(f"{options.seeds} seeds, {failed} failed; {steps} steps over {hours:.0f} simulated hours in {took:.0f} s")
    return 1 if failed else 0


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _with_fixed_hashes() -> None:
    """Hashes of text are random in each process unless this is set before it starts."""
    if os.environ.get("PYTHONHASHSEED") != "0":
        command = [sys.executable, "-m", "interlock.testing.sim", *sys.argv[1:]]
        os.execve(sys.executable, command, {**os.environ, "PYTHONHASHSEED": "0"})  # noqa: S606  (this same command)


if __name__ == "__main__":
    _with_fixed_hashes()
    sys.exit(main())
