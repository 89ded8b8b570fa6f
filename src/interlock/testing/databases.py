"""A real database in memory, for the SQL Systems of a test: SQLite, whatever they are bound to where they run.

The layers above it, the inbox and the transactions are the real ones. What PostgreSQL does otherwise shows only there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from interlock.core.handler import Call, Handler
from interlock.core.outcome import Outcome
from interlock.core.ports import Clock, Emit, Offload
from interlock.systems.sql import FaultKind, Opened, SqlFault, outcome_of, sql_transport
from interlock.systems.sqlite import SqliteDatabase, connect, fetched


class FakeDatabase:
    """A SQL System under a test's control: SQLite in memory, well until it is told otherwise."""

    def __init__(self, name: str, offload: Offload, clock: Clock, emit: Emit) -> None:
        self.name = name
        self._connection = connect(":memory:")
        self._database = SqliteDatabase(lambda: self._connection, offload, clock)
        self._transport: Handler = sql_transport(self, clock, emit)
        self._faults: deque[FaultKind] = deque()
        self._losing = 0

    def execute(self, statement: str, /, *values: object) -> None:
        """Run a statement beside the function under test: to make its tables, or to put rows into them."""
        self.rows(statement, *values)

    def rows(self, statement: str, /, *values: object) -> list[tuple[Any, ...]]:
        """What a statement gives: `lab.system(ledger).rows("SELECT ...")`."""
        return fetched(self._connection, statement, values)

    @property
    def receipts(self) -> int:
        """How many transactions were committed by `once()`."""
        return self.rows("SELECT count(*) FROM interlock_inbox")[0][0]

    def fails(self, *faults: FaultKind) -> None:
        """Answer the next transactions with these, one each: `connect`, `reset`, `server`, `conflict`, `rejected`."""
        self._faults.extend(faults)

    def loses_answers(self, count: int = 1) -> None:
        """Commit the next transactions, and break the connection before that is answered."""
        self._losing += count

    async def handle(self, call: Call) -> Outcome:
        """Stand for the transport."""
        fault = self._faults.popleft() if self._faults else None
        return (
            outcome_of(call.system, SqlFault(fault, detail="as the test says"))
            if fault
            else await self._transport(call)
        )

    # The database, as its transport sees it.

    async def begin(self, key: str) -> Opened | bytes:
        begun = await self._database.begin(key)
        if isinstance(begun, bytes) or not self._losing:
            return begun
        self._losing -= 1
        return _Losing(begun)

    async def forget(self, before: int, rows: int) -> int:
        return await self._database.forget(before, rows)

    def close(self) -> None:
        self._database.close()


class _Losing:
    """A transaction whose commit is not answered."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened

    async def execute(self, statement: str, values: Sequence[object], /) -> int:
        return await self._opened.execute(statement, values)

    async def fetch(self, statement: str, values: Sequence[object], /) -> Sequence[tuple[Any, ...]]:
        return await self._opened.fetch(statement, values)

    async def commit(self, result: bytes, /) -> None:
        await self._opened.commit(result)
        raise SqlFault("commit-unknown", detail="the test lost the answer")

    async def close(self) -> None:
        await self._opened.close()
