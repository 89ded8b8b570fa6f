"""The pauses that the product makes by itself: told, audited and durable as those of persons, who end them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final

from interlock.control.audit import Who
from interlock.control.commands import Applied, Commands
from interlock.control.ports import ActsOn
from interlock.core.errors import InterlockError
from interlock.core.limits import US_PER_SECOND
from interlock.core.ports import Clock, Emit, Random
from interlock.delivery.guard import Trip
from interlock.journal.ports import Store

_AGAIN_US: Final = US_PER_SECOND
"""A pause that could not be written holds in this process already; it is written as soon as the store lets it."""


class Pauses:
    """Of one process. What is paused here is so before it is written; the cell is for the others and for a restart.

    Args:
        live: tells which version of a cell this process acts on.
        spawn: runs what has to be awaited.
    """

    def __init__(
        self,
        store: Store,
        live: ActsOn,
        ports: tuple[Clock, Random, Emit],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._clock, random, self._emit = ports
        self._commands = Commands(store, store, live, self._clock, random, self._emit)
        self._spawn = spawn

    async def everything(self, subscriptions: Sequence[str]) -> None:
        """Deliver nothing until persons resume one subscription after the other."""
        await self._commands.pause_subscriptions(subscriptions, Who("interlock", "started paused", role="engine"))

    def gone(self, system: str, why: str) -> None:
        """A System takes nothing any more."""
        self._spawn(self._written(self._commands.pause_system, system, why))

    def tripped(self, trip: Trip) -> None:
        """The guard has stopped a subscription or a System."""
        pause = self._commands.pause_system if trip.kind == "system" else self._commands.pause_subscription
        self._spawn(self._written(pause, trip.subject, trip.why))

    async def _written(self, pause: Callable[..., Awaitable[Applied]], subject: str, why: str) -> None:
        while True:
            try:
                await pause(subject, Who("interlock", why, role="engine"), paused=True)
                return
            except InterlockError as error:
                self._emit("pause.unwritten", subject=subject, code=error.code)
            await self._clock.sleep_until(self._clock.monotonic() + _AGAIN_US)
