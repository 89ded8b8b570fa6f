"""The SQLite backend: one group of requests is one transaction. It decides what an error of the file means.

A full disk wrote nothing. Any other error of the file leaves the group in doubt: nothing is acknowledged any more
until the file has been opened and read again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import apsw

from interlock.core.cursor import CursorId, Past, Row
from interlock.core.errors import StoreError
from interlock.core.event import Appended, Draft, Event, Shard
from interlock.core.limits import DEDUPE_WINDOW_EVENTS, SEGMENT_EVENTS, STORE_RESERVE_BYTES
from interlock.core.ports import Clock, Disk, Files, Offload
from interlock.journal.bodies import Bodies
from interlock.journal.ports import (
    AppendRefused,
    Assign,
    Batch,
    Cell,
    CellConflict,
    CellsConflict,
    CellWrite,
    Collected,
    Committed,
    Erase,
    Features,
    Forget,
    Lease,
    LeaseLost,
    Opened,
    Retention,
    Retired,
    Settlement,
    SettleResult,
    StreamInfo,
)
from interlock.journal.sqlite import erasing, retire
from interlock.journal.sqlite.carried import unpack
from interlock.journal.sqlite.cells import CellsTx, get_cells, list_cells
from interlock.journal.sqlite.connection import (
    Connection,
    FileLock,
    Readers,
    connect_checkpointer,
    connect_reader,
    connect_writer,
    migrate,
    migrations,
    secure_wal,
)
from interlock.journal.sqlite.files import DiskFiles, bodies_folder
from interlock.journal.sqlite.ledger import Ledger, LedgerTx, read_missing, read_past, read_rows
from interlock.journal.sqlite.log import Log, LogTx
from interlock.journal.sqlite.reads import fetch_events, kept_events, read_events
from interlock.journal.sqlite.room import disk_level, disk_room
from interlock.journal.store import News, Solo, Tx, run_each, store_full
from interlock.journal.writer import in_doubt

T = TypeVar("T")

QUICK_CHECK_BYTES_MAX = 256 * 1024 * 1024
"""A file up to this size is checked when it is opened after a crash; a larger one would take minutes."""
CHECKPOINT_PAGES = 4_000
"""Pages in the WAL from which on a checkpoint is asked for: 16 MB."""
SNAPSHOT_TRIES = 1_000
"""Between the commit that drops a table and memory knowing it, a reader looks in vain: for the writer's next step."""
UNWRITABLE = (
    TypeError,
    ValueError,
    OverflowError,
    apsw.ConstraintError,
    apsw.MismatchError,
    apsw.TooBigError,
    apsw.RangeError,
)
"""What a value that SQLite cannot keep raises: a fault of its request, not of the file."""


class SqliteOptions(NamedTuple):
    """What an installation need not set.

    Attributes:
        reads: where reads and checkpoints run, so that they do not wait for commits; with the commits if None.
        vfs: the name of the SQLite VFS, for simulated disks.
        window_events: identities kept in memory.
        segment_events: events after which a segment is full.
        reserve_bytes: free space of the disk that intake does not get.
        disk: asked for the free space.
        files: where large payloads are; a folder beside the store if None.
    """

    reads: Offload | None = None
    vfs: str | None = None
    window_events: int = DEDUPE_WINDOW_EVENTS
    segment_events: int = SEGMENT_EVENTS
    reserve_bytes: int = STORE_RESERVE_BYTES
    disk: Disk = disk_room
    files: Files | None = None


class Tables(NamedTuple):
    """The state in memory, as one: after an error of the file it is read again as a whole."""

    log: Log
    ledger: Ledger


class SqliteTx:
    """One transaction. What is noted is written by `write`, and known to others after `apply`."""

    def __init__(self, tables: Tables, bodies: Bodies, connection: Connection, now: int) -> None:
        self._tables = tables
        self._bodies = bodies
        self._connection = connection
        self._now = now
        self._log = LogTx(tables.log, bodies, connection, now)
        self._ledger = LedgerTx(tables.ledger, tables.log, connection, now)
        self._cells = CellsTx(connection, now)
        self._solo: Callable[[], None] | None = None
        self.forgets = False
        """Whether what is deleted must be gone from the disk."""

    def append(self, drafts: Sequence[Draft], cells: Sequence[CellWrite]) -> Sequence[Appended] | AppendRefused:
        if not cells:
            return self._log.append(drafts, intake=True)
        written = self._cells.check(cells)
        if isinstance(written, CellConflict):
            return AppendRefused(written)
        appended = self._log.append(drafts, intake=True)
        self._cells.write(written)
        return appended

    def append_whole(self, drafts: Sequence[Draft]) -> Sequence[Appended]:
        return self._log.append(drafts, intake=True, whole=True)

    def settle(self, settlement: Settlement) -> SettleResult:
        lost = self._ledger.refusal(settlement)
        if lost is not None:
            return lost
        written = self._cells.check(settlement.cells) if settlement.cells else {}
        if isinstance(written, CellConflict):
            return CellsConflict(written)
        if settlement.emit:
            self._log.append(settlement.emit, intake=False)
        self._ledger.settle(settlement)
        self._cells.write(written)
        return Committed(settlement.number)

    def open(self, lease: Lease, assigns: Sequence[Assign]) -> Sequence[Opened] | LeaseLost:
        return self._ledger.open(lease, assigns)

    def renew(self, worker: str, ttl_us: int) -> Lease | LeaseLost:
        return self._ledger.renew(worker, ttl_us)

    def release(self, worker: str) -> None:
        self._ledger.release(worker)

    def put(self, writes: Sequence[CellWrite]) -> Sequence[Cell | CellConflict]:
        return self._cells.put(writes)

    def make_stream(self, name: str, shards: int) -> StreamInfo:
        made = StreamInfo(name, shards, self._now)
        return self._alone(retire.make_stream(self._connection, self._tables.log, made))

    def retire(self, stream: str, retention: Retention) -> int:
        log, ledger = self._tables
        # To overwrite the pages of whole tables would be to write all of a segment again.
        self._connection.pragma("secure_delete", "fast")
        try:
            return self._alone(retire.retire(self._connection, log, ledger, stream, retention, self._now))
        finally:
            self._connection.pragma("secure_delete", "on")

    def collect(self, names: Collection[str]) -> Collected:
        return self._bodies.remove(retire.unclaimed(self._connection, names))

    def erase(self, erase: Erase) -> Sequence[str]:
        written = self._cells.check(erasing.asked(self._tables.ledger, erase, self._connection))
        assert not isinstance(written, CellConflict), "they expect nothing"
        self._cells.write(written)
        return erasing.erase(self._connection, self._tables, erase, self._now)

    def forget(self, forget: Forget) -> None:
        self.forgets = True
        self._cells.put([forget.done])
        erasing.forget(self._connection, self._tables, forget, self._now)

    def rename_subscription(self, old: str, new: str) -> int:
        return self._alone(retire.rename_subscription(self._connection, self._tables.ledger, old, new, self._now))

    def retire_subscription(self, name: str) -> int:
        return self._alone(retire.retire_subscription(self._connection, self._tables.ledger, name, self._now))

    def _alone(self, made: tuple[T, retire.Apply]) -> T:
        answer, self._solo = made
        return answer

    def write(self) -> None:
        self._log.write()
        self._ledger.write()

    def told(self, answers: Sequence[Any]) -> Sequence[Any]:
        """The answers of the group: which whole appends are refused is decided when everything is written."""
        refused = self._log.refused
        return [refused.get(id(answer), answer) for answer in answers] if refused else answers

    def apply(self, news: Found) -> None:
        """The commit has returned."""
        for shard, events in self._log.apply().items():
            news.appended.setdefault(shard, []).extend(events)
        self._ledger.apply()
        news.changed.update(self._cells.changed)
        if self._solo is not None:
            self._solo()


class Found(NamedTuple):
    """What commits have made durable and nobody has been told yet. It is the writer's until `commit` gives it away."""

    appended: dict[Shard, list[Event]]
    changed: dict[str, None]


class SqliteBackend:
    """`store.Backend` on a file that this process has locked."""

    features = Features(
        atomic_emit=True,
        atomic_append_across_shards=True,
        gapless_offsets=True,
        dedupe_window=True,
        wakeup=True,
        clustered=False,
    )

    def __init__(self, path: Path, clock: Clock, options: SqliteOptions) -> None:
        self._path = path
        self._options = options
        self._clock = clock
        self._lock = FileLock(path)
        self._found = Found({}, {})
        self._connection: Connection | None = None
        self._tables = Tables(self._new_log(), Ledger())
        self.readers = Readers(lambda: connect_reader(path, options.vfs))
        self.bodies = Bodies(options.files or DiskFiles(bodies_folder(path)))
        self._gone = False
        self._wal_pages = 0
        self._checkpointed = False
        self._must_truncate = False

    def _new_log(self) -> Log:
        return Log(self._options.window_events, self._options.segment_events)

    def open(self) -> list[str]:
        """Open the file, migrate it, check it after a crash, read its state; the names of migrations that ran.

        Raises:
            StoreError: `store.unusable`, `store.corrupt`, `store.not-wal`, `store.foreign`,
                `store.schema-newer`, `store.schema-changed`.
        """
        try:
            secure_wal(self._path, self._options.vfs)
            connection = connect_writer(self._path, self._options.vfs)
        except apsw.Error as error:
            raise _unusable(self._path, error) from error
        try:
            applied = migrate(connection, migrations(), self._clock.now())
            (closed,) = next(iter(connection.execute("SELECT value FROM facts WHERE name = 'closed'")))
            if not closed:
                _check(connection, self._path)
            # A backup that is opened as it is, without a restore, has its large payloads in it.
            with connection:
                unpack(connection, self.bodies, self._clock.now())
            connection.execute("UPDATE facts SET value = 0 WHERE name = 'closed'")
            self._read(connection)
        except apsw.Error as error:
            connection.close()
            raise _unusable(self._path, error) from error
        except StoreError:
            connection.close()
            raise
        connection.set_wal_hook(self._count_pages)
        self._connection = connection
        return [str(number) for number in applied]

    def _read(self, connection: Connection) -> None:
        former = self._tables
        tables = Tables(self._new_log(), Ledger())
        with connection:
            tables.log.load(connection)
            tables.ledger.load(connection, tables.log)
        tables.ledger.here |= former.ledger.here
        for name, before in former.log.streams.items():
            # A group in doubt whose events are there after all: whoever waits at the tail has not heard of them.
            for shard, head in zip(before.shards, before.heads, strict=True):
                after = tables.log.streams[name]
                while head < after.heads[shard.number]:
                    batch = read_events(connection, after, shard, head, 1_000, None)
                    self._found.appended.setdefault(shard, []).extend(batch.events)
                    head = batch.upto
        self._tables = tables

    def _count_pages(self, connection: Connection, database: str, pages: int) -> int:
        self._wal_pages = pages
        return apsw.SQLITE_OK

    def commit(self, runs: Sequence[Callable[[Any], Any]]) -> tuple[Sequence[Any], Found]:
        if self._gone:
            raise StoreError("store.closed", "the store is closed; nothing was written", "open it again")
        if self._connection is None:
            self._reopen()
        room = self._options.disk(self._path.parent)
        self._tables.log.short = disk_level(room, self._options.reserve_bytes) == "full"
        answers: list[Any] = []
        shared: list[Callable[[Any], Any]] = []
        for run in runs:
            if isinstance(run, Solo):
                answers += self._transactions(shared)
                answers += self._transactions([run])
                shared = []
            else:
                shared.append(run)
        answers += self._transactions(shared)
        if self._checkpointed:
            self._checkpointed = False
            self._guarded(self._finish_checkpoint)
        if self._must_truncate:
            self._guarded(self._truncate)
        found, self._found = self._found, Found({}, {})
        return answers, found

    def _transactions(self, runs: Sequence[Callable[[Any], Any]]) -> Sequence[Any]:
        """One transaction for all, or, where one of them has a value that cannot be kept, one for each."""
        if not runs:
            return []
        try:
            return self._guarded(lambda: self._transaction(runs))
        except UNWRITABLE as error:
            if len(runs) > 1:
                return [answer for run in runs for answer in self._transactions([run])]
            return [_unwritable(error)]
        except StoreError as error:
            if self._connection is None:  # In doubt.
                raise
            return [error] * len(runs)

    def _guarded(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except UNWRITABLE:
            raise
        except apsw.FullError as error:
            raise store_full() from error
        except apsw.Error as error:
            self._give_up()
            raise in_doubt(error) from error

    def _transaction(self, runs: Sequence[Callable[[Any], Any]]) -> Sequence[Any]:
        connection = self._connection
        assert connection is not None, "opened by commit"
        connection.execute("BEGIN IMMEDIATE")
        try:
            tx: Tx = (mine := SqliteTx(self._tables, self.bodies, connection, self._clock.now()))
            answers = run_each(tx, runs)
            mine.write()
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        mine.apply(self._found)
        self._must_truncate |= mine.forgets
        return mine.told(answers)

    def _give_up(self) -> None:
        """Close everything: what the file holds is read again before anything else is written."""
        connection, self._connection = self._connection, None
        self.readers.close()
        if connection is not None:
            try:
                connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
                connection.close(force=True)
            except apsw.Error:
                # A file that cannot be synced cannot be closed cleanly either; its handle is gone all the same.
                return

    def _reopen(self) -> None:
        try:
            self.open()
        except StoreError as error:
            raise StoreError(
                "store.unavailable",
                f"the store {self._path} cannot be opened again ({error.code}); nothing was written",
                "see the log for the disk's error; the store goes on by itself when the disk does",
            ) from error

    def _finish_checkpoint(self) -> None:
        if self._connection is not None:
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)

    def _truncate(self) -> None:
        """Copy the whole WAL into the file and empty it: pages as they were before an erasure stand in it."""
        if self._connection is not None:
            with suppress(apsw.BusyError):  # A reader still needs it: after the next commit, then.
                self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
                self._must_truncate = False

    def upkeep(self) -> Callable[[], None] | None:
        return self._checkpoint if self._wal_pages > CHECKPOINT_PAGES and not self._checkpointed else None

    def _checkpoint(self) -> None:
        """Copy the WAL into the file beside the writer; what is added meanwhile is left to its next commit."""
        connection = connect_checkpointer(self._path, self._options.vfs)
        try:
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        finally:
            connection.close()
        self._checkpointed = True

    def news(self, committed: Found) -> News:
        return News(committed.appended, tuple(committed.changed))

    def stream(self, name: str) -> StreamInfo | None:
        stream = self._tables.log.streams.get(name)
        return stream.made if stream else None

    def bounds(self, shard: Shard) -> tuple[int, int]:
        stream = self._tables.log.shard(shard)
        return stream.gone[shard.number] + 1, stream.heads[shard.number]

    def read(self, shard: Shard, after: int, limit: int, types: frozenset[str] | None) -> Batch:
        return self._log_read(shard, lambda log, c: read_events(c, log.shard(shard), shard, after, limit, types))

    def kept(self, shard: Shard, after: int, limit: int) -> Batch:
        return self._log_read(shard, lambda log, c: kept_events(c, log.shard(shard), shard, after, limit))

    def fetch(self, shard: Shard, offsets: Sequence[int]) -> Sequence[Event]:
        return self._log_read(shard, lambda log, c: fetch_events(c, log.shard(shard), shard, offsets))

    def whole(self, event: Event) -> Event:
        return self.bodies.whole(event)

    def of_key(self, shard: Shard, key: str, limit: int) -> Sequence[int]:
        return self._log_read(shard, lambda log, c: erasing.of_key(c, log.shard(shard), shard, key, limit))

    def old_files(self, age_us: int) -> Sequence[str]:
        return self.bodies.old(self._clock.now() - age_us)

    def _log_read(self, shard: Shard, read: Callable[[Log, Connection], T]) -> T:
        """Read; again if the offset was retired between the look at memory and the snapshot."""
        while True:
            gone = self._tables.log.shard(shard).gone
            try:
                return self.snapshot(read)
            except Retired:
                if self._tables.log.shard(shard).gone is gone:
                    raise

    def snapshot(self, read: Callable[[Log, Connection], T]) -> T:
        """Read with what memory says of the segments. A table may come or go meanwhile: then again."""
        for _ in range(SNAPSHOT_TRIES):
            try:
                return self.reading(partial(read, self._tables.log))
            except apsw.SQLError:
                continue
        return self.reading(partial(read, self._tables.log))

    def reading(self, read: Callable[[Connection], T]) -> T:
        """Read in one snapshot on a connection of its own.

        Raises:
            StoreError: `store.unreadable`.
        """
        try:
            with self.readers.lend() as connection:
                return read(connection)
        except apsw.SQLError:
            raise
        except apsw.Error as error:
            raise StoreError(
                "store.unreadable",
                f"the store {self._path} cannot be read ({type(error).__name__})",
                "see the log for the disk's error",
            ) from error

    def rows(self, cursor: CursorId, offsets: Sequence[int]) -> Sequence[Row]:
        known = self._tables.ledger.cursors.get(cursor)
        if known is None:
            return []
        where = f"AND offset IN ({','.join('?' * len(offsets))})"
        found = self.reading(lambda connection: list(read_rows(connection, known[0], where, offsets)))
        by_offset = {row.offset: row for row in found}
        return [by_offset[offset] for offset in offsets if offset in by_offset]

    def missing(self, cursor: CursorId, key: str) -> Sequence[Row]:
        known = self._tables.ledger.cursors.get(cursor)
        return [] if known is None else self.reading(lambda connection: read_missing(connection, known[0], key))

    def past(self, cursor: CursorId, offsets: Sequence[int]) -> Mapping[int, Past]:
        known = self._tables.ledger.cursors.get(cursor)
        return {} if known is None else self.reading(lambda connection: read_past(connection, known[0], offsets))

    def get(self, keys: Sequence[str]) -> Mapping[str, Cell]:
        return self.reading(lambda connection: get_cells(connection, keys, self._clock.now()))

    def list(self, prefix: str, limit: int) -> Sequence[Cell]:
        return self.reading(lambda connection: list_cells(connection, prefix, limit, self._clock.now()))

    def close(self) -> None:
        """Close the file so that the next opening finds nothing to recover.

        Raises:
            StoreError: `store.in-doubt`, if the disk fails; what was acknowledged is durable all the same.
        """
        self._gone = True
        self.readers.close()
        try:
            if self._connection is not None:
                self._connection.execute("UPDATE facts SET value = 1 WHERE name = 'closed'")
                self._connection.close()
                self._connection = None
        except apsw.FullError:
            # Nothing is missing but the note that it was closed: the next opening looks at the file once more.
            self._give_up()
        except apsw.Error as error:
            self._give_up()
            raise in_doubt(error) from error
        finally:
            self._lock.release()

    def abandon(self) -> None:
        """Let go of the file as a process that dies does: nothing is finished."""
        self._gone = True
        self._give_up()
        self._lock.release()


def _check(connection: Connection, path: Path) -> None:
    pages, size = connection.pragma("page_count"), connection.pragma("page_size")
    if pages * size > QUICK_CHECK_BYTES_MAX:
        return
    found: Iterable[str] = [text for (text,) in connection.execute("PRAGMA quick_check(1)")]
    if found != ["ok"]:
        raise StoreError(
            "store.corrupt",
            f"SQLite finds {path} damaged: {next(iter(found), 'no answer')}",
            "keep the file for inspection and restore a backup",
        )


def _unusable(path: Path, error: apsw.Error) -> StoreError:
    return StoreError(
        "store.unusable",
        f"the store {path} cannot be opened: {type(error).__name__}: {error}",
        "check the path, its permissions and its disk; a file that is no SQLite database is never overwritten",
    )


def _unwritable(error: Exception) -> StoreError:
    return StoreError(
        "store.unwritable",
        f"a value cannot be kept ({type(error).__name__}: {error}); nothing of the request was written",
        "give text without lone surrogates, bytes for payloads and integers of 64 bits",
    )
