"""`interlock dead`: the few causes behind many failures, the letters of each, and the verbs about them."""

from __future__ import annotations

from typing import Any

import click

from interlock.cli import dead_edit, dead_files, dead_jobs, dead_verbs
from interlock.cli.dead_letter import show_letter
from interlock.cli.dead_select import selecting, selection
from interlock.cli.say import plain, say
from interlock.cli.session import Session
from interlock.cli.show import Answer, Format, ago, hint, output_option, show_answer, show_table
from interlock.control import dead_shapes, shapes, table

_EVENT = "evt_"


@click.group("dead")
def command() -> None:
    """Dead letters: list causes, show, retry, skip, edit, discard, restore, move."""


@command.command("ls")
@click.argument("fingerprint", required=False)
@selecting
@click.option("--discarded", is_flag=True, help="Those that were discarded, instead.")
@click.option("-n", "--limit", type=click.IntRange(1, shapes.PAGE_MAX), default=50, show_default=True)
@output_option
@click.pass_obj
def ls(session: Session, discarded: bool, limit: int, output: Format, **given: Any) -> None:
    """List causes, the latest first. Held events are among them: they need a person too."""
    asked = shapes.DeadAsked(**selection(given), discarded=discarded, limit=limit)
    found: shapes.DeadGroups = session.ask(table.DEAD, asked)
    ids = [group.fingerprint for group in found.groups]
    if show_answer(output, Answer(found, shapes.DeadGroup, found.groups, ids)):
        return
    rows = [
        (
            group.fingerprint,
            group.error,
            group.subscription + (f" -> {group.system}" if group.system else ""),
            group.count,
            group.held,
            ago(group.first_at, session.now),
            ago(group.last_at, session.now),
        )
        for group in found.groups
    ]
    columns = ("fingerprint", "cause", "subscription -> system", "events", "held", "first", "last")
    show_table(columns, rows, _empty(discarded, narrowed=any(selection(given).values())))
    if found.groups:
        hint(f"interlock dead show {found.groups[0].fingerprint or '...'}", quiet=session.quiet)


def _empty(discarded: bool, *, narrowed: bool) -> str:
    if discarded:
        return "nothing is discarded; `interlock dead discard` would put something here"
    if narrowed:
        return "no dead letters fit; see all: interlock dead ls"
    return "no dead letters: what a system refuses for good, or a function cannot do, would be listed here"


@command.command("show")
@click.argument("which", metavar="[FINGERPRINT|EVENT]", required=False)
@selecting
@click.option("-n", "--limit", type=click.IntRange(1, shapes.PAGE_MAX), default=50, show_default=True)
@output_option
@click.pass_obj
def show(session: Session, which: str | None, limit: int, output: Format, **given: Any) -> None:
    """Show the dead letters of one cause, by its fingerprint or a unique prefix of it; or all of one, by its event."""
    event = which if which is not None and which.startswith(_EVENT) else given["event"]
    if event is not None:
        asked = dead_shapes.LetterAsked(event, given["subscription"])
        found: shapes.DeadLetters = session.ask(table.DEAD_LETTER, asked)
        if not show_answer(output, Answer(found, shapes.DeadLetter, found.letters, [found.letters[0].event])):
            for letter in found.letters:
                show_letter(session, letter)
        return
    members = selection({**given, "fingerprint": which})
    if not any(members.values()):
        raise click.UsageError("Say which letters are meant: a fingerprint, an event, or an option.")
    found = session.ask(table.DEAD_LETTERS, shapes.DeadShow(**members, limit=limit))
    if show_answer(output, Answer(found, shapes.DeadLetter, found.letters, [one.event for one in found.letters])):
        return
    rows = [
        (
            letter.event,
            letter.type,
            letter.key,
            letter.subscription,
            letter.state if letter.resolution != "edited" else "edited",
            letter.reason,
            letter.attempts,
            ago(letter.died_at or letter.first_failed_at, session.now),
        )
        for letter in found.letters
    ]
    columns = ("event", "type", "key", "subscription", "state", "reason", "attempts", "since")
    show_table(columns, rows, "no dead letters")
    if found.more:
        say(f"there are more; these are the first {len(found.letters):,}")
    held = [letter.event for letter in found.letters if letter.event and letter.state == "held"]
    if held:
        hint(f"interlock dead retry --event {held[0]}, or dead skip --event {held[0]}", quiet=session.quiet)
    elif found.letters and found.letters[0].event:
        hint(f"interlock dead show {found.letters[0].event}", quiet=session.quiet)


@command.command("diff")
@click.argument("event")
@click.option("--subscription", help="Of this subscription.")
@output_option
@click.pass_obj
def diff(session: Session, event: str, subscription: str | None, output: Format) -> None:
    """Compare a letter's payload with the edited one, or with what today's code reads in it."""
    found: dead_shapes.DeadDiff = session.ask(table.DEAD_DIFF, dead_shapes.LetterAsked(event, subscription))
    if show_answer(output, Answer(found, dead_shapes.PayloadChange, found.changes, [found.event])):
        return
    other = f"{found.other}, which stands for it" if found.other else "what the code of now reads in it"
    click.echo(f"{found.event}  {plain(found.subscription)}")
    click.echo(f"beside {other}")
    if found.error:
        click.echo(f"nothing to compare with: {plain(found.error)}")
        return
    rows = [(change.pointer or "(all)", change.before, change.after) for change in found.changes]
    show_table(("pointer", "at failure", "now"), rows, "no difference")
    if not found.other:
        hint(f"interlock dead edit {found.event} --reason ...", quiet=session.quiet)


@command.command("blocked")
@click.option("--subscription", help="Of this subscription.")
@click.option("-n", "--limit", type=click.IntRange(1, shapes.PAGE_MAX), default=50, show_default=True)
@output_option
@click.pass_obj
def blocked(session: Session, subscription: str | None, limit: int, output: Format) -> None:
    """List keys whose head is not delivered, so that later events wait; the oldest first."""
    found: dead_shapes.Blocked = session.ask(table.DEAD_BLOCKED, dead_shapes.BlockedAsked(subscription, limit))
    if show_answer(output, Answer(found, dead_shapes.BlockedKey, found.keys, [key.event for key in found.keys])):
        return
    rows = [
        (
            key.key,
            key.subscription,
            key.event,
            key.state,
            ago(key.since_at, session.now),
            f"{'' if key.behind_counted else 'at least '}{key.behind:,}",
            _next(session, key),
            " ".join(filter(None, (key.reason, key.error))),
        )
        for key in found.keys
    ]
    columns = ("key", "subscription", "head", "state", "since", "behind", "next", "says")
    show_table(columns, rows, "no key is blocked")
    if found.of > len(found.keys):
        say(f"there are more: {found.of:,} in all; these are the oldest")
    heads = [key.event for key in found.keys if key.event]
    if heads:
        say("each head can be retried, skipped so that its key goes on, or edited:")
        for words in ("retry --event {id}", "skip --event {id}", "edit {id} --reason ..."):
            say(f"  interlock dead {words.format(id=heads[0])}")


def _next(session: Session, key: dead_shapes.BlockedKey) -> str:
    if key.due_at is None:
        return "a person"
    told = ago(key.due_at, session.now)
    return f"dead {told}" if key.state == "held" else f"again {told}"


for _verb in (*dead_verbs.VERBS, dead_edit.edit, *dead_jobs.VERBS, *dead_files.VERBS):
    command.add_command(_verb)
