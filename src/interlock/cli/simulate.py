"""`interlock simulate`: the project's integrations on the production engine, under faults drawn from seeds.

The work is done by processes of their own; here they are given their seeds, and what they tell is shown.
"""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, TypedDict, Unpack

import click
import msgspec

from interlock.cli.answers import BrokenRow
from interlock.cli.exits import FAILED, Exit
from interlock.cli.progress import Advance, progress
from interlock.cli.say import block, plain, say
from interlock.cli.session import Session
from interlock.cli.show import Answer, Format, hint, output_option, show_answer
from interlock.core.errors import InterlockError
from interlock.core.limits import US_PER_HOUR, US_PER_SECOND
from interlock.core.words import many
from interlock.runtime.clock import SystemClock
from interlock.runtime.settings import process_environment
from interlock.testing.simulate.result import Job, Refused, Result, Rule, StoryTold
from interlock.testing.simulate.script import FAULTS, Kind

WORKER: Final = "interlock.testing.simulate"
LINE_BYTES_MAX: Final = 16 * 1024 * 1024
"""Of what a worker tells of one run: a timeline may be long."""
DEAD_SHOWN: Final = 5


class Options(TypedDict):
    """What the command line says beside the module."""

    seeds: int
    first: int
    seed: int | None
    faults: str
    jobs: int | None
    story: str | None
    output: Format


@click.command("simulate")
@click.argument("module", required=False)
@click.option("--seeds", type=click.IntRange(1), default=200, show_default=True, help="How many runs.")
@click.option("--first", type=click.IntRange(0), default=1, show_default=True, help="The seed of the first one.")
@click.option("--seed", type=click.IntRange(0), default=None, help="Run this seed alone.")
@click.option("--faults", default=",".join(FAULTS), show_default=True, metavar="KINDS", help="`none` for no faults.")
@click.option("--jobs", type=click.IntRange(1), default=None, help="Processes; one a core unless stated.")
@click.option("--story", default=None, metavar="WORDS", help='Tell one: "erp 503 for 10m; crash at 5m".')
@output_option
@click.pass_obj
def command(session: Session, module: str | None, **options: Unpack[Options]) -> None:
    """Run the project's functions under crashes, lost answers and outages, and look for what breaks a promise.

    Nothing real is touched: time is virtual, and Systems answer as `simulation.py` says, or 200. A seed always gives
    the same run. What breaks a rule is made as short as it gets and told as a timeline, with the command to repeat it.
    """
    count, first = (options["seeds"], options["first"]) if options["seed"] is None else (1, options["seed"])
    jobs = min(count, options["jobs"] or os.cpu_count() or 1)
    setup, kinds = session.setup, _kinds(options["faults"])
    job = Job(str(setup.folder), setup.overlay, module, first, count, jobs, kinds, options["story"])
    if job.story is not None:
        session.run(_worker(job, _tell_story))
        return
    began = SystemClock().monotonic()
    results: list[Result] = []
    with progress("simulated", count, quiet=session.quiet) as advance:
        session.run(_simulate(job, results, advance))
    rows = _rows(results, module)
    if not show_answer(options["output"], Answer(rows, BrokenRow, rows, [str(row.seed) for row in rows])):
        for rule, row in zip(_told(results), rows, strict=True):
            click.echo(_text(rule, row) + "\n")
    _summarise(results, len(rows), SystemClock().monotonic() - began)
    if rows:
        raise Exit(FAILED)
    hint("interlock simulate --seeds 1000", quiet=session.quiet)


def _kinds(given: str) -> list[Kind]:
    kinds: list[Kind] = []
    for name in () if given == "none" else given.split(","):
        found: list[Kind] = [kind for kind in FAULTS if kind == name.strip()]
        if not found:
            raise click.BadParameter(f"{name!r} is none of {', '.join(FAULTS)}", param_hint="--faults")
        kinds += found
    return kinds


async def _simulate(job: Job, results: list[Result], advance: Advance) -> None:
    """Have all seeds simulated, each worker every so many-th one; `results` are in the order of the seeds in the end.

    Raises:
        InterlockError: if nothing can be simulated, or a worker dies.
    """

    def take(told: Result | StoryTold) -> None:
        if isinstance(told, Result):
            results.append(told)
            advance(1)

    shares = [
        msgspec.structs.replace(job, first=job.first + number, count=len(range(number, job.count, job.step)))
        for number in range(job.step)
    ]
    await asyncio.gather(*[_worker(share, take) for share in shares])
    results.sort(key=lambda result: result.seed)


def _tell_story(told: Result | StoryTold) -> None:
    if isinstance(told, StoryTold):
        for line in told.lines:
            click.echo(plain(line))
        if not told.settled:
            raise Exit(FAILED)


async def _worker(job: Job, take: Callable[[Result | StoryTold], None]) -> None:
    """Give a process its job, and take what it tells."""
    # Hashes of text are the same in each process only if this is set before it starts.
    environment = {**process_environment(), "PYTHONHASHSEED": "0"}
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-m", WORKER, stdin=PIPE, stdout=PIPE, env=environment, limit=LINE_BYTES_MAX
    )
    assert worker.stdin is not None, "it was asked for"
    assert worker.stdout is not None, "it was asked for"
    worker.stdin.write(msgspec.json.encode(job))
    worker.stdin.close()
    try:
        async for line in worker.stdout:
            told = msgspec.json.decode(line, type=Result | StoryTold | Refused)
            if isinstance(told, Refused):
                raise InterlockError(told.code, told.message, told.remedy)
            take(told)
        code = await worker.wait()
    finally:
        if worker.returncode is None:
            worker.kill()
    if code:
        raise InterlockError(
            "simulate.worker-died",
            f"a process that simulated ended with {code}; above is what it wrote",
            "mend what it names; if that is in interlock, report it with your integration",
        )


def _told(results: Sequence[Result]) -> list[Rule]:
    """Of each rule and subject the telling with the shortest timeline: each worker has told it once."""
    found: dict[tuple[str, str], Rule] = {}
    for result in results:
        for rule in result.broken:
            best = found.get((rule.rule, rule.subject))
            if rule.message and (best is None or len(rule.timeline) < len(best.timeline)):
                found[rule.rule, rule.subject] = rule
    return list(found.values())


def _rows(results: Sequence[Result], module: str | None) -> list[BrokenRow]:
    rows: list[BrokenRow] = []
    named = f"{module} " if module else ""
    for rule in _told(results):
        seeds = [result.seed for result in results if any(_same(rule, one) for one in result.broken)]
        seed = next(result.seed for result in results if any(one is rule for one in result.broken))
        replay = f"interlock simulate {named}--seed {seed}"
        rows.append(
            BrokenRow(
                rule.rule, rule.subject, rule.message, rule.fix, rule.where, len(seeds), seed, replay, rule.timeline
            )
        )
    return rows


def _same(one: Rule, other: Rule) -> bool:
    return (one.rule, one.subject) == (other.rule, other.subject)


def _text(rule: Rule, row: BrokenRow) -> str:
    """A broken rule for people: what, where, how it came to pass, how to mend and how to repeat it."""
    head, *rest = block("error", rule.rule, f"{rule.subject}: {rule.message}", rule.fix, rule.where, sys.stdout).split(
        "\n"
    )
    fix = next(number for number, line in enumerate(rest) if line.startswith("  fix: "))
    before, after = rule.before, rule.after
    needed = f"{many(after.arrivals, 'arrival')} and {many(after.faults, 'fault')}"
    of = f"{before.arrivals} and {before.faults}"
    seen = f"  seed {row.seed}, made shorter: {needed} are enough, of {of}" if after != before else f"  seed {row.seed}"
    timeline = [f"  {plain(line)}" for line in rule.timeline]
    return "\n".join([head, *rest[:fix], "", seen, "", *timeline, "", *rest[fix:], f"  repeat: {row.repeat}"])


def _summarise(results: Sequence[Result], broken: int, took_us: int) -> None:
    """What was simulated, and what came of it, in a few lines."""
    accepted, calls, faults = (
        sum(getattr(result, name) for result in results) for name in ("accepted", "calls", "faults")
    )
    hours = sum(result.virtual_us for result in results) / US_PER_HOUR
    failed = sum(bool(result.broken) for result in results)
    say(
        f"{many(len(results), 'seed')} in {took_us / US_PER_SECOND:.0f} s: {many(accepted, 'event')} accepted, "
        f"{many(calls, 'call')}, {many(faults, 'fault')}, {hours:.0f} simulated hours"
    )
    dead = sum((Counter(result.dead) for result in results), Counter[str]())
    for what, count in dead.most_common(DEAD_SHOWN):
        say(f"  {many(count, 'dead letter')}: {what}")
    for route in results[0].unfed:
        say(f'  nothing arrived at {route}: say what does, with @sim.arrivals("{route}") in simulation.py')
    if broken:
        say(f"{many(broken, 'rule')} broken, by {failed} of {many(len(results), 'seed')}")
    else:
        say("no rule was broken")
