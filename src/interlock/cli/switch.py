"""`pause` and `resume`: one switch, the same for Systems and for subscriptions. What it stops is told by each."""

from __future__ import annotations

from typing import NamedTuple

import click

from interlock.cli.exits import FAILED, Exit
from interlock.cli.say import ask, say
from interlock.cli.session import Session, actor
from interlock.cli.show import Format, output_option, show_ids, show_json
from interlock.control import shapes
from interlock.control.endpoint import Endpoint
from interlock.control.table import Admin


class Switch(NamedTuple):
    """The two operations of a noun, what the help says of each, and the question before a pause (of `{name}`)."""

    pause: Endpoint[Admin]
    resume: Endpoint[Admin]
    pauses: str
    resumes: str
    question: str


def switch_verbs(switch: Switch) -> tuple[click.Command, click.Command]:
    """The verbs `pause` and `resume`."""

    @click.command("pause", help=switch.pauses)
    @click.argument("name")
    @click.option("--reason", default="", help="Why; shown in the list and kept in the audit.")
    @click.option("--dry-run", is_flag=True, help="Only say what would happen.")
    @click.option("-y", "--yes", is_flag=True, help="Do not ask.")
    @output_option
    @click.pass_obj
    def pause(session: Session, name: str, reason: str, dry_run: bool, yes: bool, output: Format) -> None:
        if not dry_run:
            ask(switch.question.format(name=name), yes=yes, no_input=session.no_input)
        answer = session.ask(switch.pause, shapes.ControlCommand(name, reason, actor(), dry_run))
        _show(answer, output, dry_run=dry_run)

    @click.command("resume", help=switch.resumes)
    @click.argument("name")
    @click.option("--reason", default="", help="Why; kept in the audit.")
    @click.option("--dry-run", is_flag=True, help="Only say what would happen.")
    @output_option
    @click.pass_obj
    def resume(session: Session, name: str, reason: str, dry_run: bool, output: Format) -> None:
        answer = session.ask(switch.resume, shapes.ControlCommand(name, reason, actor(), dry_run))
        _show(answer, output, dry_run=dry_run)

    return pause, resume


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
