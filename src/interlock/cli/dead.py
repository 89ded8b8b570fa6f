"""`interlock dead`: the few causes behind many failures, and what a person decides about them."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from interlock.cli.exits import FAILED, Exit
from interlock.cli.say import ask, plain, say
from interlock.cli.session import Session, actor
from interlock.cli.show import Format, clock, hint, output_option, show_ids, show_json, show_table
from interlock.control import shapes, table
from interlock.core.requests import Verb

_QUESTIONS: dict[Verb, str] = {
    "retry": "Retry {of} events?",
    "skip": "Skip {of} events, so that their keys go on without them?",
    "discard": "Discard {of} events without delivering them (restore takes it back)?",
    "restore": "Restore {of} discarded events as dead letters?",
}


@click.group("dead")
def command() -> None:
    """Dead letters: list causes, show, retry, skip, discard, restore."""


@command.command("ls")
@click.option("--subscription", help="Of this subscription only.")
@click.option("--system", help="That failed at this System only.")
@click.option("--discarded", is_flag=True, help="Those that were discarded, instead.")
@click.option("-n", "--limit", type=click.IntRange(1, shapes.PAGE_MAX), default=50, show_default=True)
@output_option
@click.pass_obj
def ls(
    session: Session, subscription: str | None, system: str | None, discarded: bool, limit: int, output: Format
) -> None:
    """List causes, the latest first. Held events are among them: they need a person too."""
    asked = shapes.DeadAsked(subscription, system, discarded, limit)
    found: shapes.DeadGroups = session.ask(table.DEAD, asked)
    if output == "json":
        return show_json(found)
    if output == "id":
        return show_ids([group.fingerprint for group in found.groups])
    rows = [
        (
            group.fingerprint,
            group.error,
            group.subscription + (f" -> {group.system}" if group.system else ""),
            group.count,
            group.held,
            clock(group.first_at),
            clock(group.last_at),
        )
        for group in found.groups
    ]
    columns = ("fingerprint", "cause", "subscription -> system", "events", "held", "first (UTC)", "last (UTC)")
    show_table(columns, rows, "no dead letters")
    if found.groups:
        hint(f"interlock dead show {found.groups[0].fingerprint}", quiet=session.quiet)
    return None


@command.command("show")
@click.argument("fingerprint")
@click.option("-n", "--limit", type=click.IntRange(1, shapes.PAGE_MAX), default=50, show_default=True)
@output_option
@click.pass_obj
def show(session: Session, fingerprint: str, limit: int, output: Format) -> None:
    """Show the dead letters of one cause, by its fingerprint or a unique prefix of it."""
    found: shapes.DeadLetters = session.ask(table.DEAD_SHOW, shapes.DeadShow(fingerprint, limit))
    if output == "json":
        return show_json(found)
    if output == "id":
        return show_ids([letter.event for letter in found.letters if letter.event])
    rows = [
        (
            letter.event,
            letter.type,
            letter.key,
            letter.subscription,
            letter.state,
            letter.reason,
            letter.attempts,
            clock(letter.died_at or letter.first_failed_at),
        )
        for letter in found.letters
    ]
    columns = ("event", "type", "key", "subscription", "state", "reason", "attempts", "since (UTC)")
    show_table(columns, rows, "no dead letters")
    if found.more:
        say(f"there are more; these are the first {len(found.letters)}")
    held = [letter.event for letter in found.letters if letter.event and letter.state == "held"]
    if held:
        hint(f"interlock dead retry --event {held[0]}, or dead skip --event {held[0]}", quiet=session.quiet)
    elif found.letters[0].event:
        hint(f"interlock events show {found.letters[0].event}", quiet=session.quiet)
    return None


def _verb(verb: Verb, summary: str) -> click.Command:
    """One deciding verb; they differ in their words only."""

    @click.command(verb, help=summary)
    @click.argument("fingerprint", required=False)
    @click.option("--event", help="One event, by its id or a unique prefix of it.")
    @click.option("--subscription", help="All of this subscription; with the others: only there.")
    @click.option("--reason", default="", help="Why; kept in the audit.")
    @click.option("--forget-memo", is_flag=True, hidden=verb != "retry", help="Repeat calls that had succeeded, too.")
    @click.option("--dry-run", is_flag=True, help="Only say which events are meant.")
    @click.option("-y", "--yes", is_flag=True, help="Do not ask.")
    @output_option
    @click.pass_obj
    def decide(session: Session, output: Format, yes: bool, dry_run: bool, forget_memo: bool, **selected: Any) -> None:
        asked = shapes.DeadCommand(**selected, actor=actor(), keep_memo=not forget_memo, dry_run=True)
        endpoint = table.DEAD_VERBS[verb]
        meant: shapes.DeadAnswer = session.ask(endpoint, asked)
        if dry_run or not meant.of:
            _show(meant, output, "would be asked for")
            return
        ask(_QUESTIONS[verb].format(of=meant.of), yes=yes, no_input=session.no_input)
        done: shapes.DeadAnswer = session.ask(endpoint, msgspec.structs.replace(asked, dry_run=False))
        _show(done, output, "answered")
        if done.applied < done.of:
            raise Exit(FAILED)

    return decide


def _show(answer: shapes.DeadAnswer, output: Format, what: str) -> None:
    if output == "json":
        return show_json(answer)
    if output == "id":
        return show_ids(answer.events)
    if answer.job is None:
        click.echo(f"{answer.of} events {what}")
        for id in answer.events:
            click.echo(f"  {id}")
    else:
        told = ", ".join(f"{count} {plain(kind)}" for kind, count in sorted(answer.answers.items()))
        click.echo(f"applied {answer.applied} of {answer.of}" + (f": {told}" if told else "") + f"  job {answer.job}")
        if answer.applied < answer.of:
            say("the other answers are not there yet: a busy lane answers when it can; see `interlock dead ls`")
    if answer.more:
        say("more fit than one command takes; run it again for the rest")
    return None


command.add_command(_verb("retry", "Start a new budget: the event is attempted at once, in its key's turn."))
command.add_command(
    _verb("skip", "Make held ones dead, so that their keys go on behind them; with --event also one that is due.")
)
command.add_command(_verb("discard", "Settle without delivery. `restore` takes it back."))
command.add_command(_verb("restore", "Take discarded ones back as dead letters."))
