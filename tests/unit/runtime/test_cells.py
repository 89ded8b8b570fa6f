"""Control state and breakers as cells: acted on at once, audited, told to others, and there again after a restart."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec.structs import replace

from interlock import Context, Event, Integration
from interlock.call.breaker import Published, decode, encode
from interlock.control.audit import STREAM, AuditEntry, Who
from interlock.control.commands import Commands
from interlock.core.controls import decode_control, schedule_control_key, system_control_key
from interlock.core.errors import StoreFull
from interlock.core.event import Draft, Shard
from interlock.core.handler import Call, Handler
from interlock.core.limits import GUARD_EVENTS, RUNNING_MAX
from interlock.core.outcome import Answer, Done, Later, Outcome, Reject
from interlock.core.ports import Wakeup
from interlock.journal.memory import Inline, MemoryDisk, MemoryStore
from interlock.journal.ports import CellWrite, Store
from interlock.runtime.compose import Engine, World
from interlock.runtime.ports import SystemNet, SystemRandom
from interlock.spec.bindings import nowhere
from interlock.spec.check import planned
from interlock.spec.plan import HttpBinding
from interlock.testing.clock import FakeClock
from interlock.testing.fakes import FakeSecrets, anyone

LEDGER, BOOK, TIDY = "shop.ledger", "shop.book", "shop.tidy"
CELL = "breaker/shop.ledger"
ANN = Who("ann", "moving")
GONE = Later("http 410", status=410)
DOWN = Later("http 503", status=503)


@dataclass
class Order:
    number: int


def shop() -> tuple[Integration, Callable[[int], Draft]]:
    integration = Integration("shop", owner="shop-team", purpose="Orders reach the ledger")
    ledger = integration.http("ledger", honours_keys=True)
    placed = integration.event("order", Order, key=lambda order: str(order.number))

    @integration.subscribe(placed, on_dead="skip", start="beginning")
    async def book(event: Event[Order], context: Context) -> None:
        await context.use(ledger).post("/entries", json={"number": event.payload.number})

    @integration.schedule(every=timedelta(hours=1), missed="skip")
    async def tidy(at: datetime, context: Context) -> Sequence[Draft]:
        return ()

    return integration, lambda number: placed.draft(Order(number), id=f"o-{number}")


class FullStore(MemoryStore):
    """Appends nothing while it `refuses`."""

    refuses = False

    async def append(self, drafts: Sequence[Draft], cells: Sequence[CellWrite] = ()) -> Any:
        if self.refuses:
            raise StoreFull("store.full", "the disk is full", "make room")
        return await super().append(drafts, cells)


class Shop:
    """Processes, one after the other or side by side, over one disk; the ledger answers as `answer` says."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.disk = MemoryDisk()
        self.answer: Outcome = Done(Answer(201))
        self.sent: list[Call] = []
        self.records: list[tuple[str, dict[str, Any]]] = []
        self.stores: list[FullStore] = []

    async def start(self) -> Engine:
        integration, self.draft = shop()
        world = World(self.clock, SystemRandom(), SystemNet(), Inline(), self._emit, FakeSecrets(), anyone)
        engine = Engine(planned([integration], nowhere([integration])), world, self._open_store, self._transport)
        await engine.start()
        await self.clock.settle()
        return engine

    async def place(self, engine: Engine, numbers: Sequence[int]) -> None:
        await engine.store.append([self.draft(number) for number in numbers])
        await self.clock.advance(timedelta(seconds=2))

    async def stop(self, engine: Engine) -> None:
        stopping = asyncio.ensure_future(engine.stop())
        await self.clock.advance(timedelta(seconds=20))
        await stopping

    def told(self, record: str) -> list[dict[str, Any]]:
        return [fields for name, fields in self.records if name == record]

    def _open_store(self, wakeup: Wakeup) -> Awaitable[Store]:
        async def opened() -> Store:
            self.stores.append(FullStore(self.clock, wakeup, emit=self._emit, disk=self.disk))
            return self.stores[-1]

        return opened()

    def _emit(self, record: str, /, **fields: Any) -> None:
        self.records.append((record, fields))

    def _transport(self, name: str) -> Handler:
        async def handler(call: Call) -> Outcome:
            self.sent.append(call)
            return self.answer

        return handler


def run(story: Callable[[Shop], Awaitable[None]]) -> None:
    async def played() -> None:
        await story(Shop())

    asyncio.run(played())


def commands(engine: Engine) -> Commands:
    world = engine.world
    return Commands(engine.store, engine.store, engine, world.clock, world.random, world.emit)


def test_a_subscription_that_is_paused_says_so_within_the_second_and_starts_nothing() -> None:
    async def story(shop: Shop) -> None:
        engine = await shop.start()
        pausing = asyncio.ensure_future(commands(engine).pause_subscription(BOOK, ANN, paused=True))
        await shop.clock.advance(timedelta(seconds=1))
        done = await pausing
        assert (done.applied, done.of) == (1, 1)
        await shop.place(engine, [1])
        assert shop.sent == []
        await shop.stop(engine)

    run(story)


def test_a_system_that_is_gone_is_paused_by_a_cell_with_its_audit_and_stays_so_over_a_restart() -> None:
    async def story(shop: Shop) -> None:
        engine, shop.answer = await shop.start(), GONE
        await shop.place(engine, [1])
        assert len(shop.sent) == 1
        key = system_control_key(LEDGER)
        control = decode_control((await engine.store.get([key]))[key].value)
        assert (control.paused, control.by, control.reason) == (True, "interlock", "it answered 410 Gone to a POST")
        batch = await engine.store.read(Shard(STREAM, 0), 0, 10)
        (entry,) = [msgspec.json.decode(event.draft.data, type=AuditEntry) for event in batch.events]
        assert (entry.action, entry.subject, entry.role) == ("system.pause", LEDGER, "engine")
        await shop.stop(engine)

        again, shop.answer = await shop.start(), Done(Answer(201))
        await shop.place(again, [2])
        assert len(shop.sent) == 1
        assert again.acted_on(key) == 1
        await shop.stop(again)

    run(story)


def test_what_the_guard_stops_is_a_cell_with_its_audit_and_is_stopped_beside_it_and_after_a_restart() -> None:
    async def story(shop: Shop) -> None:
        engine, shop.answer = await shop.start(), Reject("http 422", status=422)
        beside = await shop.start()
        await shop.place(engine, range(60))
        sent = len(shop.sent)
        assert sent < 2 * GUARD_EVENTS + RUNNING_MAX
        key = system_control_key(LEDGER)
        control = decode_control((await engine.store.get([key]))[key].value)
        assert (control.paused, control.by) == (True, "interlock")
        batch = await engine.store.read(Shard(STREAM, 0), 0, 10)
        (entry,) = [msgspec.json.decode(event.draft.data, type=AuditEntry) for event in batch.events]
        assert (entry.action, entry.subject, entry.role) == ("system.pause", LEDGER, "engine")
        assert entry.reason == control.reason
        (alert,) = shop.told("guard.tripped")
        assert (alert["kind"], alert["subject"], alert["events"], alert["of"]) == ("system", LEDGER, 20, 20)
        assert beside.systems.is_paused(LEDGER)
        await shop.stop(beside)
        await shop.stop(engine)

        again, shop.answer = await shop.start(), Done(Answer(201))
        await shop.place(again, [77])
        assert len(shop.sent) == sent
        resuming = asyncio.ensure_future(commands(again).pause_system(LEDGER, ANN, paused=False))
        await shop.clock.advance(timedelta(seconds=30))
        await resuming
        rows = [row for ledger in shop.disk.ledgers.values() for row in ledger.rows.values()]
        assert len([row for row in rows if row.state == "dead"]) < GUARD_EVENTS
        assert [row for row in rows if row.state != "dead"] == []
        await shop.stop(again)

    run(story)


def test_a_pause_that_cannot_be_written_holds_here_at_once_and_is_written_when_it_can_be() -> None:
    async def story(shop: Shop) -> None:
        engine, shop.answer = await shop.start(), GONE
        (store,) = shop.stores
        await engine.store.append([shop.draft(1)])
        store.refuses = True
        await shop.clock.advance(timedelta(seconds=10))
        assert engine.systems.is_paused(LEDGER)
        assert system_control_key(LEDGER) not in shop.disk.cells
        assert {fields["subject"] for fields in shop.told("pause.unwritten")} == {LEDGER}
        store.refuses = False
        await shop.clock.advance(timedelta(seconds=2))
        assert decode_control(shop.disk.cells[system_control_key(LEDGER)].value).paused
        assert len(shop.sent) == 1
        await shop.stop(engine)

    run(story)


def test_what_a_breaker_found_is_known_to_the_process_beside_it_and_after_a_restart() -> None:
    async def story(shop: Shop) -> None:
        first = await shop.start()
        beside = await shop.start()
        shop.answer = DOWN
        await shop.place(first, range(8))
        assert first.systems.state(LEDGER).breaker == "open"
        assert beside.systems.state(LEDGER).breaker == "open"
        cell = (await first.store.get([CELL]))[CELL]
        found = decode(cell.value)
        assert found is not None
        assert found.state == "open"
        assert cell.expires_at is not None
        first.abandon()
        beside.abandon()
        sent = len(shop.sent)
        third = await shop.start()
        assert third.systems.state(LEDGER).breaker == "open"
        await shop.place(third, [100])
        assert len(shop.sent) == sent
        third.abandon()

    run(story)


def test_what_this_process_told_itself_is_not_taken_for_news_when_the_wall_clock_jumps() -> None:
    async def story(shop: Shop) -> None:
        engine = await shop.start()
        shop.answer = DOWN
        await shop.place(engine, range(8))
        shop.clock.jump(-timedelta(seconds=5))
        wait_us = engine.systems.available(LEDGER)
        engine.changed([CELL])
        await shop.clock.settle()
        assert engine.systems.available(LEDGER) == wait_us
        engine.abandon()

    run(story)


def test_a_breaker_cell_of_a_system_that_the_plan_lacks_is_left_alone() -> None:
    async def story(shop: Shop) -> None:
        engine = await shop.start()
        value = encode(Published("open", 1, shop.clock.now() + 60_000_000, shop.clock.now()))
        await engine.store.put(
            [CellWrite("breaker/shop.former", value), CellWrite("control/system/shop.former", b"{}")]
        )
        await shop.clock.settle()
        assert shop.told("engine.failed") == []
        assert engine.systems.state(LEDGER).breaker == "closed"
        engine.abandon()

    run(story)


def test_attempts_carry_the_digest_of_the_plan_that_they_ran_under_over_a_rebinding() -> None:
    async def story(shop: Shop) -> None:
        engine, shop.answer = await shop.start(), Reject("http 422", status=422)
        await shop.place(engine, [1])
        first, binding = engine.plan.digest, HttpBinding("https://elsewhere.example")
        plan = replace(engine.plan, bindings={LEDGER: binding}, digest="another")
        assert engine.rebind(plan) == [LEDGER]
        await shop.place(engine, [2])
        attempts = [attempt for ledger in shop.disk.ledgers.values() for attempt in ledger.attempts]
        assert sorted(attempt.plan for attempt in attempts) == sorted([first, "another"])
        engine.abandon()

    run(story)


def test_how_fresh_deliveries_are_is_told_with_their_settlement() -> None:
    async def story(shop: Shop) -> None:
        engine = await shop.start()
        engine.systems.pause(LEDGER)
        await shop.place(engine, [1, 2])
        await shop.clock.advance(timedelta(minutes=1))
        assert shop.told("events.delivered") == []
        engine.systems.resume(LEDGER)
        await shop.place(engine, [3])
        ages_us = sorted(age for told in shop.told("events.delivered") for age in told["ages_us"])
        assert [age // 1_000_000 for age in ages_us] == [0, 62, 62]
        engine.abandon()

    run(story)


def test_books_that_do_not_balance_are_told_of_within_the_minute() -> None:
    async def story(shop: Shop) -> None:
        engine = await shop.start()
        await shop.place(engine, range(3))
        await shop.clock.advance(timedelta(minutes=2))
        assert shop.told("conservation.broken") == []
        turn = engine.fleet.lanes()[0].turn
        assert turn is not None
        turn.delivered += 1
        await shop.clock.advance(timedelta(minutes=1))
        (told,) = shop.told("conservation.broken")
        assert told["subscription"] == BOOK
        assert told["explained"] == turn.equation()[1]
        engine.abandon()

    run(story)


def test_a_schedule_that_was_paused_starts_no_run_over_a_restart_until_it_is_resumed() -> None:
    async def story(shop: Shop) -> None:
        def commands(engine: Engine) -> Commands:
            return Commands(engine.store, engine.store, engine, shop.clock, SystemRandom(), shop._emit)

        async def switched(engine: Engine, *, paused: bool) -> bool:
            switching = asyncio.ensure_future(commands(engine).pause_schedule(TIDY, ANN, paused=paused))
            await shop.clock.advance(timedelta(seconds=1))
            return (await switching).applied == 1

        engine = await shop.start()
        await shop.clock.advance(timedelta(hours=1))
        assert len(shop.told("schedule.run")) == 1
        assert await switched(engine, paused=True)
        await shop.clock.advance(timedelta(hours=2))
        await shop.stop(engine)
        again = await shop.start()
        await shop.clock.advance(timedelta(hours=2))
        assert len(shop.told("schedule.run")) == 1
        assert again.acted_on(schedule_control_key(TIDY)) == 1
        assert await switched(again, paused=False)
        await shop.clock.advance(timedelta(minutes=59))
        assert len(shop.told("schedule.run")) == 2
        assert len(shop.told("schedule.missed")) == 1
        await shop.stop(again)

    run(story)
