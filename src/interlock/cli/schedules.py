"""`interlock schedules`: what runs by the clock, when it ran and when it runs next."""

from __future__ import annotations

import click

from interlock.cli.session import Session
from interlock.cli.show import Format, clock, output_option, show_ids, show_json, show_table
from interlock.control import shapes, table


@click.group("schedules")
def command() -> None:
    """List schedules."""


@command.command("ls")
@output_option
@click.pass_obj
def ls(session: Session, output: Format) -> None:
    """List schedules with the time of their next and of their last run."""
    found: shapes.Schedules = session.ask(table.SCHEDULES, shapes.Nothing())
    if output == "json":
        return show_json(found)
    if output == "id":
        return show_ids([row.name for row in found.schedules])
    rows = [(row.name, row.times, row.missed, clock(row.next_at), clock(row.last_at)) for row in found.schedules]
    show_table(("name", "times", "missed", "next (UTC)", "last (UTC)"), rows, "no schedules")
    return None
