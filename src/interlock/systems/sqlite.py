"""A SQLite file as a System: one connection, one transaction at a time, on a thread."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import date, time
from decimal import Decimal
from functools import lru_cache, partial
from itertools import islice
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar, cast

import apsw

from interlock.core.limits import SQL_ROWS_MAX, US_PER_MS
from interlock.core.ports import Clock, Offload
from interlock.systems.sql import FaultKind, Opened, SqlFault

T = TypeVar("T")
P = ParamSpec("P")

INBOX: Final = """
CREATE TABLE IF NOT EXISTS interlock_inbox (
    key TEXT PRIMARY KEY,
    result BLOB NOT NULL,
    written_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS interlock_inbox_written_at ON interlock_inbox (written_at);
"""
"""The receipts: idempotency key, the result as JSON, and when it was written in µs since the epoch."""
_RECEIPT: Final = "INSERT INTO interlock_inbox (key, result, written_at) VALUES (?, x'', ?) ON CONFLICT DO NOTHING"
_FORGET: Final = """
DELETE FROM interlock_inbox WHERE key IN (SELECT key FROM interlock_inbox WHERE written_at < ? LIMIT ?)
"""
_BUSY_US: Final = 10 * US_PER_MS
"""How soon a file that another connection writes to is asked again: on the loop, because whoever waits on a thread may
hold up the one that it waits for."""
_NUMBERED: Final = re.compile(
    r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|`[^`]*`|\[[^\]]*\]|--[^\n]*|/\*.*?\*/|\$(\d+)""", re.DOTALL
)


class Connection(Protocol):
    """The part of `apsw.Connection` that is used. apsw's own types need a newer Python than ours."""

    @property
    def in_transaction(self) -> bool: ...
    def execute(self, statements: str, bindings: Sequence[Any] = ..., /) -> Iterator[tuple[Any, ...]]: ...
    def changes(self) -> int: ...
    def total_changes(self) -> int: ...
    def pragma(self, name: str, value: Any = ..., /) -> Any: ...
    def interrupt(self) -> None: ...
    def close(self, force: bool = ..., /) -> None: ...


def connect(path: str) -> Connection:
    """Open a file, which is made if it is not there, and make its inbox. A commit is on the disk when it returns."""
    connection = cast("Connection", apsw.Connection(path))
    connection.pragma("synchronous", "FULL")
    # On macOS fsync only reaches the drive's cache.
    connection.pragma("fullfsync", 1)
    connection.pragma("foreign_keys", 1)
    if not list(connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'interlock_inbox'")):
        connection.execute(INBOX)
    return connection


class SqliteDatabase:
    """A `Database` of SQLite.

    Args:
        open: gives the connection when it is first needed; called on a thread.
    """

    def __init__(self, open: Callable[[], Connection], offload: Offload, clock: Clock) -> None:  # noqa: A002  (what it does)
        self._open = open
        self._offload = offload
        self._clock = clock
        self._connection: Connection | None = None
        # SQLite has one writer at a time: whoever waits here waits in order and holds no thread.
        self._turn = asyncio.Lock()
        self._closed = False

    async def begin(self, key: str) -> Opened | bytes:
        await self._turn.acquire()
        try:
            if self._closed:
                raise SqlFault("connect", detail="it has been closed")
            if self._connection is None:
                self._connection = await self._patiently(self._open)
            found = await self._patiently(partial(_begin, self._connection, key, self._clock.now()))
        except BaseException:
            await self.over()
            raise
        if found is None:
            return _SqliteTransaction(self, self._connection, key)
        await self.over()
        return found

    async def forget(self, before: int, rows: int) -> int:
        async with self._turn:
            if self._connection is None or self._closed:
                return 0
            return await self._patiently(partial(_execute, self._connection, _FORGET, (before, rows)))

    def close(self) -> None:
        self._closed = True
        if self._connection is not None and not self._turn.locked():
            self._connection.close()
            self._connection = None

    async def statement(self, run: Callable[Concatenate[Connection, P], T], *args: P.args, **_: P.kwargs) -> T:
        """Run one on a thread."""
        assert self._connection is not None, "a transaction is open"
        return await self._patiently(partial(run, self._connection, *args))

    async def over(self) -> None:
        """Roll back what has not been committed; the next one's turn."""
        try:
            if self._connection is not None:
                await self._run(partial(_roll_back, self._connection))
        except SqlFault:
            # What a file that is not well has not committed is rolled back when it is opened again.
            self._connection = None
        finally:
            self._turn.release()
            if self._closed:
                self.close()

    async def _patiently(self, function: Callable[[], T]) -> T:
        """As `_run`, again and again while another connection writes; the call's deadline ends it."""
        while True:
            try:
                return await self._run(function)
            except SqlFault as fault:
                if fault.kind != "conflict":
                    raise
            await self._clock.sleep_until(self._clock.monotonic() + _BUSY_US)

    async def _run(self, function: Callable[[], T]) -> T:
        """On a thread, to its end: one connection is not for two threads, so a cancellation waits for the first."""
        work = asyncio.ensure_future(self._offload.run(partial(_translated, function)))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            if self._connection is not None:
                self._connection.interrupt()
            while not work.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait([work])
            if not work.cancelled():
                work.exception()
            raise


class _SqliteTransaction:
    """An `Opened` of SQLite."""

    def __init__(self, database: SqliteDatabase, connection: Connection, key: str) -> None:
        self._database = database
        self._key = key

    async def execute(self, statement: str, values: Sequence[object], /) -> int:
        return await self._database.statement(_execute, statement, values)

    async def fetch(self, statement: str, values: Sequence[object], /) -> Sequence[tuple[Any, ...]]:
        return await self._database.statement(fetched, statement, values)

    async def commit(self, result: bytes, /) -> None:
        await self._database.statement(_commit, self._key, result)

    async def close(self) -> None:
        await self._database.over()


def _begin(connection: Connection, key: str, now: int) -> bytes | None:
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(_RECEIPT, (key, now))
    if connection.changes():
        return None
    return next(connection.execute("SELECT result FROM interlock_inbox WHERE key = ?", (key,)))[0]


def _execute(connection: Connection, statement: str, values: Sequence[object]) -> int:
    before = connection.total_changes()
    for _ in connection.execute(_numbered(statement), _plain(values)):
        continue
    return connection.changes() if connection.total_changes() != before else 0


def fetched(connection: Connection, statement: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
    """The rows that a statement gives, and one more than are allowed if there are more."""
    return list(islice(connection.execute(_numbered(statement), _plain(values)), SQL_ROWS_MAX + 1))


def _commit(connection: Connection, key: str, result: bytes) -> None:
    if result:
        connection.execute("UPDATE interlock_inbox SET result = ? WHERE key = ?", (result, key))
    connection.execute("COMMIT")


def _roll_back(connection: Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")


@lru_cache(1_024)
def _numbered(statement: str) -> str:
    """`$1` means by its name what `?1` means by its number."""
    return _NUMBERED.sub(lambda found: f"?{found[1]}" if found[1] else found[0], statement)


def _plain(values: Sequence[object]) -> tuple[object, ...]:
    """Values as SQLite has them: times and exact numbers are text there."""
    return tuple(_text(value) if isinstance(value, date | time | Decimal) else value for value in values)


def _text(value: date | time | Decimal) -> str:
    return str(value) if isinstance(value, Decimal) else value.isoformat()


def _translated(function: Callable[[], T]) -> T:
    try:
        return function()
    except apsw.Error as error:
        raise SqlFault(_kind(error), _code(error), str(error)) from error
    except TypeError:
        detail = "a value is of a type that SQLite has not"
        raise SqlFault("statement", "TypeError", detail) from None


def _code(error: apsw.Error) -> str:
    """SQLite's name for it, the longer one where there are two; apsw's own errors have their type's."""
    names = cast("dict[int, str]", {**apsw.mapping_result_codes, **apsw.mapping_extended_result_codes})
    numbers = (getattr(error, "extendedresult", None), getattr(error, "result", None))
    return next((names[number] for number in numbers if number in names), type(error).__name__)


def _kind(error: apsw.Error) -> FaultKind:
    match error:
        case apsw.ConstraintError() | apsw.MismatchError() | apsw.TooBigError() | apsw.RangeError():
            return "rejected"
        case apsw.BusyError() | apsw.LockedError():
            return "conflict"
        case apsw.SQLError() | apsw.BindingsError() | apsw.PermissionsError() | apsw.AuthError():
            return "statement"
        case apsw.CantOpenError():
            return "connect"
        case _:
            return "server"
