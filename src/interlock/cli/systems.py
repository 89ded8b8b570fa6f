"""`interlock systems`: the other sides, how they are, and the switch that stops sending to one."""

from __future__ import annotations

from typing import Final

import click

from interlock.cli.session import Session
from interlock.cli.show import Answer, Format, ago, hint, output_option, show_answer, show_table
from interlock.cli.switch import Switch, paused_text, switch_verbs
from interlock.control import shapes, table

_EMPTY: Final = "no systems; declare one with integration.http, bind it in interlock.toml, then: interlock check"


@click.group("systems")
def command() -> None:
    """List Systems, pause or resume one."""


@command.command("ls")
@output_option
@click.pass_obj
def ls(session: Session, output: Format) -> None:
    """List Systems as the running process sees them."""
    found: shapes.Systems = session.ask(table.SYSTEMS, shapes.Nothing())
    names = [row.name for row in found.systems]
    if show_answer(output, Answer(found, shapes.SystemRow, found.systems, names)):
        return
    rows = [
        (
            row.name,
            row.url,
            row.breaker,
            row.running,
            row.waiting,
            ago(row.probe_at or None, session.now),
            paused_text(row.by, row.reason) if row.paused else "-",
        )
        for row in found.systems
    ]
    show_table(("name", "address", "breaker", "calls", "waiting", "next probe", "state"), rows, _EMPTY)
    paused = [row.name for row in found.systems if row.paused]
    if paused:
        hint(f"interlock systems resume {paused[0]}", quiet=session.quiet)
    elif any(row.breaker not in (None, "closed") for row in found.systems):
        hint("interlock tail --errors", quiet=session.quiet)
    elif names:
        hint("interlock subscriptions ls", quiet=session.quiet)


def _paused(session: Session) -> list[str]:
    found: shapes.Systems = session.ask(table.SYSTEMS, shapes.Nothing())
    return [row.name for row in found.systems if row.paused]


for _verb in switch_verbs(
    Switch(
        table.SYSTEM_PAUSE,
        table.SYSTEM_RESUME,
        "Send nothing to a System. Events go on being accepted; what waits spends no attempt.",
        "Send to a System again.",
        "Send nothing to {name} until it is resumed?",
        _paused,
    )
):
    command.add_command(_verb)
