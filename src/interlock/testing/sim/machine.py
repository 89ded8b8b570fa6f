"""One process of the product in simulation: the production engine on simulated ports, behind its real data port."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from interlock.core.errors import StoreError
from interlock.core.ports import Net, Secrets, Wakeup
from interlock.edge.problem import rendered
from interlock.journal.ports import Store
from interlock.runtime.compose import Engine, World
from interlock.spec.plan import Plan
from interlock.systems.registry import Transport
from interlock.testing.fakes import FakeSecrets, anyone
from interlock.testing.sim.history import KILLED, Fault, History
from interlock.testing.sim.loop import Process, SimLoop
from interlock.testing.sim.net import Network
from interlock.testing.sim.ports import CommitFault, SimClock, SimOffload, SimRandom
from interlock.testing.sim.storage import Ports, Storage
from interlock.wire.server import Server

DATA_PORT = 8080
BUGS = frozenset({"lane.failed", "lane.stalled", "fleet.failed", "engine.failed", "wire.app-failed", "body.absent"})
"""Records that tell of an exception nobody expected: each one fails the run."""
UNREADABLE = "(store.unreadable)"
"""In what a lane says that failed because the disk did: it opens anew, as it is to."""


class Parts(NamedTuple):
    """What all processes of one world share."""

    loop: SimLoop
    network: Network
    clock: SimClock
    storage: Storage
    history: History
    fsync_us: Callable[[], int]
    commit_fault: Callable[[], CommitFault | None]
    secrets: Secrets = FakeSecrets()
    transport: Callable[[Net], Transport] | None = None
    """What carries calls to Systems, from the network of a process; None for the production one."""
    heard: Callable[[str, str, Mapping[str, object]], None] = lambda _process, _record, _fields: None
    """Told of every record: by which process, its name and its fields."""


class Machine:
    """A process that runs an engine until it is killed; `on_death` is called then.

    Attributes:
        ready: it listens.
        bugs: records that tell of an unexpected exception.
    """

    def __init__(self, parts: Parts, number: int, plan: Plan, on_death: Callable[[Machine], None]) -> None:
        self.name = f"app-{number}"
        self.process = Process(parts.loop, self.name)
        self.ready = False
        self.bugs: list[str] = []
        self._parts = parts
        self._net = parts.network.host(self.name)
        world = World(
            clock=parts.clock,
            random=SimRandom(parts.loop.stream(self.name)),
            net=self._net,
            offload=SimOffload(parts.loop, lambda: 100),
            emit=self._emit,
            secrets=parts.secrets,
            access=anyone,
        )
        transport = None if parts.transport is None else parts.transport(self._net)
        self.engine = Engine(plan, world, self._open_store, transport)
        self.process.on_death.append(self._died)
        self.process.on_death.append(lambda: on_death(self))
        self.process.spawn(self._run(), name=self.name).add_done_callback(self._started)

    @property
    def address(self) -> tuple[str, int]:
        """Where its data port is."""
        return self.name, DATA_PORT

    def broken(self, what: str, scope: str = "process") -> None:
        """Note a fault of this process in the history."""
        assert scope in ("process", "store", "deploy")
        self._parts.history.add(Fault(t=self._parts.loop.now_us, process=self.name, scope=scope, what=what))

    def drain(self) -> None:
        """As SIGTERM: stop in order, then exit."""
        self.broken("drained")
        self.ready = False
        self.process.spawn(self._drain(), name=f"{self.name} drains")

    async def _run(self) -> None:
        try:
            await self.engine.start()
        except StoreError:  # As in production: the process ends, and is started again.
            self.process.kill()
            return
        server = Server(self.engine.app, clock=self._parts.clock, emit=self._emit, refuse=rendered)
        await server.listen(self._net, "0.0.0.0", DATA_PORT)  # noqa: S104  (on the simulated network)
        self.ready = True

    def _started(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.bugs.append(f"{self.name} could not start: {error!r}")
            self.process.kill()

    async def _drain(self) -> None:
        try:
            await self.engine.stop()
        except StoreError as error:
            self._parts.loop.note(f"{self.name} could not drain: {error.code}")
        self.process.kill()

    async def _open_store(self, wakeup: Wakeup) -> Store:
        parts = self._parts
        ports = Ports(parts.loop, self.process, parts.clock, wakeup, self._emit, parts.fsync_us, self._commit_fault)
        return await parts.storage.open(ports)

    def _commit_fault(self) -> CommitFault | None:
        fault = self._parts.commit_fault()
        if fault is not None:
            self.broken(f"commit {fault}", "store" if fault.startswith("failed") else "process")
        return fault

    def _died(self) -> None:
        self.broken(KILLED)
        self.ready = False
        self._parts.network.drop(self.process)
        self._parts.storage.left(self.process)

    def _emit(self, record: str, /, **fields: object) -> None:
        self._parts.heard(self.name, record, fields)
        if record in BUGS and not (record == "lane.failed" and UNREADABLE in str(fields["error"])):
            self.bugs.append(f"{self.name} at {self._parts.loop.now_us}: {record} {_shown(fields)}")


def _shown(fields: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value!r}" for name, value in fields.items())
