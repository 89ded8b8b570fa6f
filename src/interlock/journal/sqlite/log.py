"""The log of the SQLite store: what is known of its streams and recent identities, and one commit's appends to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Final

from interlock.core.event import Appended, Claim, Draft, Event, Shard
from interlock.core.ids import identity_hash, shard_of
from interlock.core.limits import DEDUPE_WINDOW_EVENTS, SEGMENT_EVENTS
from interlock.journal.bodies import Bodies, claimed, is_large
from interlock.journal.decide import first_known_day, has_reserve, identity_conflict, known_as, same_identity
from interlock.journal.ports import IdentityConflict, StreamInfo
from interlock.journal.segments import Segment, segment_for
from interlock.journal.sqlite.connection import Connection
from interlock.journal.sqlite.statements import write_rows
from interlock.journal.sqlite.stream import (
    COLUMN_COUNT,
    COLUMNS,
    OFFSET_BITS,
    PLACE_STRIDE,
    SIZE_COLUMN,
    TALLY_STRIDE,
    Run,
    StreamState,
    create_events,
    create_ids,
    encode_tally,
    event_row,
)
from interlock.journal.store import store_full, stream_full, stream_unknown
from interlock.journal.views import Seen

WINDOW_SLICES: Final = 12
"""A twelfth of the window leaves it at once, sorted: neighbours share pages of the table that they go to."""
SEEN_MORE: Final = """
    ON CONFLICT (stream, shard, offset) DO UPDATE SET again = again + excluded.again,
    conflicts = conflicts + excluded.conflicts, last_at = max(last_at, excluded.last_at)"""
POSITION_BITS: Final = 48
POSITION_MASK: Final = (1 << POSITION_BITS) - 1


class Log:
    """Streams by name, and the window: identities not yet in a table of ids, oldest first.

    The window's keys are the hash of source and id, mixed with the stream's salt; its values stream and position.
    Should two identities of the window ever have one key, the older one is forgotten early.
    """

    def __init__(self, window_events: int = DEDUPE_WINDOW_EVENTS, segment_events: int = SEGMENT_EVENTS) -> None:
        self.streams: dict[str, StreamState] = {}
        self.by_number: dict[int, StreamState] = {}
        self.window: dict[int, int] = {}
        self.short = False
        """Whether the disk has only the reserve left, which intake does not get."""
        self.window_events = window_events
        self.slice_events = window_events // WINDOW_SLICES + 1
        self.segment_events = segment_events

    def load(self, connection: Connection) -> None:
        """Read what is durable. The events after each checkpoint, and those of the window, are read once."""
        streams = list(connection.execute("SELECT id, name, shards, created_at, checkpoint FROM streams"))
        recent: list[tuple[int, int, int]] = []
        for number, name, shards, created_at, checkpoint in streams:
            stream = StreamState.load(number, StreamInfo(name, shards, created_at), checkpoint)
            self.add(stream)
            for at, key, n in self._read_tail(connection, stream):
                recent.append((at, key, number << POSITION_BITS | n))
            # Entries of an earlier segment do not count: its successor must be read without it.
            newest = stream.segments[-1].first if stream.segments else 0
            query = "SELECT shard, max(n) FROM places WHERE stream = ? AND n >= ? GROUP BY shard"
            for shard, n in connection.execute(query, (number, newest)):
                stream.indexed[shard] = n
        recent.sort(key=lambda entry: entry[0])
        self.window = {key: packed for _, key, packed in recent}

    def add(self, stream: StreamState) -> None:
        self.streams[stream.made.name] = stream
        self.by_number[stream.number] = stream

    def _read_tail(self, connection: Connection, stream: StreamState) -> Iterable[tuple[int, int, int]]:
        """When, key and position of the window's events, counting those after the checkpoint. No payload is read."""
        counted = stream.position
        for segment in stream.segments:
            columns = f"n, place, at, type, source, id, {SIZE_COLUMN}"
            query = f"SELECT {columns} FROM {stream.table(segment)} WHERE n > ? ORDER BY n"
            for n, place, at, type, source, id, size in connection.execute(query, (min(counted, stream.hashed),)):
                if n > counted:
                    stream.replay(segment, n, place, at, type, size)
                if n > stream.hashed:
                    # An erased event has the hash in the place of its id, and no source.
                    yield at, (identity_hash(source, id) if source else int(id)) ^ stream.salt, n

    def shard(self, shard: Shard) -> StreamState:
        """The stream of a shard that exists.

        Raises:
            StoreError: `store.stream-unknown`.
        """
        stream = self.streams.get(shard.stream)
        if stream is None or not 0 <= shard.number < stream.made.shards:
            raise stream_unknown(shard.stream)
        return stream


class StreamTx:
    """What one commit adds to a stream."""

    def __init__(self, stream: StreamState, now: int) -> None:
        self.stream = stream
        self.at = max(now, stream.last_at)
        self.position = stream.position
        self.heads = list(stream.heads)
        self.indexed = list(stream.indexed)
        self.runs: list[Run] = []
        self.values: list[list[object]] = []
        self.places: list[int] = []
        self.claims: list[object] = []
        self.tallied: list[tuple[int, int]] = []
        self.room = 0
        self.new_segments: list[Segment] = []
        self.hashed = stream.hashed
        self.id_days = stream.id_days

    def begin_run(self, segment_events: int) -> None:
        """Go on in the newest segment, or in a new one where it is full or of an earlier day."""
        known = [*self.stream.segments, *self.new_segments]
        full = self.runs[-1].segment if self.runs else None
        if full is not None:
            # The last run has filled its segment, which does not know it before the commit.
            known[-1] = Segment(full.number, full.first, full.day, segment_events)
        segment = segment_for(known, self.position + 1, self.at, segment_events)
        if not known or segment is not known[-1]:
            self.new_segments.append(segment)
            # Each segment has entries of its own in the sparse index: none leads from one table into another.
            self.indexed = [self.position - PLACE_STRIDE] * len(self.heads)
        self.room = segment_events - segment.events
        self.runs.append(Run(segment, self.position + 1, []))
        self.values.append([])

    def tallies(self) -> list[object]:
        """The rows of `tallies` for the shards that have come to one."""
        values: list[object] = []
        for shard, offset in self.tallied:
            counts = Counter(self.stream.counts[shard])
            counts.update(
                event.draft.type
                for run in self.runs
                for event in run.events
                if event.shard.number == shard and event.offset <= offset
            )
            values += (self.stream.number, shard, offset, encode_tally(counts))
        return values

    def after(self) -> StreamState:
        """The stream as it will be; made only where it is written down, for it copies everything."""
        stream = StreamState.load(self.stream.number, self.stream.made, self.stream.checkpoint())
        fresh = {segment.number: segment for segment in stream.segments}
        for segment in self.new_segments:
            fresh[segment.number] = Segment(segment.number, segment.first, segment.day)
        stream.segments = list(fresh.values())
        for run in self.runs:
            stream.extend(run._replace(segment=fresh[run.segment.number]))
        stream.hashed = self.hashed
        stream.id_days = self.id_days
        return stream

    def apply(self) -> None:
        """The commit has returned."""
        stream = self.stream
        stream.segments = [*stream.segments, *self.new_segments]
        for run in self.runs:
            stream.extend(run)
        stream.indexed = self.indexed
        stream.hashed = self.hashed
        stream.id_days = self.id_days


class LogTx:
    """The appends of one commit. They are noted first and written together, so that look-ups are shared as well.

    Attributes:
        refused: what whole appends are answered, by the `id` of the list that `append` gave for them.
    """

    def __init__(self, log: Log, bodies: Bodies, connection: Connection, now: int) -> None:
        self._log = log
        self._bodies = bodies
        self._connection = connection
        self._now = now
        self._noted: list[tuple[Sequence[Draft], list[Appended], bool]] = []
        self.refused: dict[int, IdentityConflict] = {}
        self._claims: dict[int, Claim] = {}
        """By the `id` of their drafts."""
        self._streams: dict[str, StreamTx] = {}
        self._new: dict[int, int] = {}
        self._evicted: list[tuple[int, int]] = []
        self._seen: dict[tuple[int, int, int], Seen] = {}

    def append(self, drafts: Sequence[Draft], *, intake: bool, whole: bool = False) -> list[Appended]:
        """Note drafts; when `write` has returned, the answers stand in the list, or in `refused`.

        Large payloads are written at once: where the disk refuses one, only this request is refused.
        """
        self.check(drafts, intake=intake)
        for draft in drafts:
            if is_large(draft):
                self._claims[id(draft)] = self._bodies.keep(draft.data, self._now)
        answers: list[Appended] = []
        self._noted.append((drafts, answers, whole))
        return answers

    def check(self, drafts: Sequence[Draft], *, intake: bool) -> None:
        """Refuse drafts for a stream that does not exist; at intake also what there is no room for."""
        streams = self._log.streams
        for draft in drafts:
            stream = streams.get(draft.stream)
            if stream is None:
                raise stream_unknown(draft.stream)
            if intake and (stream.full or self._log.short) and not has_reserve(draft.stream):
                raise stream_full(draft.stream, stream.held_by) if stream.full else store_full()

    def write(self) -> None:
        """Give places to what was noted, and write it."""
        if not self._noted:
            return
        hashes = self._hashes()
        older = self._look_up(hashes)
        at_hash = 0
        for drafts, answers, whole in self._noted:
            if whole and self._refuses(drafts, answers, hashes[at_hash : at_hash + len(drafts)], older):
                at_hash += len(drafts)
                continue
            for draft in drafts:
                key = hashes[at_hash]
                at_hash += 1
                packed = self._new.get(key) or self._log.window.get(key)
                known = None
                if packed is not None or key in older:
                    known = self._known(draft, packed, older.get(key, ()))
                answers.append(self._place(draft, key) if known is None else self._again(known, draft))
        self._noted = []
        self._bodies.sync()
        self._evict()
        for staged in self._streams.values():
            self._write_stream(staged)
        self._write_seen()

    def _refuses(
        self, drafts: Sequence[Draft], answers: list[Appended], keys: Sequence[int], older: Mapping[int, Sequence[int]]
    ) -> bool:
        """Whether a whole append is refused; decided before any of its drafts gets a place."""
        new, window = self._new, self._log.window
        known = [
            self._known(draft, new.get(key) or window.get(key), older.get(key, ()))
            for draft, key in zip(drafts, keys, strict=True)
        ]
        conflict = identity_conflict(drafts, known)
        if conflict is not None:
            self.refused[id(answers)] = conflict
        return conflict is not None

    def _hashes(self) -> list[int]:
        streams = self._log.streams
        return [
            identity_hash(draft.source, draft.id) ^ streams[draft.stream].salt
            for drafts, _, _ in self._noted
            for draft in drafts
        ]

    def _look_up(self, hashes: Sequence[int]) -> dict[int, list[int]]:
        """Positions that the tables of ids know for these keys: one statement for each stream that has such tables."""
        found: dict[int, list[int]] = {}
        first_day = first_known_day(self._now)
        for name in {draft.stream for drafts, _, _ in self._noted for draft in drafts}:
            stream = self._log.streams[name]
            tables = [stream.ids_table(day) for day in stream.id_days if day >= first_day]
            if not tables:
                continue
            wanted = "[" + ",".join([str(key ^ stream.salt) for key in hashes]) + "]"
            among = "WHERE hash IN (SELECT value FROM json_each(?1))"
            query = " UNION ALL ".join(f"SELECT hash, n FROM {table} {among}" for table in tables)
            for hashed, n in self._connection.execute(query, (wanted,)):
                found.setdefault(hashed ^ stream.salt, []).append(n)
        return found

    def _known(self, draft: Draft, packed: int | None, older: Sequence[int]) -> Event | None:
        """The event that has a draft's identity, of those that may: one of this commit or the window, or older ones."""
        event = None if packed is None else self._verified(draft, packed & POSITION_MASK)
        return event or next(filter(None, (self._verified(draft, n) for n in older)), None)

    def _verified(self, draft: Draft, n: int) -> Event | None:
        """The event at a position if it is this fact and dedupe still knows its day."""
        stream = self._log.streams[draft.stream]
        event = None
        staged = self._streams.get(draft.stream)
        if staged is not None and n > stream.position:
            run = next(run for run in reversed(staged.runs) if run.first <= n)
            event = run.events[n - run.first]
        elif stream.holds(n):
            segment = stream.segment_of(n)
            if segment.day >= first_known_day(self._now):
                query = f"SELECT {COLUMNS} FROM {stream.table(segment)} WHERE n = ?"
                event = next((stream.event(row) for row in self._connection.execute(query, (n,))), None)
        return event if event is not None and same_identity(event, draft) else None

    def _place(self, draft: Draft, key: int) -> Appended:
        staged = self._streams.get(draft.stream)
        if staged is None:
            staged = self._streams[draft.stream] = StreamTx(self._log.streams[draft.stream], self._now)
        if not staged.room:
            staged.begin_run(self._log.segment_events)
        stream, at = staged.stream, staged.at
        staged.room -= 1
        staged.position = n = staged.position + 1
        shard = shard_of(draft.id if draft.key is None else draft.key, stream.made.shards)
        staged.heads[shard] = offset = staged.heads[shard] + 1
        if n - staged.indexed[shard] >= PLACE_STRIDE:
            staged.indexed[shard] = n
            staged.places += (stream.number, shard, offset, n)
        if not offset % TALLY_STRIDE:
            staged.tallied.append((shard, offset))
        name = stream.shards[shard]
        place = shard << OFFSET_BITS | offset
        claim = self._claims.get(id(draft))
        if claim is not None:
            draft = claimed(draft)
            staged.claims += (claim.hash, stream.number, place, claim.size)
        staged.runs[-1].events.append(Event(name, offset, at, draft, claim))
        staged.values[-1] += event_row(n, place, at, draft, claim)
        self._new[key] = stream.number << POSITION_BITS | n
        return Appended(name, offset, at)

    def _again(self, known: Event, draft: Draft) -> Appended:
        """The answer for a draft that is in the log; that it came again is noted."""
        answer = known_as(known, draft)
        place = (self._log.streams[draft.stream].number, answer.shard.number, answer.offset)
        self._seen[place] = self._seen.get(place, Seen()).once_more(self._now, conflict=answer.conflict)
        return answer

    def _write_seen(self) -> None:
        if self._seen:
            values = [value for place, seen in self._seen.items() for value in (*place, *seen)]
            write_rows(self._connection, "INSERT INTO seen", 6, values, SEEN_MORE)

    def _write_stream(self, staged: StreamTx) -> None:
        stream = staged.stream
        for segment in staged.new_segments:
            self._connection.execute(create_events(stream.table(segment)))
        for run, values in zip(staged.runs, staged.values, strict=True):
            write_rows(self._connection, f"INSERT INTO {stream.table(run.segment)}", COLUMN_COUNT, values)
        if staged.claims:
            write_rows(self._connection, "INSERT INTO bodies", 4, staged.claims)
        if staged.places:
            write_rows(self._connection, "INSERT INTO places", 4, staged.places)
        if staged.tallied:
            write_rows(self._connection, "INSERT INTO tallies", 4, staged.tallies())
        if staged.new_segments or staged.hashed != stream.hashed:
            query = "UPDATE streams SET checkpoint = ? WHERE id = ?"
            self._connection.execute(query, (staged.after().checkpoint(), stream.number))

    def _evict(self) -> None:
        """Move the oldest identities from the window to the tables of their days once there is a slice too many."""
        window = self._log.window
        surplus = len(window) - self._log.window_events
        if surplus < self._log.slice_events:
            return
        self._evicted = list(islice(window.items(), surplus))
        by_day: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for key, packed in self._evicted:
            number, n = packed >> POSITION_BITS, packed & POSITION_MASK
            stream = self._log.by_number[number]
            if stream.holds(n):
                by_day.setdefault((number, stream.segment_of(n).day), []).append((key ^ stream.salt, n))
        for (number, day), entries in by_day.items():
            stream = self._log.by_number[number]
            staged = self._streams.setdefault(stream.made.name, StreamTx(stream, self._now))
            staged.hashed = max(staged.hashed, *(n for _, n in entries))
            if day not in staged.id_days:
                staged.id_days = [*staged.id_days, day]
                self._connection.execute(create_ids(stream.ids_table(day)))
            values = [value for entry in sorted(entries) for value in entry]
            write_rows(self._connection, f"INSERT INTO {stream.ids_table(day)}", 2, values)

    def apply(self) -> dict[Shard, list[Event]]:
        """The commit has returned: make it known. The new events by shard, in order."""
        window = self._log.window
        for key, packed in self._evicted:
            if window.get(key) == packed:
                del window[key]
        for key, packed in self._new.items():
            # An old entry under this key is out of date; the new one takes its place at the end.
            window.pop(key, None)
            window[key] = packed
        appended: dict[Shard, list[Event]] = {}
        for staged in self._streams.values():
            staged.apply()
            for run in staged.runs:
                for event in run.events:
                    appended.setdefault(event.shard, []).append(event)
        return appended
