"""`interlock dead jobs|job|pause|resume`: what commands over many dead letters have come to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import click

from interlock.cli.say import plain
from interlock.cli.session import Session, actor
from interlock.cli.show import Answer, Format, ago, hint, output_option, show_answer, show_table
from interlock.control import dead_shapes, shapes, table
from interlock.control.endpoint import Endpoint


@click.command("jobs")
@click.option("--running", is_flag=True, help="Only those that are not done.")
@click.option("-n", "--limit", type=click.IntRange(1, shapes.PAGE_MAX), default=50, show_default=True)
@output_option
@click.pass_obj
def jobs(session: Session, running: bool, limit: int, output: Format) -> None:
    """List jobs about dead letters, the latest first, with how far they are."""
    found: dead_shapes.Jobs = session.ask(table.DEAD_JOBS, dead_shapes.JobsAsked(running, limit))
    if show_answer(output, Answer(found, dead_shapes.JobAnswer, found.jobs, [job.job for job in found.jobs])):
        return
    rows = [
        (
            job.job,
            job.verb,
            job.state,
            f"{job.released:,}/{job.of:,}",
            job.succeeded,
            job.failed,
            job.waiting,
            ago(job.asked_at, session.now),
            job.actor,
        )
        for job in found.jobs
    ]
    columns = ("job", "verb", "state", "released", "succeeded", "failed", "waiting", "asked", "by")
    show_table(columns, rows, "no jobs; `interlock dead retry` begins one")
    if found.jobs:
        hint(f"interlock dead job {found.jobs[0].job}", quiet=session.quiet)


@click.command("job")
@click.argument("job")
@output_option
@click.pass_obj
def job_(session: Session, job: str, output: Format) -> None:
    """Show what came of a command, by the id of its job or a unique prefix of it."""
    found: dead_shapes.JobAnswer = session.ask(table.DEAD_JOB, dead_shapes.JobAsked(job))
    _show(session, found, output)


def _steering(verb: str, summary: str, endpoint: Endpoint[table.Admin]) -> click.Command:
    @click.command(verb, help=summary)
    @click.argument("job")
    @click.option("--reason", default="", help="Why; kept in the audit.")
    @click.option("--dry-run", is_flag=True, help="Only show the job that is meant.")
    @output_option
    @click.pass_obj
    def steer(session: Session, job: str, reason: str, dry_run: bool, output: Format) -> None:
        found: dead_shapes.JobAnswer = session.ask(endpoint, dead_shapes.JobCommand(job, reason, actor(), dry_run))
        _show(session, found, output)

    return steer


def _show(session: Session, found: dead_shapes.JobAnswer, output: Format) -> None:
    if show_answer(output, Answer(found, dead_shapes.JobAnswer, [found], [found.job])):
        return
    click.echo(f"{found.job}  {found.verb}  by {plain(found.actor)}  asked {ago(found.asked_at, session.now)}")
    if found.reason:
        click.echo(f"reason: {plain(found.reason)}")
    told = ", ".join(f"{count:,} {plain(kind)}" for kind, count in sorted(found.answers.items()))
    click.echo(f"applied {found.applied:,} of {found.of:,}" + (f": {told}" if told else ""))
    if found.state is None:
        return
    terms = [
        f"canary {found.canary}" if found.canary else "",
        f"{found.per_second:g} a second" if found.per_second else "",
        f"stops above {found.stop_percent:g} % failures" if found.stop_percent is not None else "",
    ]
    click.echo(
        f"{found.state}{f': {plain(found.why)}' if found.why else ''}  released {found.released:,} of {found.of:,}"
    )
    click.echo(
        f"succeeded {found.succeeded:,}  failed again {found.failed:,}  waiting {found.waiting:,}"
        f"  passed over {found.passed_over:,}"
    )
    if any(terms):
        click.echo(", ".join(filter(None, terms)))
    if found.state in ("paused", "stopped"):
        hint(f"interlock dead resume {found.job}", quiet=session.quiet)
    elif found.state == "running":
        hint(f"interlock dead pause {found.job}", quiet=session.quiet)
    else:
        hint("interlock dead ls", quiet=session.quiet)


VERBS: Final[Sequence[click.Command]] = (
    jobs,
    job_,
    _steering("pause", "Release nothing more of a job, by its id or a unique prefix of it.", table.DEAD_JOB_PAUSE),
    _steering("resume", "Let a job go on that was paused or has stopped.", table.DEAD_JOB_RESUME),
)
