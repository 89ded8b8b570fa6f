"""SQL systems: the transaction that user code holds, and the transport at the far end of its layers.

A transaction is one call. It writes the receipt of its idempotency key first and is committed with it, so that whoever
comes again with that key, after a crash or as a zombie, finds the receipt and does nothing. What databases are like is
behind `Database`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Literal, Protocol, cast

import msgspec

from interlock.call.effect import CallFailed, Scope
from interlock.call.record import Request
from interlock.core.errors import InterlockError
from interlock.core.handler import Call, Handler, Session
from interlock.core.limits import RECEIPT_BYTES_MAX, SQL_ROWS_MAX, UNEXPECTED_ATTEMPTS_MAX, US_PER_MINUTE
from interlock.core.outcome import Answer, Done, Later, Outcome, Reject, Unavailable
from interlock.core.ports import Clock, Emit, Random

METHOD: Final = "ONCE"
"""What stands in records and metrics where an HTTP call has its method."""
_WRITTEN: Final = (("interlock-receipt", "written"),)
_FOUND: Final = (("interlock-receipt", "found"),)
_QUOTED: Final = re.compile(
    r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|/\*.*?\*/|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$""", re.DOTALL
)
"""Parts of a statement in which no word and no semicolon means anything: quoted text and comments."""
_CONTROL: Final = re.compile(
    r"\s*(?:abort|begin|commit|end|prepare\s+transaction|release|rollback|savepoint|start)\b", re.IGNORECASE
)

FaultKind = Literal[
    "connect", "dns", "tls", "reset", "server", "commit-unknown", "secret", "conflict", "rejected", "statement"
]


class SqlFault(Exception):
    """What a database, or the way to it, said instead of doing what it was asked. It holds no values.

    Attributes:
        kind: `connect`, `dns`, `tls`: there is no connection. `reset`: it broke. `server`: the database is not well.
            `commit-unknown`: it broke while a commit was under way. `conflict`: with another transaction. `rejected`:
            by a constraint, or for what the values are. `statement`: for what the statement is. `secret`: the password
            that `detail` names is missing.
        code: SQLSTATE, or SQLite's name for it.
    """

    def __init__(self, kind: FaultKind, code: str = "", detail: str = "") -> None:
        super().__init__(f"{kind} {code} {detail}")
        self.kind: FaultKind = kind
        self.code = code
        self.detail = detail


class Opened(Session, Protocol):
    """A transaction of a database that holds a new receipt. Every operation raises `SqlFault`, `close` none."""

    async def commit(self, result: bytes, /) -> None:
        """Keep the result with the receipt, and commit."""
        ...

    async def close(self) -> None:
        """Roll back what has not been committed, and give the connection back."""
        ...


class Database(Protocol):
    """One database, and connections to it. It makes the inbox on first use where that is not there yet.

    A cancellation, which a deadline is, leaves nothing behind that is not rolled back.
    """

    async def begin(self, key: str) -> Opened | bytes:
        """A transaction with a new receipt of the key; the result that was kept if there is one already.

        It waits for another transaction with the same key.

        Raises:
            SqlFault: if it cannot be begun.
        """
        ...

    async def forget(self, before: int, rows: int) -> int:
        """Remove so many receipts from before an instant at most, in one transaction; how many there were.

        Raises:
            SqlFault: if that fails.
        """
        ...

    def close(self) -> None:
        """Close the connections; those that are in use when they come back."""
        ...


@dataclass(frozen=True, slots=True)
class SqlOutlet:
    """A System as its client needs it (an `Outlet`)."""

    system: str
    handler: Handler
    clock: Clock
    random: Random
    hidden: Callable[[], Sequence[str]]


@dataclass(frozen=True, slots=True)
class SqlClient:
    """Transactions of one System within one attempt: `spec.function.SqlClient`, which says what it promises."""

    outlet: SqlOutlet
    scope: Scope

    def once(self, *, call: str | None = None) -> Once:
        return Once(self.outlet, self.scope, call)


class _Skipped(BaseException):
    """Leads out of the block of a transaction that has been committed before. No `except Exception` holds it up."""


class _Failed(Exception):
    """Something inside the transaction failed, so that it cannot be committed."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome)
        self.outcome = outcome


class Once:
    """One transaction: `spec.function.Transaction`, and the block around it.

    The call through the layers runs as a task of its own for as long as the block does. So the gate's slot, its
    evidence and the deadline are those of the whole transaction.
    """

    __slots__ = (
        "_ended",
        "_failure",
        "_label",
        "_opened",
        "_outlet",
        "_result",
        "_scope",
        "_session",
        "_state",
        "_work",
    )

    def __init__(self, outlet: SqlOutlet, scope: Scope, label: str | None) -> None:
        self._outlet = outlet
        self._scope = scope
        self._label = label
        self._state: Literal["new", "open", "found", "over"] = "new"
        self._session: Session | None = None
        self._failure: Outcome | None = None
        self._result: Any = None  # JSON, the user's own.

    @property
    def done(self) -> bool:
        return self._state == "found"

    @property
    def result(self) -> Any:
        return self._result

    @result.setter
    def result(self, value: Any) -> None:
        self._enter_statement()
        self._result = value

    async def execute(self, statement: str, /, *values: object) -> int:
        session = self._enter_statement(statement)
        try:
            return await session.execute(statement, values)
        except _Failed as failed:
            raise self._fail(failed) from failed.__cause__

    async def fetch(self, statement: str, /, *values: object) -> Sequence[tuple[Any, ...]]:
        session = self._enter_statement(statement)
        try:
            rows = await session.fetch(statement, values)
        except _Failed as failed:
            raise self._fail(failed) from failed.__cause__
        if len(rows) > SQL_ROWS_MAX:
            raise InterlockError(
                "call.rows-too-many",
                f"a statement to {self._outlet.system} gives more than {SQL_ROWS_MAX} rows",
                "ask for fewer with LIMIT, or compute in the database",
            )
        return rows

    async def __aenter__(self) -> Once:
        if self._state != "new":
            raise self._over("was begun before")
        loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[None] = loop.create_future()
        self._ended: asyncio.Future[bytes] = loop.create_future()
        request = Request(METHOD, "", label=self._label, within=self._within)
        self._work = loop.create_task(self._scope.send(self._outlet, request))
        self._work.add_done_callback(self._work_over)
        try:
            await self._opened
        except asyncio.CancelledError:
            await self._abandon()
            raise
        if self._session is None:
            self._result = _decoded(self._work.result().body)
            self._state = "found"
        else:
            self._scope.inside += 1
            self._state = "open"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if self._state == "found":
            return _is_skipped(error)
        self._scope.inside -= 1
        self._state = "over"
        if self._failure is not None:
            # Also where the function has caught it: what failed is not committed.
            self._ended.set_exception(_Failed(self._failure))
            await asyncio.wait([self._work])
            if error is None:
                raise CallFailed(self._outlet.system, self._failure)
        elif error is not None:
            await self._abandon()
        else:
            await self._commit()
        return False

    async def _commit(self) -> None:
        try:
            result = _encoded(self._result)
        except InterlockError:
            await self._abandon()
            raise
        self._ended.set_result(result)
        self._result = _decoded((await self._work).body)

    async def _within(self, session: Session) -> bytes:
        """The inside of the call: it lasts until the block ends."""
        self._session = session
        if not self._opened.done():
            self._opened.set_result(None)
        return await self._ended

    def _work_over(self, work: asyncio.Task[Answer]) -> None:
        if not work.cancelled():
            work.exception()
        if not self._opened.done():
            self._opened.set_result(None)

    async def _abandon(self) -> None:
        """The block has ended for a reason that is none of the System's: nothing is learned of that."""
        self._work.cancel()
        await asyncio.wait([self._work])

    def _enter_statement(self, statement: str = "") -> Session:
        if self._state == "found":
            raise _Skipped
        if self._state != "open" or self._session is None:
            raise self._over("has ended" if self._state == "over" else "was not begun")
        if self._failure is not None:
            raise CallFailed(self._outlet.system, self._failure)
        bare = _QUOTED.sub(" ", statement)
        if _CONTROL.match(bare) or ";" in bare.rstrip("; \t\n"):
            raise InterlockError(
                "call.statement-refused",
                f"a statement to {self._outlet.system} begins or ends a transaction, or is several statements",
                "give one statement at a time; the block begins the transaction, and commits it",
            )
        return self._session

    def _fail(self, failed: _Failed) -> CallFailed:
        self._failure = self._failure or failed.outcome
        return CallFailed(self._outlet.system, failed.outcome)

    def _over(self, why: str) -> InterlockError:
        return InterlockError(
            "call.transaction-over",
            f"the transaction of {self._outlet.system} {why}",
            "use it inside its own `async with ... .once() as tx`, and begin another with another once()",
        )


class _Bounded:
    """A session that keeps the deadline of its call, and tells what failed as an outcome."""

    __slots__ = ("_call", "_clock", "_opened")

    def __init__(self, opened: Opened, call: Call, clock: Clock) -> None:
        self._opened = opened
        self._call = call
        self._clock = clock

    async def execute(self, statement: str, values: Sequence[object], /) -> int:
        try:
            async with self._clock.deadline(self._call.deadline):
                return await self._opened.execute(statement, values)
        except (TimeoutError, SqlFault) as error:
            raise _Failed(outcome_of(self._call.system, error)) from error

    async def fetch(self, statement: str, values: Sequence[object], /) -> Sequence[tuple[Any, ...]]:
        try:
            async with self._clock.deadline(self._call.deadline):
                return await self._opened.fetch(statement, values)
        except (TimeoutError, SqlFault) as error:
            raise _Failed(outcome_of(self._call.system, error)) from error


def sql_transport(database: Database, clock: Clock, emit: Emit) -> Handler:
    """Make transactions of a database. Whatever comes of one is an outcome."""

    async def send(call: Call) -> Outcome:
        opened: Opened | None = None
        try:
            if not _may_send(call):
                return Unavailable("lease", None, call.system)
            async with clock.deadline(call.deadline):
                begun = await database.begin(call.key)
                if isinstance(begun, bytes):
                    return Done(Answer(200, _FOUND, begun))
                opened = begun
            assert call.within is not None, "a call of a SQL System is a transaction"
            result = await call.within(_Bounded(opened, call, clock))
            if not _may_send(call):
                return Unavailable("lease", None, call.system)
            async with clock.deadline(call.deadline):
                await opened.commit(result)
            return Done(Answer(200, _WRITTEN, result))
        except _Failed as failed:
            return failed.outcome
        except (TimeoutError, SqlFault) as error:
            if isinstance(error, SqlFault) and error.kind == "secret":
                emit("system.secret-missing", system=call.system, secret=error.detail)
            return outcome_of(call.system, error)
        finally:
            if opened is not None:
                await opened.close()

    return send


def outcome_of(system: str, error: TimeoutError | SqlFault) -> Outcome:
    """What a failure means. The breaker reads statuses as HTTP's: with one of the 4xx, the database is there."""
    if isinstance(error, TimeoutError):
        return Later("timeout", detail=f"{system} did not answer in time")
    detail, reason = f"{system}: {error.detail}", f"sql {error.code}" if error.code else error.kind
    match error.kind:
        case "secret":
            # Nothing is wrong with the event: it waits until the secret is there.
            return Unavailable("paused", US_PER_MINUTE, system)
        case "rejected":
            return Reject(reason, detail)
        case "conflict":
            return Later(reason, detail=detail, status=409)
        case "statement":
            return Later(reason, detail=detail, status=400, attempts_max=UNEXPECTED_ATTEMPTS_MAX)
        case _:
            return Later(reason, detail=detail)


def _may_send(call: Call) -> bool:
    return call.may_send is None or call.may_send()


def _is_skipped(error: BaseException | None) -> bool:
    """Whether nothing but the skip leads out of the block; a group of a TaskGroup may hold several of them."""
    if isinstance(error, BaseExceptionGroup):
        return all(_is_skipped(each) for each in cast("BaseExceptionGroup[BaseException]", error).exceptions)
    return isinstance(error, _Skipped)


def _encoded(result: object) -> bytes:
    if result is None:
        return b""
    try:
        encoded = msgspec.json.encode(result)
    except (TypeError, ValueError, RecursionError) as error:
        raise InterlockError(
            "call.result-invalid", f"tx.result cannot be encoded: {error}", "give what JSON has"
        ) from None
    if len(encoded) > RECEIPT_BYTES_MAX:
        raise InterlockError(
            "call.result-invalid",
            f"tx.result takes {len(encoded)} bytes, and {RECEIPT_BYTES_MAX} are the most that a receipt keeps",
            "keep an id there, and read the rest from the database",
        )
    return encoded


def _decoded(result: bytes) -> Any:
    return msgspec.json.decode(result) if result else None
