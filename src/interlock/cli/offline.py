"""The store without a process: what reads is answered from its file, and a subscription is renamed or retired in it.

The file lock keeps this and a running process apart: whoever comes second is refused.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any, NamedTuple

import msgspec

from interlock.control.audit import Audit, Change, Who
from interlock.control.endpoint import Endpoint
from interlock.control.queries import Reading
from interlock.control.table import Admin
from interlock.control.tail import Recent
from interlock.core.errors import InterlockError, StoreError
from interlock.core.event import Event, Shard
from interlock.journal.ports import Cell, CellWrite
from interlock.journal.sqlite.store import SqliteStore
from interlock.runtime.clock import SystemClock
from interlock.runtime.ports import SystemRandom, ThreadOffload
from interlock.runtime.settings import Settings
from interlock.spec.deploy import KNOWN_CELL, renamed
from interlock.spec.findings import Known


class Silence:
    """Emit and Wakeup of a store that nobody else looks at."""

    def __call__(self, record: str, /, **fields: object) -> None: ...
    def appended(self, shard: Shard, events: Sequence[Event]) -> None: ...
    def changed(self, cells: Iterable[str]) -> None: ...


@asynccontextmanager
async def opened(settings: Settings) -> AsyncGenerator[SqliteStore]:
    """The project's store, closed again at the end.

    Raises:
        StoreError: `store.in-use` if a process runs after all, or what is wrong with the file.
        InterlockError: `cli.no-store` if there is none.
    """
    path = settings.store_file()
    if path is None or not path.exists():
        raise InterlockError("cli.no-store", "this project has no store yet", "start `interlock run` once")
    thread = ThreadOffload("store")
    try:
        store = await SqliteStore.open_file(path, SystemClock(), Silence(), thread, Silence())
        try:
            yield store
        finally:
            await store.close()
    finally:
        thread.close()


async def read_offline(settings: Settings, endpoint: Endpoint[Admin], taken: msgspec.Struct) -> Any:
    """What an endpoint that only reads answers from the store. No code of the project runs, so there is no plan."""
    async with opened(settings) as store:
        reading = Reading(store.views(), store, store, None, None, version("interlock"))
        clock = SystemClock()
        return await endpoint.handler(Admin(reading, None, Recent(clock), clock, None), "offline", taken)


class Renaming(NamedTuple):
    """What is to become of a subscription: its new name, or None to forget it."""

    name: str
    new: str | None
    who: Who


async def rename(settings: Settings, asked: Renaming) -> int:
    """Rename or retire a subscription in the store; how many cursors it had.

    The cursors go first, then the name that `run` compares with the plan, in one commit with the audit. A crash in
    between is mended by asking again: only the second half is left.

    Raises:
        StoreError: `store.in-use`, `store.subscription-unknown`, `store.subscription-exists`.
    """
    async with opened(settings) as store:
        cursors = await _cursors(store, asked)
        audit = Audit(store, store, SystemClock(), SystemRandom())
        action = "subscription.retire" if asked.new is None else "subscription.rename"
        await audit.commit(action, asked.name, asked.who, [KNOWN_CELL], lambda found: _known(found[0], asked))
        return cursors


async def _cursors(store: SqliteStore, asked: Renaming) -> int:
    try:
        if asked.new is None:
            return await store.retire_subscription(asked.name)
        return await store.rename_subscription(asked.name, asked.new)
    except StoreError as error:
        cell = (await store.get([KNOWN_CELL])).get(KNOWN_CELL)
        if error.code != "store.subscription-unknown" or asked.name not in _names(cell):
            raise
        return 0


def _names(cell: Cell | None) -> frozenset[str]:
    return msgspec.json.decode(cell.value, type=Known).subscriptions if cell else frozenset()


def _known(cell: Cell | None, asked: Renaming) -> Change:
    known = msgspec.json.decode(cell.value, type=Known) if cell else Known()
    value = msgspec.json.encode(renamed(known, asked.name, asked.new), order="deterministic")
    write = CellWrite(KNOWN_CELL, value, expected=cell.version if cell else 0)
    return Change(_json({"name": asked.name}), _json({"name": asked.new}), [write])


def _json(value: Mapping[str, str | None]) -> bytes:
    return msgspec.json.encode(value)
