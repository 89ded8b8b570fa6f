"""What the command line says to people, on standard error: errors with their source lines, hints, questions."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from textwrap import TextWrapper
from traceback import extract_tb
from typing import Any, Final, Literal, TextIO

import click

from interlock.cli.exits import FAILED, Exit
from interlock.core.errors import DOCS_URL, InterlockError
from interlock.runtime.settings import process_environment

_SOURCE_BYTES_MAX: Final = 1024 * 1024


def say(text: str) -> None:
    """One line to standard error, with control characters made visible: what we say may hold others' text."""
    click.echo(plain(text), err=True)


def styled(text: str, stream: TextIO | None, **style: Any) -> str:
    """`text` in a style, if `stream` is a terminal whose user wants styles (`NO_COLOR`)."""
    environment = process_environment()
    is_plain = bool(environment.get("NO_COLOR")) or environment.get("TERM") == "dumb"
    return click.style(text, **style) if stream and stream.isatty() and not is_plain else text


def say_error(error: InterlockError) -> None:
    """An error, told in full: what and which, where with source lines, how to mend it, the page about it."""
    click.echo(block("error", error.code, error.message, error.remedy, error.where), err=True)


def say_unexpected(error: Exception) -> None:
    """What nobody expected: its place, not its whole stack. The place is the user's own code more often than ours."""
    frames = extract_tb(error.__traceback__)
    where = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else None
    remedy = "mend the line if it is yours; if it is in interlock, report it with what you did"
    click.echo(block("error", "cli.unexpected", f"{type(error).__name__}: {error}", remedy, where), err=True)


def block(
    word: Literal["error", "warning"],
    code: str,
    message: str,
    remedy: str,
    where: str | None,
    stream: TextIO | None = None,
) -> str:
    """A problem for people; `where` is `file:line`. It is styled for `stream`, by default standard error."""
    stream = stream or sys.stderr
    red = "yellow" if word == "warning" else "red"
    first, *further = _fitting(f"{word}[{code}] {plain(message)}", stream, "  ")
    opening = f"{word}[{code}]"
    lines = [styled(opening, stream, fg=red, bold=True) + first.removeprefix(opening), *further]
    if where:
        lines += _source(where)
    lines += _fitting(f"  fix: {plain(remedy)}", stream, "       ")
    lines.append(styled(f"  docs: {DOCS_URL}{code}", stream, dim=True))
    return "\n".join(lines)


def terminal_width(stream: TextIO | None) -> int | None:
    """How wide the terminal is that shows `stream`; None if none does."""
    return shutil.get_terminal_size().columns if stream and stream.isatty() else None


def _fitting(text: str, stream: TextIO | None, indent: str) -> list[str]:
    """`text` in lines that fit the terminal, cut between words only."""
    width = terminal_width(stream)
    if width is None or len(text) <= width:
        return [text]
    opening = text[: len(text) - len(text.lstrip())]
    wrapper = TextWrapper(
        width, opening, indent, break_long_words=False, break_on_hyphens=False, replace_whitespace=False
    )
    return wrapper.wrap(text.lstrip())


def plain(text: str) -> str:
    """`text` without control characters, so that what came from outside cannot drive the terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char == " " else f"\\x{ord(char):02x}" for char in text)


def ask(question: str, *, yes: bool, no_input: bool) -> None:
    """Go on only if the person agrees. Without a terminal, or under CI, nobody is asked: it takes `--yes`.

    Raises:
        click.UsageError: if nobody can be asked.
        click.Abort: if Ctrl-C is the answer.
        Exit: 1, if the answer is no.
    """
    if yes:
        return
    if no_input or not sys.stdin.isatty() or process_environment().get("CI"):
        raise click.UsageError(f"{question} Nobody can be asked here; add --yes to agree.")
    if not click.confirm(question, err=True):
        say("nothing has been done")
        raise Exit(FAILED)


def _source(where: str) -> list[str]:
    """`  --> file:line` and the line with its neighbours, where the file can be read."""
    file, _, number = where.rpartition(":")
    at = _line_number(number)
    lines = [f"  --> {plain(near(file))}:{number}" if file else f"  --> {plain(where)}"]
    source = _lines_of(Path(file)) if at else []
    # Three lines where there are so many, the last ones of a file too.
    first = max(1, min(at - 1, len(source) - 2))
    shown = range(first, min(len(source), first + 2) + 1) if at <= len(source) else ()
    width = len(str(first + 2))
    return lines + [f"  {index:>{width}} | {plain(source[index - 1])}" for index in shown]


def near(file: str) -> str:
    """A file as it is named from the folder that the command was called in, if it is below that."""
    path = Path(file)
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_absolute() and path.is_relative_to(here) else file


def _line_number(text: str) -> int:
    digits = text if text.isascii() and text.isdigit() and len(text) < 8 else "0"
    number = 0
    for digit in digits:
        number = number * 10 + ord(digit) - ord("0")
    return number


def _lines_of(path: Path) -> list[str]:
    try:
        if path.stat().st_size > _SOURCE_BYTES_MAX:
            return []
        return path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
