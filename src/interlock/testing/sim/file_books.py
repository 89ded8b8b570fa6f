"""What a SQLite store has in its file, as the memory store would have it: read from its tables, commit by commit."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

from interlock.core.cursor import CursorId, Mark, Row
from interlock.journal.memory_disk import MemoryDisk, MemoryLedger, MemoryShard, MemoryStream
from interlock.journal.ports import Cell, StreamInfo
from interlock.journal.sqlite.connection import Connection
from interlock.journal.sqlite.ledger import CURSOR_COLUMNS, held_from, read_marks, read_rows
from interlock.journal.sqlite.log import Log
from interlock.journal.sqlite.stream import COLUMNS, StreamState


class _Read(NamedTuple):
    """A cursor as it was last read."""

    cursor: Sequence[Any]
    rows: list[Row]
    marks: list[Mark]


class FileBooks:
    """Keeps `books` up to date. What has not changed stays the same object."""

    def __init__(self, books: MemoryDisk) -> None:
        self.books = books
        self._log = Log()
        self._checkpoints: dict[str, bytes] = {}
        self._positions: dict[str, int] = {}
        self._cursors: dict[CursorId, _Read] = {}

    def read_anew(self, connection: Connection) -> None:
        """Read everything: the file may not be the one that it was."""
        self.books.streams.clear()
        self._checkpoints.clear()
        self._positions.clear()
        self._read_streams(connection)
        self._read_ledgers(connection, anew=True)
        self._read_cells(connection)

    def read(self, connection: Connection) -> None:
        """Read what the commits since the last reading may have changed."""
        self._read_streams(connection)
        self._read_ledgers(connection, anew=False)
        self._read_cells(connection)

    def _read_streams(self, connection: Connection) -> None:
        query = "SELECT id, name, shards, created_at, checkpoint FROM streams ORDER BY id"
        for number, name, shards, created_at, checkpoint in list(connection.execute(query)):
            if checkpoint != self._checkpoints.get(name):
                self._checkpoints[name] = checkpoint
                state = StreamState.load(number, StreamInfo(name, shards, created_at), checkpoint)
                self._log.add(state)
                self._read_checkpoint(connection, state)
            self._read_events(connection, self._log.streams[name])

    def _read_checkpoint(self, connection: Connection, state: StreamState) -> None:
        """What has been retired, and what was kept of it."""
        fresh = MemoryStream(state.made, [MemoryShard(gone=gone) for gone in state.gone])
        stream = self.books.streams.setdefault(state.made.name, fresh)
        for shard, gone in zip(stream.shards, state.gone, strict=True):
            shard.events = shard.events[gone - shard.gone :]
            shard.gone = gone
            shard.kept = {}
        query = f"SELECT {COLUMNS} FROM kept WHERE stream = ? ORDER BY place"
        for row in connection.execute(query, (state.number,)):
            event = state.event(row)
            stream.shards[event.shard.number].kept[event.offset] = event

    def _read_events(self, connection: Connection, state: StreamState) -> None:
        name = state.made.name
        shards = self.books.streams[name].shards
        ends = [following.first - 1 for following in state.segments[1:]]
        for segment, end in zip_longest(state.segments, ends):
            position = self._positions.get(name, 0)
            if end is not None and end <= position:
                continue
            query = f"SELECT {COLUMNS} FROM {state.table(segment)} WHERE n > ? ORDER BY n"
            for row in connection.execute(query, (position,)):
                event = state.event(row)
                shards[event.shard.number].events.append(event)
                self._positions[name] = row[0]

    def _read_ledgers(self, connection: Connection, *, anew: bool) -> None:
        there: set[CursorId] = set()
        for values in list(connection.execute(f"SELECT {CURSOR_COLUMNS} FROM cursors ORDER BY id")):
            held = held_from(values, self._log)
            id = held.cursor.id
            there.add(id)
            known = self._cursors.get(id)
            if not anew and known is not None and known.cursor == values:
                continue
            read = _Read(
                values, list(read_rows(connection, values[0], "", ())), list(read_marks(connection, values[0]))
            )
            if read != known:
                self._cursors[id] = read
                rows, marks = {row.offset: row for row in read.rows}, {mark.key: mark for mark in read.marks}
                self.books.ledgers[id] = MemoryLedger(held, rows, marks)
        for id in [id for id in self.books.ledgers if id not in there]:
            del self.books.ledgers[id], self._cursors[id]

    def _read_cells(self, connection: Connection) -> None:
        known, self.books.cells = self.books.cells, {}
        for values in connection.execute("SELECT key, version, value, expires_at FROM cells ORDER BY key"):
            cell = Cell(*values)
            before = known.get(cell.key)
            self.books.cells[cell.key] = before if before is not None and before == cell else cell
