"""`interlock subscriptions`: who reads what and how far, its switch, and what becomes of one that has another name."""

from __future__ import annotations

import click

from interlock.cli.say import ask, plain
from interlock.cli.session import Session, actor
from interlock.cli.show import Answer, Format, hint, output_option, show_answer, show_table
from interlock.cli.switch import Switch, paused_text, switch_verbs
from interlock.control import shapes, table
from interlock.control.audit import Who
from interlock.core.errors import InterlockError
from interlock.core.words import many


@click.group("subscriptions")
def command() -> None:
    """List subscriptions, show, pause, resume, rename or retire one."""


@command.command("ls")
@output_option
@click.pass_obj
def ls(session: Session, output: Format) -> None:
    """List subscriptions: lag, what was settled, what waits."""
    found: shapes.Subscriptions = session.ask(table.SUBSCRIPTIONS, shapes.Nothing())
    names = [row.name for row in found.subscriptions]
    if show_answer(output, Answer(found, shapes.SubscriptionRow, found.subscriptions, names)):
        return
    rows = [
        (
            row.name,
            row.stream,
            row.lag,
            row.delivered,
            row.filtered,
            sum(row.stragglers.get(state, 0) for state in ("running", "due")),
            row.stragglers.get("held", 0),
            row.stragglers.get("dead", 0),
            row.behind,
            _state(row),
        )
        for row in found.subscriptions
    ]
    columns = ("name", "stream", "lag", "delivered", "filtered", "retrying", "held", "dead", "behind", "state")
    show_table(columns, rows, "no subscriptions; declare one with @integration.subscribe, then: interlock check")
    paused = [row.name for row in found.subscriptions if row.paused]
    strangers = [row.name for row in found.subscriptions if row.planned is False]
    if strangers:
        hint(f"interlock subscriptions rename {strangers[0]} NEW, or retire {strangers[0]}", quiet=session.quiet)
    elif paused:
        hint(f"interlock subscriptions resume {paused[0]}", quiet=session.quiet)
    elif any(row.stragglers.get("dead") or row.stragglers.get("held") for row in found.subscriptions):
        hint("interlock dead ls", quiet=session.quiet)
    elif names:
        hint(f"interlock subscriptions show {names[0]}", quiet=session.quiet)


def _state(row: shapes.SubscriptionRow) -> str:
    if row.planned is False:
        return "not in the plan"
    return paused_text(row.by, row.reason) if row.paused else "-"


@command.command("show")
@click.argument("name")
@output_option
@click.pass_obj
def show(session: Session, name: str, output: Format) -> None:
    """Show a subscription, shard by shard."""
    found: shapes.SubscriptionDetail = session.ask(table.SUBSCRIPTION, shapes.SubscriptionAsked(name))
    if show_answer(output, Answer(found, shapes.CursorRow, found.cursors, [found.subscription.name])):
        return
    row = found.subscription
    head = f"{row.name}  order {row.order or '-'}  on_dead {row.on_dead or '-'}  owner {row.owner or '-'}"
    click.echo(plain(head) + (f"\n{plain(paused_text(row.by, row.reason))}" if row.paused else ""))
    rows = [
        (
            f"{c.stream}/{c.shard}",
            c.newest,
            c.floor,
            c.above,
            c.lag,
            sum(c.stragglers.values()),
            c.behind,
            c.late,
            c.imbalance,
        )
        for c in found.cursors
    ]
    columns = ("shard", "newest", "floor", "above", "lag", "stragglers", "behind", "late", "imbalance")
    show_table(columns, rows, "it has read nothing yet; send it an event: interlock send TYPE PAYLOAD")
    if row.paused:
        hint(f"interlock subscriptions resume {row.name}", quiet=session.quiet)
    elif row.stragglers.get("dead") or row.stragglers.get("held"):
        hint(f"interlock dead ls --subscription {row.name}", quiet=session.quiet)
    else:
        hint("interlock tail", quiet=session.quiet)


@command.command("rename")
@click.argument("old")
@click.argument("new")
@click.option("--reason", default="", help="Why; kept in the audit.")
@click.option("--dry-run", is_flag=True, help="Only say whether it could be done.")
@click.pass_obj
def rename(session: Session, old: str, new: str, reason: str, dry_run: bool) -> None:
    """Let NEW go on where OLD has stopped. No process may run."""
    _stopped(session)
    if dry_run:
        click.echo(f"would rename {old} to {new}")
        return
    from interlock.cli.offline import Renaming
    from interlock.cli.offline import rename as renamed

    cursors = session.run(renamed(session.settings, Renaming(old, new, Who(actor(), reason))))
    click.echo(f"renamed {old} to {new}: {many(cursors, 'cursor')}")
    hint("interlock plan", quiet=session.quiet)


@command.command("retire")
@click.argument("name")
@click.option("--reason", default="", help="Why; kept in the audit.")
@click.option("--dry-run", is_flag=True, help="Only say what would be forgotten.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def retire(session: Session, name: str, reason: str, dry_run: bool, yes: bool) -> None:
    """Forget a subscription: its cursors, attempts and dead letters. No process may run."""
    _stopped(session)
    found: shapes.SubscriptionDetail = session.ask(table.SUBSCRIPTION, shapes.SubscriptionAsked(name))
    row = found.subscription
    loses = (
        f"{many(row.lag, 'event')} not yet read, {many(sum(row.stragglers.values()), 'straggler')}, "
        f"{row.behind:,} behind them"
    )
    if dry_run:
        click.echo(f"would retire {name}: {loses}")
        return
    ask(f"Forget {name} ({loses})? This cannot be taken back.", yes=yes, no_input=session.no_input)
    from interlock.cli.offline import Renaming
    from interlock.cli.offline import rename as renamed

    cursors = session.run(renamed(session.settings, Renaming(name, None, Who(actor(), reason))))
    click.echo(f"retired {name}: {many(cursors, 'cursor')}")
    hint("interlock plan", quiet=session.quiet)


def _paused(session: Session) -> list[str]:
    found: shapes.Subscriptions = session.ask(table.SUBSCRIPTIONS, shapes.Nothing())
    return [row.name for row in found.subscriptions if row.paused]


for _verb in switch_verbs(
    Switch(
        table.SUBSCRIPTION_PAUSE,
        table.SUBSCRIPTION_RESUME,
        "Start no attempt of a subscription. Its events wait in their order; intake and the other subscriptions go on.",
        "Start attempts of a subscription again, where it stopped.",
        "Start no attempt of {name} until it is resumed?",
        _paused,
    )
):
    command.add_command(_verb)


def _stopped(session: Session) -> None:
    if session.is_running():
        raise InterlockError(
            "cli.process-runs",
            "the process that runs holds the cursors of its subscriptions",
            "stop it, then ask again; nothing is lost meanwhile, senders are asked to come back",
        )
