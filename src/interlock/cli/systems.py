"""`interlock systems`: the other sides, how they are, and the switch that stops sending to one."""

from __future__ import annotations

import click

from interlock.cli.exits import FAILED, Exit
from interlock.cli.say import ask, say
from interlock.cli.session import Session, actor
from interlock.cli.show import Format, clock, hint, output_option, show_ids, show_json, show_table
from interlock.control import shapes, table


@click.group("systems")
def command() -> None:
    """List Systems, pause or resume one."""


@command.command("ls")
@output_option
@click.pass_obj
def ls(session: Session, output: Format) -> None:
    """List Systems as the running process sees them."""
    found: shapes.Systems = session.ask(table.SYSTEMS, shapes.Nothing())
    if output == "json":
        return show_json(found)
    if output == "id":
        return show_ids([row.name for row in found.systems])
    rows = [
        (
            row.name,
            row.url,
            row.breaker,
            row.running,
            row.waiting,
            clock(row.probe_at) if row.probe_at else "-",
            f"paused by {row.by}: {row.reason}" if row.paused else "-",
        )
        for row in found.systems
    ]
    show_table(("name", "address", "breaker", "calls", "waiting", "next probe (UTC)", "state"), rows, "no Systems")
    paused = [row.name for row in found.systems if row.paused]
    if paused:
        hint(f"interlock systems resume {paused[0]}", quiet=session.quiet)
    return None


@command.command("pause")
@click.argument("name")
@click.option("--reason", default="", help="Why; shown in the list and kept in the audit.")
@click.option("--dry-run", is_flag=True, help="Only say what would happen.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@output_option
@click.pass_obj
def pause(session: Session, name: str, reason: str, dry_run: bool, yes: bool, output: Format) -> None:
    """Send nothing to a System. Events go on being accepted; what waits spends no attempt."""
    if not dry_run:
        ask(f"Send nothing to {name} until it is resumed?", yes=yes, no_input=session.no_input)
    answer = session.ask(table.SYSTEM_PAUSE, shapes.ControlCommand(name, reason, actor(), dry_run))
    _show(answer, output, dry_run=dry_run)


@command.command("resume")
@click.argument("name")
@click.option("--reason", default="", help="Why; kept in the audit.")
@click.option("--dry-run", is_flag=True, help="Only say what would happen.")
@output_option
@click.pass_obj
def resume(session: Session, name: str, reason: str, dry_run: bool, output: Format) -> None:
    """Send to a System again."""
    answer = session.ask(table.SYSTEM_RESUME, shapes.ControlCommand(name, reason, actor(), dry_run))
    _show(answer, output, dry_run=dry_run)


def _show(answer: shapes.ControlAnswer, output: Format, *, dry_run: bool) -> None:
    verb = "paused" if answer.paused else "resumed"
    if output == "json":
        show_json(answer)
    elif output == "id":
        show_ids([answer.name])
    elif dry_run:
        click.echo(f"{answer.name} would be {verb}")
    else:
        click.echo(f"{answer.name} {verb}  applied by {answer.applied} of {answer.of}")
    if not dry_run and answer.applied < answer.of:
        say("the change is durable, but not every process acts on it yet; see `interlock doctor`")
        raise Exit(FAILED)
