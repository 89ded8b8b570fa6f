"""`interlock dead export|import`: dead letters as lines of a file, from one installation to another."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from interlock.cli.dead_select import selecting, selection
from interlock.cli.say import ask, plain, say
from interlock.cli.session import Session, actor
from interlock.cli.show import Answer, Format, hint, output_option, show_answer
from interlock.control import dead_shapes, shapes, table, transfer
from interlock.core.errors import InterlockError
from interlock.core.words import many


@click.command("export")
@click.argument("fingerprint", required=False)
@selecting
@click.pass_obj
def export(session: Session, **given: Any) -> None:
    """Print dead letters as JSON, one a line: each with its event, what was tried and what was done.

    Payloads are as they are; secrets in headers and excerpts are left out.
    """
    count = 0
    for letter in _letters(session, selection(given)):
        sys.stdout.write(bytes(letter).decode() + "\n")
        count += 1
    say(f"{many(count, 'dead letter')}; take them in elsewhere: interlock dead import FILE")


def _letters(session: Session, members: dict[str, Any]) -> Iterator[msgspec.Raw]:
    after = None
    while True:
        page: dead_shapes.DeadExport = session.ask(table.DEAD_EXPORT, shapes.DeadPage(**members, after=after))
        yield from page.letters
        if (after := page.next) is None:
            return


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option("--reason", default="", help="Why; kept in the audit.")
@click.option("--dry-run", is_flag=True, help="Only look at every line.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@output_option
@click.pass_obj
def import_(session: Session, file: str, reason: str, dry_run: bool, yes: bool, output: Format) -> None:
    """Append the events of a file that `dead export` wrote: all or none, each with the identity that it had.

    What the log knows already is left as it is, so a file can be imported again.
    """
    asked = dead_shapes.DeadImport(_lines(Path(file)), reason, actor(), dry_run=True)
    meant: dead_shapes.DeadImported = session.ask(table.DEAD_IMPORT, asked)
    if dry_run or not meant.of:
        if not show_answer(output, Answer(meant, dead_shapes.DeadImported, [meant], [])):
            click.echo(f"{many(meant.of, 'event')} would be appended, unless the log knows them")
            say(f"they are read by {', '.join(map(plain, meant.readers)) or 'nobody'}")
        return
    say(f"all that read their types are given them: {', '.join(map(plain, meant.readers)) or 'nobody'}")
    ask(f"Append {many(meant.of, 'event')}?", yes=yes, no_input=session.no_input)
    done: dead_shapes.DeadImported = session.ask(table.DEAD_IMPORT, msgspec.structs.replace(asked, dry_run=False))
    if show_answer(output, Answer(done, dead_shapes.DeadImported, [done], [*done.appended, *done.known])):
        return
    known = f", {len(done.known):,} known already and left as they are" if done.known else ""
    click.echo(f"appended {len(done.appended):,} of {done.of:,}{known}")
    if done.appended:
        hint(f"interlock events show {done.appended[0]}", quiet=session.quiet)
    elif done.known:
        hint(f"interlock dead show {done.known[0]}", quiet=session.quiet)


def _lines(file: Path) -> Sequence[str]:
    if file.stat().st_size > transfer.IMPORT_BYTES_MAX:
        raise InterlockError(
            "dead.import-too-large",
            f"{file} is over {transfer.IMPORT_BYTES_MAX} bytes",
            "split it: split -l 100 FILE",
        )
    try:
        return file.read_text("utf-8").rstrip("\n").split("\n")
    except UnicodeDecodeError:
        raise InterlockError("dead.import-invalid", f"{file} is not UTF-8", "give a file of `dead export`") from None


VERBS: Final[Sequence[click.Command]] = (export, import_)
