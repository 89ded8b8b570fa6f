"""`SqliteStore`: the store on one file. It puts the parts together; what they do is in `backend` and below."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import NamedTuple

from interlock.core.limits import DEDUPE_WINDOW_EVENTS, SEGMENT_EVENTS
from interlock.core.ports import Clock, Emit, Offload, Wakeup
from interlock.journal.sqlite.backend import SqliteBackend
from interlock.journal.sqlite.log import Log
from interlock.journal.sqlite.views import SqliteViews
from interlock.journal.store import GroupStore


class SqliteOptions(NamedTuple):
    """What an installation need not set.

    Attributes:
        reads: where reads and checkpoints run, so that they do not wait for commits; with the commits if None.
        vfs: the name of the SQLite VFS, for simulated disks.
        window_events: identities kept in memory.
        segment_events: events after which a segment is full.
    """

    reads: Offload | None = None
    vfs: str | None = None
    window_events: int = DEDUPE_WINDOW_EVENTS
    segment_events: int = SEGMENT_EVENTS


DEFAULTS = SqliteOptions()


class SqliteStore(GroupStore):
    """`Store` and `Lifecycle` on a SQLite file. Made by `open_file`."""

    def __init__(
        self, backend: SqliteBackend, ports: tuple[Clock, Wakeup, Offload, Emit], reads: Offload | None
    ) -> None:
        clock, wakeup, offload, emit = ports
        super().__init__(backend, clock, wakeup, offload, emit, reads)
        self.sqlite = backend

    @classmethod
    async def open_file(
        cls,
        path: Path,
        clock: Clock,
        wakeup: Wakeup,
        offload: Offload,
        emit: Emit,
        options: SqliteOptions = DEFAULTS,
    ) -> SqliteStore:
        """Open the file or make it. `offload` must run one call after the other.

        Raises:
            StoreError: `store.in-use`, `store.unusable`, `store.not-wal`, `store.corrupt`, `store.schema-newer`,
                `store.schema-changed`.
        """
        new_log = partial(Log, options.window_events, options.segment_events)
        backend = await offload.run(lambda: SqliteBackend(path, clock, new_log, options.vfs))
        try:
            applied = await offload.run(backend.open)
        except BaseException:
            backend.abandon()
            raise
        emit("store.opened", path=str(path), migrations=applied)
        return cls(backend, (clock, wakeup, offload, emit), options.reads)

    def views(self) -> SqliteViews:
        return SqliteViews(self.sqlite, self._clock, self._reads)

    def abandon(self) -> None:
        """Let go of the file as a process that dies does: nothing is finished, nothing is answered."""
        self.sqlite.abandon()
