"""The engine: store, Systems, lanes and data plane of one plan, put together from the ports that it is handed.

The same composition runs in production, in `Lab` and in simulation. It opens no port of the machine by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import msgspec

from interlock.control.eraser import Eraser
from interlock.control.job_driver import JobDriver
from interlock.core import limits
from interlock.core.controls import SCHEDULE_CONTROL_PREFIX, SUBSCRIPTION_CONTROL_PREFIX
from interlock.core.errors import SpecError
from interlock.core.event import Event, Shard
from interlock.core.ports import Access, Clock, Emit, Net, Offload, Random, Secrets, Wakeup
from interlock.delivery.attempt import Ports
from interlock.delivery.fleet import Fleet
from interlock.delivery.source import SourceContext
from interlock.edge.app import DataPlane
from interlock.edge.poller import Poller
from interlock.edge.scheduler import Scheduler
from interlock.edge.source import SourcePorts
from interlock.journal.ports import CellConflict, CellWrite, Store
from interlock.runtime.cells import ScheduleCells, SystemCells
from interlock.runtime.pauses import Pauses
from interlock.security.signatures import verifier
from interlock.spec.deploy import KNOWN_CELL, changes, remembered
from interlock.spec.findings import Known
from interlock.spec.plan import Plan
from interlock.systems.registry import Systems, Transport

AUDIT_STREAM = "_audit"


class World(NamedTuple):
    """The ports of one process. `offload` runs the user's plain functions."""

    clock: Clock
    random: Random
    net: Net
    offload: Offload
    emit: Emit
    secrets: Secrets
    access: Access


OpenStore = Callable[[Wakeup], Awaitable[Store]]


class Engine:
    """One process's engine.

    Args:
        plan: checked declarations.
        world: the ports.
        open_store: opens the store, which tells the given `Wakeup` what its commits made durable.
        transport: what carries calls to Systems; None for HTTP over `world.net`.
    """

    def __init__(self, plan: Plan, world: World, open_store: OpenStore, transport: Transport | None = None) -> None:
        self.plan = plan
        self.world = world
        self._open_store = open_store
        self._transport = transport
        self._store: Store | None = None
        self._fleet: Fleet | None = None
        self._systems: Systems | None = None
        self._app: DataPlane | None = None
        self._tasks: dict[asyncio.Task[None], None] = {}
        self._cells: SystemCells | None = None
        self._jobs: JobDriver | None = None
        self._eraser: Eraser | None = None
        self._schedules = ScheduleCells([schedule.name for schedule in plan.schedules], self._spawn)
        # Polls ask it of their stream. Whoever keeps the streams within their bounds knows.
        self.has_room: Callable[[str], bool] = lambda _: True
        self._first_names: Mapping[str, str] = {}
        self._over = False

    @property
    def store(self) -> Store:
        """The store, once `start` has opened it."""
        assert self._store is not None, "the engine has not been started"
        return self._store

    @property
    def fleet(self) -> Fleet:
        """The lanes, once `start` has opened them."""
        assert self._fleet is not None, "the engine has not been started"
        return self._fleet

    @property
    def first_names(self) -> Mapping[str, str]:
        """What renamed subscriptions were called first: keys and derived ids are made of that."""
        return self._first_names

    @property
    def systems(self) -> Systems:
        """The Systems, once `start` has made them."""
        assert self._systems is not None, "the engine has not been started"
        return self._systems

    @property
    def app(self) -> DataPlane:
        """What answers on the data port, once `start` has made it."""
        assert self._app is not None, "the engine has not been started"
        return self._app

    async def start(self, *, paused: bool = False) -> None:
        """Open the store, then the Systems, then the lanes; the data plane can be listened for when it returns.

        `paused`: every subscription is paused before its first attempt; intake goes on.

        Raises:
            StoreError: if the store cannot be opened.
            SpecError: `plan.forgets`, if the store knows what the plan lacks.
        """
        world = self.world
        self._store = await self._open_store(self)
        known = await self._remember()
        self._first_names = known.first_names
        for stream in self.plan.streams:
            await self.store.make_stream(stream.name, stream.shards)
        await self.store.make_stream(AUDIT_STREAM, 1)
        self._systems = Systems(
            self.plan,
            world,
            self._transport,
            lambda name, run, deadline: SourceContext("refresh", name, run, deadline, self._ports),
        )
        self._ports = Ports(world.clock, world.random, world.offload, world.emit, self._systems.client)
        self._fleet = Fleet(self.plan, self.store, self._ports, self._systems, known.first_names)
        self._systems.watch(self._fleet.system_changed)
        pauses = Pauses(self.store, self, (world.clock, world.random, world.emit), self._spawn)
        self._systems.on_gone(pauses.gone)
        self._fleet.on_trip(pauses.tripped)
        ports = (world.clock, world.emit)
        self._cells = SystemCells(list(self.plan.systems), self._systems, self.store, ports, self._spawn)
        await self._cells.start()
        if paused:
            await pauses.everything(list(self.plan.subscriptions))
        await self._fleet.start()
        await self._schedules.start(self.store)
        self._jobs = JobDriver(self.store, world.clock, world.emit)
        self._spawn(self._jobs.run())
        self._eraser = Eraser(self.store, world.clock, world.emit)
        self._spawn(self._eraser.run())
        self._spawn(self._balance())
        self._app = DataPlane(
            self.plan,
            self.store,
            lambda webhook: verifier(webhook.verify, world.secrets, world.clock),
            world.access,
            world.clock,
            world.emit,
        )
        for poll in self.plan.polls:
            self._spawn(Poller(poll, self.plan.types, self._source_ports("poll", self._app)).run())
        for schedule in self.plan.schedules:
            self._spawn(Scheduler(schedule, self.plan.types, self._source_ports("schedule", self._app)).run())

    async def _balance(self) -> None:
        """The books of every lane, once a minute, from memory; `doctor` counts them in full."""
        clock = self.world.clock
        while True:
            await clock.sleep_until(clock.monotonic() + limits.BALANCE_EVERY_US)
            for lane in self.fleet.lanes():
                accounted, explained = lane.turn.equation() if lane.turn else (0, 0)
                if accounted != explained:
                    self.world.emit(
                        "conservation.broken",
                        subscription=lane.id.subscription,
                        shard=lane.id.shard.number,
                        accounted=accounted,
                        explained=explained,
                    )

    def rebind(self, plan: Plan) -> Sequence[str]:
        """Run on with a plan that differs in the bindings of Systems only; the names of those that are bound anew.

        Raises:
            SpecError: for a binding that cannot be used; nothing has changed then.
        """
        news = self.systems.rebind(plan.bindings)
        self.plan = plan
        for lane in self.fleet.lanes():
            lane.crew = replace(lane.crew, plan=plan.digest)
        return news

    def _source_ports(self, kind: Literal["poll", "schedule"], app: DataPlane) -> SourcePorts:
        """A source is under the fleet's lease; its function sees Systems and log as an attempt's does."""
        world, fleet = self.world, self.fleet

        def context(name: str, run: str, deadline: int) -> SourceContext:
            return SourceContext(kind, name, run, deadline, self._ports)

        def has_room(stream: str) -> bool:
            return self.has_room(stream)

        return SourcePorts(
            ledger=self.store,
            clock=world.clock,
            random=world.random,
            emit=world.emit,
            lease=lambda: (fleet.lease, fleet.lease_until),
            context=context,
            level=lambda: app.level,
            paused=self._schedules.is_paused,
            has_room=has_room,
        )

    async def stop(self, grace_us: int = limits.DRAIN_TIMEOUT_US) -> None:
        """Drain the lanes, give back cursors and lease, close Systems and store. Counts no attempt."""
        if self._app is not None:
            self._app.drain()
        if self._fleet is not None:
            await self._fleet.stop(grace_us)
        for task in list(self._tasks):
            task.cancel()
        if self._systems is not None:
            await self._systems.close()
        if self._store is not None:
            await self._store.close()

    def abandon(self) -> None:
        """Stop as a killed process does: nothing is committed, nothing is given back."""
        self._over = True
        if self._fleet is not None:
            self._fleet.abandon()
        for task in list(self._tasks):
            task.cancel()

    # Wakeup.

    def appended(self, shard: Shard, events: Sequence[Event]) -> None:
        """Events became durable."""
        if self._fleet is not None:
            self._fleet.appended(shard, events)

    def changed(self, cells: Iterable[str]) -> None:
        """Cells have a new version."""
        keys = list(cells)
        if self._fleet is not None:
            self._fleet.changed(keys)
        if self._cells is not None:
            self._cells.changed(keys)
        if self._jobs is not None:
            self._jobs.changed(keys)
        if self._eraser is not None:
            self._eraser.changed(keys)
        self._schedules.changed(keys)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        if self._over:
            work.close()
            return
        task = asyncio.get_running_loop().create_task(work)
        self._tasks[task] = None
        task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.world.emit("engine.failed", error=repr(error))

    def acted_on(self, cell: str) -> int:
        """The version of a control cell that this process acts on; 0 before the first."""
        if cell.startswith(SUBSCRIPTION_CONTROL_PREFIX):
            return self.fleet.acted_on(cell)
        if cell.startswith(SCHEDULE_CONTROL_PREFIX):
            return self._schedules.acted_on(cell)
        return self._cells.acted_on(cell) if self._cells is not None else 0

    # What the store remembers of former plans.

    async def _remember(self) -> Known:
        """Refuse a plan that forgets what the store knows; else let the store know this plan's names and shapes."""
        cell = (await self.store.get([KNOWN_CELL])).get(KNOWN_CELL)
        known = msgspec.json.decode(cell.value, type=Known) if cell else Known()
        blocking = {str(change): change.remedy for change in changes(known, self.plan) if change.remedy}
        if blocking:
            raise SpecError(
                "plan.forgets",
                "the store knows what this plan lacks: " + ", ".join(blocking),
                "; ".join(blocking.values()),
            )
        now = remembered(known, self.plan)
        value = msgspec.json.encode(now, order="deterministic")
        if cell is None or cell.value != value:
            (written,) = await self.store.put([CellWrite(KNOWN_CELL, value, expected=cell.version if cell else 0)])
            if isinstance(written, CellConflict):
                return await self._remember()
        return now
