"""What outlives the processes of a simulated world, and the production store that each of them opens on it.

Whatever keeps it, `books` is what is durable in the form in which the memory store keeps it: world, auditor and whoever
asks what is owed read that, and never the engine.
"""

from __future__ import annotations

import contextvars
import errno
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from interlock.core.event import Event, Shard
from interlock.core.limits import DEDUPE_WINDOW_EVENTS
from interlock.core.ports import Clock, Emit, Offload, Room, Wakeup
from interlock.journal.memory import MemoryStore
from interlock.journal.memory_disk import MemoryDisk
from interlock.journal.ports import Store
from interlock.journal.sqlite import SqliteOptions, SqliteStore
from interlock.journal.sqlite.backend import SqliteBackend
from interlock.journal.sqlite.connection import Connection
from interlock.testing.sim.auditor import Auditor
from interlock.testing.sim.file_books import FileBooks
from interlock.testing.sim.loop import Process, SimLoop, current_process
from interlock.testing.sim.ports import CommitFault, SimOffload
from interlock.testing.sim.swarm import Swarm
from interlock.testing.sim.vfs import SimulatedVfs

T = TypeVar("T")
CarriedOut = Callable[[Callable[[], Any]], Any]
"""How something is carried out."""
CALLS_OF_A_COMMIT: Final = 8
"""What strikes a commit does at one of the next so many calls of the disk: most make more, and some escape."""
ROOM_BYTES: Final = 1 << 40
FOREVER: Final = 1 << 60


class Ports(NamedTuple):
    """What a process opens its store with.

    Attributes:
        took: µs that its next commit takes.
        fault: asked once for each commit; None for no fault.
    """

    loop: SimLoop
    process: Process
    clock: Clock
    wakeup: Wakeup
    emit: Emit
    took: Callable[[], int]
    fault: Callable[[], CommitFault | None]


class Storage(Protocol):
    """See the module."""

    books: MemoryDisk

    async def open(self, ports: Ports) -> Store:
        """The store of a process. `left` is to be called when that has died, however far this has come.

        Raises:
            StoreError: as the store that is opened says.
        """
        ...

    def left(self, process: Process) -> None: ...


class MemoryStorage:
    """The memory store: processes share it, as they share a store that they reach by a network."""

    def __init__(self, auditor: Auditor) -> None:
        self.books = auditor.books
        self._auditor = auditor
        self._stores: dict[Process, MemoryStore] = {}

    async def open(self, ports: Ports) -> Store:
        offload = StoreOffload(ports.loop, ports.took, ports.fault, self._commit)
        relay = _Relay(ports.loop, ports.process, ports.wakeup)
        store = MemoryStore(ports.clock, relay, offload=offload, emit=ports.emit, disk=self.books)
        self._stores[ports.process] = store
        return store

    def left(self, process: Process) -> None:
        if process in self._stores:
            self._stores.pop(process).abandon()

    def _commit(self, function: Callable[[], T]) -> T:
        try:
            return function()
        finally:
            # Also where the power went: what came before that in the group has been applied.
            self._auditor.look()


class FileStorage:
    """The SQLite store on a file of a simulated disk, which one process has at a time.

    A commit that fails does because the disk does, at one of the calls that SQLite makes of it; one that kills may do
    so there, too. With the process goes what its later calls would have written, with the power what was not synced.

    Args:
        folder: where the file is; of this storage alone.
        options: of the store; its VFS and the room of its disk are the simulated ones.
    """

    def __init__(self, loop: SimLoop, folder: Path, auditor: Auditor, options: SqliteOptions) -> None:
        self.books = auditor.books
        self.path = folder / "store.db"
        self.vfs = SimulatedVfs(f"{loop.seed} in {folder}", loop.stream("disk/syncs"))
        self.full = False
        self._auditor = auditor
        self._options = options._replace(vfs=self.vfs.name, disk=self._room)
        self._file_books = FileBooks(self.books)
        self._chance = loop.stream("disk")
        self._holder = ""
        self._backends: dict[Process, SqliteBackend] = {}
        self._left_by_death: dict[str, bytes] | None = None

    async def open(self, ports: Ports) -> Store:
        backend: SqliteBackend | None = None

        def commit(function: Callable[[], T]) -> T:
            assert backend is not None, "nothing is committed before the store is open"
            return self._commit(backend, function)

        def carry_out(function: Callable[[], T]) -> T:
            result = function()
            if isinstance(result, SqliteBackend):
                self._backends[ports.process] = result
            return result

        offload = StoreOffload(ports.loop, ports.took, lambda: self._fault(ports.fault()), commit, carry_out)
        store = await SqliteStore.open_file(self.path, ports.clock, ports.wakeup, offload, ports.emit, self._options)
        backend = store.sqlite
        # What is found and nobody has seen before was committed by whoever had the file last.
        self._look(backend, self._file_books.read_anew, self._holder)
        self._holder = ports.process.name
        self._auditor.taken(self._holder)
        return store

    def left(self, process: Process) -> None:
        backend = self._backends.pop(process, None)
        if backend is not None:
            backend.abandon()
            if self._left_by_death is not None:
                self.vfs.restart(self._left_by_death)
                self._left_by_death = None

    def cut_power(self, processes: Iterable[Process]) -> None:
        """All processes die, and the disk has what was synced and any part of what was not."""
        images = self.vfs.found(self._chance)
        for process in processes:
            process.kill()
        self.vfs.restart(images)

    def fail(self, failure: int) -> None:
        """From here on every call of the disk fails (`EIO`), or every write (`ENOSPC`), until `mend`."""
        self.vfs.fail(failure, 1, FOREVER)

    def mend(self) -> None:
        self.vfs.fail_at, self.full = None, False

    def close(self) -> None:
        """Let go of everything."""
        for backend in self._backends.values():
            backend.abandon()
        self.vfs.unregister()

    def _fault(self, drawn: CommitFault | None) -> CommitFault | None:
        """Where in the coming commit the disk is to fail, or the process to die."""
        at = self._chance.randrange(CALLS_OF_A_COMMIT)
        if drawn in ("failed-before", "failed-after"):
            self.vfs.fail(self._chance.choice((errno.EIO, errno.ENOSPC)), 1 + at, self._chance.choice((1, 1, 6)))
            return None
        if drawn == "killed-after":
            self._die_at(self.vfs.calls + at, power=self._chance.random() < 0.5)
        return drawn

    def _die_at(self, call: int, *, power: bool) -> None:
        def look() -> None:
            if self.vfs.calls == call:
                self._left_by_death = self.vfs.found(self._chance) if power else self.vfs.kept()

        self.vfs.on_call = look

    def _commit(self, backend: SqliteBackend, function: Callable[[], T]) -> T:
        try:
            result = function()
        finally:
            self.vfs.on_call = _nothing
        if self._left_by_death is None:
            self._look(backend, self._file_books.read)
        return result

    def _look(self, backend: SqliteBackend, read: Callable[[Connection], None], by: str | None = None) -> None:
        with self.vfs.unseen():
            backend.reading(read)
        self._auditor.look(by)

    def _room(self, _: Path) -> Room:
        return Room(0 if self.full else ROOM_BYTES, ROOM_BYTES)


def sqlite_options(swarm: Swarm) -> SqliteOptions:
    """As a seed has drawn them."""
    window = swarm.limits.get("DEDUPE_WINDOW_EVENTS", DEDUPE_WINDOW_EVENTS)
    return SqliteOptions(window_events=window, segment_events=swarm.segment_events)


class StoreOffload(Offload):
    """Where a store works: commits are slow, may kill, and are carried out by `commit`; all else is quick."""

    def __init__(
        self,
        loop: SimLoop,
        took: Callable[[], int],
        fault: Callable[[], CommitFault | None],
        commit: CarriedOut,
        carry_out: CarriedOut | None = None,
    ) -> None:
        chance = loop.stream("reads")
        self._commits = SimOffload(loop, took, fault)
        self._reads = SimOffload(loop, lambda: chance.randrange(20, 400))
        self._commit = commit
        self._carry_out = carry_out or _at_once

    def run(self, function: Callable[[], T]) -> Awaitable[T]:
        if _is_commit(function):
            return self._commits.run(lambda: self._commit(function))
        return self._reads.run(lambda: self._carry_out(function))


class _Relay:
    """Brings what another process committed as a step of this one: a store tells all who share its disk at once."""

    def __init__(self, loop: SimLoop, process: Process, wakeup: Wakeup) -> None:
        self._loop = loop
        self._process = process
        self._wakeup = wakeup
        self._context = contextvars.copy_context()

    def appended(self, shard: Shard, events: Sequence[Event]) -> None:
        self._bring(self._wakeup.appended, shard, events)

    def changed(self, cells: Iterable[str]) -> None:
        self._bring(self._wakeup.changed, tuple(cells))

    def _bring(self, tell: Callable[..., None], *told: object) -> None:
        if current_process() is self._process:
            tell(*told)
        else:
            self._loop.call_soon(tell, *told, context=self._context)


def _is_commit(function: Callable[..., object]) -> bool:
    called = function.func if isinstance(function, partial) else function
    return getattr(called, "__name__", "") == "commit"


def _at_once(function: Callable[[], T]) -> T:
    return function()


def _nothing() -> None:
    return None
