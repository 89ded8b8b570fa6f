"""`interlock doctor`: whether the books balance and the process is well."""

from __future__ import annotations

import sys
from typing import Final

import click

from interlock.cli.exits import FINDINGS, Exit
from interlock.cli.grid import wrapped
from interlock.cli.say import plain, styled, terminal_width
from interlock.cli.session import Session
from interlock.cli.show import Answer, Format, hint, output_option, show_answer
from interlock.control import shapes, table

_INDENT: Final = 22
"""Where what a check says begins: behind its mark and its name."""


@click.command("doctor")
@output_option
@click.pass_obj
def command(session: Session, output: Format) -> None:
    """Check the conservation equation of every cursor, the audit's chain, the plan and the process."""
    found: shapes.Doctor = session.ask(table.DOCTOR, shapes.Nothing())
    wrong = [check.name for check in found.checks if not check.ok]
    if not show_answer(output, Answer(found, shapes.Check, found.checks, wrong)):
        for check in found.checks:
            _show(check)
        hint("interlock subscriptions ls", quiet=session.quiet)
    if not found.ok:
        raise Exit(FINDINGS)


def _show(check: shapes.Check) -> None:
    mark = styled("ok", sys.stdout, fg="green") if check.ok else styled("FAIL", sys.stdout, fg="red", bold=True)
    click.echo(f"{mark}{'  ' if check.ok else ''}  {check.name:<14}  ", nl=False)
    told = [plain(check.says), f"{'hint' if check.ok else 'fix'}: {plain(check.remedy)}" if check.remedy else ""]
    width = terminal_width(sys.stdout)
    lines = [line for text in told if text for line in (wrapped(text, width - _INDENT) if width else [text])]
    click.echo(("\n" + " " * _INDENT).join(lines))
