"""Reading the log by offsets: through the sparse index, within one segment's table at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from interlock.core.event import Event, Shard
from interlock.core.limits import READ_SCAN_OFFSETS_MAX
from interlock.journal.ports import Batch, Retired
from interlock.journal.sqlite.connection import Connection
from interlock.journal.sqlite.stream import COLUMNS, OFFSET_BITS, OFFSET_MASK, PLACE_STRIDE, StreamState

_EVENT_COLUMNS = ", ".join(f"e.{name}" for name in COLUMNS.split(", "))


def read_events(
    connection: Connection, stream: StreamState, shard: Shard, after: int, limit: int, types: frozenset[str] | None
) -> Batch:
    """As `Journal.read`."""
    if after < stream.gone[shard.number]:
        raise Retired(shard, after + 1)
    upto = min(stream.heads[shard.number], after + max(limit, READ_SCAN_OFFSETS_MAX))
    found: list[Event] = []
    for event in _between(connection, stream, shard.number, after + 1, upto, limit, types):
        found.append(event)
        if len(found) == limit:
            return Batch(found, event.offset)
    return Batch(found, max(upto, after))


def fetch_events(connection: Connection, stream: StreamState, shard: Shard, offsets: Sequence[int]) -> Sequence[Event]:
    """As `Journal.fetch`."""
    found: list[Event] = []
    for offset in offsets:
        if stream.gone[shard.number] < offset <= stream.heads[shard.number]:
            event = next(_between(connection, stream, shard.number, offset, offset, 1, None), None)
        else:
            query = f"SELECT {COLUMNS} FROM kept WHERE stream = ? AND place = ?"  # noqa: S608  (ours)
            place = shard.number << OFFSET_BITS | offset
            event = next((stream.event(row) for row in connection.execute(query, (stream.number, place))), None)
        if event is None:
            raise Retired(shard, offset)
        found.append(event)
    return found


def kept_events(connection: Connection, stream: StreamState, shard: Shard, after: int, limit: int) -> Batch:
    """As `Journal.kept`."""
    low, high = shard.number << OFFSET_BITS | after, shard.number << OFFSET_BITS | OFFSET_MASK
    query = f"SELECT {COLUMNS} FROM kept WHERE stream = ? AND place > ? AND place <= ? ORDER BY place LIMIT ?"  # noqa: S608
    found = [stream.event(row) for row in connection.execute(query, (stream.number, low, high, limit + 1))]
    if len(found) > limit:
        return Batch(found[:limit], found[limit - 1].offset)
    return Batch(found, max(stream.gone[shard.number], after))


def _between(
    connection: Connection,
    stream: StreamState,
    shard: int,
    first: int,
    last: int,
    limit: int,
    types: frozenset[str] | None,
) -> Iterator[Event]:
    """Events of a shard with offsets from `first` to `last`, in order."""
    wanted = "" if types is None else f"AND e.type IN ({','.join('?' * len(types))})"
    for segment in stream.segments:
        if segment.last.get(shard, 0) < first or not first <= last:
            continue
        # The entry at or below `first`, and all later ones of this segment, each with the stretch of it that it covers.
        query = f"""
            SELECT {_EVENT_COLUMNS} FROM places p
            CROSS JOIN {stream.table(segment)} e ON e.n BETWEEN p.n AND p.n + {PLACE_STRIDE - 1}
            WHERE p.stream = ?1 AND p.shard = ?2 AND p.offset <= ?4 AND p.offset >= ifnull((
                SELECT max(offset) FROM places WHERE stream = ?1 AND shard = ?2 AND offset <= ?3), 0)
            AND e.place BETWEEN ?2 << {OFFSET_BITS} | ?3 AND ?2 << {OFFSET_BITS} | ?4 {wanted}
            ORDER BY p.offset, e.n LIMIT ?5"""  # noqa: S608  (ours)
        values = (stream.number, shard, first, min(last, segment.last[shard]), limit, *(types or ()))
        for row in connection.execute(query, values):
            event = stream.event(row)
            yield event
            limit -= 1
        if not limit or segment.last[shard] >= last:
            return
        first = segment.last[shard] + 1
