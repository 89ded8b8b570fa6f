"""What a poll's function is given: the way to Systems, under the poll's name. The poller itself is at the edge."""

from __future__ import annotations

from datetime import datetime

from interlock.call.effect import Scope
from interlock.core.errors import InterlockError
from interlock.core.event import Draft
from interlock.core.ids import minted_id
from interlock.delivery.attempt import Ports, wall_of
from interlock.spec.function import Client, HttpSystem


class PollContext:
    """The `Context` of a poll's call: the way to Systems. What it reads goes into its page, so it emits nothing."""

    def __init__(self, poll: str, deadline: int, ports: Ports) -> None:
        self._poll = poll
        self._ports = ports
        self._deadline = deadline
        now = ports.clock.now()
        self._scope = Scope(
            identity=(poll, "/poll", str(now)),
            subscription=poll,
            attempt_id=minted_id("att_", now, ports.random.bytes(9)),
            deadline=deadline,
        )

    @property
    def attempt(self) -> int:
        """Always 1: a poll that failed starts again from its token."""
        return 1

    @property
    def deadline(self) -> datetime:
        """When the call is ended, in UTC."""
        return wall_of(self._ports.clock, self._deadline)

    def use(self, system: HttpSystem) -> Client:
        """The way to a System."""
        return self._ports.client(system.name, self._scope)

    def emit(self, draft: Draft) -> None:
        """Refused.

        Raises:
            InterlockError: `poll.emits`.
        """
        raise InterlockError("poll.emits", f"{self._poll} emits {draft.type}", "return it in the page's drafts")

    def log(self, message: str, /, **fields: object) -> None:
        """A log line with the poll's name."""
        self._ports.emit("function.log", message=message, subscription=self._poll, **fields)
