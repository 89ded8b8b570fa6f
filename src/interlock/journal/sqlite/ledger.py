"""The ledger of the SQLite store: who holds which cursor, and what one commit changes in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from interlock.core.cursor import Attempt, Counters, Cursor, CursorId, Mark, Past, Row, Success, TypesFrom
from interlock.core.limits import GAP_EVENTS_MAX, GAP_KEYS_MAX, WINDOW_OFFSETS
from interlock.journal import decide
from interlock.journal.decide import Held, WorkerLease
from interlock.journal.ports import Assign, Lease, LeaseLost, Opened, Settlement
from interlock.journal.sqlite.connection import Connection
from interlock.journal.sqlite.log import Log
from interlock.journal.sqlite.statements import ROWS_MAX, delete_rows, write_rows
from interlock.journal.sqlite.stream import OFFSET_BITS

ROW_FIELDS: Final = Row.__struct_fields__
ROW_UPSERT: Final = "ON CONFLICT (cursor, offset) DO UPDATE SET " + ", ".join(
    # The memo is written when an attempt ends; a row that is put without one keeps it.
    "memo = iif(length(excluded.memo) > 0, excluded.memo, rows.memo)" if name == "memo" else f"{name} = excluded.{name}"
    for name in ROW_FIELDS
    if name != "offset"
)
CURSOR_FIELDS: Final = (
    *("id", "subscription", "stream", "shard", "start", "floor", "above", "epoch", "number", "delivered", "filtered"),
    *("discarded", "dead", "types", "token", "unclean", "effects", "worker", "former", "former_until", "late"),
)
CURSOR_COLUMNS: Final = ", ".join(CURSOR_FIELDS)
_CURSOR_CHANGES: Final = ", ".join([f"{name} = excluded.{name}" for name in CURSOR_FIELDS[5:]])
CURSOR_UPSERT: Final = f"ON CONFLICT (id) DO UPDATE SET {_CURSOR_CHANGES}"
LIVE_STATES: Final = "('running', 'due', 'held')"
_MISSING: Final = "told IS NULL AND key IS NOT NULL AND \"trigger\" <> 'replay' AND state IN ('dead', 'discarded')"
"""`Row.is_missing`, of an event with a key, as the index has it."""

_encode: Final = msgspec.msgpack.Encoder().encode
_types_text: Final = msgspec.json.Encoder(order="deterministic").encode
_types_from: Final = msgspec.json.Decoder(tuple[TypesFrom, ...]).decode
_effects_from: Final = msgspec.json.Decoder(frozenset[str]).decode
decode_attempt = msgspec.msgpack.Decoder(Attempt).decode
decode_successes = msgspec.msgpack.Decoder(tuple[Success, ...]).decode


class Ledger:
    """Cursors with their numbers in the file, and leases. It changes only when a commit has returned.

    `here`: workers of this process. Every other one is dead, because the file's lock is ours.
    """

    def __init__(self) -> None:
        self.cursors: dict[CursorId, tuple[int, Held]] = {}
        self.leases: dict[str, WorkerLease] = {}
        self.here: set[str] = set()
        self.last_number = 0

    def load(self, connection: Connection, log: Log) -> None:
        for row in connection.execute(f"SELECT {CURSOR_COLUMNS} FROM cursors"):
            held = held_from(row, log)
            self.cursors[held.cursor.id] = row[0], held
            self.last_number = max(self.last_number, row[0])
        for worker, expires_at, released in connection.execute("SELECT worker, expires_at, released FROM leases"):
            self.leases[worker] = WorkerLease(expires_at, bool(released))


class LedgerTx:
    """What one commit changes: noted first, then written with one statement a table."""

    def __init__(self, ledger: Ledger, log: Log, connection: Connection, now: int) -> None:
        self._ledger = ledger
        self._log = log
        self._connection = connection
        self._now = now
        self._cursors: dict[CursorId, tuple[int, Held]] = {}
        self._leases: dict[str, WorkerLease] = {}
        self._here: set[str] = set()
        self._last_number = ledger.last_number
        self._unwritten: dict[CursorId, None] = {}
        self._rows: dict[tuple[int, int], Row] = {}
        self._cleared: dict[tuple[int, int], None] = {}
        self._marks: dict[tuple[int, str], Mark | None] = {}
        self._attempts: list[Any] = []
        self._successes: list[Any] = []

    def held(self, id: CursorId) -> tuple[int, Held] | None:
        return self._cursors.get(id) or self._ledger.cursors.get(id)

    def _lease(self, worker: str) -> WorkerLease | None:
        return self._leases.get(worker) or self._ledger.leases.get(worker)

    def refusal(self, settlement: Settlement) -> LeaseLost | None:
        known = self.held(settlement.cursor)
        lease = self._lease(settlement.worker)
        lost = decide.refusal(settlement, known[1] if known else None, lease, self._now)
        return lost or self._gone(settlement)

    def _gone(self, settlement: Settlement) -> LeaseLost | None:
        shard = settlement.cursor.shard
        stream = self._log.shard(shard)
        for row in settlement.put:
            if row.offset <= stream.gone[shard.number]:
                place = shard.number << OFFSET_BITS | row.offset
                query = "SELECT 1 FROM kept WHERE stream = ? AND place = ?"
                if not list(self._connection.execute(query, (stream.number, place))):
                    return decide.event_gone(row.offset)
        return None

    def settle(self, settlement: Settlement) -> None:
        """Note a settlement that is not refused."""
        known = self.held(settlement.cursor)
        assert known is not None, "a settlement of an unknown cursor is refused"
        number, held = known
        self._put(settlement.cursor, number, decide.settled(held, settlement))
        for offset in settlement.clear:
            self._rows.pop((number, offset), None)
            self._cleared[number, offset] = None
        for row in settlement.put:
            before = self._rows.get((number, row.offset))
            if before is not None and not row.memo:
                row = msgspec.structs.replace(row, memo=before.memo)
            self._rows[number, row.offset] = row
        for mark in settlement.marks:
            self._marks[number, mark.key] = mark if mark.count else None
        for successes in _near(settlement.successes):
            last = max(success.offset for success in successes)
            record = _encode(successes)
            self._successes += (number, last, settlement.epoch, settlement.number, self._now, record)
        for attempt in settlement.attempts:
            self._attempts += (number, attempt.offset, attempt.started_at, attempt.id, _encode(attempt))

    def _put(self, id: CursorId, number: int, held: Held) -> None:
        self._cursors[id] = number, held
        self._unwritten[id] = None

    def renew(self, worker: str, ttl_us: int) -> Lease | LeaseLost:
        lease = decide.renewed(self._lease(worker), self._now, ttl_us)
        if isinstance(lease, LeaseLost):
            return lease
        self._put_lease(worker, lease)
        self._here.add(worker)
        return Lease(worker, lease.expires_at)

    def release(self, worker: str) -> None:
        lease = self._lease(worker)
        if lease is not None:
            self._put_lease(worker, WorkerLease(lease.expires_at, released=True))

    def _put_lease(self, worker: str, lease: WorkerLease) -> None:
        self._leases[worker] = lease
        self._connection.execute(
            "INSERT INTO leases VALUES (?, ?, ?) ON CONFLICT (worker) DO UPDATE"
            " SET expires_at = excluded.expires_at, released = excluded.released",
            (worker, lease.expires_at, lease.released),
        )

    def open(self, lease: Lease, assigns: Sequence[Assign]) -> Sequence[Opened] | LeaseLost:
        own = self._lease(lease.worker)
        if own is None or not own.valid(self._now):
            return LeaseLost("the worker's lease has ended")
        for assign in assigns:
            self._log.shard(assign.id.shard)
        # Rows that this commit has noted are to be among those that are read.
        self.write()
        return [self._open(lease.worker, assign) for assign in assigns]

    def _open(self, worker: str, assign: Assign) -> Opened:
        known = self.held(assign.id)
        if known is None:
            start = self._start(assign)
            self._last_number += 1
            known = self._last_number, Held(Cursor(assign.id, start, start))
        number, before = known
        holder = None if before.worker is None else self._lease(before.worker)
        held = decide.assigned(before, worker, holder, assign.types)
        self._put(assign.id, number, held)
        until = held.former_until if held.former_until > self._now else 0
        dead = held.former is not None and held.former not in self._ledger.here
        return Opened(
            held.cursor,
            list(read_rows(self._connection, number, f"AND state IN {LIVE_STATES}", (), memo=False)),
            list(read_marks(self._connection, number)),
            until,
            dead and until > 0,
            read_gaps(self._connection, number),
        )

    def _start(self, assign: Assign) -> int:
        stream = self._log.shard(assign.id.shard)
        shard = assign.id.shard.number
        if assign.start == "now":
            return stream.heads[shard]
        if assign.start == "beginning":
            return stream.gone[shard]
        for segment in stream.segments:
            if segment.last_at >= assign.start and shard in segment.last:
                query = (
                    f"SELECT place FROM {stream.table(segment)} WHERE at >= ? AND place >> 48 = ? ORDER BY n LIMIT 1"
                )
                for (place,) in self._connection.execute(query, (assign.start, shard)):
                    return (place & ((1 << 48) - 1)) - 1
        return stream.heads[shard]

    def write(self) -> None:
        """Write what was noted."""
        if self._unwritten:
            values: list[Any] = []
            for id in self._unwritten:
                number, held = self._cursors[id]
                values += cursor_values(number, held, self._log.streams[id.shard.stream].number)
            write_rows(self._connection, "INSERT INTO cursors", len(CURSOR_FIELDS), values, CURSOR_UPSERT)
            self._unwritten = {}
        if self._cleared:
            delete_rows(self._connection, "rows", "cursor, offset", [each for pair in self._cleared for each in pair])
        if self._rows:
            values = [
                value
                for (number, _), row in self._rows.items()
                for value in (number, *(getattr(row, name) for name in ROW_FIELDS))
            ]
            write_rows(self._connection, "INSERT INTO rows", 1 + len(ROW_FIELDS), values, ROW_UPSERT)
        if self._marks:
            self._write_marks()
        if self._successes:
            write_rows(self._connection, "INSERT INTO successes", 6, self._successes)
        if self._attempts:
            write_rows(self._connection, "INSERT OR REPLACE INTO attempts", 5, self._attempts)
        self._cleared, self._rows, self._marks, self._successes, self._attempts = {}, {}, {}, [], []

    def _write_marks(self) -> None:
        gone = [value for pair, mark in self._marks.items() if mark is None for value in pair]
        if gone:
            delete_rows(self._connection, "marks", "cursor, key", gone)
        values = [
            value
            for (number, key), mark in self._marks.items()
            if mark is not None
            for value in (number, key, mark.first, mark.last, mark.count)
        ]
        if values:
            write_rows(self._connection, "INSERT OR REPLACE INTO marks", 5, values)

    def apply(self) -> None:
        """The commit has returned: make it known."""
        self._ledger.cursors.update(self._cursors)
        self._ledger.leases.update(self._leases)
        self._ledger.here |= self._here
        self._ledger.last_number = self._last_number


def cursor_values(number: int, held: Held, stream: int) -> tuple[Any, ...]:
    """The values of CURSOR_FIELDS."""
    cursor = held.cursor
    counters = cursor.counters
    return (
        *(number, cursor.id.subscription, stream, cursor.id.shard.number, cursor.start, cursor.floor),
        cursor.above.to_bytes((cursor.above.bit_length() + 7) // 8, "little"),
        *(cursor.epoch, cursor.number),
        *(counters.delivered, counters.filtered, counters.discarded, counters.dead),
        _types_text(cursor.types).decode(),
        *(cursor.token, cursor.unclean),
        _types_text(cursor.effects).decode(),
        *(held.worker, held.former, held.former_until, counters.late),
    )


def held_from(row: Sequence[Any], log: Log) -> Held:
    """A cursor from a row of CURSOR_FIELDS."""
    _, subscription, stream, shard, start, floor, above, epoch, number = row[:9]
    delivered, filtered, discarded, dead, types, token, unclean, effects, worker, former, former_until, late = row[9:]
    cursor = Cursor(
        id=CursorId(subscription, log.by_number[stream].shards[shard]),
        start=start,
        floor=floor,
        above=int.from_bytes(above, "little"),
        epoch=epoch,
        number=number,
        counters=Counters(delivered, filtered, discarded, dead, late),
        types=_types_from(types),
        token=token,
        unclean=unclean,
        effects=_effects_from(effects),
    )
    return Held(cursor, worker, former, former_until)


def read_rows(
    connection: Connection, cursor: int, where: str, values: Iterable[Any], *, memo: bool = True, limit: int = -1
) -> Iterable[Row]:
    """Rows of a cursor in offset order, at most `limit` (-1: all); `where` begins with AND."""
    columns = ", ".join(name if memo or name != "memo" else "x''" for name in ROW_FIELDS)
    query = f"SELECT {columns} FROM rows WHERE cursor = ? {where} ORDER BY offset LIMIT ?"
    return (Row(*row) for row in connection.execute(query, (cursor, *values, limit)))


def read_missing(connection: Connection, cursor: int, key: str) -> Sequence[Row]:
    """As `Ledger.missing`."""
    where = f"AND key = ? AND {_MISSING}"
    return list(read_rows(connection, cursor, where, (key,), memo=False, limit=GAP_EVENTS_MAX))


def read_gaps(connection: Connection, cursor: int) -> Sequence[str]:
    """Keys that miss something, as `Opened.gaps` has them."""
    query = f"SELECT DISTINCT key FROM rows WHERE cursor = ? AND {_MISSING} ORDER BY key LIMIT ?"
    return [key for (key,) in connection.execute(query, (cursor, GAP_KEYS_MAX + 1))]


def read_past(connection: Connection, cursor: int, offsets: Sequence[int]) -> Mapping[int, Past]:
    """As `Ledger.past`."""
    wanted = sorted(frozenset(offsets))
    found: list[Success | Attempt] = []
    for first in range(0, len(wanted), ROWS_MAX):
        some = wanted[first : first + ROWS_MAX]
        query = f"SELECT record FROM attempts WHERE cursor = ? AND offset IN ({','.join('?' * len(some))})"
        found += [decode_attempt(record) for (record,) in connection.execute(query, (cursor, *some))]
    for low, high in _stretches(wanted):
        found += read_successes(connection, cursor, low, high)
    chosen = frozenset(wanted)
    return decide.pasts(record for record in found if record.offset in chosen)


def read_successes(connection: Connection, cursor: int, low: int, high: int) -> Iterator[Success]:
    """The successes at offsets from `low` to `high`."""
    # Those of one record lie within two windows.
    query = "SELECT record FROM successes WHERE cursor = ? AND last BETWEEN ? AND ?"
    for (record,) in connection.execute(query, (cursor, low, high + 2 * WINDOW_OFFSETS)):
        yield from (success for success in decode_successes(record) if low <= success.offset <= high)


def _stretches(offsets: Sequence[int]) -> list[tuple[int, int]]:
    """First and last of ascending offsets that are near each other: read together."""
    found: list[tuple[int, int]] = []
    for offset in offsets:
        if found and offset - found[-1][1] <= 2 * WINDOW_OFFSETS:
            found[-1] = (found[-1][0], offset)
        else:
            found.append((offset, offset))
    return found


def _near(successes: Sequence[Success]) -> list[Sequence[Success]]:
    """In parts that each lie within two windows; what a settlement has of a mark may be far behind all else."""
    if not successes:
        return []
    last = max(success.offset for success in successes)
    if last - min(success.offset for success in successes) <= 2 * WINDOW_OFFSETS:
        return [successes]
    parts: list[list[Success]] = []
    for success in sorted(successes):
        if not parts or success.offset - parts[-1][0].offset > 2 * WINDOW_OFFSETS:
            parts.append([])
        parts[-1].append(success)
    return list(parts)


def read_marks(connection: Connection, cursor: int) -> Iterable[Mark]:
    """Marks of a cursor, by key."""
    query = "SELECT key, first, last, count FROM marks WHERE cursor = ? ORDER BY key"
    return (Mark(*row) for row in connection.execute(query, (cursor,)))
