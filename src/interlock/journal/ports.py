"""What a backend of the store is: three small protocols. `tests/contract/store_contract.py` is their definition.

A backend is made with the `Clock`, `Offload` and `Wakeup` ports; "now" below is its clock's. Console queries are
not here: they live in `views.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

import msgspec

from interlock.core.cursor import Attempt, Counters, Cursor, CursorId, Mark, Past, Row, Success, TypesFrom
from interlock.core.event import Appended, Draft, Event, Shard


class Features(NamedTuple):
    """What a backend promises, as data. Each promise in the documentation names the feature that it needs."""

    atomic_emit: bool
    atomic_append_across_shards: bool
    gapless_offsets: bool
    dedupe_window: bool
    wakeup: bool
    clustered: bool


class Batch(NamedTuple):
    """Events in offset order, and `upto`: the last offset scanned. Nothing appears at or below it later."""

    events: Sequence[Event]
    upto: int


class Cell(msgspec.Struct, frozen=True, gc=False):
    """A small versioned record. Versions of a key start at 1 and rise by one; `expires_at` in µs, None for never."""

    key: str
    version: int
    value: bytes
    expires_at: int | None = None


class CellWrite(msgspec.Struct, frozen=True, gc=False):
    """A write that succeeds only if the cell is at `expected`: 0 for none that lives, None for whatever it is.

    `value` None deletes it.
    """

    key: str
    value: bytes | None
    expected: int | None = None
    expires_at: int | None = None


class CellConflict(NamedTuple):
    """The cell was not at the expected version; `found` is what is there, None if nothing."""

    key: str
    found: Cell | None


class AppendRefused(NamedTuple):
    """A cell that rode along was in conflict: nothing of the append was written."""

    conflict: CellConflict


class IdentityConflict(NamedTuple):
    """A whole append was refused because of identities that are known with another payload: nothing of it was written.

    `known`: by its place among the drafts, where the event with the same identity stands; None if that is an earlier
    draft of the same append.
    """

    known: Mapping[int, Appended | None]


class Lease(NamedTuple):
    """A worker's right to commit: a name, unique to the process's life, and until when (µs, the store's clock)."""

    worker: str
    expires_at: int


class Assign(msgspec.Struct, frozen=True):
    """A cursor to open. For one that the store does not know, `start` says from where.

    `start`: "now" (after the last event), "beginning" (before the oldest kept one), or an instant (µs) to start at.
    `types`: what the subscription reads under this plan; None for polls. Recorded with the first offset they hold for.
    """

    id: CursorId
    start: Literal["now", "beginning"] | int = "now"
    types: frozenset[str] | None = None


class Opened(msgspec.Struct, frozen=True):
    """A cursor as it now is (its epoch raised), its live rows (`running`, `due`, `held`; memo left out) and its marks.

    `former_until`: when the lease of a former holder ends that did not give the cursor back; 0 if there is none.
    `former_dead`: that holder is proven dead (on SQLite by the file lock), so only calls that it had in flight matter.
    `gaps`: in order, keys with rows that are missing and untold (`Row.is_missing`), at most `limits.GAP_KEYS_MAX` + 1.
    """

    cursor: Cursor
    rows: Sequence[Row]
    marks: Sequence[Mark]
    former_until: int = 0
    former_dead: bool = False
    gaps: Sequence[str] = ()


class Settlement(msgspec.Struct, frozen=True):
    """What one lane commits: all or nothing.

    Attributes:
        cursor, worker, epoch: refused with `LeaseLost` unless it is assigned so and the worker's lease is valid.
        number: the previous settlement's number + 1; a number that was committed before is refused likewise.
        floor, above, counters: the cursor after this settlement.
        put: rows to write, whole, except that `memo` b"" leaves the stored memo as it is. Their events must be there: a
            row about one that was retired and is not in `kept` refuses the settlement with `LeaseLost` (rule 4).
        clear: offsets whose rows go.
        marks: marks to write; one with `count` 0 goes.
        successes: the happy path's attempts, one compact record.
        attempts: whole records.
        emit: drafts that commit with it; a known identity is not written again.
        cells: writes that ride along unconditionally or not; a conflict refuses the whole settlement (`CellsConflict`).
        token: a foreign source's new position.
        clean: sets `Cursor.unclean` to 0.
        effects: names to add to `Cursor.effects`.
        release: the cursor is given back: nobody holds it, `unclean` becomes 0.
    """

    cursor: CursorId
    worker: str
    epoch: int
    number: int
    floor: int
    above: int
    counters: Counters
    put: Sequence[Row] = ()
    clear: Sequence[int] = ()
    marks: Sequence[Mark] = ()
    successes: Sequence[Success] = ()
    attempts: Sequence[Attempt] = ()
    emit: Sequence[Draft] = ()
    cells: Sequence[CellWrite] = ()
    token: str | None = None
    clean: bool = False
    effects: frozenset[str] = frozenset()
    release: bool = False


class Committed(NamedTuple):
    """Done and durable."""

    number: int


class LeaseLost(NamedTuple):
    """Refused: the lease has ended, the cursor moved, the number is not the next, or an event is gone.

    Nothing was written; the lane opens anew.
    """

    why: str


CURSOR_MOVED = "the cursor is assigned to another worker or epoch"
"""`LeaseLost.why` when somebody else has opened the cursor."""


class CellsConflict(NamedTuple):
    """Refused because of a cell. Nothing was written."""

    conflict: CellConflict


SettleResult = Committed | LeaseLost | CellsConflict


class StreamInfo(NamedTuple):
    """A stream as recorded when it was made: its shards never change within its epoch."""

    name: str
    shards: int
    created_at: int


class Retention(NamedTuple):
    """Bounds of one stream; whichever is reached first retires its oldest segment."""

    age_us: int
    bytes: int


class Collected(NamedTuple):
    """Files of large payloads that nothing referred to and that were removed, and their bytes."""

    files: int
    bytes: int


class Erase(msgspec.Struct, frozen=True):
    """The first step of an erasure: the content of events goes, and every cursor on their shard is asked about them.

    `request` is the value of the cells that ask (`core.requests`), under `job`; one that is there already stays.
    """

    shard: Shard
    offsets: Sequence[int]
    job: str
    request: bytes


class Forget(msgspec.Struct, frozen=True):
    """The last step of an erasure, when all lanes have answered: what else tells of these events goes.

    Attributes:
        shard, offsets, job: as in the first step, whose requests go.
        key: whose newest event is forgotten, too; None where single events are erased.
        done: a cell that is written with it.
    """

    shard: Shard
    offsets: Sequence[int]
    job: str
    key: str | None
    done: CellWrite


class Journal(Protocol):
    """The log."""

    features: Features

    async def make_stream(self, name: str, shards: int) -> StreamInfo:
        """Record a stream, or give the one that exists (its own number of shards wins)."""
        ...

    def stream(self, name: str) -> StreamInfo | None:
        """What is known of a stream, from memory."""
        ...

    def submit(
        self,
        drafts: Sequence[Draft],
        cells: Sequence[CellWrite],
        done: Callable[[Sequence[Appended] | AppendRefused | Exception], None],
    ) -> None:
        """Queue an append; `done` is called on the loop when it is durable, or with the error.

        All drafts of one call, of whatever streams and shards, are one commit. It never blocks and creates no Future.
        An error that is not `StoreFull` or `StoreBusy` leaves it unknown whether the write happened.
        """
        ...

    def submit_whole(
        self, drafts: Sequence[Draft], done: Callable[[Sequence[Appended] | IdentityConflict | Exception], None]
    ) -> None:
        """As `submit`, but nothing is written if one of the drafts has a known identity with another payload.

        Known is what the commit finds, and what requests before this one add to the same commit.
        """
        ...

    async def append(
        self, drafts: Sequence[Draft], cells: Sequence[CellWrite] = ()
    ) -> Sequence[Appended] | AppendRefused:
        """As `submit`, awaited.

        Raises:
            StoreFull, StoreBusy: nothing was written.
            StoreError: it may or may not have been written.
        """
        ...

    async def read(self, shard: Shard, after: int, limit: int, types: frozenset[str] | None = None) -> Batch:
        """Events of `types` (None: all) with an offset above `after`, at most `limit` of them and 8 MB of payload.

        What is above 64 KiB is in a file: `whole` brings it, so that what is read ahead stays small.

        Raises:
            Retired: if `after + 1` is below the oldest kept offset.
        """
        ...

    async def fetch(self, shard: Shard, offsets: Sequence[int]) -> Sequence[Event]:
        """The events at these offsets, from the log or from `kept`, in the order asked.

        Raises:
            Retired: if one of them is in neither.
        """
        ...

    async def whole(self, event: Event) -> Event:
        """The event with its payload, which is in a file where it is large (`Event.claim`).

        One whose file is lost is given with `absent`; that concerns it alone.
        """
        ...

    async def kept(self, shard: Shard, after: int, limit: int) -> Batch:
        """Events in `kept` with an offset above `after`: how a lane scans for a mark whose events were retired.

        `upto` is the last offset given, or the last retired one when there are no more.
        """
        ...

    def bounds(self, shard: Shard) -> tuple[int, int]:
        """The oldest kept and the newest durable offset, from memory; (n + 1, n) when nothing is kept."""
        ...

    async def of_key(self, shard: Shard, key: str, limit: int) -> Sequence[int]:
        """Offsets of the events of a key, in the log and in `kept`, lowest first. It looks at the whole shard."""
        ...

    async def erase(self, erase: Erase) -> Sequence[str]:
        """Take what events say out of the log, `kept` and the claims of files; the keys of the cells that ask lanes.

        Offsets stay without gaps: place, type, the hash of the identity and, until `forget`, the key are left. Doing it
        again changes nothing. What is not there is passed over.
        """
        ...

    async def forget(self, forget: Forget) -> None:
        """Take away the keys of erased events, and what may quote them in records of attempts and cells.

        When it returns the disk of the store does not hold any of it, except in files that `collect` removes, and where
        a reader's snapshot (a backup) still needs it: then by the first commit after that has ended.
        """
        ...

    async def collect(self, age_us: int | None = None) -> Collected:
        """Remove the files of large payloads that no event claims and that are so old (`limits.BODY_ORPHAN_US`)."""
        ...

    async def retire(self, stream: str, retention: Retention) -> int:
        """Retire whole segments that are out of bounds and below the floor of every cursor; how many events went.

        Events of rows and of marks are copied to `kept` first, in the same commit (rule 4).
        """
        ...


class Ledger(Protocol):
    """Who has accounted for what."""

    async def renew(self, worker: str, ttl_us: int) -> Lease | LeaseLost:
        """Take or renew the worker's lease; a lease that has ended cannot be renewed under the same name."""
        ...

    async def open(self, lease: Lease, cursors: Sequence[Assign]) -> Sequence[Opened] | LeaseLost:
        """Assign cursors to the worker: each epoch is raised by one, a former holder's commits are refused from now on.

        Types are recorded from the highest accounted offset + 1 (rule 5). `unclean` is raised by one.
        """
        ...

    async def commit(self, settlements: Sequence[Settlement]) -> Sequence[SettleResult]:
        """Each is all or nothing by itself; all that succeed are durable when it returns, in one commit.

        Raises:
            StoreError: it may or may not have happened (rule 9: drop the memory and open anew).
        """
        ...

    async def rows(self, cursor: CursorId, offsets: Sequence[int]) -> Sequence[Row]:
        """Rows at these offsets in any state, memo included; those that do not exist are left out."""
        ...

    async def missing(self, cursor: CursorId, key: str) -> Sequence[Row]:
        """The key's rows that are missing and untold, lowest first, at most `limits.GAP_EVENTS_MAX`; memo left out."""
        ...

    async def past(self, cursor: CursorId, offsets: Sequence[int]) -> Mapping[int, Past]:
        """What the records of attempts say of the events at these offsets; those without any are left out.

        Records are kept for as long as their event is in the log.
        """
        ...

    async def release(self, worker: str) -> None:
        """End the worker's lease."""
        ...


class Cells(Protocol):
    """Small records: breakers, control state, requests, leases, idempotent answers."""

    async def get(self, keys: Sequence[str]) -> Mapping[str, Cell]:
        """Those that exist and have not expired."""
        ...

    async def list(self, prefix: str, limit: int = 1000) -> Sequence[Cell]:
        """Cells whose key begins with `prefix`, in key order."""
        ...

    async def put(self, writes: Sequence[CellWrite]) -> Sequence[Cell | CellConflict]:
        """Each by itself; a deleted cell is answered with its last version and an empty value."""
        ...


class Store(Journal, Ledger, Cells, Protocol):
    """All three in one object, as SQLite and PostgreSQL implement them."""

    async def close(self) -> None: ...


class Retired(Exception):
    """An offset that was asked for has been retired and was not kept: whoever asks has lost its cursor (rule 4)."""

    def __init__(self, shard: Shard, offset: int) -> None:
        super().__init__(f"offset {offset} of {shard.stream}/{shard.number} has been retired")
        self.shard = shard
        self.offset = offset


__all__ = [
    "CURSOR_MOVED",
    "AppendRefused", "Assign", "Batch", "Cell", "CellConflict", "CellWrite", "Cells", "CellsConflict", "Collected",
    "Committed", "Erase", "Features", "Forget", "IdentityConflict", "Journal", "Lease", "LeaseLost", "Ledger", "Opened",
    "Retention", "Retired", "SettleResult", "Settlement", "Store", "StreamInfo", "TypesFrom",
]  # fmt: skip
