"""`interlock dead`: the few causes behind many failures, and what a person decides about them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import click
import msgspec

from interlock.cli.exits import FAILED, Exit
from interlock.cli.progress import Advance, progress
from interlock.cli.say import ask, plain, say
from interlock.cli.session import Session, actor
from interlock.cli.show import Answer, Format, ago, hint, output_option, show_answer, show_table
from interlock.control import shapes, table
from interlock.core.requests import Verb
from interlock.core.words import many

_QUESTIONS: dict[Verb, str] = {
    "retry": "Retry {of}?",
    "skip": "Skip {of}, so that later events of the same keys go on?",
    "discard": "Discard {of} without delivery (restore takes it back)?",
    "restore": "Take {of} back from the discarded as dead letters?",
}
_NEXT: Final[Mapping[Verb, str]] = {
    "retry": "interlock tail",
    "skip": "interlock dead ls",
    "discard": "interlock dead ls --discarded",
    "restore": "interlock dead ls",
}
_FIRST_WAIT_US: Final = 500_000
_WAIT_US: Final = 1_000_000
_PATIENCE: Final = 5
"""So many waits in a row without one more answer end the command; a job in the audit goes on without it."""


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
    show_table(columns, rows, _empty(discarded, subscription or system))
    if found.groups:
        hint(f"interlock dead show {found.groups[0].fingerprint or '...'}", quiet=session.quiet)


def _empty(discarded: bool, narrowed: str | None) -> str:
    if discarded:
        return "nothing is discarded; `interlock dead discard` would put something here"
    if narrowed:
        return "no dead letters fit; see all: interlock dead ls"
    return "no dead letters: what a system refuses for good, or a function cannot do, would be listed here"


@command.command("show")
@click.argument("fingerprint")
@click.option("-n", "--limit", type=click.IntRange(1, shapes.PAGE_MAX), default=50, show_default=True)
@output_option
@click.pass_obj
def show(session: Session, fingerprint: str, limit: int, output: Format) -> None:
    """Show the dead letters of one cause, by its fingerprint or a unique prefix of it."""
    found: shapes.DeadLetters = session.ask(table.DEAD_SHOW, shapes.DeadShow(fingerprint, limit))
    ids = [letter.event for letter in found.letters]
    if show_answer(output, Answer(found, shapes.DeadLetter, found.letters, ids)):
        return
    rows = [
        (
            letter.event,
            letter.type,
            letter.key,
            letter.subscription,
            letter.state,
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
    elif found.letters[0].event:
        hint(f"interlock events show {found.letters[0].event}", quiet=session.quiet)


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
            _show(meant, output)
            if meant.of:
                hint(f"interlock dead {verb} {_selector(asked)}", quiet=session.quiet)
            return
        ask(_QUESTIONS[verb].format(of=many(meant.of, "event")), yes=yes, no_input=session.no_input)
        with progress(f"dead {verb}", meant.of, quiet=session.quiet) as advance:
            done = _done(session, verb, msgspec.structs.replace(asked, dry_run=False), advance)
        _show(done, output)
        if done.applied < done.of:
            raise Exit(FAILED)
        hint(_NEXT[verb], quiet=session.quiet)

    return decide


def _selector(asked: shapes.DeadCommand) -> str:
    given = {"": asked.fingerprint, "--event ": asked.event, "--subscription ": asked.subscription}
    return " ".join(f"{option}{value}" for option, value in given.items() if value)


def _done(session: Session, verb: Verb, asked: shapes.DeadCommand, advance: Advance) -> shapes.DeadAnswer:
    """Ask, and follow the lanes until each event has its answer, or none has come for a while."""
    endpoint = table.DEAD_VERBS[verb]
    done: shapes.DeadAnswer = session.ask(endpoint, msgspec.structs.replace(asked, wait_us=_FIRST_WAIT_US))
    told, patience = 0, _PATIENCE
    while done.job is not None:
        advance(done.applied - told)
        patience = patience - 1 if done.applied == told else _PATIENCE
        told = done.applied
        if done.applied >= done.of or not patience:
            break
        seen: shapes.JobAnswer = session.ask(table.DEAD_JOB, shapes.JobAsked(done.job, wait_us=_WAIT_US))
        done = msgspec.structs.replace(done, applied=seen.applied, answers=seen.answers)
    return done


def _show(answer: shapes.DeadAnswer, output: Format) -> None:
    if show_answer(output, Answer(answer, shapes.DeadAnswer, [answer], answer.events)):
        return
    if answer.job is None:
        click.echo(f"{many(answer.of, 'event')} would be asked for" if answer.of else "no event fits: nothing to do")
        for id in answer.events:
            click.echo(f"  {id}")
    else:
        told = ", ".join(f"{count:,} {plain(kind)}" for kind, count in sorted(answer.answers.items()))
        counted = f"applied {answer.applied:,} of {answer.of:,}" + (f": {told}" if told else "")
        click.echo(f"{counted}  job {answer.job}")
        if answer.applied < answer.of:
            say("the other answers are not there yet: a busy lane answers when it can")
            say(f"  see `interlock dead job {answer.job}`")
    if answer.more:
        say("more fit than one command takes; run it again for the rest")


@command.command("job")
@click.argument("job")
@output_option
@click.pass_obj
def job_(session: Session, job: str, output: Format) -> None:
    """Show what came of a command, by the id of its job or a unique prefix of it."""
    found: shapes.JobAnswer = session.ask(table.DEAD_JOB, shapes.JobAsked(job))
    if show_answer(output, Answer(found, shapes.JobAnswer, [found], [found.job])):
        return
    told = ", ".join(f"{count:,} {plain(kind)}" for kind, count in sorted(found.answers.items()))
    click.echo(f"{found.job}  {found.verb}  by {plain(found.actor)}  asked {ago(found.asked_at, session.now)}")
    if found.reason:
        click.echo(f"reason: {plain(found.reason)}")
    click.echo(f"applied {found.applied:,} of {found.of:,}" + (f": {told}" if told else ""))
    hint("interlock dead ls", quiet=session.quiet)


command.add_command(_verb("retry", "Start a new budget: the event is attempted at once, in its key's turn."))
command.add_command(
    _verb("skip", "Make held ones dead, so that their keys go on behind them; with --event also one that is due.")
)
command.add_command(_verb("discard", "Settle without delivery. `restore` takes it back."))
command.add_command(_verb("restore", "Take discarded ones back as dead letters."))
