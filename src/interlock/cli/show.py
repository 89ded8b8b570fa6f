"""How answers look: a table for people, JSON and CSV for programs, bare ids for pipes. All go to standard output.

What a cell or a line holds may come from outside, so nothing in it can drive the terminal or a spreadsheet.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, NamedTuple, TypeVar

import click
import msgspec

from interlock.cli.say import plain, styled, terminal_width

Format = Literal["table", "json", "csv", "id"]
FORMATS: Final = ("table", "json", "csv", "id")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS: Final = (("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1_000))
_LONG_AGO_US: Final = 7 * 86_400_000_000
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""What makes a spreadsheet compute a cell."""
F = TypeVar("F", bound=Callable[..., Any])


def output_option(function: F) -> F:
    """The `-o` that every reading verb has."""
    option = click.option(
        "-o", "--output", type=click.Choice(FORMATS), default="table", show_default=True, help="How to show it."
    )
    return option(function)


class Answer(NamedTuple):
    """What programs are given: `whole` as JSON, `records` of the type `row` as CSV, `ids` a line each."""

    whole: object
    row: type[msgspec.Struct]
    records: Sequence[msgspec.Struct]
    ids: Sequence[str | None]


def show_answer(output: Format, answer: Answer) -> bool:
    """Show it as a program wants it; False if a person wants a table."""
    match output:
        case "json":
            show_json(answer.whole)
        case "csv":
            show_csv(answer.row, answer.records)
        case "id":
            show_ids([id for id in answer.ids if id])
        case "table":
            return False
    return True


def show_json(value: object) -> None:
    """One JSON document, indented."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


def show_ids(ids: Sequence[str]) -> None:
    """One id a line."""
    for id in ids:
        click.echo(plain(id))


def show_csv(row: type[msgspec.Struct], records: Sequence[msgspec.Struct]) -> None:
    """A line for each record, after one with the names of the members. Instants are ISO 8601 in UTC."""
    names = [field.encode_name for field in msgspec.structs.fields(row)]
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(names)
    for record in records:
        members: Mapping[str, object] = msgspec.to_builtins(record)
        writer.writerow([_csv_cell(name, members.get(name)) for name in names])
    click.echo(written.getvalue(), nl=False)


def show_table(columns: Sequence[str], rows: Sequence[Sequence[object]], empty: str) -> None:
    """A table in the width that there is; `empty` is said instead of one without rows. Numbers stand right."""
    if not rows:
        click.echo(empty, err=True)
        return
    from interlock.cli.grid import grid

    cells = [[plain(_cell(value)) for value in row] for row in rows]
    for line in grid(columns, cells, terminal_width(sys.stdout)):
        click.echo(styled(line.text, sys.stdout, bold=True) if line.strong else line.text)


def hint(text: str, *, quiet: bool) -> None:
    """The next useful command, dim, after a table. A person at a terminal sees it, a log does not."""
    if not quiet and sys.stderr.isatty():
        click.echo(styled(f"hint: {text}", sys.stderr, dim=True), err=True)


def clock(at: int | None) -> str:
    """An instant for people: UTC, to the millisecond."""
    if at is None:
        return "-"
    return (_EPOCH + timedelta(microseconds=at)).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def ago(at: int | None, now: int) -> str:
    """An instant as people say it at the instant `now`: `12 s ago`, `in 5 m`; a date if it is far from it."""
    if at is None:
        return "-"
    apart = abs(now - at)
    if apart >= _LONG_AGO_US:
        return clock(at)[:16]
    if apart < 1_000_000:
        return "now"
    size = next(size for _, size in _UNITS if apart >= size)
    told = span(apart // size * size)
    return f"{told} ago" if at <= now else f"in {told}"


def span(duration_us: int) -> str:
    """A duration for people, in its largest fitting unit: `84 ms`, `2.5 s`, `3 h`."""
    for unit, size in _UNITS:
        if duration_us >= size:
            return f"{duration_us / size:.1f}".removesuffix(".0") + f" {unit}"
    return f"{duration_us / 1_000:.2g} ms"


def _cell(value: object) -> str:
    match value:
        case None | "":
            return "-"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case _:
            return str(value)


def _csv_cell(name: str, value: object) -> object:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case int() if name.endswith("_at"):
            return (_EPOCH + timedelta(microseconds=value)).isoformat(timespec="microseconds").replace("+00:00", "Z")
        case int() | float():
            return value
        case str():
            # Quoted by a leading apostrophe, which a spreadsheet shows as text.
            return plain(f"'{value}" if value.startswith(_FORMULA) else value)
        case _:
            return plain(msgspec.json.encode(value).decode())
