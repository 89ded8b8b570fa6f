"""Reading the log by offsets: through the sparse index, within one segment's table at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from interlock.core.event import Event, Shard
from interlock.core.limits import READ_BYTES_MAX, READ_SCAN_OFFSETS_MAX
from interlock.journal.ports import Batch, Retired
from interlock.journal.sqlite.connection import Connection
from interlock.journal.sqlite.stream import COLUMNS, OFFSET_BITS, OFFSET_MASK, PLACE_STRIDE, StreamState, decode_tally

_EVENT_COLUMNS = ", ".join(f"e.{name}" for name in COLUMNS.split(", "))


def read_events(
    connection: Connection, stream: StreamState, shard: Shard, after: int, limit: int, types: frozenset[str] | None
) -> Batch:
    """As `Journal.read`."""
    if after < stream.gone[shard.number]:
        raise Retired(shard, after + 1)
    upto = min(stream.heads[shard.number], after + max(limit, READ_SCAN_OFFSETS_MAX))
    found: list[Event] = []
    size = 0
    for row in _between(connection, stream, Stretch(shard.number, after + 1, upto), limit, types):
        event = stream.event(row)
        found.append(event)
        size += len(event.draft.data)
        if len(found) == limit or size > READ_BYTES_MAX:
            return Batch(found, event.offset)
    return Batch(found, max(upto, after))


def fetch_events(connection: Connection, stream: StreamState, shard: Shard, offsets: Sequence[int]) -> Sequence[Event]:
    """As `Journal.fetch`."""
    found: list[Event] = []
    for offset in offsets:
        event = find_event(connection, stream, shard.number, offset)
        if event is None:
            raise Retired(shard, offset)
        found.append(event[1])
    return found


def find_event(connection: Connection, stream: StreamState, shard: int, offset: int) -> tuple[int, Event] | None:
    """The event at an offset, from the log or from `kept`, and its position in the stream."""
    if stream.gone[shard] < offset <= stream.heads[shard]:
        found = _between(connection, stream, Stretch(shard, offset, offset), 1, None)
    else:
        query = f"SELECT {COLUMNS} FROM kept WHERE stream = ? AND place = ?"
        found = connection.execute(query, (stream.number, shard << OFFSET_BITS | offset))
    return next(((row[0], stream.event(row)) for row in found), None)


def read_counts(connection: Connection, stream: StreamState, shard: int, after: int) -> dict[str, int]:
    """Events by type with an offset above `after`, which is not retired.

    Those up to the next tally are read, the others follow from the counts. While others append it may be off by a few.
    """
    upto, total = stream.heads[shard], Counter(dict(stream.counts[shard]))
    query = "SELECT offset, counts FROM tallies WHERE stream = ? AND shard = ? AND offset BETWEEN ? AND ? LIMIT 1"
    tally = dict(total)
    for offset, counts in connection.execute(query, (stream.number, shard, after, upto)):
        upto, tally = offset, decode_tally(counts)
    total.subtract(tally)
    for _, type in _between(connection, stream, Stretch(shard, after + 1, upto), -1, None, "e.n, e.type"):
        total[type] += 1
    return {type: count for type, count in total.items() if count > 0}


def kept_events(connection: Connection, stream: StreamState, shard: Shard, after: int, limit: int) -> Batch:
    """As `Journal.kept`."""
    low, high = shard.number << OFFSET_BITS | after, shard.number << OFFSET_BITS | OFFSET_MASK
    query = f"SELECT {COLUMNS} FROM kept WHERE stream = ? AND place > ? AND place <= ? ORDER BY place LIMIT ?"
    found = [stream.event(row) for row in connection.execute(query, (stream.number, low, high, limit + 1))]
    if len(found) > limit:
        return Batch(found[:limit], found[limit - 1].offset)
    return Batch(found, max(stream.gone[shard.number], after))


class Stretch(NamedTuple):
    """Offsets of a shard from `first` to `last`."""

    shard: int
    first: int
    last: int


def _between(
    connection: Connection,
    stream: StreamState,
    stretch: Stretch,
    limit: int,
    types: frozenset[str] | None,
    columns: str = _EVENT_COLUMNS,
) -> Iterator[tuple[Any, ...]]:
    """Rows of the events of a stretch, in order, at most `limit` (-1: all)."""
    shard, first, last = stretch
    wanted = "" if types is None else f"AND e.type IN ({','.join(f'?{6 + each}' for each in range(len(types)))})"
    for segment in stream.segments:
        end = min(last, segment.last.get(shard, 0))
        if end < first:
            continue
        # The entry at or below `first` and all later ones of this segment, each with the positions that it covers.
        query = f"""
            SELECT {columns} FROM places p
            CROSS JOIN {stream.table(segment)} e ON e.n BETWEEN p.n AND p.n + {PLACE_STRIDE - 1}
            WHERE p.stream = ?1 AND p.shard = ?2 AND p.offset <= ?4 AND p.offset >= ifnull((
                SELECT max(offset) FROM places WHERE stream = ?1 AND shard = ?2 AND offset <= ?3), 0)
            AND e.place BETWEEN ?2 << {OFFSET_BITS} | ?3 AND ?2 << {OFFSET_BITS} | ?4 {wanted}
            ORDER BY p.offset, e.n LIMIT ?5"""
        for row in connection.execute(query, (stream.number, shard, first, end, limit, *(types or ()))):
            yield row
            limit -= 1
        if not limit or end == last:
            return
        first = end + 1
