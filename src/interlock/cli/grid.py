"""Rows of cells in the width that there is. No word is ever cut, so whatever is shown can be copied.

Where the columns do not fit, each row is a paragraph of its own: its first cell, and below it `name: value`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import TextWrapper
from typing import Final, NamedTuple

from rich.cells import cell_len

TEXT_MIN: Final = 24
"""Longer text is not squeezed into a narrower column: it would be one word a line."""
NOTHING: Final = "-"
"""What an empty cell shows; a paragraph leaves it out."""
_GAP: Final = "  "
_APART: Final = "   "
_UNBOUND: Final = 1 << 30


class Line(NamedTuple):
    """One line of output; `strong`: it is a head."""

    text: str
    strong: bool = False


def grid(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int | None) -> Iterator[Line]:
    """A table, its head first; with `width` None each row is one line, however long.

    Args:
        columns: their names; a row has a cell for each.
        rows: printable text without line ends.
        width: of the terminal.
    """
    head = [name.upper() for name in columns]
    widths = column_widths([head, *rows], width or _UNBOUND)
    if widths is None:
        for row in rows:
            yield from _paragraph(columns, row, width or _UNBOUND)
        return
    numeric = [all(_is_number(row[index]) for row in rows) for index in range(len(columns))]
    for text in _row(head, widths, numeric):
        yield Line(text, strong=True)
    for row in rows:
        for text in _row(row, widths, numeric):
            yield Line(text)


def column_widths(cells: Sequence[Sequence[str]], width: int) -> Sequence[int] | None:
    """How wide each column is, so that all fit; None if they do not without cutting a word."""
    columns = list(zip(*cells, strict=True))
    natural = [max(map(cell_len, column)) for column in columns]
    gaps = len(_GAP) * (len(columns) - 1)
    if sum(natural) + gaps <= width:
        return natural
    least = [
        max(min(most, TEXT_MIN), *map(_longest_word, column)) for most, column in zip(natural, columns, strict=True)
    ]
    spare = width - sum(least) - gaps
    if spare < 0:
        return None
    # What is left goes to the columns that want more, in proportion.
    wanted = [most - low for most, low in zip(natural, least, strict=True)]
    return [low + spare * want // sum(wanted) for low, want in zip(least, wanted, strict=True)]


def wrapped(text: str, width: int, indent: str = "") -> Sequence[str]:
    """`text` in lines of at most `width`; a word that is longer has a line to itself."""
    wrapper = TextWrapper(
        width=max(width, len(indent) + 1),
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return wrapper.wrap(text) or [""]


def _paragraph(columns: Sequence[str], row: Sequence[str], width: int) -> Iterator[Line]:
    for text in wrapped(row[0], width):
        yield Line(text, strong=True)
    line = ""
    for name, value in zip(columns[1:], row[1:], strict=True):
        if value in ("", NOTHING):
            continue
        pair = f"{name}: {value}"
        if line and cell_len(_GAP + line + _APART + pair) > width:
            yield from map(Line, wrapped(line, width, _GAP))
            line = pair
        else:
            line = f"{line}{_APART}{pair}" if line else pair
    if line:
        yield from map(Line, wrapped(line, width, _GAP))


def _row(cells: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]) -> Iterator[str]:
    columns = [
        wrapped(cell, width) if cell_len(cell) > width else [cell] for cell, width in zip(cells, widths, strict=True)
    ]
    for line in range(max(map(len, columns))):
        parts: list[str] = []
        for column, width, is_number in zip(columns, widths, numeric, strict=True):
            text = column[line] if line < len(column) else ""
            blank = " " * (width - cell_len(text))
            parts.append(blank + text if is_number else text + blank)
        yield _GAP.join(parts).rstrip()


def _longest_word(text: str) -> int:
    return max(map(cell_len, text.split()), default=0)


def _is_number(text: str) -> bool:
    return text.replace(",", "").isdigit()
