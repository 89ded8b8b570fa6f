"""`interlock doctor`: whether the books balance and the process is well."""

from __future__ import annotations

import click

from interlock.cli.exits import FINDINGS, Exit
from interlock.cli.say import plain
from interlock.cli.session import Session
from interlock.cli.show import Format, output_option, show_ids, show_json
from interlock.control import shapes, table


@click.command("doctor")
@output_option
@click.pass_obj
def command(session: Session, output: Format) -> None:
    """Check the conservation equation of every cursor, the audit's chain, the plan and the process."""
    found: shapes.Doctor = session.ask(table.DOCTOR, shapes.Nothing())
    if output == "json":
        show_json(found)
    elif output == "id":
        show_ids([check.name for check in found.checks if not check.ok])
    else:
        for check in found.checks:
            mark = click.style("ok  ", fg="green") if check.ok else click.style("FAIL", fg="red", bold=True)
            click.echo(f"{mark}  {check.name:<14}  {plain(check.says)}")
            if check.remedy:
                click.echo(f"      {'':<14}  {'hint' if check.ok else 'fix'}: {plain(check.remedy)}")
    if not found.ok:
        raise Exit(FINDINGS)
