"""How answers look: a table for people, JSON for programs, bare ids for pipes. All of it goes to standard output."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, TypeVar

import click
import msgspec

from interlock.cli.say import plain

Format = Literal["table", "json", "id"]
FORMATS: Final = ("table", "json", "id")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
F = TypeVar("F", bound=Callable[..., Any])


def output_option(function: F) -> F:
    """The `-o` that every reading verb has."""
    option = click.option(
        "-o", "--output", type=click.Choice(FORMATS), default="table", show_default=True, help="How to show it."
    )
    return option(function)


def show_json(value: object) -> None:
    """One JSON document, indented."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


def show_ids(ids: Sequence[str]) -> None:
    """One id a line."""
    for id in ids:
        click.echo(plain(id))


def show_table(columns: Sequence[str], rows: Sequence[Sequence[object]], empty: str) -> None:
    """A table in the width that there is; `empty` is said instead of one without rows. Numbers stand right."""
    if not rows:
        click.echo(empty, err=True)
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty(), width=None if sys.stdout.isatty() else 240)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for index, name in enumerate(columns):
        numeric = all(isinstance(row[index], int) for row in rows)
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*[Text(plain(_cell(value))) for value in row])
    console.print(table)


def hint(text: str, *, quiet: bool) -> None:
    """The next useful command, dim, after a table."""
    if not quiet:
        click.echo(click.style(f"hint: {text}", dim=True), err=True)


def clock(at: int | None) -> str:
    """An instant for people: UTC, to the millisecond."""
    if at is None:
        return "-"
    return (_EPOCH + timedelta(microseconds=at)).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def span(duration_us: int) -> str:
    """A duration for people, in its largest fitting unit: `84 ms`, `2.5 s`, `3 h`."""
    for unit, size in (("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1_000)):
        if duration_us >= size:
            return f"{duration_us / size:.1f}".removesuffix(".0") + f" {unit}"
    return f"{duration_us} µs"


def _cell(value: object) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case _:
            return str(value)
