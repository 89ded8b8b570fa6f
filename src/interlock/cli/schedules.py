"""`interlock schedules`: what runs by the clock, when it ran and when it runs next, and the switch that stops it."""

from __future__ import annotations

import click

from interlock.cli.session import Session
from interlock.cli.show import Answer, Format, ago, hint, output_option, show_answer, show_table
from interlock.cli.switch import Switch, paused_text, switch_verbs
from interlock.control import shapes, table


@click.group("schedules")
def command() -> None:
    """List schedules, pause or resume one."""


@command.command("ls")
@output_option
@click.pass_obj
def ls(session: Session, output: Format) -> None:
    """List schedules with the time of their next and of their last run."""
    found: shapes.Schedules = session.ask(table.SCHEDULES, shapes.Nothing())
    names = [row.name for row in found.schedules]
    if show_answer(output, Answer(found, shapes.ScheduleRow, found.schedules, names)):
        return
    rows = [
        (
            row.name,
            row.times,
            row.missed,
            "-" if row.paused else _next(row.next_at, session.now),
            ago(row.last_at, session.now),
            paused_text(row.by, row.reason) if row.paused else "-",
        )
        for row in found.schedules
    ]
    empty = "no schedules; declare one with @integration.schedule, then: interlock check"
    show_table(("name", "times", "missed", "next", "last", "state"), rows, empty)
    paused = [row.name for row in found.schedules if row.paused]
    if paused:
        hint(f"interlock schedules resume {paused[0]}", quiet=session.quiet)
    elif names:
        hint(f"interlock tail {names[0]}", quiet=session.quiet)


def _next(at: int | None, now: int) -> str:
    return f"due {ago(at, now)}" if at is not None and at <= now else ago(at, now)


def _paused(session: Session) -> list[str]:
    found: shapes.Schedules = session.ask(table.SCHEDULES, shapes.Nothing())
    return [row.name for row in found.schedules if row.paused]


for _verb in switch_verbs(
    Switch(
        table.SCHEDULE_PAUSE,
        table.SCHEDULE_RESUME,
        "Start no run of a schedule; one that is under way ends. Times that pass meanwhile count as missed.",
        "Start runs of a schedule again. What becomes of the times that it missed is as it declares.",
        "Start no run of {name} until it is resumed?",
        _paused,
    )
):
    command.add_command(_verb)
