"""A stream of the SQLite store in memory: heads, segments, counts; and how an event lies in a row.

A stream's `checkpoint` in the file holds its state at some position. `replay` adds the events after it, so that a
commit writes nothing but the events themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from interlock.core.event import Claim, Draft, Event, Shard
from interlock.journal.ports import StreamInfo
from interlock.journal.segments import ATTRIBUTES_SIZE, Segment, event_size

PLACE_STRIDE = 512
"""Positions that one entry of the sparse index covers: what a look-up reads at most, and one entry in 512 at least."""
TALLY_STRIDE = 8_192
"""Offsets of a shard between two tallies: what a look at lag reads at most."""
OFFSET_BITS = 48
OFFSET_MASK = (1 << OFFSET_BITS) - 1
COLUMNS = "n, place, at, type, key, source, id, data, more"
COLUMN_COUNT = 9
SALT = 0x9E3779B97F4A7C15
SALT_MASK = (1 << 63) - 1

More = tuple[
    str | None,
    str | None,
    str,
    str | None,
    tuple[tuple[str, str], ...],
    tuple[tuple[str, str], ...],
    str | None,
    str | None,
]
"""What a draft seldom has: time, subject, datacontenttype, dataschema, extensions, headers, causation, traceparent."""

_encode = msgspec.msgpack.Encoder().encode
_decode_more = msgspec.msgpack.Decoder(More).decode


class Checkpoint(msgspec.Struct):
    """The state of a stream at `position`; `hashed`: identities up to there are in the tables of ids."""

    position: int = 0
    last_at: int = 0
    hashed: int = 0
    heads: list[int] = []
    gone: list[int] = []
    counts: list[dict[str, int]] = []
    segments: list[Segment] = []
    id_days: list[int] = []
    full: bool = False
    held_by: Sequence[str] = ()


_encode_checkpoint = msgspec.msgpack.Encoder().encode
_decode_checkpoint = msgspec.msgpack.Decoder(Checkpoint).decode


class Run(NamedTuple):
    """Events that stand one after another in one segment, from position `first` on."""

    segment: Segment
    first: int
    events: list[Event]


class StreamState:
    """What is durable of a stream. It changes only when a commit has returned.

    Positions count the events of all shards together, from 1; `gone` has the last retired offset by shard.
    """

    def __init__(self, number: int, made: StreamInfo, checkpoint: Checkpoint) -> None:
        self.number = number
        self.made = made
        self.salt = number * SALT & SALT_MASK
        self.shards = [Shard(made.name, shard) for shard in range(made.shards)]
        self.position = checkpoint.position
        self.last_at = checkpoint.last_at
        self.hashed = checkpoint.hashed
        self.heads = checkpoint.heads
        self.gone = checkpoint.gone
        self.counts = checkpoint.counts
        self.segments = checkpoint.segments
        self.id_days = checkpoint.id_days
        self.indexed = [-PLACE_STRIDE] * made.shards
        """By shard, the position that its last entry in the sparse index has."""
        self.full = checkpoint.full
        self.held_by = checkpoint.held_by
        """Who kept it from being smaller when it was last retired."""

    @classmethod
    def new(cls, number: int, made: StreamInfo) -> StreamState:
        zeros = [0] * made.shards
        return cls(number, made, Checkpoint(heads=zeros, gone=list(zeros), counts=[{} for _ in zeros]))

    @classmethod
    def load(cls, number: int, made: StreamInfo, checkpoint: bytes) -> StreamState:
        return cls(number, made, _decode_checkpoint(checkpoint))

    def checkpoint(self) -> bytes:
        return _encode_checkpoint(
            Checkpoint(
                self.position,
                self.last_at,
                self.hashed,
                self.heads,
                self.gone,
                self.counts,
                self.segments,
                self.id_days,
                self.full,
                self.held_by,
            )
        )

    def extend(self, run: Run) -> None:
        """Count the events of a run that is now durable."""
        size = 0
        heads, last = self.heads, run.segment.last
        for event in run.events:
            shard = event.shard.number
            heads[shard] = last[shard] = event.offset
            counts = self.counts[shard]
            type = event.draft.type
            counts[type] = counts.get(type, 0) + 1
            size += event_size(event)
        if run.events:
            self.position = run.first + len(run.events) - 1
            self.last_at = run.segment.last_at = run.events[-1].accepted_at
            run.segment.events += len(run.events)
            run.segment.size += size

    def replay(self, segment: Segment, n: int, place: int, at: int, type: str, size: int) -> None:
        """Count one event that came after the checkpoint, from its row; `size` is its payload's."""
        shard, offset = place >> OFFSET_BITS, place & OFFSET_MASK
        self.position, self.last_at = n, at
        self.heads[shard] = offset
        self.counts[shard][type] = self.counts[shard].get(type, 0) + 1
        segment.add(shard, offset, at, size + ATTRIBUTES_SIZE)

    def segment_of(self, n: int) -> Segment:
        """The segment that holds a position that is not retired."""
        return next(segment for segment in reversed(self.segments) if segment.first <= n)

    def holds(self, n: int) -> bool:
        """Whether the event at a position is still in the log."""
        return bool(self.segments) and self.segments[0].first <= n <= self.position

    def table(self, segment: Segment) -> str:
        return f"events_{self.number}_{segment.number}"

    def ids_table(self, day: int) -> str:
        return f"ids_{self.number}_{day}"

    def event(self, row: Sequence[Any]) -> Event:
        """An event from a row of `COLUMNS`."""
        place: int = row[1]
        _, _, at, type, key, source, id, data, more = row
        claim = erased_at = None
        if isinstance(data, str):
            claim, data = claim_from(data), b""
        elif isinstance(data, int):
            erased_at, data = data, b""
        shard = self.shards[place >> OFFSET_BITS]
        stream = self.made.name
        if more is None:
            draft = Draft(stream, type, source, id, data, key)
        else:
            time, subject, content, schema, extensions, headers, causation, trace = _decode_more(more)
            draft = Draft(
                *(stream, type, source, id, data),
                key,
                time,
                subject,
                content,
                schema,
                extensions,
                headers,
                causation,
                trace,
            )
        return Event(shard, place & OFFSET_MASK, at, draft, claim, erased_at=erased_at)


SIZE_COLUMN = (
    "CASE typeof(data) WHEN 'text' THEN CAST(substr(data, 66) AS INTEGER) WHEN 'integer' THEN 0 ELSE length(data) END"
)
"""Bytes of an event's payload, wherever it is. An integer is the moment in which it was erased."""


def claim_text(claim: Claim) -> str:
    """A claim as it stands in `data` in the place of the payload: as a text, which no payload is."""
    return f"{claim.hash}:{claim.size}"


def claim_from(text: str) -> Claim:
    """Read `claim_text`."""
    digest, _, size = text.partition(":")
    return Claim(digest, int(size))


def event_row(n: int, place: int, at: int, draft: Draft, claim: Claim | None) -> tuple[Any, ...]:
    """The values of `COLUMNS` for an event."""
    rare = (
        draft.time,
        draft.subject,
        draft.datacontenttype,
        draft.dataschema,
        draft.extensions,
        draft.headers,
        draft.causation,
        draft.traceparent,
    )
    more = None if rare == _NOTHING_RARE else _encode(rare)
    data = draft.data if claim is None else claim_text(claim)
    return (n, place, at, draft.type, draft.key, draft.source, draft.id, data, more)


_NOTHING_RARE = (None, None, "application/json", None, (), (), None, None)


def encode_tally(counts: dict[str, int]) -> bytes:
    """Counts by type, as `decode_tally` reads them."""
    return _encode(counts)


decode_tally = msgspec.msgpack.Decoder(dict[str, int]).decode


def create_events(table: str) -> str:
    """The table of one segment. It is only ever appended to, at its right edge."""
    return (
        f"CREATE TABLE {table} (n INTEGER PRIMARY KEY, place INTEGER NOT NULL, at INTEGER NOT NULL, type TEXT NOT NULL,"
        " key TEXT, source TEXT NOT NULL, id TEXT NOT NULL, data BLOB NOT NULL, more BLOB)"
    )


def create_ids(table: str) -> str:
    """The table of identities of one day: `hash` of source and id, to the position of the event."""
    return f"CREATE TABLE {table} (hash INTEGER NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (hash, n)) WITHOUT ROWID"
