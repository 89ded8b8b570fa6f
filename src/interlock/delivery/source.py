"""What the function of a poll, a schedule or a refresh is given: the way to Systems. Who calls it is elsewhere."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, overload

from interlock.call.effect import Scope
from interlock.core.errors import InterlockError
from interlock.core.event import Draft
from interlock.core.ids import minted_id
from interlock.delivery.attempt import Ports, wall_of
from interlock.spec.function import Client, HttpSystem, SqlClient, SqlSystem

SourceKind = Literal["poll", "schedule", "refresh"]


class SourceContext:
    """The `Context` of a function that is called for no event: the way to Systems. It emits nothing.

    Args:
        kind: what calls.
        name: its name.
        run: what the call is for. Calls to Systems keep their idempotency keys when a call for the same is made again.
        deadline: when it ends, monotonic µs.
    """

    def __init__(self, kind: SourceKind, name: str, run: str, deadline: int, ports: Ports) -> None:
        self._kind: SourceKind = kind
        self._name = name
        self._ports = ports
        self._deadline = deadline
        self._scope = Scope(
            identity=(name, f"/{kind}", run),
            subscription=name,
            attempt_id=minted_id("att_", ports.clock.now(), ports.random.bytes(9)),
            deadline=deadline,
        )

    @property
    def attempt(self) -> int:
        """Always 1: one that failed starts again from its token."""
        return 1

    @property
    def deadline(self) -> datetime:
        """When the call is ended, in UTC."""
        return wall_of(self._ports.clock, self._deadline)

    @property
    def gap(self) -> None:
        """Nothing is missing: what it reads has no order here."""
        return

    @overload
    def use(self, system: HttpSystem) -> Client: ...
    @overload
    def use(self, system: SqlSystem) -> SqlClient: ...
    def use(self, system: HttpSystem | SqlSystem) -> Client | SqlClient:
        """The way to a System."""
        return self._ports.client(system.name, self._scope)

    def emit(self, draft: Draft) -> None:
        """Refused.

        Raises:
            InterlockError: `poll.emits`, `schedule.emits`, `refresh.emits`.
        """
        told = f"{self._name} emits {draft.type}"
        match self._kind:
            case "poll":
                raise InterlockError("poll.emits", told, "return it in the page's drafts")
            case "schedule":
                raise InterlockError("schedule.emits", told, "return it with the other drafts")
            case "refresh":
                raise InterlockError("refresh.emits", told, "emit it where an event is delivered")

    def log(self, message: str, /, **fields: object) -> None:
        """A log line with its name."""
        self._ports.emit("function.log", message=message, subscription=self._name, **fields)
