"""`Lab`: an integration under test, in memory and on a fake clock, run by the production engine.

Only the edges are fakes: Systems answer as the test says, time moves when the test says. Nothing is waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple, TypeVar, cast, overload

import msgspec

from interlock.control.audit import Who
from interlock.control.commands import POLL_US, Commands
from interlock.core.controls import Control, decode_control, subscription_control_key, system_control_key
from interlock.core.cursor import CursorId, Row
from interlock.core.event import Appended, Draft, Event, Shard
from interlock.core.limits import US_PER_DAY
from interlock.core.outcome import Answer
from interlock.core.ports import Wakeup
from interlock.journal.memory import Inline, MemoryStore
from interlock.journal.memory_disk import MemoryDisk, MemoryLedger
from interlock.journal.ports import AppendRefused, Store
from interlock.runtime.compose import Engine, World
from interlock.spec.bindings import nowhere
from interlock.spec.check import build_plan
from interlock.spec.declare import EventType, Integration
from interlock.spec.function import HttpSystem, SqlSystem
from interlock.spec.plan import ScheduleSpec, SystemSpec, WebhookSpec
from interlock.spec.schedule import Place, place_of
from interlock.spec.span import moment
from interlock.testing.clock import FakeClock
from interlock.testing.databases import FakeDatabase
from interlock.testing.fakes import FakeExchange, FakeSecrets, FakeSystem, NoNet, anyone
from interlock.testing.providers import Delivery, signed
from interlock.testing.sim.ports import SimRandom
from interlock.testing.standing import live, owed
from interlock.wire.exchange import Head

T = TypeVar("T")

SETTLE_US_MAX = 3 * US_PER_DAY
"""How far `settle` moves the clock before it says that something is never settled: beyond every default budget."""
ENGINE_BUGS = frozenset({"lane.failed", "fleet.failed"})
"""Records that tell of an exception inside the engine: a test must not pass over them."""
PEER = "192.0.2.1"
"""The address that requests of a Lab come from (RFC 5737)."""


class Letter(NamedTuple):
    """A straggler or dead letter as a test wants to see it."""

    event: Event
    state: str
    reason: str | None
    error: str | None
    attempts: int


class SubscriptionView:
    """What became of a subscription's events, as the store has it."""

    def __init__(self, disk: MemoryDisk, name: str) -> None:
        self._disk = disk
        self._name = name

    @property
    def stragglers(self) -> list[Letter]:
        """Events that were tried and are not settled: due again, or held for a person."""
        return [self._letter(shard, row) for shard, ledger in self._ledgers() for row in live(ledger)]

    @property
    def dead(self) -> list[Letter]:
        """Dead letters."""
        return [
            self._letter(shard, row)
            for shard, ledger in self._ledgers()
            for _, row in sorted(ledger.rows.items())
            if row.state == "dead"
        ]

    @property
    def paused(self) -> str | None:
        """Why no attempt of it starts, if it is paused: by Interlock itself, in a test."""
        return _paused(self._disk, subscription_control_key(self._name))

    @property
    def delivered(self) -> int:
        """How many events were delivered."""
        return sum(ledger.held.cursor.counters.delivered for _, ledger in self._ledgers())

    @property
    def late(self) -> int:
        """How often an event was filtered because a newer one of its key had been delivered (`if_newer_than=`)."""
        return sum(ledger.held.cursor.counters.late for _, ledger in self._ledgers())

    def _ledgers(self) -> list[tuple[Shard, MemoryLedger]]:
        ledgers = self._disk.ledgers.items()
        return [(id.shard, ledger) for id, ledger in ledgers if id.subscription == self._name]

    def _letter(self, shard: Shard, row: Row) -> Letter:
        event = self._disk.shard(shard).at(row.offset)
        assert event is not None, "the event of a row is kept for as long as the row is"
        return Letter(self._disk.bodies.whole(event), row.state, row.reason, row.error, row.attempts)


class ScheduleView:
    """Where a schedule is in time, as the store has it."""

    def __init__(self, disk: MemoryDisk, spec: ScheduleSpec) -> None:
        self._disk = disk
        self._spec = spec

    @property
    def last_at(self) -> datetime | None:
        """The time that it ran for last, in its zone; None before its first run."""
        return self._moment(self._place.ran)

    @property
    def next_at(self) -> datetime | None:
        """The first time that it has not settled, in its zone; None if there is none."""
        return self._moment(self._spec.times.after(self._place.at))

    @property
    def _place(self) -> Place:
        held = self._disk.ledgers[CursorId(self._spec.name, Shard(self._spec.stream, 0))].held
        assert held.cursor.token is not None, "a schedule has a place in time from its first start"
        return place_of(held.cursor.token)

    def _moment(self, at: int | None) -> datetime | None:
        return None if at is None else moment(at).astimezone(self._spec.times.zone)


class Lab:
    """Run integrations in a test: `async with Lab(payments) as lab`.

    Every declared System answers 200 until `lab.system(handle).answers(...)` says otherwise; every secret has a value.
    A SQL System is a SQLite database in memory.
    """

    def __init__(self, *integrations: Integration) -> None:
        self.clock = FakeClock()
        self.plan = build_plan(integrations, nowhere(integrations))
        self._disk = MemoryDisk()
        self._secrets = FakeSecrets()
        self._offload = Inline()
        self._systems = {name: self._fake(spec) for name, spec in self.plan.systems.items()}
        self._sent = 0
        self._broken: list[str] = []
        world = World(self.clock, SimRandom.seeded(0), NoNet(), self._offload, self._emit, self._secrets, anyone)
        self._engine = Engine(self.plan, world, self._open_store, lambda name: self._systems[name].handle)

    async def __aenter__(self) -> Lab:
        await self._engine.start()
        await self.clock.settle()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._engine.abandon()
        await self.clock.settle()
        if error is None and self._broken:
            raise AssertionError("the engine failed: " + "; ".join(self._broken))

    # What the test looks at.

    @property
    def now(self) -> datetime:
        """The fake clock's time, in UTC."""
        return moment(self.clock.now())

    @overload
    def system(self, system: HttpSystem | str) -> FakeSystem: ...
    @overload
    def system(self, system: SqlSystem) -> FakeDatabase: ...
    def system(self, system: HttpSystem | SqlSystem | str) -> FakeSystem | FakeDatabase:
        """What stands for a System, by its handle, or by its name (`payments.ledger`) if it speaks HTTP."""
        name = system if isinstance(system, str) else system.name
        return _named("System", name, self._systems)

    def subscription(self, name: str) -> SubscriptionView:
        """What became of a subscription's events; `name` is `integration.function`."""
        _named("subscription", name, self.plan.subscriptions)
        return SubscriptionView(self._disk, name)

    def schedule(self, name: str) -> ScheduleView:
        """Where a schedule is in time; `name` is `integration.function`."""
        return ScheduleView(self._disk, _named("schedule", name, {spec.name: spec for spec in self.plan.schedules}))

    # What the test does.

    async def hook(
        self,
        route: str,
        payload: Any,  # Any: JSON, or the raw bytes of a body.
        *,
        signed_with: str,
        id: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Send a webhook as its provider does, and give the answer's JSON.

        Args:
            route: as declared, `POST /hooks/psp`.
            payload: JSON, or bytes to be sent as they are.
            signed_with: the name of the secret that the sender signs with.
            id: the provider's delivery id, where a field has it; a new one unless given.
            headers: further header fields.

        Raises:
            AssertionError: if it is not answered 2xx, with the problem document.
        """
        webhooks = {f"{webhook.method} {webhook.path}": webhook for webhook in self.plan.webhooks}
        webhook = _named("webhook", route, webhooks)
        body = payload if isinstance(payload, bytes) else msgspec.json.encode(payload)
        self._sent += 1
        delivery = Delivery(id or f"delivery-{self._sent}", body, self.clock.now())
        fields = {"content-type": "application/json"} | {name.lower(): text for name, text in (headers or {}).items()}
        if webhook.id_header:
            fields.setdefault(webhook.id_header, delivery.id)
        fields |= dict(signed(webhook.verify, self._secrets.active(signed_with)[0], delivery))
        answer = await self._exchange(webhook, body, list(fields.items()))
        if not 200 <= answer.status < 300:
            raise AssertionError(f"{route} was answered {answer.status}: {answer.body.decode()}")
        return cast("dict[str, Any]", msgspec.json.decode(answer.body)) if answer.body else {}

    @overload
    async def send(self, what: Draft) -> Appended: ...
    @overload
    async def send(self, what: EventType[T], payload: T, *, id: str | None = None) -> Appended: ...
    async def send(self, what: Draft | EventType[Any], payload: Any = None, *, id: str | None = None) -> Appended:
        """Append an event: a draft as it is, or a payload of a declared type."""
        self._sent += 1
        draft = what if isinstance(what, Draft) else what.draft(payload, id=id or f"lab-{self._sent}")
        appended = await self._engine.store.append([draft])
        assert not isinstance(appended, AppendRefused), "no cell rode along, so none can be in conflict"
        return appended[0]

    async def resume(self, what: HttpSystem | str) -> None:
        """Let a System or a subscription that is paused go on, as `interlock systems resume` does."""
        name = what if isinstance(what, str) else what.name
        engine, world = self._engine, self._engine.world
        commands = Commands(engine.store, engine.store, engine, self.clock, world.random, world.emit)
        resume = commands.pause_system if name in self.plan.systems else commands.pause_subscription
        _named("System or subscription", name, {**self.plan.systems, **self.plan.subscriptions})
        resuming = asyncio.ensure_future(resume(name, Who("lab", "the test says so"), paused=False))
        while not resuming.done():
            await self.clock.advance(POLL_US)
        resuming.result()

    async def advance(self, by: timedelta | None = None, /, **span: float) -> None:
        """Move the clock on: `advance(hours=2)` or `advance(timedelta(hours=2))`."""
        await self.clock.advance(by or timedelta(**span))

    async def settle(self) -> None:
        """Move the clock from timer to timer until nothing is due: only what waits for a person is left.

        So does all that waits for a subscription or a System that is paused.

        Raises:
            AssertionError: if something is still due after days; it says what.
        """
        until = self.clock.monotonic() + SETTLE_US_MAX
        await self.clock.settle()
        while due := self._due():
            next_at = self.clock.next_at()
            if next_at is None or next_at > until:
                raise AssertionError("never settled: " + "; ".join(due))
            await self.clock.advance(next_at - self.clock.monotonic())

    def _due(self) -> list[str]:
        systems = self._engine.systems
        stopped = {
            lane.id.subscription
            for lane in self._engine.fleet.lanes()
            if lane.paused or any(systems.is_paused(name) for name in lane.systems)
        }
        return [str(one) for one in owed(self._disk) if one.by_itself and one.subscription not in stopped]

    def _fake(self, spec: SystemSpec) -> FakeSystem | FakeDatabase:
        if spec.kind == "sql":
            return FakeDatabase(spec.name, self._offload, self.clock, self._emit)
        return FakeSystem(spec, self.clock, partial(_paused, self._disk, system_control_key(spec.name)))

    async def _open_store(self, wakeup: Wakeup) -> Store:
        return MemoryStore(self.clock, wakeup, emit=self._emit, disk=self._disk)

    def _emit(self, record: str, /, **fields: object) -> None:
        if record in ENGINE_BUGS:
            self._broken.append(f"{record} {fields}")

    async def _exchange(self, webhook: WebhookSpec, body: bytes, headers: list[tuple[str, str]]) -> Answer:
        head = Head(webhook.method, webhook.path, webhook.path, "", "1.1", headers, PEER, len(body))
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._engine.app(FakeExchange(head, body, answered.set_result))
        await self.clock.settle()
        assert answered.done(), f"{webhook.name} has not answered, and no time has passed"
        return answered.result()


def _paused(disk: MemoryDisk, key: str) -> str | None:
    cell = disk.cells.get(key)
    control = decode_control(cell.value) if cell else Control()
    return control.reason if control.paused else None


def _named(kind: str, name: str, known: Mapping[str, T]) -> T:
    if name not in known:
        raise AssertionError(f"there is no {kind} {name!r}; there are: {', '.join(sorted(known))}")
    return known[name]
