"""A shop in a Lab with the whole workbench over it: the operations of the admin API, as a person uses them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from interlock import Context, Event, Integration, Reject
from interlock.control.commands import Commands
from interlock.control.ports import Live
from interlock.control.queries import Reading
from interlock.control.table import Admin
from interlock.control.tail import Recent
from interlock.core.limits import US_PER_SECOND
from interlock.journal.memory_views import MemoryViews
from interlock.runtime.compose import Engine
from interlock.runtime.rehearsal import Rehearse
from interlock.testing.lab import Lab


@dataclass
class Line:
    sku: str
    count: int = 1


@dataclass
class Paid:
    order: str
    lines: list[Line] = field(default_factory=list[Line])


class Workbench:
    """`shop.pick` sends orders to the warehouse and rejects SKUs that begin with S-9; `shop.note` takes everything."""

    def __init__(self, on_dead: Any = "skip", order: Any = "key") -> None:
        self.shop = Integration("shop", owner="shop-team", purpose="tests")
        self.warehouse = self.shop.http("warehouse", honours_keys=True)
        self.books = self.shop.sql("books")
        self.paid = self.shop.event("paid", Paid, key=lambda paid: paid.order)
        self.bad = "S-9"
        self.emits = False
        self.reads_answer = False
        self.hangs = False

        async def pick(event: Event[Paid], context: Context) -> Any:
            if any(line.sku.startswith(self.bad) for line in event.payload.lines if self.bad):
                return Reject("unknown-sku")
            if self.hangs:
                await asyncio.get_running_loop().create_future()
            answer = await context.use(self.warehouse).post("/picks", json={"order": event.payload.order})
            if self.reads_answer:
                assert answer.json()["pick"], "the warehouse names the pick"  # type: ignore[index]
            async with context.use(self.books).once() as tx:
                await tx.execute("CREATE TABLE IF NOT EXISTS picks (id)")
                await tx.execute("INSERT INTO picks VALUES ($1)", event.payload.order)
            if self.emits:
                context.emit(self.paid.draft(Paid("emitted"), id=f"{event.source_id}-emitted"))
            return None

        async def note(event: Event[Paid], context: Context) -> None: ...

        self.shop.subscribe(self.paid, on_dead=on_dead, order=order)(pick)
        self.shop.subscribe(self.paid, on_dead="skip")(note)
        self.lab = Lab(self.shop)

    async def put(self, order: str, sku: str, id: str) -> str:
        """Append an order and let everything settle; its event's id."""
        draft = self.paid.draft(Paid(order, [Line(sku)]), id=id)
        appended = await self.store.append([draft])
        await self.rest()
        return appended[0].id  # type: ignore[index]

    async def rest(self, seconds: float = 0.5) -> None:
        """Let time pass: lanes answer, jobs look."""
        await self.lab.clock.settle()
        for _ in range(max(1, int(seconds * 10))):
            await self.lab.clock.advance(US_PER_SECOND // 10)
            await self.lab.clock.settle()

    async def restart(self) -> None:
        """The process dies, and another one takes over when its lease has ended."""
        lab = self.lab
        old = lab._engine
        old.abandon()
        await lab.clock.settle()
        lab._engine = Engine(self.lab.plan, old.world, lab._open_store, lambda name: lab._systems[name].handle)
        await lab._engine.start()

    @property
    def store(self) -> Any:
        return self.lab._engine.store

    @property
    def reading(self) -> Reading:
        live: Live | None = None
        views = MemoryViews(self.lab._disk, self.lab.clock)
        return Reading(views, self.store, self.store, live, self.lab.plan, "0.1.0")

    @property
    def admin(self) -> Admin:
        engine, world = self.lab._engine, self.lab._engine.world
        commands = Commands(self.store, self.store, engine, world.clock, world.random, world.emit)
        recent, rehearse = Recent(world.clock), Rehearse(engine)
        return Admin(self.reading, commands, recent, world.clock, None, self.store, rehearse)

    async def ask(self, endpoint: Any, taken: Any) -> Any:
        """What the operation answers, with time going by."""
        task = asyncio.ensure_future(endpoint.handler(self.admin, "token[0]", taken))
        for _ in range(400):
            await self.lab.clock.settle()
            if task.done():
                break
            await self.lab.clock.advance(US_PER_SECOND // 20)
        return await task

    @property
    def state(self) -> tuple[object, ...]:
        """Everything durable, to see that nothing has changed."""
        disk = self.lab._disk
        logs = {name: [len(log.events) for log in stream.shards] for name, stream in disk.streams.items()}
        rows = {id: (dict(one.rows), one.held.cursor.counters) for id, one in disk.ledgers.items()}
        return logs, rows, dict(disk.cells)


def at_work(story: Callable[[Workbench], Awaitable[None]], **options: Any) -> None:
    """Run a story at the workbench."""

    async def run() -> None:
        bench = Workbench(**options)
        async with bench.lab:
            await story(bench)

    asyncio.run(run())
