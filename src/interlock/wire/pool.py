"""Keep-alive connections to one origin, and requests over them. It has no policy: no retries, no breaker, no redirects.

One exception to the first, which RFC 9110 9.2.2 allows: a request without an effect whose idle connection turned out to
be closed is sent again, once, on a new one.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from socket import gaierror  # noqa: TID251  (an exception's type; sockets are the Net port's)

from interlock.core.limits import US_PER_SECOND
from interlock.core.outcome import Answer
from interlock.core.ports import Clock, Net
from interlock.wire.deadlines import NEVER, Sweeper
from interlock.wire.fields import Names
from interlock.wire.outgoing import SAFE_METHODS, Origin, Outgoing, PoolLimits, WireFailure
from interlock.wire.request import rendered_request
from interlock.wire.upstream import Upstream


class Pool:
    """The connections to one origin. Every request has a deadline (monotonic µs); one sweeper looks at them all."""

    def __init__(self, origin: Origin, net: Net, clock: Clock, limits: PoolLimits = PoolLimits()) -> None:  # noqa: B008  (frozen)
        self._origin = origin
        self._net = net
        self._clock = clock
        self._limits = limits
        self._names = Names()
        self._idle: deque[Upstream] = deque()
        self._busy: dict[Upstream, None] = {}
        # One slot per request under way: as an idle connection is used first, there are never more connections.
        self._slots = asyncio.Semaphore(limits.connections_max)
        self._waiting = 0
        self._closed = False
        self._sweeper = Sweeper(clock, self._sweep)

    @property
    def connections(self) -> int:
        """Open ones, in use and idle."""
        return len(self._idle) + len(self._busy)

    async def exchange(self, request: Outgoing, *, deadline: int, may_send: Callable[[], bool] | None = None) -> Answer:
        """Send a request and give back the whole answer. Cancelling it ends its connection.

        Args:
            request: what to send.
            deadline: monotonic µs, for everything: waiting for a connection, connecting, sending and the answer.
            may_send: asked in the same step as the request is written; if it says no, nothing is sent.

        Raises:
            WireFailure: there is no answer; `sent` says whether the origin may have acted.
            InterlockError: `wire.header-invalid`, `wire.request-invalid`: the request cannot be sent by anyone.
        """
        content = rendered_request(request, self._origin, self._names)
        await self._enter(deadline)
        try:
            connection = self._take_idle()
            if connection is not None:
                try:
                    return await self._over(connection, content, request.method, deadline, may_send)
                except WireFailure as failure:
                    stale = failure.kind == "reset" and not connection.heard
                    if not stale or request.method not in SAFE_METHODS:
                        raise
            return await self._over(await self._connect(deadline), content, request.method, deadline, may_send)
        finally:
            self._slots.release()

    def close(self) -> None:
        """Close idle connections at once and others after their answer; send nothing more."""
        self._closed = True
        while self._idle:
            self._idle.pop().abort()
        self._rest()

    async def _enter(self, deadline: int) -> None:
        if self._closed:
            raise WireFailure("not-sent", sent=False, detail="the pool is closed")
        if not self._slots.locked():
            await self._slots.acquire()
            return
        if self._waiting >= self._limits.waiting_max:
            raise WireFailure("not-sent", sent=False, detail=f"too many requests wait for {self._origin.authority}")
        self._waiting += 1
        try:
            async with self._clock.deadline(deadline):
                await self._slots.acquire()
        except TimeoutError as error:
            raise WireFailure("timeout", sent=False, detail="no connection became free in time") from error
        finally:
            self._waiting -= 1

    def _take_idle(self) -> Upstream | None:
        """The idle connection that was used last: it is the least likely to have been closed."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open and connection.reusable:
                return connection
        return None

    async def _connect(self, deadline: int) -> Upstream:
        origin = self._origin
        connection = Upstream(self._limits, self._names)
        limit = min(deadline, self._clock.monotonic() + self._limits.connect_timeout_us)
        name = None if origin.tls is None else origin.server_name or origin.host
        try:
            async with self._clock.deadline(limit):
                await self._net.connect(lambda: connection, origin.host, origin.port, tls=origin.tls, server_name=name)
        except TimeoutError as error:
            raise WireFailure(
                "timeout", sent=False, detail=f"connecting to {origin.authority} took too long"
            ) from error
        except (gaierror, UnicodeError) as error:
            raise WireFailure("dns", sent=False, detail=f"the host of {origin.authority} has no address") from error
        except ssl.SSLError as error:
            raise WireFailure("tls", sent=False, detail=f"TLS with {origin.authority}: {error}") from error
        except OSError as error:
            raise WireFailure(
                "connect", sent=False, detail=f"connecting to {origin.authority}: {error.strerror or error}"
            ) from error
        return connection

    async def _over(
        self,
        connection: Upstream,
        content: bytes,
        method: str,
        deadline: int,
        may_send: Callable[[], bool] | None,
    ) -> Answer:
        if self._clock.monotonic() >= deadline:
            self._keep(connection)
            raise WireFailure("timeout", sent=False, detail="the deadline passed before anything was sent")
        if not connection.is_open:
            raise WireFailure("reset", sent=False, detail="the connection was closed before anything was sent")
        if may_send is not None and not may_send():
            self._keep(connection)
            raise WireFailure("not-sent", sent=False, detail="the caller withdrew the request")
        future = connection.send(content, method, deadline)
        self._busy[connection] = None
        self._sweeper.watch(deadline)
        try:
            return await future
        finally:
            self._busy.pop(connection, None)
            if connection.reusable:
                self._keep(connection)
            else:
                connection.abort()
                self._rest()

    def _keep(self, connection: Upstream) -> None:
        """Put a connection that nobody uses with the idle ones."""
        if self._closed or not connection.is_open:
            connection.abort()
            self._rest()
            return
        connection.reusable = True
        # An origin that says how long it keeps a connection is left a second earlier.
        kept_us = min(self._limits.idle_timeout_us, connection.keeps_us - US_PER_SECOND)
        connection.due = self._clock.monotonic() + kept_us
        self._idle.append(connection)
        self._sweeper.watch(connection.due)

    def _rest(self) -> None:
        if not self._busy and not self._idle:
            self._sweeper.stop()

    def _sweep(self, now: int) -> int:
        for connection in tuple(self._busy):
            if connection.due <= now:
                connection.fail("timeout", "no whole answer before the deadline")
        for connection in tuple(self._idle):
            if connection.due <= now or not connection.is_open:
                self._idle.remove(connection)
                connection.abort()
        left = (*(connection.due for connection in self._busy if connection.is_open), *(c.due for c in self._idle))
        return min(left, default=NEVER)
