"""`interlock systems`: the other sides, how they are, and the switch that stops sending to one."""

from __future__ import annotations

import click

from interlock.cli.session import Session
from interlock.cli.show import Format, clock, hint, output_option, show_ids, show_json, show_table
from interlock.cli.switch import Switch, switch_verbs
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


for _verb in switch_verbs(
    Switch(
        table.SYSTEM_PAUSE,
        table.SYSTEM_RESUME,
        "Send nothing to a System. Events go on being accepted; what waits spends no attempt.",
        "Send to a System again.",
        "Send nothing to {name} until it is resumed?",
    )
):
    command.add_command(_verb)
