"""The SQLite file: the lock that keeps it to one writing process, connections and their settings, migrations.

What is in the tables is not known here.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.resources import files
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import apsw

from interlock.core.errors import StoreError
from interlock.journal.migrate import Migration, parse_migrations, pending

PAGE_BYTES = 4096
BUSY_TIMEOUT_MS = 5_000
STATEMENTS_CACHED = 256
READER_CACHE_KIB = 4_096
WRITER_CACHE_KIB = 16_384
SECURED_AT_ONCE_BYTES = 1 << 16
"""SQLite's VFS writes less than 128 KiB at once."""
SYNC_FULL = 0x3
"""SQLite's `SQLITE_SYNC_FULL`: on macOS, beyond the drive's cache."""
APPLICATION_ID = 0x494C4B01
"""In the header of every store (`ILK` and 1): a file of another program is told by it before anything is written."""


class Connection(Protocol):
    """The part of `apsw.Connection` that the store uses. apsw's own types need a newer Python than ours."""

    @property
    def in_transaction(self) -> bool: ...
    def execute(self, statements: str, bindings: Sequence[Any] | None = None) -> Iterator[tuple[Any, ...]]: ...
    def pragma(self, name: str, value: Any = None) -> Any: ...
    def config(self, op: int, *args: int) -> int: ...
    def set_progress_handler(self, callable: Callable[[], bool] | None, nsteps: int = 100) -> None: ...  # noqa: A002  (apsw's)
    def set_busy_timeout(self, milliseconds: int) -> None: ...
    def set_wal_hook(self, callable: Callable[[Any, str, int], int] | None) -> None: ...  # noqa: A002  (apsw's)
    def wal_checkpoint(self, dbname: str | None = None, mode: int = ...) -> tuple[int, int]: ...
    def close(self, force: bool = False) -> None: ...
    def __enter__(self) -> Any: ...
    def __exit__(
        self, etype: type[BaseException] | None, evalue: BaseException | None, etraceback: TracebackType | None
    ) -> bool | None: ...


class FileLock:
    """An exclusive lock on `PATH.lock` for the life of the process; the operating system ends it with the process."""

    def __init__(self, path: Path) -> None:
        self._handle = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._handle, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(self._handle)
            raise StoreError(
                "store.in-use",
                f"another process (pid {holder}) has the store {path} open",
                "stop it first; one process writes a SQLite store, and others reach it through that one",
            ) from None
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def secure_wal(path: Path, vfs: str | None) -> None:
    """Write the WAL that a former process or connection has left once more as it reads, and sync it.

    A kernel whose sync failed says so once and takes the pages for clean: they are read back as if they were durable.
    What is built on them would go with them at the next power cut (docs/decisions/0023).
    """
    wal = Path(f"{path}-wal")
    if not wal.exists():
        return
    # SQLite's own VFS opens a WAL as such only beside its database.
    file: Any = apsw.VFSFile(vfs or "", str(wal), [apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_READWRITE, 0])
    try:
        size = file.xFileSize()
        for offset in range(0, size, SECURED_AT_ONCE_BYTES):
            file.xWrite(file.xRead(min(SECURED_AT_ONCE_BYTES, size - offset), offset), offset)
        file.xSync(SYNC_FULL)
    finally:
        file.xClose()


def connect_writer(path: Path, vfs: str | None) -> Connection:
    """The one connection that writes: WAL, a sync with every commit, no checkpoints of its own.

    Raises:
        StoreError: `store.not-wal` where the file system cannot do WAL; `store.foreign` for another program's database.
    """
    connection = _connect(path, apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE, vfs)
    if not _is_empty(connection) and not is_store(connection):
        connection.close()
        raise StoreError(
            "store.foreign",
            f"{path} is a database of another program; nothing was written to it",
            "set `[store] url` to a file of its own, or to one that is not there yet",
        )
    connection.pragma("page_size", PAGE_BYTES)
    mode = connection.pragma("journal_mode", "wal")
    if mode != "wal":
        connection.close()
        raise StoreError(
            "store.not-wal",
            f"SQLite keeps {path} in journal mode {mode!r}, not in WAL",
            "put the file on a local disk: network file systems cannot share the memory that WAL needs",
        )
    connection.pragma("synchronous", "FULL")
    connection.pragma("wal_autocheckpoint", 0)
    # What is deleted or replaced is overwritten, so that an erasure need not look for what was deleted before it.
    connection.pragma("secure_delete", "on")
    connection.pragma("cache_size", -WRITER_CACHE_KIB)
    # On macOS fsync only reaches the drive's cache.
    connection.pragma("fullfsync", 1)
    if connection.pragma("application_id") != APPLICATION_ID:
        connection.pragma("application_id", APPLICATION_ID)
    return connection


def connect_reader(path: Path, vfs: str | None) -> Connection:
    """A connection that only reads."""
    connection = _connect(path, apsw.SQLITE_OPEN_READONLY, vfs)
    connection.pragma("cache_size", -READER_CACHE_KIB)
    return connection


def connect_checkpointer(path: Path, vfs: str | None) -> Connection:
    """A connection that copies the WAL into the file, beside the writer."""
    connection = _connect(path, apsw.SQLITE_OPEN_READWRITE, vfs)
    connection.pragma("synchronous", "FULL")
    connection.pragma("fullfsync", 1)
    return connection


def _connect(path: Path, flags: int, vfs: str | None) -> Connection:
    connection = apsw.Connection(str(path), flags, vfs, STATEMENTS_CACHED)
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    return connection


class Readers:
    """Reading connections, as many as are used at once; each is lent to one thread at a time."""

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect
        self._idle: list[Connection] = []
        self._generation = 0

    @contextmanager
    def lend(self) -> Generator[Connection]:
        """Several statements in one snapshot."""
        generation = self._generation
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._connect()
        try:
            with connection:
                yield connection
        finally:
            if generation == self._generation:
                self._idle.append(connection)
            else:
                _let_go(connection)

    def close(self) -> None:
        """Close those that are idle now, and the others when they come back."""
        self._generation += 1
        while self._idle:
            _let_go(self._idle.pop())


def _let_go(connection: Connection) -> None:
    """A reader has nothing to lose: where its disk fails it is closed all the same, and those after it are."""
    with suppress(apsw.Error):
        connection.close(force=True)


def migrations() -> tuple[Migration, ...]:
    """Those that this version ships."""
    folder = files("interlock.journal.sqlite") / "schema"
    return tuple(parse_migrations({entry.name: entry.read_text() for entry in folder.iterdir()}))


def is_store(connection: Connection) -> bool:
    """Whether a database is a store of ours. Those made before stores had the id are told by their tables."""
    tables = "SELECT count(*) FROM sqlite_schema WHERE name IN ('migrations', 'streams', 'facts')"
    application: int = connection.pragma("application_id")
    return application == APPLICATION_ID or (application == 0 and next(iter(connection.execute(tables))) == (3,))


def _is_empty(connection: Connection) -> bool:
    return next(iter(connection.execute("SELECT count(*) FROM sqlite_schema"))) == (0,)


def applied_migrations(connection: Connection) -> dict[int, str]:
    """The checksums of the migrations that a store has had, by number."""
    return dict(connection.execute("SELECT number, checksum FROM migrations"))


def migrate(connection: Connection, known: tuple[Migration, ...], now: int) -> list[int]:
    """Bring the file to this version's schema; the numbers of what was applied."""
    connection.execute(
        "CREATE TABLE IF NOT EXISTS migrations"
        " (number INTEGER PRIMARY KEY, name TEXT, checksum TEXT, applied_at INTEGER)"
    )
    steps = pending(known, applied_migrations(connection))
    for step in steps:
        with connection:
            for _ in connection.execute(step.sql):
                continue
            connection.execute(
                "INSERT INTO migrations VALUES (?, ?, ?, ?)", (step.number, step.name, step.checksum, now)
            )
    return [step.number for step in steps]
