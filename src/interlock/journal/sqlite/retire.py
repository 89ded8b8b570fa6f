"""What goes: whole segments of a stream, identities of old days, what nobody can ask for any more, subscriptions.

Each runs alone in its transaction and changes memory only when that has committed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import msgspec

from interlock.core.cursor import Cursor, CursorId
from interlock.journal import decide, lifecycle
from interlock.journal.ports import Retention, StreamInfo
from interlock.journal.segments import Segment, held_by, may_retire, over
from interlock.journal.sqlite.connection import Connection
from interlock.journal.sqlite.ledger import Ledger
from interlock.journal.sqlite.log import Log
from interlock.journal.sqlite.stream import COLUMNS, OFFSET_BITS, StreamState
from interlock.journal.store import stream_unknown

Apply = Callable[[], None]
"""To be called when the commit has returned."""

WANTED = """
    (EXISTS (SELECT 1 FROM cursors c JOIN rows r ON r.cursor = c.id
             WHERE c.stream = ?1 AND c.shard = e.place >> 48 AND r.offset = e.place & 0xffffffffffff)
     OR (e.key IS NOT NULL AND EXISTS (
             SELECT 1 FROM cursors c JOIN marks m ON m.cursor = c.id AND m.key = e.key
             WHERE c.stream = ?1 AND c.shard = e.place >> 48
               AND e.place & 0xffffffffffff BETWEEN m.first AND m.last)))
"""
"""Whether a row or a mark of any cursor is about event `e` of stream ?1 (rule 4)."""


def make_stream(connection: Connection, log: Log, made: StreamInfo) -> tuple[StreamInfo, Apply]:
    """As `Journal.make_stream`."""
    known = log.streams.get(made.name)
    if known is not None:
        return known.made, _nothing
    stream = StreamState.new(max(log.by_number, default=0) + 1, made)
    values = (stream.number, made.name, made.shards, made.created_at, stream.checkpoint())
    connection.execute("INSERT INTO streams VALUES (?, ?, ?, ?, ?)", values)
    return made, lambda: log.add(stream)


def retire(
    connection: Connection, log: Log, ledger: Ledger, stream: str, retention: Retention, now: int
) -> tuple[int, Apply]:
    """As `Journal.retire`."""
    there = log.streams.get(stream)
    if there is None:
        raise stream_unknown(stream)
    floors = _floors(ledger, stream)
    after = StreamState.load(there.number, there.made, there.checkpoint())
    events = 0
    while may_retire(after.segments, retention, floors, now):
        events += after.segments[0].events
        _retire_segment(connection, after)
    for day in [day for day in after.id_days if day < decide.first_known_day(now)]:
        connection.execute(f"DROP TABLE {after.ids_table(day)}")
        after.id_days.remove(day)
    after.full = over(after.segments, retention)
    after.held_by = held_by(after.segments, cursors_of(ledger, stream))
    _forget(connection, after, now)
    connection.execute("UPDATE streams SET checkpoint = ? WHERE id = ?", (after.checkpoint(), after.number))

    def apply() -> None:
        there.segments, there.gone, there.id_days = after.segments, after.gone, after.id_days
        there.full, there.held_by = after.full, after.held_by

    return events, apply


def cursors_of(ledger: Ledger, stream: str) -> list[Cursor]:
    """The cursors on a stream."""
    return [held.cursor for id, (_, held) in ledger.cursors.items() if id.shard.stream == stream]


def _floors(ledger: Ledger, stream: str) -> dict[int, int]:
    """The lowest floor of the cursors that read each shard; polls read none."""
    floors: dict[int, int] = {}
    for id, (_, held) in ledger.cursors.items():
        cursor = held.cursor
        if id.shard.stream == stream and cursor.types:
            floors[id.shard.number] = min(cursor.floor, floors.get(id.shard.number, cursor.floor))
    return floors


def _retire_segment(connection: Connection, stream: StreamState) -> None:
    segment = stream.segments.pop(0)
    table = stream.table(segment)
    # `kept` has a copy of each event that is still wanted before its table goes, in the same commit.
    query = f"INSERT OR IGNORE INTO kept SELECT ?1, {COLUMNS} FROM {table} e WHERE {WANTED}"
    connection.execute(query, (stream.number,))
    connection.execute(f"DROP TABLE {table}")
    for shard, last in segment.last.items():
        stream.gone[shard] = last
    _forget_places(connection, stream, segment)


def unclaimed(connection: Connection, names: Collection[str]) -> list[str]:
    """Files that no event in the log or in `kept` refers to."""
    listed = msgspec.json.encode(list(names)).decode()
    query = "SELECT DISTINCT hash FROM bodies WHERE hash IN (SELECT value FROM json_each(?))"
    claimed = {name for (name,) in connection.execute(query, (listed,))}
    return [name for name in names if name not in claimed]


def _forget_places(connection: Connection, stream: StreamState, segment: Segment) -> None:
    for shard, last in segment.last.items():
        for table in ("places", "tallies", "seen"):
            query = f"DELETE FROM {table} WHERE stream = ? AND shard = ? AND offset <= ?"
            connection.execute(query, (stream.number, shard, last))


def _forget(connection: Connection, stream: StreamState, now: int) -> None:
    """Drop what nobody can ask for any more: what was discarded long ago, kept events, attempts, old cells."""
    before = decide.discarded_before(now)
    for shard, gone in enumerate(stream.gone):
        connection.execute(
            "DELETE FROM rows WHERE cursor IN (SELECT id FROM cursors WHERE stream = ? AND shard = ?)"
            " AND offset <= ? AND state = 'discarded' AND died_at < ?",
            (stream.number, shard, gone, before),
        )
    query = f"DELETE FROM kept AS e WHERE e.stream = ?1 AND NOT {WANTED}"
    connection.execute(query, (stream.number,))
    for shard, gone in enumerate(stream.gone):
        connection.execute(
            "DELETE FROM bodies AS b WHERE stream = ?1 AND place BETWEEN ?2 AND ?3 AND NOT EXISTS"
            " (SELECT 1 FROM kept k WHERE k.stream = ?1 AND k.place = b.place)",
            (stream.number, shard << OFFSET_BITS, shard << OFFSET_BITS | gone),
        )
        mine = "cursor IN (SELECT id FROM cursors WHERE stream = ?1 AND shard = ?2)"
        connection.execute(f"DELETE FROM successes WHERE {mine} AND last <= ?3", (stream.number, shard, gone))
        connection.execute(
            f"DELETE FROM attempts WHERE {mine} AND offset <= ?3 AND NOT EXISTS"
            " (SELECT 1 FROM rows r WHERE r.cursor = attempts.cursor AND r.offset = attempts.offset)",
            (stream.number, shard, gone),
        )
    connection.execute("DELETE FROM cells WHERE expires_at <= ?", (decide.cell_forgotten_before(now),))


def rename_subscription(connection: Connection, ledger: Ledger, old: str, new: str, now: int) -> tuple[int, Apply]:
    """As `Lifecycle.rename_subscription`."""
    mine = _not_held(ledger, old, now)
    if any(id.subscription == new for id in ledger.cursors):
        raise lifecycle.taken(new)
    connection.execute("UPDATE cursors SET subscription = ?, worker = NULL WHERE subscription = ?", (new, old))

    def apply() -> None:
        for id in mine:
            number, held = ledger.cursors.pop(id)
            renamed = CursorId(new, id.shard)
            cursor = msgspec.structs.replace(held.cursor, id=renamed)
            ledger.cursors[renamed] = number, msgspec.structs.replace(held, cursor=cursor, worker=None)

    return len(mine), apply


def retire_subscription(connection: Connection, ledger: Ledger, name: str, now: int) -> tuple[int, Apply]:
    """As `Lifecycle.retire_subscription`."""
    mine = _not_held(ledger, name, now)
    for id in mine:
        number = ledger.cursors[id][0]
        for table in ("rows", "marks", "attempts", "successes"):
            connection.execute(f"DELETE FROM {table} WHERE cursor = ?", (number,))
        connection.execute("DELETE FROM cursors WHERE id = ?", (number,))

    def apply() -> None:
        for id in mine:
            del ledger.cursors[id]

    return len(mine), apply


def _not_held(ledger: Ledger, name: str, now: int) -> list[CursorId]:
    mine = [id for id in ledger.cursors if id.subscription == name]
    if not mine:
        raise lifecycle.unknown(name)
    for id in mine:
        worker = ledger.cursors[id][1].worker
        lease = None if worker is None else ledger.leases.get(worker)
        if worker is not None and lease is not None and lease.valid(now):
            raise lifecycle.held(name, worker)
    return mine


def _nothing() -> None:
    return None
