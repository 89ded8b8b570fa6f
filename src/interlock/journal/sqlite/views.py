"""`Views` on the SQLite file: its own snapshot on a reading connection, never the writer's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

from interlock.core.cursor import CursorId, Mark, Row, RowState
from interlock.core.event import Claim, Event, Shard
from interlock.core.ids import event_id_range, parse_event_id, stream_hash
from interlock.core.limits import US_PER_MS
from interlock.core.ports import Clock, Offload
from interlock.journal.bodies import Bodies
from interlock.journal.decide import Held, WorkerLease
from interlock.journal.ports import StreamInfo
from interlock.journal.segments import held_by
from interlock.journal.sqlite.backend import SqliteBackend
from interlock.journal.sqlite.connection import Connection
from interlock.journal.sqlite.ledger import (
    CURSOR_COLUMNS,
    ROW_FIELDS,
    decode_attempt,
    held_from,
    read_marks,
    read_rows,
    read_successes,
)
from interlock.journal.sqlite.log import Log
from interlock.journal.sqlite.reads import find_event, read_counts
from interlock.journal.sqlite.statements import ROWS_MAX
from interlock.journal.sqlite.stream import COLUMNS, OFFSET_BITS, OFFSET_MASK, StreamState
from interlock.journal.views import (
    LOST_NAMED_MAX,
    Accounts,
    BodiesLine,
    Conservation,
    CursorLine,
    DeadGroup,
    EventsQuery,
    Passage,
    PassageState,
    RowLine,
    RowsQuery,
    Seen,
    StreamLine,
    conserved,
    lag_of,
    passage_state,
)

T = TypeVar("T")

ROW_COLUMNS = ", ".join("x''" if name == "memo" else f"r.{name}" for name in ROW_FIELDS)
Key = tuple[int, str, int]
"""When, which stream, where in it: the order of events over all streams."""


class Snapshot(NamedTuple):
    """One reading connection and the streams as this snapshot has them."""

    connection: Connection
    log: Log
    now: int


class SqliteViews:
    """Runs where the store's reads run."""

    def __init__(self, backend: SqliteBackend, clock: Clock, offload: Offload) -> None:
        self._backend = backend
        self._clock = clock
        self._offload = offload

    async def events(self, query: EventsQuery) -> Sequence[Event]:
        return await self._ask(partial(_events, query))

    async def events_by_prefix(self, prefix: str, limit: int = 10) -> Sequence[Event]:
        return await self._ask(partial(_by_prefix, prefix, limit))

    async def timeline(self, event: Event) -> Sequence[Passage]:
        return await self._ask(partial(_timeline, event))

    async def standing(self, events: Sequence[Event]) -> Sequence[Mapping[str, PassageState]]:
        return await self._ask(partial(_standing, events))

    async def seen(self, event: Event) -> Seen:
        return await self._ask(partial(_seen, event))

    async def rows(self, query: RowsQuery) -> Sequence[RowLine]:
        return await self._ask(partial(_rows, query))

    async def marks(self, cursor: CursorId) -> Sequence[Mark]:
        return await self._ask(partial(_marks, cursor))

    async def dead_groups(self) -> Sequence[DeadGroup]:
        return await self._ask(_dead_groups)

    async def cursors(self) -> Sequence[CursorLine]:
        return await self._ask(_cursors)

    async def streams(self) -> Sequence[StreamLine]:
        return await self._ask(_streams)

    async def bodies(self) -> BodiesLine:
        return await self._ask(partial(_bodies, self._backend.bodies))

    async def conservation(self, cursor: CursorId) -> Conservation | None:
        return await self._ask(partial(conservation_of, cursor))

    async def _ask(self, ask: Callable[[Snapshot], T]) -> T:
        def reading() -> T:
            return self._backend.snapshot(lambda log, connection: ask(Snapshot(connection, log, self._clock.now())))

        return await self._offload.run(reading)


def _all(log: Log) -> list[StreamState]:
    # A copy: the writer may add one meanwhile.
    return list(log.streams.values())


def _streams_of(log: Log, name: str | None) -> list[StreamState]:
    if name is None:
        return _all(log)
    stream = log.streams.get(name)
    return [stream] if stream else []


def _events(query: EventsQuery, snapshot: Snapshot) -> Sequence[Event]:
    before = _key_of(snapshot, query.before) if query.before else None
    after = _key_of(snapshot, query.after) if query.after else None
    found: list[tuple[Key, Event]] = []
    for stream in _streams_of(snapshot.log, query.stream):
        first, last = 1, stream.position
        if query.since is not None:
            first = _first_at(snapshot.connection, stream, query.since)
        if after is not None:
            first = max(first, _first_above(snapshot.connection, stream, after))
        if before is not None:
            last = min(last, _first_above(snapshot.connection, stream, before, strictly=False) - 1)
        newest_first = not query.from_oldest
        for n, event in _filtered(snapshot.connection, stream, query, (first, last), newest_first=newest_first):
            found.append(((event.accepted_at, stream.made.name, n), event))
    found.sort(key=lambda entry: entry[0], reverse=not query.from_oldest)
    chosen = [event for _, event in found[: query.limit]]
    return chosen[::-1] if query.from_oldest else chosen


def _filtered(
    connection: Connection, stream: StreamState, query: EventsQuery, bounds: tuple[int, int], *, newest_first: bool
) -> Iterator[tuple[int, Event]]:
    """At most `query.limit` events of a stream at positions within bounds, with their positions."""
    where = ""
    values: list[str] = []
    for column, value in (("type", query.type), ("key", query.key)):
        if value is not None:
            where += f" AND {column} = ?"
            values.append(value)
    left = query.limit
    order = "DESC" if newest_first else "ASC"
    for segment in reversed(stream.segments) if newest_first else stream.segments:
        sql = (
            f"SELECT {COLUMNS} FROM {stream.table(segment)} WHERE n BETWEEN ? AND ? {where} ORDER BY n {order} LIMIT ?"
        )
        for row in connection.execute(sql, (*bounds, *values, left)):
            left -= 1
            yield row[0], stream.event(row)
        if not left:
            return


def _first_at(connection: Connection, stream: StreamState, instant: int) -> int:
    """The first position that was accepted at or after an instant: by halving, for positions are in order of time."""
    if not stream.segments:
        return stream.position + 1
    low, high = stream.segments[0].first, stream.position + 1
    while low < high:
        middle = (low + high) // 2
        table = stream.table(stream.segment_of(middle))
        (at,) = next(iter(connection.execute(f"SELECT at FROM {table} WHERE n = ?", (middle,))))
        low, high = (middle + 1, high) if at < instant else (low, middle)
    return low


def _first_above(connection: Connection, stream: StreamState, key: Key, *, strictly: bool = True) -> int:
    """The first position of a stream that comes after a key in the order over all streams (or is it: not strictly)."""
    at, name, n = key
    if name == stream.made.name:
        return n + strictly
    return _first_at(connection, stream, at + (stream.made.name < name))


def _key_of(snapshot: Snapshot, id: str) -> Key:
    """The place of an event by its id; of one that is gone, about when it was."""
    place = parse_event_id(id)
    for stream in _all(snapshot.log):
        if stream_hash(stream.made.name) == place.stream_hash and place.shard < stream.made.shards:
            found = find_event(snapshot.connection, stream, place.shard, place.offset)
            if found is not None:
                return found[1].accepted_at, stream.made.name, found[0]
    return place.accepted_ms * US_PER_MS, "", 0


def _by_prefix(prefix: str, limit: int, snapshot: Snapshot) -> Sequence[Event]:
    low, high = event_id_range(prefix)
    wanted = "evt_" + prefix.removeprefix("evt_")
    found: list[tuple[Key, Event]] = []
    for stream in _all(snapshot.log):
        first = _first_at(snapshot.connection, stream, low * US_PER_MS)
        last = _first_at(snapshot.connection, stream, (high + 1) * US_PER_MS) - 1
        mine = 0
        query = EventsQuery(limit=last - first + 1)
        for n, event in _filtered(snapshot.connection, stream, query, (first, last), newest_first=False):
            if event.id.startswith(wanted):
                found.append(((event.accepted_at, stream.made.name, n), event))
                mine += 1
                if mine == limit:
                    break
    found.sort(key=lambda entry: entry[0])
    return [event for _, event in found[:limit]]


def _held(snapshot: Snapshot, where: str = "", values: Sequence[Any] = ()) -> list[tuple[int, Held]]:
    """Cursors with their numbers, by name and shard; `where` begins with AND."""
    query = f"SELECT {CURSOR_COLUMNS} FROM cursors WHERE 1 {where}"
    found = [(row[0], held_from(row, snapshot.log)) for row in snapshot.connection.execute(query, values)]
    return sorted(found, key=lambda entry: entry[1].cursor.id)


def _timeline(event: Event, snapshot: Snapshot) -> Sequence[Passage]:
    stream = snapshot.log.shard(event.shard)
    passages: list[Passage] = []
    for number, held in _held(snapshot, "AND stream = ? AND shard = ?", (stream.number, event.shard.number)):
        connection, offset = snapshot.connection, event.offset
        row = next(iter(read_rows(connection, number, "AND offset = ?", (offset,), memo=False)), None)
        marks = {mark.key: mark for mark in read_marks(connection, number)} if event.draft.key is not None else {}
        query = "SELECT record FROM attempts WHERE cursor = ? AND offset = ? ORDER BY started_at, id"
        attempts = [decode_attempt(record) for (record,) in connection.execute(query, (number, offset))]
        successes = read_successes(connection, number, offset, offset)
        state = passage_state(held.cursor, event, row, marks.get(event.draft.key or ""))
        passages.append(Passage(held.cursor.id, state, row, attempts, sorted(successes)))
    return passages


def _standing(events: Sequence[Event], snapshot: Snapshot) -> Sequence[Mapping[str, PassageState]]:
    connection = snapshot.connection
    found: dict[tuple[Shard, int], dict[str, PassageState]] = {}
    for shard in sorted({event.shard for event in events}):
        mine = [event for event in events if event.shard == shard]
        stream = snapshot.log.shard(shard)
        for number, held in _held(snapshot, "AND stream = ? AND shard = ?", (stream.number, shard.number)):
            rows = {row.offset: row for row in _rows_at(connection, number, [event.offset for event in mine])}
            marks = {mark.key: mark for mark in read_marks(connection, number)}
            for event in mine:
                row, mark = rows.get(event.offset), marks.get(event.draft.key or "")
                state = passage_state(held.cursor, event, row, mark if event.draft.key is not None else None)
                found.setdefault((shard, event.offset), {})[held.cursor.id.subscription] = state
    return [found.get((event.shard, event.offset), {}) for event in events]


def _rows_at(connection: Connection, cursor: int, offsets: Sequence[int]) -> Iterator[Row]:
    for first in range(0, len(offsets), ROWS_MAX):
        some = offsets[first : first + ROWS_MAX]
        yield from read_rows(connection, cursor, f"AND offset IN ({','.join('?' * len(some))})", some, memo=False)


def _seen(event: Event, snapshot: Snapshot) -> Seen:
    query = "SELECT again, conflicts, last_at FROM seen WHERE stream = ? AND shard = ? AND offset = ?"
    place = (snapshot.log.shard(event.shard).number, event.shard.number, event.offset)
    return next((Seen(*row) for row in snapshot.connection.execute(query, place)), Seen())


def _rows(query: RowsQuery, snapshot: Snapshot) -> Sequence[RowLine]:
    where = "1"
    values: list[Any] = []
    if query.subscription is not None:
        where += " AND c.subscription = ?"
        values.append(query.subscription)
    if query.states:
        where += f" AND r.state IN ({','.join('?' * len(query.states))})"
        values += sorted(query.states)
    if query.fingerprint is not None:
        where += " AND r.fingerprint = ?"
        values.append(query.fingerprint)
    if query.after is not None:
        (subscription, shard), offset = query.after
        where += " AND (c.subscription, s.name, c.shard, r.offset) > (?, ?, ?, ?)"
        values += [subscription, *shard, offset]
    sql = f"""
        SELECT c.subscription, s.name, c.shard, {ROW_COLUMNS}
        FROM rows r JOIN cursors c ON c.id = r.cursor JOIN streams s ON s.id = c.stream
        WHERE {where} ORDER BY c.subscription, s.name, c.shard, r.offset LIMIT ?"""
    found = snapshot.connection.execute(sql, (*values, query.limit))
    return [RowLine(_cursor_id(snapshot.log, *row[:3]), Row(*row[3:])) for row in found]


def _cursor_id(log: Log, subscription: str, stream: str, shard: int) -> CursorId:
    return CursorId(subscription, log.streams[stream].shards[shard])


def _marks(id: CursorId, snapshot: Snapshot) -> Sequence[Mark]:
    stream = snapshot.log.streams.get(id.shard.stream)
    where = "AND subscription = ? AND stream = ? AND shard = ?"
    held = [] if stream is None else _held(snapshot, where, (id.subscription, stream.number, id.shard.number))
    return [mark for number, _ in held for mark in read_marks(snapshot.connection, number)]


def _dead_groups(snapshot: Snapshot) -> Sequence[DeadGroup]:
    query = """
        SELECT fingerprint, subscription, count, first_at, last_at, stream, shard, offset, error, status, system, reason
        FROM (SELECT ifnull(r.fingerprint, '') AS fingerprint, c.subscription, c.stream, c.shard, r.offset, r.error,
                r.status, r.system, r.reason, count(*) OVER same AS count,
                min(ifnull(r.died_at, 0)) OVER same AS first_at,
                max(ifnull(r.died_at, 0)) OVER same AS last_at,
                row_number() OVER (PARTITION BY ifnull(r.fingerprint, ''), c.subscription
                    ORDER BY ifnull(r.died_at, 0) DESC, s.name DESC, c.shard DESC, r.offset DESC) AS place
              FROM rows r JOIN cursors c ON c.id = r.cursor JOIN streams s ON s.id = c.stream WHERE r.state = 'dead'
              WINDOW same AS (PARTITION BY ifnull(r.fingerprint, ''), c.subscription))
        WHERE place = 1 ORDER BY last_at DESC, fingerprint, subscription"""
    groups: list[DeadGroup] = []
    for row in snapshot.connection.execute(query):
        stream = snapshot.log.by_number[row[5]]
        found = find_event(snapshot.connection, stream, row[6], row[7])
        fingerprint, subscription, count, first_at, last_at = row[:5]
        sample = None if found is None else found[1]
        groups.append(DeadGroup(fingerprint, subscription, count, first_at, last_at, sample, *row[8:]))
    return groups


def _cursors(snapshot: Snapshot) -> Sequence[CursorLine]:
    connection = snapshot.connection
    leases = {
        worker: WorkerLease(expires_at, bool(released))
        for worker, expires_at, released in connection.execute("SELECT worker, expires_at, released FROM leases")
    }
    states: dict[int, dict[RowState, int]] = {}
    for number, state, count in connection.execute("SELECT cursor, state, count(*) FROM rows GROUP BY cursor, state"):
        states.setdefault(number, {})[state] = count
    query = "SELECT cursor, count(*), sum(count) FROM marks GROUP BY cursor"
    behind = {number: (marks, count) for number, marks, count in connection.execute(query)}
    lines: list[CursorLine] = []
    for number, held in _held(snapshot):
        cursor = held.cursor
        stream, shard = snapshot.log.shard(cursor.id.shard), cursor.id.shard.number
        lease = leases.get(held.worker) if held.worker is not None else None
        first = find_event(connection, stream, shard, max(cursor.floor, stream.gone[shard]) + 1)
        marks, count = behind.get(number, (0, 0))
        lines.append(
            CursorLine(
                cursor,
                held.worker,
                lease.expires_at if lease and lease.valid(snapshot.now) else 0,
                lag_of(cursor, _counts_above(connection, stream, shard, cursor.floor)),
                marks,
                count,
                states.get(number, {}),
                None if first is None else first[1].accepted_at,
            )
        )
    return lines


def _counts_above(connection: Connection, stream: StreamState, shard: int, floor: int) -> Mapping[str, int]:
    """Events by type above a floor: those up to the next tally are read, the others follow from the counts."""
    if floor >= stream.heads[shard]:
        return {}
    return read_counts(connection, stream, shard, max(floor, stream.gone[shard]))


def _streams(snapshot: Snapshot) -> Sequence[StreamLine]:
    lines: list[StreamLine] = []
    for stream in sorted(_all(snapshot.log), key=lambda stream: stream.made.name):
        counts: Counter[str] = Counter()
        for each in stream.counts:
            counts.update(dict(each))
        oldest_at = None
        cursors = [held.cursor for _, held in _held(snapshot, "AND stream = ?", (stream.number,))]
        if stream.segments:
            query = f"SELECT at FROM {stream.table(stream.segments[0])} ORDER BY n LIMIT 1"
            oldest_at = next((at for (at,) in snapshot.connection.execute(query)), None)
        lines.append(
            StreamLine(
                StreamInfo(*stream.made),
                [(gone + 1, head) for gone, head in zip(stream.gone, stream.heads, strict=True)],
                dict(sorted(counts.items())),
                sum(stream.heads) - sum(stream.gone),
                sum(segment.size for segment in stream.segments),
                len(stream.segments),
                oldest_at,
                stream.full,
                held_by(stream.segments, cursors),
            )
        )
    return lines


def _bodies(bodies: Bodies, snapshot: Snapshot) -> BodiesLine:
    query = "SELECT hash, size, stream, place FROM bodies GROUP BY hash"
    claims = {Claim(*row[:2]): row[2:] for row in snapshot.connection.execute(query)}
    lost = bodies.lost(claims)
    events: list[str] = []
    for claim in lost[:LOST_NAMED_MAX]:
        number, place = claims[claim]
        stream = snapshot.log.by_number[number]
        found = find_event(snapshot.connection, stream, place >> OFFSET_BITS, place & OFFSET_MASK)
        events += [] if found is None else [found[1].id]
    return BodiesLine(len(claims), sum(claim.size for claim in claims), len(lost), sorted(events))


def conservation_of(id: CursorId, snapshot: Snapshot) -> Conservation | None:
    """As `Views.conservation`, on any connection that reads."""
    stream = snapshot.log.streams.get(id.shard.stream)
    if stream is None:
        return None
    where = "AND subscription = ? AND stream = ? AND shard = ?"
    mine = _held(snapshot, where, (id.subscription, stream.number, id.shard.number))
    if not mine:
        return None
    number, held = mine[0]
    shard = id.shard.number
    low, high = shard << OFFSET_BITS, shard << OFFSET_BITS | OFFSET_MASK
    oldest = newest = stream.gone[shard]
    events = 0
    for segment in stream.segments:
        # Bounds from this snapshot too: memory may already know of more.
        found = "count(DISTINCT place), min(place), max(place)"
        query = f"SELECT {found} FROM {stream.table(segment)} WHERE place BETWEEN ? AND ?"
        count, first, last = next(iter(snapshot.connection.execute(query, (low, high))))
        if count:
            oldest = (first & OFFSET_MASK) - 1 if not events else oldest
            newest = last & OFFSET_MASK
            events += count
    return conserved(
        Accounts(
            held.cursor,
            list(read_rows(snapshot.connection, number, "", (), memo=False)),
            list(read_marks(snapshot.connection, number)),
            (min(oldest, stream.gone[shard]) + 1, newest),
            events,
        )
    )
