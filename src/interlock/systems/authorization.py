"""The `Authorization` of a System that a function of the user's obtains (`refresh`): it is kept in memory only."""

from __future__ import annotations

from asyncio import Lock
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from interlock.call.effect import CallFailed
from interlock.call.usercode import Raised, awaited
from interlock.core.handler import Call, Handler
from interlock.core.limits import RECHECK_US, UNEXPECTED_ATTEMPTS_MAX
from interlock.core.outcome import Later, Outcome, Unavailable
from interlock.core.ports import Clock, Emit
from interlock.spec.function import Context
from interlock.systems.target import field_fault

FIELD: Final = "authorization"
_FORMER_MAX: Final = 2
"""Values before the present one that an answer may still echo."""

ContextFor = Callable[[str, str, int], Context]
"""Given who calls, what for, and the monotonic µs at which it ends: what a user's function needs to reach Systems."""


class Authorization:
    """Of one System in this process; `field` is "" until it has been obtained.

    Args:
        system: the System's name.
        refresh: gives the value of the header field.
        is_bound: the binding has a value to begin with; without one a call would only be refused.
    """

    def __init__(
        self,
        system: str,
        refresh: Callable[[Context], Awaitable[object]],
        ports: tuple[Clock, Emit],
        context: ContextFor,
        *,
        is_bound: bool,
    ) -> None:
        self.field = ""
        self._system = system
        self._refresh = refresh
        self._clock, self._emit = ports
        self._context = context
        self._is_bound = is_bound
        # No subscription and no System can be called so: a slash is in no name.
        self._name = f"{system}/refresh"
        self._former: tuple[str, ...] = ()
        self._lock = Lock()
        self._tries = 0
        self._failure: Outcome | None = None

    def hidden(self) -> Sequence[str]:
        """What no record may show: the values, and the credentials in them without their scheme."""
        values = [self.field, *self._former]
        return [*values, *(value.rpartition(" ")[2] for value in values)]

    def layer(self, inner: Handler) -> Handler:
        """`inner`, asked once more with a new `Authorization` if the System does not accept the present one (401).

        It is outside the gate: nothing is held while the new one is obtained, and the gate is asked again after it.
        """

        async def renewing(call: Call) -> Outcome:
            if call.subscription == self._name:
                # The refresh itself calls: it must not wait for itself.
                return await inner(call)
            used = self.field
            if not used and not self._is_bound:
                failure = await self._renewed(call, used)
                return await inner(call) if failure is None else failure
            outcome = await inner(call)
            if not isinstance(outcome, Later) or outcome.status != 401:
                return outcome
            failure = await self._renewed(call, used)
            return await inner(call) if failure is None else failure

        return renewing

    async def _renewed(self, call: Call, used: str) -> Outcome | None:
        """Obtain another value than `used`, unless somebody has. None if there is one, else why there is none.

        Whoever waits while another call obtains it shares what comes of that.
        """
        tries = self._tries
        try:
            async with self._clock.deadline(call.deadline), self._lock:
                if self.field != used:
                    return None
                if self._tries == tries:
                    self._failure = await self._obtain(call.deadline)
                    self._tries += 1
                return self._failure
        except TimeoutError:
            return self._failed("it has not ended within the deadline of the call", None)

    async def _obtain(self, deadline: int) -> Outcome | None:
        context = self._context(self._name, f"{self._clock.now()}.{self._tries}", deadline)
        given = await awaited(lambda: self._refresh(context))
        if isinstance(given, Raised):
            error = given.error
            if not isinstance(error, CallFailed):
                return self._failed(given.what, UNEXPECTED_ATTEMPTS_MAX)
            if isinstance(error.outcome, Unavailable):
                # The other System is not to be called now. The event has done nothing wrong, and waits for it.
                return Unavailable(error.outcome.scope, error.outcome.after_us or RECHECK_US, error.system)
            return self._failed(str(error), None)
        if not isinstance(given, str) or not given or field_fault(FIELD, given):
            return self._failed("it gave nothing that can stand in a header field", UNEXPECTED_ATTEMPTS_MAX)
        if self.field:
            self._former = (self.field, *self._former)[:_FORMER_MAX]
        self.field = given
        self._emit("system.refreshed", system=self._system)
        return None

    def _failed(self, why: str, attempts_max: int | None) -> Later:
        self._emit("system.refresh-failed", system=self._system, why=why)
        return Later("refresh", None, f"the refresh of {self._system} failed: {why}", None, attempts_max)
