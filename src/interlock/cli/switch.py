"""`pause` and `resume`: one switch, the same for Systems and for subscriptions. What it stops is told by each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import click
import msgspec

from interlock.cli.exits import FAILED, Exit
from interlock.cli.say import ask, say
from interlock.cli.session import Session, actor
from interlock.cli.show import Answer, Format, hint, output_option, show_answer
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
    paused: Callable[[Session], Sequence[str]]
    """The names of those that are paused."""


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
        asked = shapes.ControlCommand(name, reason, actor(), dry_run=True)
        answer = session.ask(switch.pause, asked)
        if not dry_run:
            ask(switch.question.format(name=name), yes=yes, no_input=session.no_input)
            answer = session.ask(switch.pause, msgspec.structs.replace(asked, dry_run=False))
        _show(session, switch, answer, output, dry_run=dry_run)

    @click.command("resume", help=switch.resumes)
    @click.argument("name", required=False)
    @click.option("--all", "everything", is_flag=True, help="One after the other, all that are paused.")
    @click.option("--reason", default="", help="Why; kept in the audit.")
    @click.option("--dry-run", is_flag=True, help="Only say what would happen.")
    @output_option
    @click.pass_obj
    def resume(
        session: Session, name: str | None, everything: bool, reason: str, dry_run: bool, output: Format
    ) -> None:
        if (name is None) != everything:
            raise click.UsageError("Name one, or say --all.")
        names = switch.paused(session) if name is None else [name]
        for each in names:
            answer = session.ask(switch.resume, shapes.ControlCommand(each, reason, actor(), dry_run))
            _show(session, switch, answer, output, dry_run=dry_run)
        if not names:
            say("nothing is paused")

    return pause, resume


def paused_text(by: str, reason: str) -> str:
    """Who has paused something, and why if it was said."""
    return f"paused by {by}" + (f": {reason}" if reason else "")


def _show(session: Session, switch: Switch, answer: shapes.ControlAnswer, output: Format, *, dry_run: bool) -> None:
    verb = "paused" if answer.paused else "resumed"
    if show_answer(output, Answer(answer, shapes.ControlAnswer, [answer], [answer.name])):
        pass
    elif dry_run:
        click.echo(f"{answer.name} would be {verb}")
    else:
        click.echo(f"{answer.name} {verb}  applied by {answer.applied} of {answer.of}")
        back = f" resume {answer.name}" if answer.paused else " ls"
        hint(f"interlock {switch.pause.tag}{back}", quiet=session.quiet)
    if not dry_run and answer.applied < answer.of:
        say("the change is durable, but not every process acts on it yet; see `interlock doctor`")
        raise Exit(FAILED)
