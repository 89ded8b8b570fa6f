"""Cells of the SQLite store, read and written within one commit, or read by themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from interlock.journal import decide
from interlock.journal.ports import Cell, CellConflict, CellWrite
from interlock.journal.sqlite.connection import Connection

_UPSERT = (
    "INSERT INTO cells VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE"
    " SET version = excluded.version, value = excluded.value, expires_at = excluded.expires_at"
)


class CellsTx:
    """The cells of one commit; `changed` has the keys that were written."""

    def __init__(self, connection: Connection, now: int) -> None:
        self._connection = connection
        self._now = now
        self.changed: dict[str, None] = {}

    def check(self, writes: Sequence[CellWrite]) -> dict[str, Cell] | CellConflict:
        """What the writes would make, or the first conflict; nothing is written."""
        written: dict[str, Cell] = {}
        for write in writes:
            found = written.get(write.key) or _read(self._connection, write.key)
            cell = decide.cell_written(write, found, self._now)
            if isinstance(cell, CellConflict):
                return cell
            written[write.key] = cell
        return written

    def write(self, cells: Mapping[str, Cell]) -> None:
        for key, cell in cells.items():
            self.changed[key] = None
            if cell.version:
                self._connection.execute(_UPSERT, (cell.key, cell.version, cell.value, cell.expires_at))

    def put(self, writes: Sequence[CellWrite]) -> list[Cell | CellConflict]:
        answers: list[Cell | CellConflict] = []
        for write in writes:
            made = self.check([write])
            if isinstance(made, CellConflict):
                answers.append(made)
            else:
                self.write(made)
                answers.append(made[write.key])
        return answers


def _read(connection: Connection, key: str) -> Cell | None:
    query = "SELECT key, version, value, expires_at FROM cells WHERE key = ?"
    return next((Cell(*row) for row in connection.execute(query, (key,))), None)


def get_cells(connection: Connection, keys: Iterable[str], now: int) -> dict[str, Cell]:
    """Those that exist and have not expired."""
    found = ((key, decide.live(_read(connection, key), now)) for key in keys)
    return {key: cell for key, cell in found if cell is not None}


def list_cells(connection: Connection, prefix: str, limit: int, now: int) -> list[Cell]:
    """Those that exist and whose key begins with `prefix`, in key order."""
    query = (
        "SELECT key, version, value, expires_at FROM cells WHERE key >= ?1 AND key < ?1 || char(0x10ffff)"
        " AND (expires_at IS NULL OR expires_at > ?2) ORDER BY key LIMIT ?3"
    )
    return [Cell(*row) for row in connection.execute(query, (prefix, now, limit))]
