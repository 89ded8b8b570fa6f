"""`interlock dead edit`: another event instead of a dead letter, with a reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from interlock.cli.dead_select import read_pair
from interlock.cli.exits import FAILED, Exit
from interlock.cli.say import ask, plain, say
from interlock.cli.session import Session, actor
from interlock.cli.show import Answer, Format, hint, output_option, show_answer, show_table
from interlock.control import dead_shapes, shapes, table
from interlock.core.errors import InterlockError
from interlock.core.pointer import PointerError, with_value
from interlock.core.words import many


@click.command("edit")
@click.argument("event")
@click.option("--set", "sets", multiple=True, metavar="POINTER=JSON", help='Change one place: /lines/0/sku="S-1".')
@click.option("--file", "file", type=click.Path(exists=True, dir_okay=False), help="The whole payload, from a file.")
@click.option("--subscription", help="Only the letter of this one; else of each that has it.")
@click.option("--reason", required=True, help="Why; kept in the audit.")
@click.option("--dry-run", is_flag=True, help="Only look at it.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@output_option
@click.pass_obj
def edit(session: Session, output: Format, event: str, yes: bool, dry_run: bool, **given: Any) -> None:
    """Append a new event with another payload instead of a dead letter. Without --set or --file it opens $EDITOR.

    The new event has an id of its own and stands at the end of the log; the letter is settled as edited.
    """
    if given["sets"] and given["file"]:
        raise click.UsageError("Choose one: --set or --file.")
    asked = dead_shapes.LetterAsked(event, given["subscription"])
    letters: shapes.DeadLetters = session.ask(table.DEAD_LETTER, asked)
    (letter, *_) = letters.letters
    payload = _payload(letter, given["sets"], given["file"])
    if payload is None:
        say("nothing has been changed, so nothing has been done")
        return
    command = dead_shapes.DeadEdit(
        letter.event or event, payload, given["reason"], given["subscription"], actor(), dry_run=True
    )
    meant: dead_shapes.DeadEdited = session.ask(table.DEAD_EDIT, command)
    if dry_run:
        if not show_answer(output, Answer(meant, dead_shapes.PayloadChange, meant.changes, [meant.event])):
            _show_changes(meant)
            for line in _warnings(meant):
                say(line)
        return
    if not (yes and session.quiet):
        for line in _warnings(meant):
            say(line)
    if not yes:
        _show_changes(meant)
    ask(f"Append a new event instead of {meant.event}?", yes=yes, no_input=session.no_input)
    done: dead_shapes.DeadEdited = session.ask(table.DEAD_EDIT, msgspec.structs.replace(command, dry_run=False))
    if not show_answer(output, Answer(done, dead_shapes.PayloadChange, done.changes, [done.new])):
        _show_done(done)
    if set(done.answers) - {"edited"} or sum(done.answers.values()) < len(done.subscriptions):
        raise Exit(FAILED)
    hint(f"interlock events show {done.new or done.event}", quiet=session.quiet)


def _payload(letter: shapes.DeadLetter, sets: tuple[str, ...], file: str | None) -> str | None:
    """The new payload as JSON text; None if a person has left it as it was."""
    assert letter.detail is not None, "a letter that is shown alone has its detail"
    if file is not None:
        return Path(file).read_text("utf-8")
    if letter.detail.payload is None:
        raise InterlockError("dead.edit-refused", "the payload is not text", "mend the function, and retry")
    if not sets:
        text: str = msgspec.json.format(letter.detail.payload, indent=2)
        edited = click.edit(text, extension=".json", require_save=True)
        return None if edited is None or edited.strip() == text.strip() else edited
    value = msgspec.json.decode(letter.detail.payload)
    for text in sets:
        pointer, new = read_pair(text, _refuse)
        try:
            value = with_value(value, pointer, new)
        except PointerError as error:
            _refuse(str(error))
    return msgspec.json.encode(value).decode()


def _refuse(why: str) -> None:
    raise click.UsageError(f"--set: {why}")


def _warnings(meant: dead_shapes.DeadEdited) -> list[str]:
    """What a person should know before it happens."""
    lines: list[str] = []
    if meant.behind:
        at_least = "" if meant.behind_counted else "at least "
        are = "is" if meant.behind == 1 else "are"
        lines.append(
            f"{at_least}{many(meant.behind, 'event')} of its key {are} behind it in the log: the new one comes last"
        )
    else:
        lines.append("the new event stands at the end of the log")
    lines.append("it is new to all who read its type:")
    for name in meant.readers:
        had = ", which was given the old one" if name in meant.delivered else ""
        lines.append(f"  {plain(name)}{had}")
    return lines


def _show_changes(meant: dead_shapes.DeadEdited) -> None:
    rows = [(change.pointer or "(all)", change.before, change.after) for change in meant.changes]
    show_table(("pointer", "at failure", "edited"), rows, "no difference")


def _show_done(done: dead_shapes.DeadEdited) -> None:
    told = ", ".join(f"{count:,} {plain(kind)}" for kind, count in sorted(done.answers.items()))
    new = f" as {done.new}" if done.new else ""
    click.echo(f"{told or 'no answer yet'}: {done.event}{new}  job {done.job}")
