"""What stands for every System in a dry run: it notes each call and answers it, and has no way to send anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from interlock.call.effect import Scope
from interlock.core.handler import Call
from interlock.core.outcome import Answer, Done, Outcome
from interlock.core.ports import Clock, Random, Secrets
from interlock.spec.plan import Plan
from interlock.systems.fields import Fields
from interlock.systems.http import HttpClient, HttpOutlet
from interlock.systems.sql import SqlClient, SqlOutlet
from interlock.systems.target import address

_ANSWER: Final = Answer(200, (("content-type", "application/json"),), b"{}")


class Recorded(NamedTuple):
    """A call as it would have been sent. `statements` has those of a SQL System, with their values."""

    call: Call
    statements: list[tuple[str, Sequence[object]]]


class Recorder:
    """The Systems of one dry run.

    Every HTTP call is answered 200 with an empty object, every statement has changed one row, every query finds none.

    Attributes:
        calls: in the order in which they came.
    """

    def __init__(self, plan: Plan, clock: Clock, random: Random, secrets: Secrets) -> None:
        self._plan = plan
        self._clock = clock
        self._random = random
        self._secrets = secrets
        self.calls: list[Recorded] = []

    def client(self, name: str, scope: Scope) -> HttpClient | SqlClient:
        """As `Systems.client`."""
        spec, binding = self._plan.systems[name], self._plan.bindings[name]
        if spec.kind == "sql":
            return SqlClient(SqlOutlet(name, self._transact, self._clock, self._random, tuple), scope)
        fields = Fields(name, binding.headers, self._secrets, None)
        prefix = address(name, binding.url).prefix
        outlet = HttpOutlet(name, self._answer, self._clock, self._random, tuple, prefix, fields.reserved)
        return HttpClient(outlet, scope)

    async def _answer(self, call: Call) -> Outcome:
        self.calls.append(Recorded(call, []))
        return Done(_ANSWER)

    async def _transact(self, call: Call) -> Outcome:
        recorded = Recorded(call, [])
        self.calls.append(recorded)
        assert call.within is not None, "a call of a SQL System is a transaction"
        return Done(Answer(200, (), await call.within(_Statements(recorded.statements))))


class _Statements:
    """A session that notes what it is asked."""

    def __init__(self, noted: list[tuple[str, Sequence[object]]]) -> None:
        self._noted = noted

    async def execute(self, statement: str, values: Sequence[object], /) -> int:
        self._noted.append((statement, values))
        return 1

    async def fetch(self, statement: str, values: Sequence[object], /) -> Sequence[tuple[Any, ...]]:
        self._noted.append((statement, values))
        return []
