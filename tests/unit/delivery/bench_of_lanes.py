"""A fleet on the memory store and the fake clock, with functions that end as a test says: no Systems, no edge."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from interlock import Draft, EventType, Integration, OnDead, Outcome, RetryPolicy
from interlock.core.cursor import CursorId, Row
from interlock.core.errors import StoreError
from interlock.core.event import Event, Shard
from interlock.core.limits import US_PER_SECOND
from interlock.core.requests import LaneRequest, Verb, decode_request, encode_request, request_key
from interlock.delivery.attempt import Ports
from interlock.delivery.fleet import Fleet
from interlock.journal.memory import Inline, MemoryDisk, MemoryStore
from interlock.journal.ports import CellWrite, Settlement
from interlock.spec.bindings import Bindings
from interlock.spec.check import planned
from interlock.testing.clock import FakeClock


@dataclass
class Order:
    key: str
    number: int


class Chance:
    """The Random port, without chance."""

    def uniform(self, low: float, high: float) -> float:
        return (low + high) / 2

    def bytes(self, count: int) -> bytes:
        self.count = getattr(self, "count", 0) + 1
        return self.count.to_bytes(count, "big")


Behaviour = Callable[[Order, int], Awaitable[Outcome | None]]


class Bench:
    """One subscription `shop.book`, one shard."""

    def __init__(
        self,
        *,
        plain: bool = False,
        on_dead: Any = "skip",
        retry: RetryPolicy | None = None,
        order: str = "key",
        segment_events: int = 10_000,
        proves_deaths: bool = False,
        tenant: Callable[[Order], str] | None = None,
        **options: Any,
    ) -> None:
        self.clock = FakeClock()
        self.disk = MemoryDisk(segment_events=segment_events, proves_deaths=proves_deaths)
        self.refuse_renewals = False
        self.renewal_us = 0
        self.offload: Any = Inline()
        self.lose_answers = 0
        self.refuse_commits = 0
        self.settlements: list[Settlement] = []
        self._asked = ""
        self._jobs = 0
        self.records: list[tuple[str, dict[str, object]]] = []
        self.calls: list[tuple[str, int]] = []
        self.behaviour: Behaviour = succeed
        self.run: Any = None
        self.wait_us: int | None = None
        self.released = ("", "")
        shop = Integration("shop", owner="shop-team", purpose="tests")
        self.order: EventType[Order] = shop.event("order", Order, key=lambda it: it.key, tenant=tenant)

        async def book(event: Any, context: Any) -> Outcome | None:
            self.calls.append((event.payload.key, event.payload.number))
            self.run = context
            return await self.behaviour(event.payload, context.attempt)

        def plain_book(event: Any, context: Any) -> None:
            self.calls.append((event.payload.key, event.payload.number))

        plain_book.__name__ = "book"
        function = plain_book if plain else book
        shop.subscribe(self.order, on_dead=on_dead, retry=retry or RetryPolicy(), order=order, **options)(function)  # type: ignore[arg-type]
        self.plan = planned([shop], Bindings())
        self.id = CursorId("shop.book", Shard("shop", 0))
        self.fleet: Fleet
        self.store: MemoryStore

    def appended(self, shard: Shard, events: Sequence[Event]) -> None:
        if self.live:
            self.fleet.appended(shard, events)

    def changed(self, cells: Iterable[str]) -> None:
        if self.live:
            self.fleet.changed(cells)

    def is_down(self, name: str, /) -> bool:
        return False

    def is_paused(self, name: str, /) -> bool:
        return False

    def pause(self, name: str, /) -> None:
        raise AssertionError(f"{name} is no System of this bench")

    def available(self, name: str, event: str, /) -> int | None:
        return self.wait_us

    def release(self, name: str, event: str, /) -> None:
        self.released = (name, event)

    live = False
    shards = 1

    async def start(self) -> None:
        emit = lambda record, /, **fields: self.records.append((record, fields))  # noqa: E731
        self.store = MemoryStore(self.clock, self, emit=emit, disk=self.disk)
        await self.store.make_stream("shop", self.shards)
        ports = Ports(self.clock, Chance(), self.offload, emit, no_client)
        self.fleet = Fleet(self.plan, cast(Any, BenchStore(self)), ports, self)
        await self.fleet.start()
        self.live = True
        await self.clock.settle()

    async def kill(self) -> None:
        """The process dies; the next `start` is another one."""
        self.live = False
        self.store.abandon()
        self.fleet.abandon()
        await self.clock.settle()

    async def announce(self, effect: str) -> bool:
        """What a call with this effect does before it is sent, in the attempt that began last."""
        return await self.run.work.announce(effect, "shop.crm #1")

    async def put(self, *orders: tuple[str, int]) -> None:
        drafts: list[Draft] = [self.order.draft(Order(key, n), id=f"{key}-{n}") for key, n in orders]
        await self.store.append(drafts)
        await self.clock.settle()

    async def advance(self, seconds: float) -> None:
        await self.clock.advance(int(seconds * US_PER_SECOND))

    async def rows(self) -> list[Row]:
        return list(await self.store.rows(self.id, range(1, 5_000)))

    async def ask(self, verb: Verb, *offsets: int) -> dict[int, str]:
        await self.request(verb, *offsets)
        await self.advance(1)
        return await self.answers()

    async def edit(self, offset: int, order: tuple[str, int], id: str) -> dict[int, str]:
        """Ask that another order is appended instead of the event, and wait for the answer."""
        await self.request("edit", offset, draft=self.order.draft(Order(*order), id=id))
        await self.advance(1)
        return await self.answers()

    async def request(self, verb: Verb, *offsets: int, pace_us: int = 0, draft: Draft | None = None) -> str:
        """Write the cell of a request, and do not wait; gives its key."""
        self._jobs += 1
        key = self._asked = request_key(self.id, f"job_{self._jobs}")
        request = LaneRequest(verb, offsets, "ann", "a test", self.clock.now(), pace_us=pace_us, draft=draft)
        await self.store.put([CellWrite(key, encode_request(request))])
        return key

    async def answers(self) -> dict[int, str]:
        """What the lane has said to the last request so far."""
        found = await self.store.get([self._asked])
        return dict(decode_request(found[self._asked].value).results)

    def balance(self) -> None:
        """The books of every open lane."""
        for lane in self.fleet.lanes():
            if lane.turn is not None:
                left, right = lane.turn.equation()
                assert left == right


class BenchStore:
    """The store, with a fault where the bench asks for one."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bench.store, name)

    async def renew(self, worker: str, ttl_us: int) -> Any:
        if self._bench.refuse_renewals:
            raise StoreError("store.unusable", "the store does not answer", "wait")
        lease = await self._bench.store.renew(worker, ttl_us)
        await self._bench.clock.sleep_until(self._bench.clock.monotonic() + self._bench.renewal_us)
        return lease

    async def commit(self, settlements: Sequence[Settlement]) -> Any:
        self._bench.settlements.extend(settlements)
        if self._bench.refuse_commits:
            self._bench.refuse_commits -= 1
            raise StoreError("store.in-doubt", "nothing was written, and nobody knows", "open anew")
        answers = await self._bench.store.commit(settlements)
        if self._bench.lose_answers:
            self._bench.lose_answers -= 1
            raise StoreError("store.in-doubt", "the answer was lost", "open anew")
        return answers


async def succeed(order: Order, attempt: int) -> Outcome | None:
    return None


def no_client(system: str, scope: object) -> Any:
    raise AssertionError("these functions call nothing")


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


HALT, SKIP = "halt", "skip"
__all__ = ["HALT", "SKIP", "Bench", "OnDead", "Order", "run", "succeed"]
