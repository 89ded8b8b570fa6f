"""Looks at what is durable after every commit and writes down what changed. It reads the books, never the engine."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from interlock.core.controls import decode_control
from interlock.core.cursor import CursorId
from interlock.core.event import Draft, Event, Shard
from interlock.journal.decide import Held
from interlock.journal.memory_disk import MemoryDisk, MemoryLedger
from interlock.journal.ports import Cell
from interlock.spec.patterns.resequence import look_type
from interlock.testing.sim.history import SPOILED, Accounted, Controlled, Found, History, Logged, Retired, Took
from interlock.testing.sim.loop import SimLoop, current_process
from interlock.testing.standing import live


class Fact(msgspec.Struct, frozen=True):
    """The payload of every simulated event. `via` and `origin` say how a derived one came about."""

    key: str
    serial: int
    via: str = ""
    origin: str = ""


class Lineage(NamedTuple):
    """Which event one was derived of, by which subscription or schedule; its number in a series."""

    origin: str = ""
    via: str = ""
    serial: int = 0


def lineage_of_fact(draft: Draft) -> Lineage:
    """What a `Fact` says of itself."""
    if draft.type == look_type(draft.stream):
        return Lineage(draft.id, draft.type)
    fact = msgspec.json.decode(draft.data, type=Fact)
    return Lineage(fact.origin, fact.via, fact.serial)


def digest_of(data: bytes) -> str:
    """A body's digest, as histories have it."""
    return blake2b(data, digest_size=6).hexdigest()


class Auditor:
    """Writes down what becomes of `books`. `lineage` reads where an event came from."""

    def __init__(
        self,
        loop: SimLoop,
        books: MemoryDisk,
        history: History,
        streams: frozenset[str],
        lineage: Callable[[Draft], Lineage] = lineage_of_fact,
    ) -> None:
        self.books = books
        self._loop = loop
        self._history = history
        self._streams = streams
        self._lineage = lineage
        self._heads: dict[Shard, int] = {}
        self._gone: dict[Shard, int] = {}
        self._held: dict[CursorId, Held] = {}
        self._controls: dict[str, Cell] = {}

    def taken(self, process: str) -> None:
        """A process has opened the store, alone: write down what it has found."""
        self._history.add(Took(t=self._loop.now_us, process=process))
        for stream in self._streams & self.books.streams.keys():
            for number, log in enumerate(self.books.streams[stream].shards):
                ids = tuple(event.draft.id for event in log.events)
                found = Found(
                    t=self._loop.now_us, process=process, stream=stream, shard=number, after=log.gone, ids=ids
                )
                self._history.add(found)

    def look(self, by: str | None = None) -> None:
        """Write down what the last commit did, which was one of the process that is running, or of the one named."""
        process = current_process()
        by = by if by is not None else process.name if process else ""
        for name, stream in self.books.streams.items():
            if name not in self._streams:
                continue
            for number, log in enumerate(stream.shards):
                shard = Shard(name, number)
                if log.gone > self._gone.get(shard, 0):
                    self._gone[shard] = log.gone
                    self._history.add(
                        Retired(t=self._loop.now_us, process="disk", stream=name, shard=number, upto=log.gone)
                    )
                seen = self._heads.get(shard, 0)
                if log.head > seen:
                    self._heads[shard] = log.head
                    for event in log.events[max(0, seen - log.gone) :]:
                        self._history.add(self._logged(event, by))
        for id, ledger in self.books.ledgers.items():
            if self._held.get(id) is not ledger.held:
                self._held[id] = ledger.held
                self._history.add(self._accounted(id, ledger, by))

        for key, cell in self.books.cells.items():
            if key.startswith("control/") and self._controls.get(key) is not cell:
                self._controls[key] = cell
                control = decode_control(cell.value)
                self._history.add(
                    Controlled(t=self._loop.now_us, process="disk", subject=key, paused=control.paused, by=control.by)
                )

    def _logged(self, event: Event, by: str) -> Logged:
        draft = event.draft
        if event.claim is not None:
            # What a power cut would leave of it now: nothing else may be relied upon.
            draft = replace(draft, data=self.books.files.durable(event.claim.hash) or b"")
        lineage = Lineage() if event.claim is not None and not draft.data else self._lineage(draft)
        return Logged(
            t=self._loop.now_us,
            process="disk",
            stream=event.shard.stream,
            shard=event.shard.number,
            offset=event.offset,
            id=draft.id,
            key=draft.key,
            type=draft.type,
            digest=digest_of(draft.data),
            origin=lineage.origin,
            via=lineage.via,
            serial=lineage.serial,
            by=by,
        )

    def _accounted(self, id: CursorId, ledger: MemoryLedger, by: str) -> Accounted:
        cursor, counters = ledger.held.cursor, ledger.held.cursor.counters
        return Accounted(
            t=self._loop.now_us,
            process=by,
            subscription=id.subscription,
            stream=id.shard.stream,
            shard=id.shard.number,
            start=cursor.start,
            floor=cursor.floor,
            above=cursor.above,
            delivered=counters.delivered,
            filtered=counters.filtered,
            discarded=counters.discarded,
            dead=counters.dead,
            epoch=cursor.epoch,
            number=cursor.number,
            live=tuple(row.offset for row in live(ledger)),
            running=tuple(row.offset for row in live(ledger) if row.state == "running"),
            dead_rows=tuple(row.offset for row in ledger.rows.values() if row.state == "dead"),
            exhausted=tuple(
                row.offset for row in ledger.rows.values() if row.state == "dead" and row.reason == "exhausted"
            ),
            spoiled=tuple(
                row.offset
                for row in ledger.rows.values()
                if row.state in ("held", "dead") and row.reason == "permanent" and row.error == SPOILED
            ),
            discarded_rows=tuple(row.offset for row in ledger.rows.values() if row.state == "discarded"),
            edited=tuple((row.offset, row.edited) for row in ledger.rows.values() if row.edited is not None),
            untold=tuple(row.offset for row in ledger.missing()),
            marks=tuple((mark.key, mark.first, mark.last, mark.count) for mark in ledger.marks.values()),
            types=tuple((entry.offset, tuple(sorted(entry.types))) for entry in cursor.types),
        )
