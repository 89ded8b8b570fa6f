"""The data plane's HTTP/1.1 server: its listeners, its connections and the way that it stops. No policy."""

from __future__ import annotations

import asyncio
import ssl

from interlock.core.ports import Clock, Emit, Listening, Net
from interlock.wire.answers import AnswerHeads
from interlock.wire.connection import Connection, Refuse, Shared
from interlock.wire.deadlines import NEVER, Sweeper
from interlock.wire.durations import Durations
from interlock.wire.exchange import App
from interlock.wire.head import HeadReader
from interlock.wire.server_limits import ServerLimits


class Server:
    """Serves an `App` on any number of listeners.

    Args:
        app: called with each exchange on the loop; what it raises is emitted as `wire.app-failed` and answered 500.
        clock: for the deadlines of connections and the date of answers.
        emit: takes the records `wire.refused`, `wire.app-failed`, `wire.drained` and `http.served`.
        refuse: renders what the server itself refuses.
        limits: the bounds; each has a status of its own (408, 413, 414, 431, 503).
        hosts: the names (or `name:port`) that are answered for; None for all.
    """

    def __init__(
        self,
        app: App,
        *,
        clock: Clock,
        emit: Emit,
        refuse: Refuse,
        limits: ServerLimits = ServerLimits(),  # noqa: B008 - frozen
        hosts: frozenset[str] | None = None,
    ) -> None:
        self.draining = False
        self._clock = clock
        self._emit = emit
        self._connections_max = limits.connections_max
        # In the order of their arrival, so that a simulated run can be replayed.
        self._connections: dict[Connection, None] = {}
        self._listening: list[Listening] = []
        self._emptied: asyncio.Future[None] | None = None
        self._cut = 0
        self._sweeper = Sweeper(clock, self._sweep)
        reader = HeadReader(
            target_bytes_max=limits.target_bytes_max, header_count_max=limits.header_count_max, hosts=hosts
        )
        self._durations = Durations(clock, emit)
        self._shared = Shared(
            app, clock, emit, refuse, limits, reader, AnswerHeads(clock), self._sweeper, self, self._durations
        )

    @property
    def connections(self) -> int:
        return len(self._connections)

    def protocol(self) -> Connection:
        """A connection's protocol: the factory for `Net.listen`."""
        return Connection(self._shared)

    async def listen(self, net: Net, host: str, port: int, *, tls: ssl.SSLContext | None = None) -> Listening:
        """Accept connections until `drain`.

        Raises:
            OSError: if the address cannot be had.
        """
        listening = await net.listen(self.protocol, host, port, tls=tls)
        self._listening.append(listening)
        return listening

    async def drain(self, deadline: int) -> None:
        """Stop accepting, close idle connections, let running exchanges finish; cut what is left at `deadline`."""
        self.draining = True
        for listening in self._listening:
            listening.close()
        self._listening.clear()
        for connection in tuple(self._connections):
            connection.drain()
        if self._connections:
            self._emptied = asyncio.get_running_loop().create_future()
            timer = self._clock.call_at(deadline, self._give_up)
            await self._emptied
            timer.cancel()
        self._emit("wire.drained", cut=self._cut)

    def admit(self, connection: Connection) -> bool:
        self._connections[connection] = None
        return len(self._connections) <= self._connections_max and not self.draining

    def forget(self, connection: Connection) -> None:
        self._connections.pop(connection, None)
        if not self._connections:
            self._sweeper.stop()
            self._durations.tell()
            if self._emptied is not None and not self._emptied.done():
                self._emptied.set_result(None)

    def _give_up(self) -> None:
        self._cut = len(self._connections)
        for connection in tuple(self._connections):
            connection.cut()

    def _sweep(self, now: int) -> int:
        earliest = NEVER
        for connection in tuple(self._connections):
            if connection.due <= now:
                connection.expire(now)
            earliest = min(earliest, connection.due)
        return earliest
