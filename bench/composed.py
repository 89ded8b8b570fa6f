"""The engine as a process of production has it, made of the same parts: ports, telemetry, store and server."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.orders import TOKEN
from interlock.control.tail import Recent
from interlock.core.event import Appended, Draft, Shard
from interlock.core.ids import shard_of
from interlock.core.limits import US_PER_SECOND
from interlock.core.ports import Emit, Wakeup
from interlock.edge.problem import rendered
from interlock.journal.memory import MemoryStore
from interlock.journal.ports import Store
from interlock.journal.sqlite.store import SqliteOptions, SqliteStore
from interlock.runtime.clock import SystemClock
from interlock.runtime.compose import Engine, World
from interlock.runtime.ports import FunctionThreads, SystemNet, SystemRandom, ThreadOffload
from interlock.runtime.serve import FUNCTION_THREADS, SWITCH_INTERVAL_SECONDS
from interlock.security.access import bearers
from interlock.spec.plan import Plan
from interlock.systems.registry import Transport
from interlock.telemetry.emit import Fan, Sink
from interlock.telemetry.log import Lines, Log
from interlock.telemetry.metrics import Metrics
from interlock.telemetry.records import QUIET
from interlock.wire.server import Server


class Composed:
    """An engine on a store of its own, with the telemetry of production.

    Args:
        plan: what to run.
        folder: where the SQLite file is made; None for no store at all: what is appended is answered and forgotten.
        transport: what carries calls instead of our own client.
        listener: a further sink for telemetry.

    Attributes:
        grace_us: how long what runs may go on at the end.
    """

    grace_us = 10 * US_PER_SECOND

    def __init__(
        self, plan: Plan, folder: Path | None, transport: Transport | None = None, listener: Sink | None = None
    ) -> None:
        sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
        self.clock = SystemClock()
        self.net = SystemNet()
        self._folder = folder
        self._threads = {
            "store": ThreadOffload("store"),
            "read": ThreadOffload("read", threads=2),
            "functions": FunctionThreads("functions", FUNCTION_THREADS),
            "log": ThreadOffload("log"),
        }
        self._log = Path(os.devnull).open("wb", buffering=0)  # noqa: SIM115  # closed with the threads
        self._lines = Lines(self._threads["log"], self._log.write)
        recent = Recent(self.clock, QUIET - {"settlement.committed"})
        sinks: list[Sink] = [Log(self._lines, self.clock.now), Metrics(tuple, "bench"), recent]
        self.emit: Emit = Fan([*sinks, listener] if listener else sinks)
        world = World(
            self.clock,
            SystemRandom(),
            self.net,
            self._threads["functions"],
            self.emit,
            NoSecrets(),
            bearers(lambda: (TOKEN,)),
        )
        self.engine = Engine(plan, world, self._open_store, transport)
        self.shards = [Shard(stream.name, number) for stream in plan.streams for number in range(stream.shards)]

    async def __aenter__(self) -> Composed:
        await self.engine.start()
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.engine.stop(self.grace_us)
        self.close()

    def close(self) -> None:
        """End the threads."""
        self._lines.flush()
        for thread in self._threads.values():
            thread.close()
        self._log.close()

    async def listen(self) -> int:
        """Serve the data plane on a free port of the loopback."""
        server = Server(self.engine.app, clock=self.clock, emit=self.emit, refuse=rendered)
        return (await server.listen(self.net, "127.0.0.1", 0)).port

    async def open_store(self, wakeup: Wakeup) -> Store:
        """The store alone, for those that need no engine."""
        return await self._open_store(wakeup)

    async def _open_store(self, wakeup: Wakeup) -> Store:
        if self._folder is None:
            return Nowhere(self.clock, wakeup, emit=self.emit)
        options = SqliteOptions(reads=self._threads["read"])
        return await SqliteStore.open_file(
            self._folder / "bench.db", self.clock, wakeup, self._threads["store"], self.emit, options
        )


class NoSecrets:
    """None are needed."""

    def active(self, name: str) -> Sequence[bytes]:
        return ()


class Nowhere(MemoryStore):
    """Answers an append at once and keeps nothing: what is left is the cost of everything but the store."""

    _taken = 0

    def submit(self, drafts: Sequence[Draft], cells: object, done: Callable[[Any], None]) -> None:
        shards = self.stream(drafts[0].stream).shards
        appended: list[Appended] = []
        for draft in drafts:
            self._taken += 1
            shard = Shard(draft.stream, shard_of(draft.key or draft.id, shards))
            appended.append(Appended(shard, self._taken, 1_700_000_000_000_000))
        done(appended)
