"""A restore, from the checked backup to the store in its place. What is said about it is `db`'s.

The caller holds the store's lock.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from interlock.cli.offline import Silence
from interlock.control.audit import Audit, Change, Who
from interlock.journal.sqlite.backup import Contents
from interlock.journal.sqlite.restore import prepared, put_in_place
from interlock.journal.sqlite.store import SqliteStore
from interlock.runtime.clock import SystemClock
from interlock.runtime.ports import SystemRandom, ThreadOffload

ACTION: Final = "store.restore"
"""What the audit calls it."""


class Restoring(NamedTuple):
    """A backup that was found good, and what is known of the store that it replaces."""

    store: Path
    backup: Path
    kept: Contents
    former: Contents | None
    actor: str
    reason: str


async def restored(asked: Restoring) -> Path | None:
    """Prepare a copy, with the restore in its audit, and put it in place; where the former store is then.

    Raises:
        StoreError: as `backup.copy`, `put_in_place` and opening a store.
    """
    now = SystemClock().now()
    newest_at = max((each.newest_at or 0 for each in (asked.kept, asked.former) if each), default=0)
    with prepared(asked.backup, asked.store, newest_at, now) as partial:
        await _audited(partial, asked)
        return put_in_place(partial, asked.store, now)


async def _audited(partial: Path, asked: Restoring) -> None:
    thread = ThreadOffload("store")
    try:
        store = await SqliteStore.open_file(partial, SystemClock(), Silence(), thread, Silence())
        try:
            change = Change(_json(asked.former), _json(asked.kept))
            audit = Audit(store, store, SystemClock(), SystemRandom())
            who = Who(asked.actor, asked.reason)
            await audit.commit(ACTION, asked.backup.name, who, [], lambda _: change)
        finally:
            await store.close()
    finally:
        thread.close()


def _json(found: Contents | None) -> bytes:
    return msgspec.json.encode(None if found is None else found._asdict())
