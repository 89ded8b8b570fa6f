"""What a store in memory keeps, and one commit to it. It survives a simulated crash; the process around it does not."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import msgspec

from interlock.core.cursor import Attempt, Cursor, CursorId, Mark, Row, Success
from interlock.core.event import Appended, Claim, Draft, Event, Shard
from interlock.core.ids import shard_of
from interlock.core.limits import GAP_KEYS_MAX, SEGMENT_EVENTS, US_PER_DAY
from interlock.core.requests import request_key
from interlock.journal import decide, lifecycle
from interlock.journal.bodies import Bodies, claimed, is_large
from interlock.journal.decide import Held, WorkerLease
from interlock.journal.memory_files import MemoryFiles
from interlock.journal.ports import (
    AppendRefused,
    Assign,
    Cell,
    CellConflict,
    CellsConflict,
    CellWrite,
    Collected,
    Committed,
    Erase,
    Forget,
    IdentityConflict,
    Lease,
    LeaseLost,
    Opened,
    Retention,
    Settlement,
    SettleResult,
    StreamInfo,
)
from interlock.journal.segments import Segment, event_size, held_by, may_retire, over, segment_for
from interlock.journal.store import store_full, stream_full, stream_unknown
from interlock.journal.views import Seen


class Settled(NamedTuple):
    """The successes of one settlement, as one compact record."""

    at: int
    epoch: int
    number: int
    successes: tuple[Success, ...]


@dataclass
class MemoryShard:
    """A shard's log: `events[0]` has the offset `gone + 1`."""

    gone: int = 0
    events: list[Event] = field(default_factory=list[Event])
    counts: dict[str, int] = field(default_factory=dict[str, int])
    kept: dict[int, Event] = field(default_factory=dict[int, Event])
    seen: dict[int, Seen] = field(default_factory=dict[int, Seen])
    """By offset: the events whose identity came again."""

    @property
    def head(self) -> int:
        return self.gone + len(self.events)

    def at(self, offset: int) -> Event | None:
        """The event at an offset, from the log or from `kept`."""
        if self.gone < offset <= self.head:
            return self.events[offset - self.gone - 1]
        return self.kept.get(offset)


@dataclass
class MemoryStream:
    """A stream: its shards, its segments, the identities that it has seen and when it last took an event."""

    made: StreamInfo
    shards: list[MemoryShard]
    segments: list[Segment] = field(default_factory=list[Segment])
    identities: dict[tuple[str, str], Event] = field(default_factory=dict[tuple[str, str], Event])
    positions: dict[tuple[int, int], int] = field(default_factory=dict[tuple[int, int], int])
    """By shard and offset: where in the stream, all shards counted together, an event stands."""
    last_at: int = 0
    full: bool = False
    held_by: Sequence[str] = ()


@dataclass
class MemoryLedger:
    """A cursor and what belongs to it."""

    held: Held
    rows: dict[int, Row] = field(default_factory=dict[int, Row])
    marks: dict[str, Mark] = field(default_factory=dict[str, Mark])
    attempts: list[Attempt] = field(default_factory=list[Attempt])
    settled: list[Settled] = field(default_factory=list[Settled])

    def missing(self) -> Iterator[Row]:
        """Rows of keys that are missing and untold, lowest first, without their memo."""
        for _, row in sorted(self.rows.items()):
            if row.is_missing and row.key is not None:
                yield msgspec.structs.replace(row, memo=b"")

    def records(self) -> Iterator[Success | Attempt]:
        """What is known of all attempts."""
        yield from self.attempts
        for settled in self.settled:
            yield from settled.successes


class Attached(Protocol):
    """A store that has the disk open. `workers`: those whose leases it took."""

    changed: dict[str, None]
    workers: dict[str, None]
    tell: Callable[[None], None] | None


@dataclass
class MemoryDisk:
    """All that is durable.

    Args:
        events_max: the room for events; above it appends are refused as on a full disk.
        proves_deaths: who alone has it open knows that all others are dead, as a lock on a file proves it.
    """

    segment_events: int = SEGMENT_EVENTS
    events_max: int | None = None
    proves_deaths: bool = False
    streams: dict[str, MemoryStream] = field(default_factory=dict[str, MemoryStream])
    ledgers: dict[CursorId, MemoryLedger] = field(default_factory=dict[CursorId, MemoryLedger])
    leases: dict[str, WorkerLease] = field(default_factory=dict[str, WorkerLease])
    cells: dict[str, Cell] = field(default_factory=dict[str, Cell])
    attached: list[Attached] = field(default_factory=list["Attached"])
    files: MemoryFiles = field(default_factory=MemoryFiles)
    """Large payloads."""

    def __post_init__(self) -> None:
        self.bodies = Bodies(self.files)

    def cursors(self, stream: str) -> list[Cursor]:
        """Those on a stream."""
        return [ledger.held.cursor for id, ledger in self.ledgers.items() if id.shard.stream == stream]

    def claims(self) -> Iterator[Claim]:
        """Those of all events in the log and in `kept`."""
        for stream in self.streams.values():
            for log in stream.shards:
                for event in (*log.events, *log.kept.values()):
                    if event.claim is not None:
                        yield event.claim

    def shard(self, shard: Shard) -> MemoryShard:
        stream = self.streams.get(shard.stream)
        if stream is None or not 0 <= shard.number < len(stream.shards):
            raise stream_unknown(shard.stream)
        return stream.shards[shard.number]


class MemoryTx:
    """One commit: checks come before writes, so that nothing ever has to be taken back."""

    def __init__(self, disk: MemoryDisk, now: int, workers: dict[str, None]) -> None:
        self.disk = disk
        self.now = now
        self.workers = workers
        self.changed: dict[str, None] = {}

    def append(self, drafts: Sequence[Draft], cells: Sequence[CellWrite]) -> Sequence[Appended] | AppendRefused:
        written = self._cells(cells)
        if isinstance(written, CellConflict):
            return AppendRefused(written)
        self._check(drafts)
        claims = self._claims(drafts)
        appended = [self._append(draft, claims) for draft in drafts]
        self._write_cells(written)
        return appended

    def append_whole(self, drafts: Sequence[Draft]) -> Sequence[Appended] | IdentityConflict:
        self._check(drafts)
        known = [self._known(self.disk.streams[draft.stream], draft) for draft in drafts]
        conflict = decide.identity_conflict(drafts, known)
        if conflict is not None:
            return conflict
        claims = self._claims(drafts)
        return [self._append(draft, claims) for draft in drafts]

    def _claims(self, drafts: Sequence[Draft]) -> Mapping[int, Claim]:
        """Make large payloads durable; their claims by the `id` of their drafts."""
        bodies = self.disk.bodies
        claims = {id(draft): bodies.keep(draft.data, self.now) for draft in drafts if is_large(draft)}
        bodies.sync()
        return claims

    def _check(self, drafts: Sequence[Draft]) -> None:
        """Refuse drafts for a stream that does not exist, and those that there is no room for."""
        for draft in drafts:
            stream = self.disk.streams.get(draft.stream)
            if stream is None:
                raise stream_unknown(draft.stream)
            if stream.full and not decide.has_reserve(draft.stream):
                raise stream_full(draft.stream, stream.held_by)
        if self.disk.events_max is not None:
            there = sum(len(shard.events) for stream in self.disk.streams.values() for shard in stream.shards)
            if there + len(drafts) > self.disk.events_max:
                raise store_full()

    def _append(self, draft: Draft, claims: Mapping[int, Claim]) -> Appended:
        stream = self.disk.streams[draft.stream]
        known = self._known(stream, draft)
        if known is not None:
            answer = decide.known_as(known, draft)
            seen = stream.shards[answer.shard.number].seen
            seen[answer.offset] = seen.get(answer.offset, Seen()).once_more(self.now, conflict=answer.conflict)
            return answer
        at = stream.last_at = max(self.now, stream.last_at)
        number = shard_of(draft.id if draft.key is None else draft.key, stream.made.shards)
        log = stream.shards[number]
        claim = claims.get(id(draft))
        stored = draft if claim is None else claimed(draft)
        event = Event(Shard(draft.stream, number), log.head + 1, at, stored, claim)
        log.events.append(event)
        log.counts[draft.type] = log.counts.get(draft.type, 0) + 1
        stream.identities[draft.source, draft.id] = event
        position = stream.positions[number, event.offset] = len(stream.positions) + 1
        segment = segment_for(stream.segments, position, at, self.disk.segment_events)
        if not stream.segments or stream.segments[-1] is not segment:
            stream.segments.append(segment)
        segment.add(number, event.offset, at, event_size(event))
        return Appended(event.shard, event.offset, at)

    def _known(self, stream: MemoryStream, draft: Draft) -> Event | None:
        event = stream.identities.get((draft.source, draft.id))
        event = event or stream.identities.get(("", decide.identity_text(draft)))
        if event is None or event.offset <= stream.shards[event.shard.number].gone:
            return None
        return event if event.accepted_at // US_PER_DAY >= decide.first_known_day(self.now) else None

    def settle(self, settlement: Settlement) -> SettleResult:
        ledger = self.disk.ledgers.get(settlement.cursor)
        held = ledger.held if ledger else None
        lost = decide.refusal(settlement, held, self.disk.leases.get(settlement.worker), self.now)
        if ledger is None or lost is not None:
            return lost or LeaseLost("the cursor is not known")
        log = self.disk.shard(settlement.cursor.shard)
        for row in settlement.put:
            if row.offset <= log.gone and row.offset not in log.kept:
                return decide.event_gone(row.offset)
        written = self._cells(settlement.cells)
        if isinstance(written, CellConflict):
            return CellsConflict(written)
        for draft in settlement.emit:
            if draft.stream not in self.disk.streams:
                raise stream_unknown(draft.stream)
        claims = self._claims(settlement.emit)
        ledger.held = decide.settled(ledger.held, settlement)
        for offset in settlement.clear:
            ledger.rows.pop(offset, None)
        for row in settlement.put:
            before = ledger.rows.get(row.offset)
            ledger.rows[row.offset] = (
                row if row.memo or before is None else msgspec.structs.replace(row, memo=before.memo)
            )
        for mark in settlement.marks:
            if mark.count:
                ledger.marks[mark.key] = mark
            else:
                ledger.marks.pop(mark.key, None)
        if settlement.successes:
            record = Settled(self.now, settlement.epoch, settlement.number, tuple(settlement.successes))
            ledger.settled.append(record)
        ledger.attempts.extend(settlement.attempts)
        for draft in settlement.emit:
            self._append(draft, claims)
        self._write_cells(written)
        return Committed(settlement.number)

    def open(self, lease: Lease, assigns: Sequence[Assign]) -> Sequence[Opened] | LeaseLost:
        own = self.disk.leases.get(lease.worker)
        if own is None or not own.valid(self.now):
            return LeaseLost("the worker's lease has ended")
        for assign in assigns:
            self.disk.shard(assign.id.shard)
        return [self._open(lease.worker, assign) for assign in assigns]

    def _open(self, worker: str, assign: Assign) -> Opened:
        ledger = self.disk.ledgers.get(assign.id)
        if ledger is None:
            start = self._start(assign)
            ledger = self.disk.ledgers[assign.id] = MemoryLedger(Held(Cursor(assign.id, start, start)))
        holder = ledger.held.worker
        ledger.held = held = decide.assigned(
            ledger.held, worker, None if holder is None else self.disk.leases.get(holder), assign.types
        )
        live = [
            msgspec.structs.replace(row, memo=b"")
            for _, row in sorted(ledger.rows.items())
            if row.state in ("running", "due", "held")
        ]
        until = held.former_until if held.former_until > self.now else 0
        dead = until > 0 and held.former not in self.workers and self._is_alone()
        marks = [ledger.marks[key] for key in sorted(ledger.marks)]
        gaps = sorted({row.key or "" for row in ledger.missing()})[: GAP_KEYS_MAX + 1]
        return Opened(held.cursor, live, marks, until, dead, gaps)

    def _is_alone(self) -> bool:
        return self.disk.proves_deaths and all(store.workers is self.workers for store in self.disk.attached)

    def _start(self, assign: Assign) -> int:
        log = self.disk.shard(assign.id.shard)
        if assign.start == "now":
            return log.head
        if assign.start == "beginning":
            return log.gone
        instant = assign.start
        return next((event.offset - 1 for event in log.events if event.accepted_at >= instant), log.head)

    def renew(self, worker: str, ttl_us: int) -> Lease | LeaseLost:
        lease = decide.renewed(self.disk.leases.get(worker), self.now, ttl_us)
        if isinstance(lease, LeaseLost):
            return lease
        self.disk.leases[worker] = lease
        self.workers[worker] = None
        return Lease(worker, lease.expires_at)

    def release(self, worker: str) -> None:
        lease = self.disk.leases.get(worker)
        if lease is not None:
            self.disk.leases[worker] = WorkerLease(lease.expires_at, released=True)

    def put(self, writes: Sequence[CellWrite]) -> Sequence[Cell | CellConflict]:
        answers: list[Cell | CellConflict] = []
        for write in writes:
            written = decide.cell_written(write, self.disk.cells.get(write.key), self.now)
            if isinstance(written, Cell):
                self._write_cells({write.key: written})
            answers.append(written)
        return answers

    def _cells(self, writes: Sequence[CellWrite]) -> dict[str, Cell] | CellConflict:
        written: dict[str, Cell] = {}
        for write in writes:
            cell = decide.cell_written(write, written.get(write.key) or self.disk.cells.get(write.key), self.now)
            if isinstance(cell, CellConflict):
                return cell
            written[write.key] = cell
        return written

    def _write_cells(self, cells: Mapping[str, Cell]) -> None:
        for key, cell in cells.items():
            if cell.version:
                self.disk.cells[key] = cell
            self.changed[key] = None

    def make_stream(self, name: str, shards: int) -> StreamInfo:
        stream = self.disk.streams.get(name)
        if stream is None:
            made = StreamInfo(name, shards, self.now)
            stream = self.disk.streams[name] = MemoryStream(made, [MemoryShard() for _ in range(shards)])
        return stream.made

    def retire(self, stream: str, retention: Retention) -> int:
        there = self.disk.streams.get(stream)
        if there is None:
            raise stream_unknown(stream)
        before = sum(shard.gone for shard in there.shards)
        while may_retire(there.segments, retention, self._floors(stream), self.now):
            segment = there.segments.pop(0)
            for number, last in segment.last.items():
                self._retire_shard(Shard(stream, number), last)
        there.full = over(there.segments, retention)
        there.held_by = held_by(there.segments, self.disk.cursors(stream))
        self._forget(stream, there)
        return sum(shard.gone for shard in there.shards) - before

    def collect(self, names: Collection[str]) -> Collected:
        claimed = {claim.hash for claim in self.disk.claims()}
        return self.disk.bodies.remove([name for name in names if name not in claimed])

    def erase(self, erase: Erase) -> Sequence[str]:
        stream = self.disk.streams[erase.shard.stream]
        log = self.disk.shard(erase.shard)
        for offset in erase.offsets:
            event = log.at(offset)
            if event is not None:
                self._replace(stream, log, event, decide.erased(event, self.now, key=event.draft.key))
        keys = [request_key(id, erase.job) for id in self.disk.ledgers if id.shard == erase.shard]
        asked = [CellWrite(key, erase.request) for key in keys if key not in self.disk.cells]
        written = self._cells(asked)
        assert not isinstance(written, CellConflict), "they expect nothing"
        self._write_cells(written)
        return keys

    def forget(self, forget: Forget) -> None:
        stream = self.disk.streams[forget.shard.stream]
        log = self.disk.shard(forget.shard)
        for offset in forget.offsets:
            event = log.at(offset)
            if event is not None:
                self._replace(stream, log, event, decide.erased(event, self.now, key=None))
        gone = frozenset(forget.offsets)
        for id, ledger in self.disk.ledgers.items():
            if id.shard == forget.shard:
                ledger.attempts = [decide.attempt_erased(a) if a.offset in gone else a for a in ledger.attempts]
                self.disk.cells.pop(request_key(id, forget.job), None)
        if forget.key is not None:
            suffix = decide.newest_suffix(forget.shard, forget.key)
            for key in [key for key in self.disk.cells if key.startswith("newest/") and key.endswith(suffix)]:
                del self.disk.cells[key]
        written = self._cells([forget.done])
        assert not isinstance(written, CellConflict), "it expects nothing"
        self._write_cells(written)

    def _replace(self, stream: MemoryStream, log: MemoryShard, event: Event, by: Event) -> None:
        if event.offset > log.gone:
            log.events[event.offset - log.gone - 1] = by
            stream.identities.pop((event.draft.source, event.draft.id), None)
            stream.identities["", by.draft.id] = by
        else:
            log.kept[event.offset] = by

    def _floors(self, stream: str) -> dict[int, int]:
        floors: dict[int, int] = {}
        for id, ledger in self.disk.ledgers.items():
            cursor = ledger.held.cursor
            if id.shard.stream == stream and cursor.types:
                floors[id.shard.number] = min(cursor.floor, floors.get(id.shard.number, cursor.floor))
        return floors

    def _retire_shard(self, shard: Shard, last: int) -> None:
        log = self.disk.shard(shard)
        count = last - log.gone
        going, log.events, log.gone = log.events[:count], log.events[count:], last
        for event in going:
            log.seen.pop(event.offset, None)
            if self._wanted(event):
                log.kept[event.offset] = event

    def _wanted(self, event: Event) -> bool:
        """Whether a row or a mark of any cursor is about this event (rule 4)."""
        for id, ledger in self.disk.ledgers.items():
            if id.shard == event.shard:
                mark = None if event.draft.key is None else ledger.marks.get(event.draft.key)
                if event.offset in ledger.rows or (mark is not None and mark.first <= event.offset <= mark.last):
                    return True
        return False

    def _forget(self, name: str, stream: MemoryStream) -> None:
        """Drop what nobody can ask for any more: kept events, attempts and identities of what is gone, old cells."""
        before = decide.discarded_before(self.now)
        for id, ledger in self.disk.ledgers.items():
            if id.shard.stream == name:
                gone = stream.shards[id.shard.number].gone
                ledger.rows = {
                    offset: row
                    for offset, row in ledger.rows.items()
                    if offset > gone or row.state != "discarded" or (row.died_at or 0) >= before
                }
        for log in stream.shards:
            log.kept = {offset: event for offset, event in log.kept.items() if self._wanted(event)}
        for id, ledger in self.disk.ledgers.items():
            if id.shard.stream == name:
                gone = stream.shards[id.shard.number].gone
                ledger.attempts = [a for a in ledger.attempts if a.offset > gone or a.offset in ledger.rows]
                ledger.settled = [s for s in ledger.settled if max(x.offset for x in s.successes) > gone]
        stream.identities = {
            identity: event
            for identity, event in stream.identities.items()
            if event.offset > stream.shards[event.shard.number].gone
        }
        before = decide.cell_forgotten_before(self.now)
        for key in [
            key for key, cell in self.disk.cells.items() if cell.expires_at is not None and cell.expires_at <= before
        ]:
            del self.disk.cells[key]

    def rename_subscription(self, old: str, new: str) -> int:
        mine = self._not_held(old)
        if any(id.subscription == new for id in self.disk.ledgers):
            raise lifecycle.taken(new)
        for id in mine:
            ledger = self.disk.ledgers.pop(id)
            renamed = CursorId(new, id.shard)
            ledger.held = msgspec.structs.replace(
                ledger.held, cursor=msgspec.structs.replace(ledger.held.cursor, id=renamed), worker=None
            )
            self.disk.ledgers[renamed] = ledger
        return len(mine)

    def retire_subscription(self, name: str) -> int:
        mine = self._not_held(name)
        for id in mine:
            del self.disk.ledgers[id]
        return len(mine)

    def _not_held(self, name: str) -> list[CursorId]:
        mine = [id for id in self.disk.ledgers if id.subscription == name]
        if not mine:
            raise lifecycle.unknown(name)
        for id in mine:
            worker = self.disk.ledgers[id].held.worker
            lease = None if worker is None else self.disk.leases.get(worker)
            if worker is not None and lease is not None and lease.valid(self.now):
                raise lifecycle.held(name, worker)
        return mine
