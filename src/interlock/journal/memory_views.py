"""`Views` on a `MemoryDisk`: the reference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from interlock.core.cursor import CursorId, Mark, Row
from interlock.core.event import Event
from interlock.core.ids import event_id_range, parse_event_id, stream_hash
from interlock.core.ports import Clock
from interlock.journal.memory_disk import MemoryDisk, MemoryLedger
from interlock.journal.segments import held_by
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


class MemoryViews:
    """Answers at once."""

    def __init__(self, disk: MemoryDisk, clock: Clock) -> None:
        self._disk = disk
        self._clock = clock

    async def events(self, query: EventsQuery) -> Sequence[Event]:
        before = self._key_of(query.before) if query.before else None
        after = self._key_of(query.after) if query.after else None
        found = [
            (key, event)
            for key, event in self._events()
            if (query.stream is None or event.shard.stream == query.stream)
            and (query.type is None or event.draft.type == query.type)
            and (query.key is None or event.draft.key == query.key)
            and (query.since is None or event.accepted_at >= query.since)
            and (before is None or key < before)
            and (after is None or key > after)
        ]
        found.sort(key=lambda entry: entry[0])
        chosen = found[: query.limit] if query.from_oldest else found[max(0, len(found) - query.limit) :]
        return [event for _, event in reversed(chosen)]

    async def events_by_prefix(self, prefix: str, limit: int = 10) -> Sequence[Event]:
        event_id_range(prefix)
        wanted = "evt_" + prefix.removeprefix("evt_")
        found = sorted((key, event) for key, event in self._events() if event.id.startswith(wanted))
        return [event for _, event in found[:limit]]

    async def timeline(self, event: Event) -> Sequence[Passage]:
        passages: list[Passage] = []
        for id, ledger in sorted(self._disk.ledgers.items()):
            if id.shard == event.shard:
                row = ledger.rows.get(event.offset)
                mark = None if event.draft.key is None else ledger.marks.get(event.draft.key)
                attempts = [attempt for attempt in ledger.attempts if attempt.offset == event.offset]
                successes = [s for settled in ledger.settled for s in settled.successes if s.offset == event.offset]
                passages.append(
                    Passage(
                        id,
                        passage_state(ledger.held.cursor, event, row, mark),
                        None if row is None else msgspec.structs.replace(row, memo=b""),
                        sorted(attempts, key=lambda attempt: (attempt.started_at, attempt.id)),
                        sorted(successes),
                    )
                )
        return passages

    async def standing(self, events: Sequence[Event]) -> Sequence[Mapping[str, PassageState]]:
        return [
            {
                id.subscription: passage_state(
                    ledger.held.cursor,
                    event,
                    ledger.rows.get(event.offset),
                    None if event.draft.key is None else ledger.marks.get(event.draft.key),
                )
                for id, ledger in sorted(self._disk.ledgers.items())
                if id.shard == event.shard
            }
            for event in events
        ]

    async def seen(self, event: Event) -> Seen:
        return self._disk.shard(event.shard).seen.get(event.offset, Seen())

    async def rows(self, query: RowsQuery) -> Sequence[RowLine]:
        found = [
            RowLine(id, msgspec.structs.replace(row, memo=b""))
            for id, row in self._rows()
            if (query.subscription is None or id.subscription == query.subscription)
            and (not query.states or row.state in query.states)
            and (query.fingerprint is None or row.fingerprint == query.fingerprint)
            and (query.after is None or (id, row.offset) > query.after)
        ]
        return found[: query.limit]

    async def marks(self, cursor: CursorId) -> Sequence[Mark]:
        ledger = self._disk.ledgers.get(cursor)
        return [] if ledger is None else [mark for _, mark in sorted(ledger.marks.items())]

    async def dead_groups(self) -> Sequence[DeadGroup]:
        groups: dict[tuple[str, str], list[tuple[CursorId, Row]]] = {}
        for id, row in self._rows():
            if row.state == "dead":
                groups.setdefault((row.fingerprint or "", id.subscription), []).append((id, row))
        found: list[DeadGroup] = []
        for (fingerprint, subscription), rows in groups.items():
            id, last = max(rows, key=lambda entry: (entry[1].died_at or 0, entry[0], entry[1].offset))
            found.append(
                DeadGroup(
                    fingerprint,
                    subscription,
                    len(rows),
                    min(row.died_at or 0 for _, row in rows),
                    last.died_at or 0,
                    self._disk.shard(id.shard).at(last.offset),
                    last.error,
                    last.status,
                    last.system,
                    last.reason,
                )
            )
        return sorted(found, key=lambda group: (-group.last_at, group.fingerprint, group.subscription))

    async def cursors(self) -> Sequence[CursorLine]:
        return [self._line(ledger) for _, ledger in sorted(self._disk.ledgers.items())]

    def _line(self, ledger: MemoryLedger) -> CursorLine:
        cursor, worker = ledger.held.cursor, ledger.held.worker
        lease = None if worker is None else self._disk.leases.get(worker)
        log = self._disk.shard(cursor.id.shard)
        above = log.events[max(0, cursor.floor - log.gone) :]
        return CursorLine(
            cursor,
            worker,
            lease.expires_at if lease and lease.valid(self._clock.now()) else 0,
            lag_of(cursor, Counter(event.draft.type for event in above)),
            len(ledger.marks),
            sum(mark.count for mark in ledger.marks.values()),
            dict(Counter(row.state for row in ledger.rows.values())),
            above[0].accepted_at if above else None,
        )

    async def streams(self) -> Sequence[StreamLine]:
        lines: list[StreamLine] = []
        for name, stream in sorted(self._disk.streams.items()):
            counts: Counter[str] = Counter()
            for log in stream.shards:
                counts.update(log.counts)
            lines.append(
                StreamLine(
                    stream.made,
                    [(log.gone + 1, log.head) for log in stream.shards],
                    dict(sorted(counts.items())),
                    sum(len(log.events) for log in stream.shards),
                    sum(segment.size for segment in stream.segments),
                    len(stream.segments),
                    min((log.events[0].accepted_at for log in stream.shards if log.events), default=None),
                    stream.full,
                    held_by(stream.segments, self._disk.cursors(name)),
                )
            )
        return lines

    async def bodies(self) -> BodiesLine:
        claims = set(self._disk.claims())
        lost = set(self._disk.bodies.lost(claims))
        kept = (event for stream in self._disk.streams.values() for log in stream.shards for event in log.kept.values())
        events = sorted(event.id for event in (*kept, *(event for _, event in self._events())) if event.claim in lost)
        return BodiesLine(len(claims), sum(claim.size for claim in claims), len(lost), events[:LOST_NAMED_MAX])

    async def conservation(self, cursor: CursorId) -> Conservation | None:
        ledger = self._disk.ledgers.get(cursor)
        if ledger is None:
            return None
        log = self._disk.shard(cursor.shard)
        rows = [row for _, row in sorted(ledger.rows.items())]
        marks = [mark for _, mark in sorted(ledger.marks.items())]
        bounds = (log.gone + 1, log.head)
        return conserved(Accounts(ledger.held.cursor, rows, marks, bounds, len(log.events)))

    def _rows(self) -> Iterator[tuple[CursorId, Row]]:
        for id, ledger in sorted(self._disk.ledgers.items()):
            for _, row in sorted(ledger.rows.items()):
                yield id, row

    def _events(self) -> Iterator[tuple[tuple[int, str, int], Event]]:
        """With their key of order: when, which stream, where in it."""
        for name, stream in self._disk.streams.items():
            for log in stream.shards:
                for event in log.events:
                    yield (event.accepted_at, name, stream.positions[event.shard.number, event.offset]), event

    def _key_of(self, id: str) -> tuple[int, str, int]:
        place = parse_event_id(id)
        for name, stream in self._disk.streams.items():
            if stream_hash(name) == place.stream_hash and place.shard < len(stream.shards):
                event = stream.shards[place.shard].at(place.offset)
                if event is not None and (place.shard, place.offset) in stream.positions:
                    return event.accepted_at, name, stream.positions[place.shard, place.offset]
        return place.accepted_ms * 1_000, "", 0
