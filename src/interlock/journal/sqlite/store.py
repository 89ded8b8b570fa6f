"""`SqliteStore`: the store on one file. It puts the parts together; what they do is in `backend` and below."""

from __future__ import annotations

from pathlib import Path

from interlock.core.ports import Clock, Emit, Offload, Wakeup
from interlock.journal.sqlite.backend import SqliteBackend, SqliteOptions
from interlock.journal.sqlite.views import SqliteViews
from interlock.journal.store import GroupStore

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
            StoreError: `store.in-use`, `store.unusable`, `store.not-wal`, `store.corrupt`, `store.foreign`,
                `store.schema-newer`, `store.schema-changed`.
        """
        backend = await offload.run(lambda: SqliteBackend(path, clock, options))
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
