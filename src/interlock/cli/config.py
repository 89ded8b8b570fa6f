"""`interlock config`: what is set and where, and the order to a running process to read it again."""

from __future__ import annotations

from collections.abc import Sequence

import click

from interlock.cli.answers import SettingRow
from interlock.cli.check import refuse_findings
from interlock.cli.ports import port_flags, port_options
from interlock.cli.session import Session, actor
from interlock.cli.show import Answer, Format, hint, output_option, show_answer, show_table
from interlock.control import shapes, table
from interlock.runtime.effective import effective
from interlock.runtime.settings import read_settings


@click.group("config")
def command() -> None:
    """Show the settings, or let a running process read them again."""


@command.command("show")
@port_options
@click.option("--origin", is_flag=True, help="Say where each is set.")
@output_option
@click.pass_obj
def show(session: Session, port: int | None, control_port: int | None, origin: bool, output: Format) -> None:
    """Show what a start would use: files, overlay, environment and flags laid over the defaults.

    Secrets are only named.
    What is wrong with a setting is told after the table, which then has its default.
    """
    read = read_settings(session.setup._replace(flags=port_flags(port, control_port)))
    rows = list(effective(read.settings))
    told = [SettingRow(row.name, row.value, row.origin) for row in rows]
    if show_answer(output, Answer(told, SettingRow, told, [row.key for row in told])):
        pass
    elif origin:
        show_table(("key", "value", "origin"), [(row.name, row.written, row.origin) for row in rows], "")
        hint("interlock check", quiet=session.quiet)
    else:
        show_table(("key", "value"), [(row.name, row.written) for row in rows], "")
        hint("interlock config show --origin", quiet=session.quiet)
    refuse_findings(read.findings)


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
    if show_answer(output, Answer(done, shapes.ReloadAnswer, [done], done.systems)):
        return
    rows = [
        ("Systems bound anew", _listed(done.systems)),
        ("certificates read", str(done.certificates)),
        ("secrets that hold nothing", _listed(done.empty)),
        ("waits for a restart", _listed(done.waiting)),
    ]
    show_table(("would change" if dry_run else "taken over", ""), rows, "")
    if dry_run:
        hint("interlock config reload", quiet=session.quiet)
    else:
        hint("interlock config show --origin", quiet=session.quiet)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "-"
