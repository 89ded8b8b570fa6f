"""The lines whose head may start, and whose turn it is: a fair share of the running attempts for each tenant. Pure.

The tenant with the fewest attempts under way is next; among equals they take turns. So one that fills every slot while
it is alone gives the next slots to whoever comes (max-min fairness). What has no tenant is one tenant more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sized

from interlock.delivery.keys import Line


class Ready:
    """Of one lane. Within a tenant the order is that of `push`."""

    __slots__ = ("_count", "_queues", "_running", "_turns")

    def __init__(self) -> None:
        self._queues: dict[str, deque[Line]] = {"": deque()}
        self._turns: deque[str] = deque([""])
        self._running: dict[str, int] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def tenants(self) -> Sized:
        """Those known to be in sight; "" is always one of them."""
        return self._turns

    def push(self, line: Line) -> None:
        """A line's head may start."""
        queue = self._queues.get(line.tenant)
        if queue is None:
            queue = self._queues[line.tenant] = deque()
            self._turns.append(line.tenant)
        queue.append(line)
        self._count += 1

    def pop(self) -> Line:
        """The next line; there must be one."""
        turns = self._turns
        if len(turns) > 1:
            self._choose()
        self._count -= 1
        return self._queues[turns[0]].popleft()

    def _choose(self) -> None:
        """Bring the next tenant to the front; those that have nothing more are forgotten on the way."""
        turns, queues, running = self._turns, self._queues, self._running
        best, fewest = "", 1 << 62
        for _ in range(len(turns)):
            turns.rotate(-1)
            tenant = turns[0]
            if not queues[tenant]:
                if tenant:
                    del queues[tenant]
                    turns.popleft()
                    turns.rotate(1)
                continue
            under_way = running.get(tenant, 0)
            if under_way < fewest:
                best, fewest = tenant, under_way
                if not under_way:
                    return
        while turns[0] != best:
            turns.rotate(-1)

    def started(self, tenant: str) -> None:
        """An attempt of the tenant is under way."""
        self._running[tenant] = self._running.get(tenant, 0) + 1

    def ended(self, tenant: str) -> None:
        """It has ended."""
        left = self._running.pop(tenant) - 1
        if left:
            self._running[tenant] = left
