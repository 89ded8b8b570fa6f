"""Many rows in one statement: each statement lets go of the interpreter's lock once, so it is worth having few.

With a busy main thread every return from SQLite waits for the lock: measured, `executemany` falls to a few thousand
rows a second where rows that share a statement do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

from interlock.journal.sqlite.connection import Connection

ROWS_MAX: Final = 128
"""Rows of one statement: each number of rows is a statement of its own in SQLite's cache."""


@lru_cache(maxsize=1024)
def rows_of(columns: int, rows: int) -> str:
    """`(?,?),(?,?)` for two columns and two rows."""
    row = "(" + ",".join("?" * columns) + ")"
    return ",".join([row] * rows)


def write_rows(connection: Connection, before: str, columns: int, values: Sequence[Any], after: str = "") -> None:
    """Run `before VALUES (...),(...) after` for `values`, the columns of all rows one after another."""
    step = columns * ROWS_MAX
    for start in range(0, len(values), step):
        part = values if len(values) <= step else values[start : start + step]
        connection.execute(f"{before} VALUES {rows_of(columns, len(part) // columns)} {after}", part)


def delete_rows(connection: Connection, table: str, columns: str, values: Sequence[Any]) -> None:
    """Delete the rows of `table` whose two `columns` are among `values`, given one after another."""
    step = 2 * ROWS_MAX
    for start in range(0, len(values), step):
        part = values[start : start + step]
        listed = rows_of(2, len(part) // 2)
        connection.execute(f"DELETE FROM {table} WHERE ({columns}) IN (VALUES {listed})", part)
