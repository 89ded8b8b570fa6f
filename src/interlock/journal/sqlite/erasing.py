"""What is erased from the SQLite store: the content of events, what quotes it, and the keys.

It updates rows in place and deletes none that are counted, so nothing in memory changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import msgspec

from interlock.core.event import Event, Shard
from interlock.core.requests import request_key
from interlock.journal import decide
from interlock.journal.ports import CellWrite, Erase, Forget
from interlock.journal.sqlite.connection import Connection
from interlock.journal.sqlite.ledger import Ledger, decode_attempt
from interlock.journal.sqlite.log import Log
from interlock.journal.sqlite.reads import find_event
from interlock.journal.sqlite.stream import OFFSET_BITS, StreamState

_encode = msgspec.msgpack.Encoder().encode


class Tables(Protocol):
    """What is known of the file in memory."""

    @property
    def log(self) -> Log: ...
    @property
    def ledger(self) -> Ledger: ...


def of_key(connection: Connection, stream: StreamState, shard: Shard, key: str, limit: int) -> Sequence[int]:
    """As `Journal.of_key`."""
    tables = [*map(stream.table, stream.segments)]
    queries = [f"SELECT place FROM {table} WHERE key = ?1 AND place >> {OFFSET_BITS} = ?2" for table in tables]
    queries.append(f"SELECT place FROM kept WHERE stream = ?4 AND key = ?1 AND place >> {OFFSET_BITS} = ?2")
    found: list[int] = []
    for query in reversed(queries):
        values = (key, shard.number, limit - len(found), stream.number)
        used = values if "?4" in query else values[:3]
        found += [place & ((1 << OFFSET_BITS) - 1) for (place,) in connection.execute(f"{query} LIMIT ?3", used)]
    return sorted(found)


def asked(ledger: Ledger, erase: Erase, connection: Connection) -> list[CellWrite]:
    """The cells that ask every cursor on the shard, but for those that do so already."""
    keys = _requests(ledger, erase.shard, erase.job)
    there = [key for key in keys if list(connection.execute("SELECT 1 FROM cells WHERE key = ?", (key,)))]
    return [CellWrite(key, erase.request) for key in keys if key not in there]


def erase(connection: Connection, tables: Tables, erase: Erase, now: int) -> Sequence[str]:
    """As `Journal.erase`; the cells are the caller's."""
    stream = tables.log.shard(erase.shard)
    for n, event in _found(connection, stream, erase.shard, erase.offsets):
        _replace(connection, stream, n, decide.erased(event, now, key=event.draft.key))
        place = erase.shard.number << OFFSET_BITS | event.offset
        connection.execute("DELETE FROM bodies WHERE stream = ? AND place = ?", (stream.number, place))
    return _requests(tables.ledger, erase.shard, erase.job)


def forget(connection: Connection, tables: Tables, forget: Forget, now: int) -> None:
    """As `Journal.forget`."""
    stream = tables.log.shard(forget.shard)
    for n, event in _found(connection, stream, forget.shard, forget.offsets):
        _replace(connection, stream, n, decide.erased(event, now, key=None))
    for id, (number, _) in tables.ledger.cursors.items():
        if id.shard == forget.shard:
            _forget_attempts(connection, number, forget.offsets)
    for key in _requests(tables.ledger, forget.shard, forget.job):
        connection.execute("DELETE FROM cells WHERE key = ?", (key,))
    if forget.key is not None:
        connection.execute(
            "DELETE FROM cells WHERE key >= 'newest/' AND key < 'newest0' AND substr(key, -length(?1)) = ?1",
            (decide.newest_suffix(forget.shard, forget.key),),
        )


def _requests(ledger: Ledger, shard: Shard, job: str) -> list[str]:
    return [request_key(id, job) for id in ledger.cursors if id.shard == shard]


def _found(
    connection: Connection, stream: StreamState, shard: Shard, offsets: Sequence[int]
) -> Iterator[tuple[int, Event]]:
    """Events that are there, with their positions."""
    for offset in offsets:
        found = find_event(connection, stream, shard.number, offset)
        if found is not None:
            yield found


def _replace(connection: Connection, stream: StreamState, n: int, event: Event) -> None:
    values: tuple[object, ...] = (event.draft.key, event.draft.id, event.erased_at)
    if stream.holds(n):
        table, where = stream.table(stream.segment_of(n)), "n = ?4"
        values += (n,)
    else:
        table, where = "kept", "place = ?4 AND stream = ?5"
        values += (event.shard.number << OFFSET_BITS | event.offset, stream.number)
    connection.execute(
        f"UPDATE {table} SET key = ?1, source = '', id = ?2, data = ?3, more = NULL WHERE {where}", values
    )


def _forget_attempts(connection: Connection, cursor: int, offsets: Sequence[int]) -> None:
    listed = msgspec.json.encode(list(offsets)).decode()
    query = "SELECT offset, id, record FROM attempts WHERE cursor = ? AND offset IN (SELECT value FROM json_each(?))"
    for offset, id, record in list(connection.execute(query, (cursor, listed))):
        connection.execute(
            "UPDATE attempts SET record = ? WHERE cursor = ? AND offset = ? AND id = ?",
            (_encode(decide.attempt_erased(decode_attempt(record))), cursor, offset, id),
        )
