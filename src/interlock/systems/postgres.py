"""A PostgreSQL database as a System, by asyncpg: the extra `interlock[postgres]`."""

from __future__ import annotations

import re
import ssl
from collections.abc import Coroutine, Sequence
from importlib import import_module
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from interlock.core.errors import SpecError
from interlock.core.limits import POOL_IDLE_TIMEOUT_US, SQL_ROWS_MAX, US_PER_MS, US_PER_SECOND
from interlock.core.ports import Clock, Secrets, Timer
from interlock.core.redact import redacted_text
from interlock.spec.database import PostgresAddress
from interlock.systems.sql import FaultKind, Opened, SqlFault

T = TypeVar("T")

INBOX: Final = """
CREATE TABLE IF NOT EXISTS interlock_inbox (
    key text PRIMARY KEY,
    result bytea NOT NULL,
    written_at bigint NOT NULL
);
CREATE INDEX IF NOT EXISTS interlock_inbox_written_at ON interlock_inbox (written_at);
"""
"""The receipts: idempotency key, the result as JSON, and when it was written in µs since the epoch."""
_THERE: Final = "SELECT to_regclass('interlock_inbox') IS NOT NULL"
_ALONE: Final = "SELECT pg_advisory_xact_lock(1229736001)"
"""Two processes that make the same table at once would fail in the catalogue, `IF NOT EXISTS` or not."""
_DURABLE: Final = """
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'
"""
"""A commit that can still be lost when it has returned is no receipt."""
_RECEIPT: Final = """
INSERT INTO interlock_inbox (key, result, written_at) VALUES ($1, ''::bytea, $2) ON CONFLICT (key) DO NOTHING
"""
_RESULT: Final = "SELECT result FROM interlock_inbox WHERE key = $1"
_KEEP: Final = "UPDATE interlock_inbox SET result = $1 WHERE key = $2"
_FORGET: Final = """
DELETE FROM interlock_inbox WHERE key IN (
    SELECT key FROM interlock_inbox WHERE written_at < $1 ORDER BY written_at LIMIT $2 FOR UPDATE SKIP LOCKED
)
"""
_ROLLBACK_US: Final = 1 * US_PER_SECOND
_CONFLICTS: Final = ("40001", "40P01", "55P03")
_REJECTED: Final = ("22", "23", "44", "40002")
"""Classes of SQLSTATE: what the values are, and constraints."""
_UNWELL: Final = ("08", "53", "57", "58", "25P03", "28", "3D", "F0", "XX")
"""Connection, resources, operator, system, authorization, no such database: nothing that a statement did."""
_ARGUMENT: Final = re.compile(r"query argument (\$\d+)")


class Connection(Protocol):
    """The part of `asyncpg.Connection` that is used."""

    async def execute(self, statement: str, *values: Any) -> str: ...
    async def fetchval(self, statement: str, *values: Any) -> Any: ...
    def cursor(self, statement: str, *values: Any) -> Any: ...
    def is_closed(self) -> bool: ...
    def is_in_transaction(self) -> bool: ...
    def terminate(self) -> None: ...


class Driver(Protocol):
    """The part of asyncpg that is used; it has no types of its own."""

    PostgresError: type[Exception]
    InterfaceError: type[Exception]
    InternalClientError: type[Exception]

    def connect(self, **options: Any) -> Coroutine[Any, Any, Connection]: ...


class PostgresTerms(NamedTuple):
    """What a System's binding says."""

    system: str
    address: PostgresAddress
    deadline_us: int
    connect_us: int


class _Idle(NamedTuple):
    connection: Connection
    until: int


class PostgresDatabase:
    """A `Database` of PostgreSQL. How many connections there are at once is what the System's gate lets through.

    Raises:
        SpecError: `system.driver-missing`.
    """

    def __init__(self, terms: PostgresTerms, clock: Clock, secrets: Secrets) -> None:
        self._driver = _driver(terms.system)
        self._terms = terms
        self._clock = clock
        self._secrets = secrets
        self._tls = _tls(terms.address.ssl_mode)
        self._idle: list[_Idle] = []
        self._sweep: Timer | None = None
        self._has_inbox = False
        self._closed = False

    async def begin(self, key: str) -> Opened | bytes:
        connection = await self._begun()
        try:
            with_receipt = await self.asked(connection, connection.execute(_RECEIPT, key, self._clock.now()))
            if with_receipt == "INSERT 0 1":
                return _PostgresTransaction(self, connection, key)
            result = await self.asked(connection, connection.fetchval(_RESULT, key))
        except BaseException:
            # The table may be gone with a database that was put in this one's place.
            self._has_inbox = False
            await self.over(connection)
            raise
        await self.over(connection)
        if result is None:
            raise SqlFault("conflict", "40001", "its receipt was removed while it was looked for")
        return bytes(result)

    async def forget(self, before: int, rows: int) -> int:
        if not self._has_inbox or self._closed:
            return 0
        connection = await self._begun()
        try:
            status = await self.asked(connection, connection.execute(_FORGET, before, rows))
            await self.asked(connection, connection.execute("COMMIT"))
        finally:
            await self.over(connection)
        return count_of(status)

    def close(self) -> None:
        self._closed = True
        self._drop(len(self._idle))

    async def asked(self, connection: Connection, operation: Coroutine[Any, Any, T]) -> T:
        """Await an operation of the driver; what it raises as a `SqlFault`."""
        driver = self._driver
        try:
            return await operation
        except driver.PostgresError as error:
            raise _fault(error) from error
        except driver.InterfaceError as error:
            if connection.is_closed():
                raise SqlFault("reset", detail=type(error).__name__) from error
            # The driver refuses it before it is sent: a value that it cannot encode, or values that are too few.
            if isinstance(error, ValueError):
                raise SqlFault("rejected", "22000", _about_value(str(error))) from None
            raise SqlFault("statement", "08P01", str(error.args[0])) from error
        except (OSError, driver.InternalClientError) as error:
            raise SqlFault("reset", detail=type(error).__name__) from error

    async def over(self, connection: Connection) -> None:
        """Roll back what has not been committed, and keep the connection for the next one.

        Where an operation was cut off the driver has asked the server to stop it, and waits for that before it goes on.
        """
        try:
            if not connection.is_closed() and connection.is_in_transaction():
                async with self._clock.deadline(self._clock.monotonic() + _ROLLBACK_US):
                    await self.asked(connection, connection.execute("ROLLBACK"))
        except (TimeoutError, SqlFault):
            connection.terminate()
        except BaseException:
            connection.terminate()
            raise
        if connection.is_closed() or self._closed:
            connection.terminate()
            return
        self._idle.append(_Idle(connection, self._clock.monotonic() + POOL_IDLE_TIMEOUT_US))
        self._arm()

    async def _begun(self) -> Connection:
        """A connection inside a transaction. One that has died while it was idle is no failure of anything."""
        while self._idle:
            connection = self._idle.pop().connection
            try:
                if not connection.is_closed():
                    await self.asked(connection, connection.execute("BEGIN"))
                    return connection
            except SqlFault:
                connection.terminate()
            except BaseException:
                connection.terminate()
                raise
        connection = await self._connected()
        try:
            if not self._has_inbox:
                await self._make_inbox(connection)
            await self.asked(connection, connection.execute("BEGIN"))
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def _connected(self) -> Connection:
        if self._closed:
            raise SqlFault("connect", detail="it has been closed")
        address, clock = self._terms.address, self._clock
        options: dict[str, Any] = {
            "host": address.host,
            "port": address.port,
            "user": address.user,
            "password": self._password(),
            "database": address.database,
            "ssl": self._tls,
            # The server, too, ends what outlives its call: the locks of a process that stands still would stay.
            "server_settings": {
                "application_name": f"interlock {self._terms.system}",
                "statement_timeout": str(self._terms.deadline_us // US_PER_MS),
                "idle_in_transaction_session_timeout": str(self._terms.deadline_us // US_PER_MS),
            },
        }
        try:
            async with clock.deadline(clock.monotonic() + self._terms.connect_us):
                connection = await self._driver.connect(**options)
        except TimeoutError:
            raise SqlFault("connect", detail="no connection in time") from None
        except ssl.SSLError as error:
            raise SqlFault("tls", detail=type(error).__name__) from error
        except OSError as error:
            is_name = type(error).__name__ == "gaierror"
            raise SqlFault("dns" if is_name else "connect", detail=error.strerror or type(error).__name__) from error
        except self._driver.PostgresError as error:
            raise _fault(error) from error
        except (self._driver.InterfaceError, self._driver.InternalClientError) as error:
            raise SqlFault("connect", detail=type(error).__name__) from error
        try:
            await self.asked(connection, connection.fetchval(_DURABLE))
        except BaseException:
            connection.terminate()
            raise
        return connection

    def _password(self) -> str | None:
        name = self._terms.address.secret
        if name is None:
            return None
        active = self._secrets.active(name)
        if not active:
            raise SqlFault("secret", detail=name)
        return active[0].decode("utf-8", "surrogateescape")

    async def _make_inbox(self, connection: Connection) -> None:
        if not await self.asked(connection, connection.fetchval(_THERE)):
            await self.asked(connection, connection.execute(f"BEGIN; {_ALONE}; {INBOX}; COMMIT"))
        self._has_inbox = True

    def _arm(self) -> None:
        if self._sweep is None and self._idle:
            self._sweep = self._clock.call_at(self._idle[0].until, self._swept)

    def _swept(self) -> None:
        self._sweep = None
        now = self._clock.monotonic()
        self._drop(sum(idle.until <= now for idle in self._idle))
        self._arm()

    def _drop(self, count: int) -> None:
        for idle in self._idle[:count]:
            idle.connection.terminate()
        del self._idle[:count]
        if not self._idle and self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None


class _PostgresTransaction:
    """An `Opened` of PostgreSQL."""

    def __init__(self, database: PostgresDatabase, connection: Connection, key: str) -> None:
        self._database = database
        self._connection = connection
        self._key = key

    async def execute(self, statement: str, values: Sequence[object], /) -> int:
        return count_of(await self._database.asked(self._connection, self._connection.execute(statement, *values)))

    async def fetch(self, statement: str, values: Sequence[object], /) -> Sequence[tuple[Any, ...]]:
        return await self._database.asked(self._connection, _rows(self._connection, statement, values))

    async def commit(self, result: bytes, /) -> None:
        asked, connection = self._database.asked, self._connection
        if result:
            await asked(connection, connection.execute(_KEEP, result, self._key))
        try:
            status = await asked(connection, connection.execute("COMMIT"))
        except SqlFault as fault:
            if fault.kind in ("reset", "server"):
                raise SqlFault("commit-unknown", detail="no answer to a commit; the receipt will tell") from fault
            raise
        if status != "COMMIT":
            raise SqlFault("statement", "25P02", "a statement failed before")

    async def close(self) -> None:
        await self._database.over(self._connection)


async def _rows(connection: Connection, statement: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
    cursor = await connection.cursor(statement, *values)
    return [tuple(row) for row in await cursor.fetch(SQL_ROWS_MAX + 1)]


def count_of(status: str) -> int:
    """The rows that a command tag tells of: `INSERT 0 3`, `UPDATE 3`; those of a SELECT were not changed."""
    verb, _, count = status.rpartition(" ")
    return int(count) if count.isdecimal() and not verb.startswith("SELECT") else 0


def _driver(system: str) -> Driver:
    try:
        driver: Any = import_module("asyncpg")
    except ImportError:
        raise SpecError(
            "system.driver-missing",
            f"{system} is a PostgreSQL database, and its driver is not installed",
            "pip install 'interlock[postgres]'",
        ) from None
    driver.InternalClientError = import_module("asyncpg.exceptions").InternalClientError
    return driver


def _tls(ssl_mode: str) -> ssl.SSLContext | bool:
    if ssl_mode == "disable":
        return False
    context = ssl.create_default_context()
    if ssl_mode == "require":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _fault(error: Exception) -> SqlFault:
    code = str(getattr(error, "sqlstate", None) or "")
    # The message alone: details and hints of the server hold values.
    message = str(error.args[0]) if error.args else ""
    detail = _about_value(message) if code.startswith("22") else redacted_text(message)[:300]
    return SqlFault(_kind(code), code, detail or type(error).__name__)


def _about_value(message: str) -> str:
    """What is said of a value, without the value."""
    found = _ARGUMENT.search(message)
    return f"{found[1]} is not what the statement takes" if found else "a value is not what the statement takes"


def _kind(code: str) -> FaultKind:
    if code in _CONFLICTS:
        return "conflict"
    if code.startswith(_REJECTED):
        return "rejected"
    return "server" if not code or code.startswith(_UNWELL) else "statement"
