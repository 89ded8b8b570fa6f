"""What the command line says to people, on standard error: errors with their source lines, hints, questions."""

from __future__ import annotations

import sys
from pathlib import Path
from traceback import extract_tb
from typing import Final, Literal

import click

from interlock.core.errors import DOCS_URL, InterlockError

_SOURCE_BYTES_MAX: Final = 1024 * 1024


def say(text: str) -> None:
    """One line to standard error, with control characters made visible: what we say may hold others' text."""
    click.echo(plain(text), err=True)


def say_error(error: InterlockError) -> None:
    """An error, told in full: what and which, where with source lines, how to mend it, the page about it."""
    click.echo(block("error", error.code, error.message, error.remedy, error.where), err=True)


def say_unexpected(error: Exception) -> None:
    """What nobody expected: its place, not its whole stack. The place is the user's own code more often than ours."""
    frames = extract_tb(error.__traceback__)
    where = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else None
    remedy = "mend the line if it is yours; if it is in interlock, report it with what you did"
    click.echo(block("error", "cli.unexpected", f"{type(error).__name__}: {error}", remedy, where), err=True)


def block(word: Literal["error", "warning"], code: str, message: str, remedy: str, where: str | None) -> str:
    """A problem for people; `where` is `file:line`."""
    red = "yellow" if word == "warning" else "red"
    lines = [click.style(f"{word}[{code}]", fg=red, bold=True) + " " + plain(message)]
    if where:
        lines += _source(where)
    lines.append(f"  fix: {plain(remedy)}")
    lines.append(click.style(f"  docs: {DOCS_URL}{code}", dim=True))
    return "\n".join(lines)


def plain(text: str) -> str:
    """`text` without control characters, so that what came from outside cannot drive the terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char == " " else f"\\x{ord(char):02x}" for char in text)


def ask(question: str, *, yes: bool, no_input: bool) -> None:
    """Go on only if the person agrees. Without a terminal nobody is asked: it takes `--yes`.

    Raises:
        click.UsageError: if nobody can be asked.
        click.Abort: if the answer is no.
    """
    if yes:
        return
    if no_input or not sys.stdin.isatty():
        raise click.UsageError(f"{question} Nobody can be asked here; say --yes to agree.")
    click.confirm(question, abort=True, err=True)


def _source(where: str) -> list[str]:
    """`  --> file:line` and the line with its neighbours, where the file can be read."""
    lines = [f"  --> {where}"]
    file, _, number = where.rpartition(":")
    at = _line_number(number)
    source = _lines_of(Path(file)) if at else []
    width = len(str(at + 1))
    shown = range(max(1, at - 1), min(len(source), at + 1) + 1)
    return lines + [f"  {index:>{width}} | {plain(source[index - 1])}" for index in shown]


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
