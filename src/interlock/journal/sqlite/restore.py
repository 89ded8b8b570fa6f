"""A backup becomes the store: in one rename, with everything that must not be mistaken for the time before it.

What is fenced and why is in docs/decisions/0017-a-restore-begins-a-new-time.md.
"""

from __future__ import annotations

import shutil
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import apsw

from interlock.core.errors import StoreError
from interlock.core.limits import LEASE_TTL_US, US_PER_MS
from interlock.journal.bodies import Bodies
from interlock.journal.sqlite.backup import copy, partial_of
from interlock.journal.sqlite.carried import bring, unpack
from interlock.journal.sqlite.connection import Connection, connect_checkpointer, connect_writer
from interlock.journal.sqlite.files import DiskFiles, bodies_folder, sync
from interlock.journal.sqlite.log import Log

EPOCHS_PASSED: Final = 1_000_000
"""Added to the epoch of every cursor: more take-overs than any store has seen since its backup."""
FORMER: Final = "before-restore"
"""The worker that every cursor is taken over from: whoever held it, and whatever calls it had under way."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@contextmanager
def prepared(backup: Path, store: Path, newest_at: int, now: int) -> Generator[Path]:
    """A copy of a backup beside the store, fenced off from the time that it undoes; gone at the end if not put there.

    `newest_at`: when the last event was accepted that anybody may have seen, as far as that is known.

    Raises:
        StoreError: as `backup.copy`.
    """
    with partial_of(store.with_name(store.name + ".restoring")) as partial:
        copy(backup, partial)
        _put_bodies(backup, partial, store, now)
        _fence(partial, max(newest_at, now) + US_PER_MS, now)
        yield partial


def _put_bodies(backup: Path, partial: Path, store: Path, now: int) -> None:
    """Large payloads come before what refers to them: from the backup, or from the folder beside what is a store."""
    bodies, beside = Bodies(DiskFiles(bodies_folder(store))), bodies_folder(backup)
    connection = connect_checkpointer(partial, None)
    try:
        if unpack(connection, bodies, now):
            connection.execute("VACUUM")
        else:
            bring(connection, Bodies(DiskFiles(beside)), bodies, now)
    finally:
        connection.close()


def _fence(path: Path, later: int, now: int) -> None:
    connection = connect_writer(path, None)
    try:
        with connection:
            _begin_after(connection, later)
            connection.execute("DELETE FROM leases")
            fenced = "epoch = epoch + ?, worker = NULL, former = ?, former_until = ?"
            connection.execute(f"UPDATE cursors SET {fenced}", (EPOCHS_PASSED, FORMER, now + LEASE_TTL_US))
    finally:
        connection.close()


def _begin_after(connection: Connection, later: int) -> None:
    """Nothing is accepted before `later`: an event's id holds that instant, so no id is given a second time."""
    log = Log()
    log.load(connection)
    for stream in log.streams.values():
        stream.last_at = max(stream.last_at, later)
        query = "UPDATE streams SET checkpoint = ? WHERE id = ?"
        connection.execute(query, (stream.checkpoint(), stream.number))


def put_in_place(partial: Path, store: Path, now: int) -> Path | None:
    """Make a prepared copy the store; where the former one is then, None if there was none.

    There is no moment without a store: the former one gets a second name before the first is given to the copy. The
    caller holds the store's lock.

    Raises:
        StoreError: `restore.busy`.
    """
    sync(partial)
    aside = _free_name(store, now)
    there = store.exists()
    logs = [store.with_name(store.name + suffix) for suffix in ("-wal", "-shm")]
    kept = [(log, aside.with_name(aside.name + log.name.removeprefix(store.name))) for log in logs if log.exists()]
    for log, second in kept:
        _second_name(log, second)
    if there and _is_one_file(store):
        for _, second in kept:
            second.unlink()
    # A log that could not be read into the former store must not be read into the copy either.
    for log in logs:
        log.unlink(missing_ok=True)
    if there:
        _second_folder(bodies_folder(store), bodies_folder(aside))
        _second_name(store, aside)
        sync(aside)
    partial.replace(store)
    sync(store.parent)
    return aside if there else None


def _second_name(file: Path, name: Path) -> None:
    try:
        name.hardlink_to(file)
    except OSError:
        # There are file systems where a file has one name.
        shutil.copy2(file, name)


def _second_folder(folder: Path, name: Path) -> None:
    """The former store keeps its large payloads, whatever is collected of those of its successor."""
    if folder.is_dir():
        name.mkdir(mode=0o700)
        for file in folder.iterdir():
            _second_name(file, name / file.name)
        sync(name)


def _is_one_file(store: Path) -> bool:
    """Bring the former store's log into its file; False where it is too damaged for that, and stays as it is."""
    try:
        connection = connect_checkpointer(store, None)
        try:
            connection.pragma("journal_mode", "delete")
        finally:
            connection.close()
    except (apsw.BusyError, apsw.LockedError) as error:
        raise StoreError(
            "restore.busy",
            f"something reads {store}, so that it cannot be put aside",
            "wait until it has ended, a `db backup` for example, then ask again; nothing has changed",
        ) from error
    except apsw.Error:
        return False
    return True


def _free_name(store: Path, now: int) -> Path:
    stamp = (_EPOCH + timedelta(microseconds=now)).strftime("%Y%m%dT%H%M%SZ")
    names = (f"{store.name}.{FORMER}-{stamp}{again}" for again in ("", *(f"-{number}" for number in range(2, 100))))
    return next(path for name in names if not (path := store.with_name(name)).exists())
