"""A copy of a store in one file, made while the store is written to, and what is checked before a copy is believed.

How a copy becomes the store again is in `restore`. Both block: the command line calls them.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import apsw

from interlock.core.cursor import CursorId
from interlock.core.errors import StoreError
from interlock.core.event import Claim
from interlock.core.limits import STORE_RESERVE_BYTES
from interlock.core.ports import Disk, Files
from interlock.journal.bodies import Bodies
from interlock.journal.migrate import pending
from interlock.journal.sqlite.carried import carries, carry, claims, damaged, is_claimed
from interlock.journal.sqlite.connection import (
    Connection,
    applied_migrations,
    connect_checkpointer,
    connect_reader,
    is_store,
    migrations,
)
from interlock.journal.sqlite.files import DiskFiles, bodies_folder, sync
from interlock.journal.sqlite.ledger import Ledger
from interlock.journal.sqlite.log import Log
from interlock.journal.sqlite.room import disk_room
from interlock.journal.sqlite.views import Snapshot, conservation_of

COPIES_MAX: Final = 3
"""A copy is made again if the store's oldest payloads went while they were copied: retention runs once an hour."""
PARTIAL: Final = ".partial"
"""Added to the name of a copy until it is whole."""
_STEPS: Final = 100_000
"""Of SQLite's machine, between two looks at whether somebody has pressed Ctrl-C: a few milliseconds."""


class Contents(NamedTuple):
    """What a store holds.

    Attributes:
        schema: the number of its last migration.
        size_bytes: of its pages.
        events: in the log.
        newest_at: when the last of them was accepted, µs; None if there is none.
        heads: the newest offset by shard, by stream.
        delivered: by subscription.
        unbalanced: cursors whose equation was counted and does not hold, as `doctor` would find.
        bodies, bodies_bytes: large payloads that it refers to.
        bodies_lost: those of them that were looked for and are not whole.
    """

    schema: int
    size_bytes: int
    events: int
    newest_at: int | None
    heads: Mapping[str, Sequence[int]]
    delivered: Mapping[str, int]
    unbalanced: Sequence[str] = ()
    bodies: int = 0
    bodies_bytes: int = 0
    bodies_lost: int = 0


def back_up(
    store: Path, target: Path, vfs: str | None = None, disk: Disk = disk_room, files: Files | None = None
) -> Contents:
    """Write a copy of the store as it is at this moment to `target`, which is replaced if it is there.

    The copy is one transaction that reads: a process that runs goes on writing. It carries the large payloads as well,
    so that a backup is one file. Until the copy is whole, synced and checked it has another name, so that a file called
    `target` is always a whole one.

    Raises:
        StoreError: `backup.unwritable`, `backup.no-room`, `backup.running`, `backup.failed`; what `examined` raises.
    """
    folder, bodies = target.parent, Bodies(files or DiskFiles(bodies_folder(store)))
    if not folder.is_dir():
        raise _unwritable(target, f"there is no folder {folder}")
    if target.exists() and not target.is_file():
        raise _unwritable(target, "it is no file")
    if target.exists() and target.samefile(store):
        raise _unwritable(target, "it is the store itself")
    with partial_of(target) as partial:
        _refuse_without_room(store, target, disk)
        for _ in range(COPIES_MAX):
            copy(store, partial, vfs)
            if not _overtaken(store, _carry(bodies, partial), vfs):
                break
            partial.open("w").close()
        contents = examined(partial, vfs)
        partial.replace(target)
        sync(folder)
    return contents


def _carry(bodies: Bodies, partial: Path) -> Sequence[Claim]:
    """Put the large payloads into a copy; those that are not there."""
    try:
        connection = connect_checkpointer(partial, None)
        try:
            lost = carry(connection, bodies)
            changed = carries(connection)
        finally:
            connection.close()
        if changed:
            sync(partial)
        return lost
    except apsw.FullError as error:
        raise _no_room(partial) from error


def _overtaken(store: Path, lost: Sequence[Claim], vfs: str | None) -> bool:
    """Whether the store has let go since the copy of what was not there: then a new copy does not refer to it."""
    if not lost:
        return False
    connection = connect_reader(store, vfs)
    try:
        return not all(is_claimed(connection, claim) for claim in lost)
    finally:
        connection.close()


@contextmanager
def partial_of(target: Path) -> Generator[Path]:
    """The file, readable by this user only, that is to become `target`; gone at the end if it has not.

    What a killed process has left of one is written over; one that somebody is writing is left alone.
    """
    partial = target.with_name(target.name + PARTIAL)
    try:
        handle = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise _unwritable(target, error.strerror or type(error).__name__) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever had the lock may have given the file its final name between our opening and our lock.
        if not partial.exists() or not os.path.samestat(os.fstat(handle), partial.stat()):
            raise BlockingIOError
        os.fchmod(handle, 0o600)
        os.ftruncate(handle, 0)
        _forget_beside(partial)
        try:
            yield partial
        finally:
            partial.unlink(missing_ok=True)
            _forget_beside(partial)
    except BlockingIOError:
        raise StoreError(
            "backup.running", f"somebody is writing {partial}", "wait until that has ended, or give another name"
        ) from None
    finally:
        os.close(handle)


def _forget_beside(partial: Path) -> None:
    for suffix in ("-wal", "-shm", "-journal", ".lock"):
        partial.with_name(partial.name + suffix).unlink(missing_ok=True)


def copy(source: Path, target: Path, vfs: str | None = None) -> None:
    """Copy a store, its write-ahead log included, into a file that is empty, and sync it.

    Raises:
        StoreError: `backup.no-room`, `backup.failed`; `backup.not-a-store` if the source is no database.
    """
    try:
        connection = connect_reader(source, vfs)
        try:
            # Python looks at signals only between its own steps; without one, Ctrl-C would wait for the whole copy.
            connection.set_progress_handler(lambda: False, _STEPS)
            connection.execute("VACUUM INTO ?", (str(target.absolute()),))
        finally:
            connection.close()
        sync(target)
    except apsw.NotADBError as error:
        raise _not_a_store(source) from error
    except apsw.FullError as error:
        raise _no_room(target) from error
    except (apsw.Error, OSError) as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise _no_room(target) from error
        raise StoreError(
            "backup.failed",
            f"{source} could not be copied to {target} ({type(error).__name__}: {error})",
            "see what the disk says of both; the store has not been changed",
        ) from error


def examined(path: Path, vfs: str | None = None) -> Contents:
    """What a copy holds, after everything in it was checked: whose it is, its schema, every page, every equation.

    Books that do not balance are told, not refused: whoever meets that needs the copy most.

    Raises:
        StoreError: `backup.missing`, `backup.not-a-store`, `backup.damaged`; `store.schema-newer`,
            `store.schema-changed`.
    """
    if not path.is_file():
        raise StoreError("backup.missing", f"there is no file {path}", "give the path of a backup")
    try:
        connection = connect_reader(path, vfs)
        try:
            with connection:
                return _examined(connection, path)
        finally:
            connection.close()
    except apsw.NotADBError as error:
        raise _not_a_store(path) from error
    except apsw.Error as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error


def contents(path: Path, vfs: str | None = None) -> Contents | None:
    """What a store holds, unchecked; None if it cannot be read."""
    try:
        connection = connect_reader(path, vfs)
        try:
            with connection:
                return _contents(connection, *_loaded(connection)) if is_store(connection) else None
        finally:
            connection.close()
    except (apsw.Error, OSError):
        return None


def _examined(connection: Connection, path: Path) -> Contents:
    if not is_store(connection):
        raise _not_a_store(path)
    pending(migrations(), applied_migrations(connection))
    size = connection.pragma("page_count") * connection.pragma("page_size")
    if path.stat().st_size < size and not path.with_name(path.name + "-wal").exists():
        raise _damaged(path, f"it has {path.stat().st_size} of {size} bytes")
    found = next((text for (text,) in connection.execute("PRAGMA integrity_check(1)")), "no answer")
    if found != "ok":
        raise _damaged(path, found)
    log, ledger = _loaded(connection)
    balances = [conservation_of(id, Snapshot(connection, log, 0)) for id in ledger.cursors]
    wrong = [balance.cursor for balance in balances if balance is not None and not balance.holds]
    unbalanced = [f"{id.subscription} on {id.shard.stream}/{id.shard.number}" for id in wrong]
    lost = len(damaged(connection)) if carries(connection) else 0
    return _contents(connection, log, ledger)._replace(unbalanced=unbalanced, bodies_lost=lost)


def _loaded(connection: Connection) -> tuple[Log, Ledger]:
    log, ledger = Log(), Ledger()
    log.load(connection)
    ledger.load(connection, log)
    return log, ledger


def _contents(connection: Connection, log: Log, ledger: Ledger) -> Contents:
    delivered: Counter[str] = Counter()
    for id, delivered_here in _delivered(ledger):
        delivered[id.subscription] += delivered_here
    streams = list(log.streams.values())
    return Contents(
        schema=max(applied_migrations(connection), default=0),
        size_bytes=connection.pragma("page_count") * connection.pragma("page_size"),
        events=sum(segment.events for stream in streams for segment in stream.segments),
        newest_at=max((stream.last_at for stream in streams), default=0) or None,
        heads={stream.made.name: tuple(stream.heads) for stream in streams},
        delivered=dict(delivered),
        bodies=len(large := claims(connection)),
        bodies_bytes=sum(claim.size for claim in large),
    )


def _delivered(ledger: Ledger) -> Iterator[tuple[CursorId, int]]:
    for id, (_, held) in ledger.cursors.items():
        if held.cursor.types:
            yield id, held.cursor.counters.delivered


def _refuse_without_room(store: Path, target: Path, disk: Disk) -> None:
    """A backup must not take the room that the process needs, if both are on one disk."""
    files = [file for file in (store, store.with_name(store.name + "-wal")) if file.exists()]
    needed = sum(file.stat().st_size for file in files)
    needed += sum(size for size, _ in DiskFiles(bodies_folder(store)).names().values())
    if store.stat().st_dev == target.parent.stat().st_dev:
        needed += STORE_RESERVE_BYTES
    if disk(target.parent).free_bytes < needed:
        raise _no_room(target)


def _unwritable(target: Path, why: str) -> StoreError:
    return StoreError(
        "backup.unwritable",
        f"{target} cannot be written: {why}",
        "name a file in a folder that is there and that you may write to",
    )


def _no_room(target: Path) -> StoreError:
    return StoreError(
        "backup.no-room",
        f"there is no room for {target}, or it would take the reserve of the store",
        "free space there, or name a file on another disk; the store has not been changed",
    )


def _not_a_store(path: Path) -> StoreError:
    return StoreError(
        "backup.not-a-store",
        f"{path} is not a store of Interlock",
        "give a file that `interlock db backup` has written",
    )


def _damaged(path: Path, found: str) -> StoreError:
    return StoreError(
        "backup.damaged",
        f"SQLite finds {path} damaged: {found}",
        "use another backup; `interlock db backup` checks what it has written, so this one was changed since",
    )
