"""`interlock config`: what a running process is set to. Reading it again is the only verb so far."""

from __future__ import annotations

from collections.abc import Sequence

import click

from interlock.cli.session import Session, actor
from interlock.cli.show import Format, hint, output_option, show_ids, show_json, show_table
from interlock.control import shapes, table


@click.group("config")
def command() -> None:
    """Let a running process read its settings again."""


@command.command("reload")
@click.option("--reason", default="", help="Why; kept in the audit.")
@click.option("--dry-run", is_flag=True, help="Only check, and say what would change.")
@output_option
@click.pass_obj
def reload(session: Session, reason: str, dry_run: bool, output: Format) -> None:
    """Read the settings again, as SIGHUP does: secrets, certificates and bindings of Systems are taken over.

    They are checked first; if anything is wrong, nothing changes.
    """
    done: shapes.ReloadAnswer = session.ask(table.CONFIG_RELOAD, shapes.ReloadCommand(reason, actor(), dry_run))
    if output == "json":
        return show_json(done)
    if output == "id":
        return show_ids(done.systems)
    rows = [
        ("Systems bound anew", _listed(done.systems)),
        ("certificates read", str(done.certificates)),
        ("secrets that hold nothing", _listed(done.empty)),
        ("waits for a restart", _listed(done.waiting)),
    ]
    show_table(("would change" if dry_run else "taken over", ""), rows, "")
    if dry_run:
        hint("interlock config reload", quiet=session.quiet)
    return None


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "-"
