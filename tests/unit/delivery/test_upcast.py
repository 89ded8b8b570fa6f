"""Upcasters: functions see the newest model, whichever version was stored; what is stored stays as it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, NamedTuple

import pytest

from interlock import Context, Event, Integration, Later
from interlock.core.cursor import Attempt
from interlock.core.event import Draft
from interlock.core.ports import Wakeup
from interlock.core.requests import LaneRequest, encode_request, request_key
from interlock.journal.memory import Inline, MemoryDisk, MemoryStore
from interlock.journal.ports import CellWrite
from interlock.runtime.compose import Engine, World
from interlock.spec.bindings import Bindings
from interlock.spec.check import build_plan
from interlock.spec.declare import EventType
from interlock.spec.plan import Plan
from interlock.testing.clock import FakeClock
from interlock.testing.fakes import FakeSecrets, NoNet, anyone
from interlock.testing.lab import Lab
from interlock.testing.sim.ports import SimRandom


@dataclass(frozen=True)
class PaidV1:
    order: str
    euros: float


@dataclass(frozen=True)
class PaidV2:
    order: str
    cents: int


@dataclass(frozen=True)
class Paid:
    order: str
    cents: int
    currency: str


def in_cents(it: PaidV1) -> PaidV2:
    return PaidV2(it.order, round(it.euros * 100))


def in_euros(it: PaidV2) -> Paid:
    return Paid(it.order, it.cents, "EUR")


class Shop(NamedTuple):
    """An integration with three versions of a type, and what its function was given: stored type and payload."""

    integration: Integration
    v1: EventType[PaidV1]
    v2: EventType[PaidV2]
    v3: EventType[Paid]
    seen: list[tuple[str, Any]]

    def upcasting(self, first: Callable[[PaidV1], Any] = in_cents, second: Callable[[PaidV2], Any] = in_euros) -> Shop:
        self.integration.upcast(self.v1, into=self.v2)(first)
        self.integration.upcast(self.v2, into=self.v3)(second)
        return self

    def reading(self, *types: EventType[Any], **options: Any) -> Shop:
        @self.integration.subscribe(*(types or (self.v3,)), **({"on_dead": "skip"} | options))
        async def book(event: Event[Any], context: Context) -> None:
            self.seen.append((event.type, event.payload))

        return self


def shop(key: Callable[[Any], str] = lambda it: it.order) -> Shop:
    declared = Integration("shop", owner="shop-team", purpose="What was paid is in the books")
    return Shop(
        declared,
        declared.event("order.paid", PaidV1, version=1, key=lambda it: it.order),
        declared.event("order.paid", PaidV2, version=2, key=lambda it: it.order),
        declared.event("order.paid", Paid, version=3, key=key),
        [],
    )


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(story)


def test_a_function_sees_the_newest_model_in_the_order_of_the_key_whatever_was_stored() -> None:
    async def story() -> None:
        one = shop().upcasting().reading()
        async with Lab(one.integration) as lab:
            await lab.send(one.v2, PaidV2("o-1", 100))
            await lab.send(one.v1, PaidV1("o-1", 12.5))
            await lab.send(one.v3, Paid("o-1", 300, "USD"))
            await lab.send(one.v1, PaidV1("o-1", 4))
            await lab.settle()
        assert one.seen == [
            ("order.paid@2", Paid("o-1", 100, "EUR")),
            ("order.paid@1", Paid("o-1", 1250, "EUR")),
            ("order.paid@3", Paid("o-1", 300, "USD")),
            ("order.paid@1", Paid("o-1", 400, "EUR")),
        ]

    run(story())


def test_a_version_that_the_subscription_names_itself_is_given_as_it_is() -> None:
    async def story() -> None:
        one = shop().upcasting()
        one.reading(one.v2, one.v3)
        async with Lab(one.integration) as lab:
            await lab.send(one.v1, PaidV1("o-1", 12.5))
            await lab.send(one.v2, PaidV2("o-1", 100))
            await lab.settle()
        assert [payload for _, payload in one.seen] == [PaidV2("o-1", 1250), PaidV2("o-1", 100)]

    run(story())


def test_a_subscription_to_an_old_version_reads_that_version_alone() -> None:
    one = shop().upcasting()
    one.reading(one.v1)
    assert plan_of(one).subscriptions["shop.book"].type_ids == {"order.paid@1"}


def test_a_translation_and_a_link_are_lifted_as_well() -> None:
    async def story() -> None:
        one = shop().upcasting()
        books = one.integration.http("books", honours_keys=True)
        booked = one.integration.event("order.booked", Paid, key=lambda it: it.order)

        @one.integration.translate(one.v3, into=booked, on_dead="skip")
        def to_booked(it: Paid) -> Paid:
            return replace(it, cents=it.cents + 1)

        def to_entry(it: Paid) -> dict[str, object]:
            return {"cents": it.cents, "currency": it.currency}

        one.integration.link(one.v3, books, "POST /entries", map=to_entry, on_dead="skip")
        one.reading(booked)
        async with Lab(one.integration) as lab:
            await lab.send(one.v1, PaidV1("o-1", 12.5))
            await lab.settle()
            assert lab.system(books).accepted == [{"cents": 1250, "currency": "EUR"}]
        assert one.seen == [("order.booked@1", Paid("o-1", 1251, "EUR"))]

    run(story())


def raises(it: PaidV1) -> PaidV2:
    raise RuntimeError(f"secret {it.order}")


def gives_what_is_old(it: PaidV1) -> Any:
    return it


def gives_nothing(it: PaidV1) -> Any:
    return None


def gives_another_key(it: PaidV1) -> PaidV2:
    return PaidV2("o-2", 1)


def asks_for_a_retry(it: PaidV1) -> Any:
    return Later("not yet")


BROKEN = {
    raises: "raised RuntimeError at test_upcast.py:",
    gives_what_is_old: "gives what is no order.paid@2: At $: Object missing required field cents",
    gives_nothing: "gives what is no order.paid@2: At $: Expected object, got null",
    gives_another_key: "gives a payload with another key",
    asks_for_a_retry: "gives what is no order.paid@2: At $: Object missing required field order",
}


@pytest.mark.parametrize("broken", BROKEN, ids=lambda function: function.__name__)
def test_an_upcaster_that_fails_is_a_rejection_with_its_line_and_nothing_of_the_payload(broken: Any) -> None:
    async def story() -> None:
        deploys, one = Deploys(), shop().upcasting(first=broken).reading()
        await deploys.deploy(one)
        await deploys.put(one.v1.draft(PaidV1("o-1", 12.5), id="a"), one.v2.draft(PaidV2("o-1", 100), id="b"))
        await deploys.stop()
        assert one.seen == [("order.paid@2", Paid("o-1", 100, "EUR"))]
        [failed] = deploys.failed()
        assert (failed.outcome, failed.error, failed.number) == ("reject", "contract", 1), "and it is not tried again"
        place = f"The upcaster shop.{broken.__name__} at test_upcast.py:{broken.__code__.co_firstlineno}"
        assert f"{place} {BROKEN[broken]}" in failed.detail
        assert "secret" not in failed.detail

    run(story())


def test_a_key_that_cannot_be_told_of_the_newer_payload_names_the_upcaster() -> None:
    async def story() -> None:
        deploys, one = Deploys(), shop(key=lambda it: it.gone).upcasting().reading()
        await deploys.deploy(one)
        await deploys.put(one.v1.draft(PaidV1("o-1", 12.5), id="a"))
        await deploys.stop()
        [failed] = deploys.failed()
        assert (failed.outcome, failed.error) == ("reject", "contract")
        assert "The upcaster shop.in_euros at " in failed.detail

    run(story())


def test_a_type_that_got_its_key_with_a_newer_version_is_lifted_where_no_order_is_asked_for() -> None:
    async def story() -> None:
        declared = Integration("shop", owner="shop-team", purpose="What was paid is in the books")
        old = declared.event("order.paid", PaidV1)
        new = declared.event("order.paid", PaidV2, version=2, key=lambda it: it.order)
        declared.upcast(old, into=new)(in_cents)
        seen: list[PaidV2] = []

        @declared.subscribe(new, order="none", on_dead="skip")
        async def book(event: Event[PaidV2], context: Context) -> None:
            seen.append(event.payload)

        async with Lab(declared) as lab:
            await lab.send(old, PaidV1("o-1", 12.5))
            await lab.settle()
        assert seen == [PaidV2("o-1", 1250)]

    run(story())


class Deploys:
    """One store under plans that follow one another."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.disk = MemoryDisk()
        self.world = World(
            self.clock, SimRandom.seeded(0), NoNet(), Inline(), lambda record, **_: None, FakeSecrets(), anyone
        )
        self.engine: Engine | None = None

    async def deploy(self, one: Shop) -> Engine:
        await self.stop()
        self.engine = Engine(plan_of(one), self.world, self._open_store)
        await self.engine.start()
        await self.clock.advance(timedelta(seconds=1))
        return self.engine

    async def stop(self) -> None:
        if self.engine is not None:
            stopping = asyncio.ensure_future(self.engine.stop())
            await self.clock.advance(timedelta(seconds=20))
            await stopping

    async def put(self, *drafts: Draft) -> None:
        assert self.engine is not None
        await self.engine.store.append(drafts)
        await self.clock.advance(timedelta(seconds=1))

    async def retry_the_dead(self, job: str = "job_1") -> None:
        assert self.engine is not None
        cursors = [(id, ledger) for id, ledger in self.disk.ledgers.items() if ledger.rows]
        for id, ledger in cursors:
            request = LaneRequest("retry", tuple(sorted(ledger.rows)), "ann", "mended", self.clock.now())
            await self.engine.store.put([CellWrite(request_key(id, job), encode_request(request))])
        await self.clock.advance(timedelta(seconds=1))

    def payloads(self) -> list[bytes]:
        return [event.draft.data for shard in self.disk.streams["shop"].shards for event in shard.events]

    def failed(self) -> list[Attempt]:
        return [attempt for ledger in self.disk.ledgers.values() for attempt in ledger.attempts]

    def histories(self) -> list[list[tuple[int, int]]]:
        """Of each cursor that has moved: from which offset on it reads how many types."""
        cursors = [ledger.held.cursor for ledger in self.disk.ledgers.values()]
        return [[(entry.offset, len(entry.types)) for entry in cursor.types] for cursor in cursors if cursor.floor]

    async def _open_store(self, wakeup: Wakeup) -> MemoryStore:
        return MemoryStore(self.clock, wakeup, emit=self.world.emit, disk=self.disk)


def test_a_dead_letter_is_mended_by_a_retry_after_the_upcaster_was_corrected() -> None:
    async def story() -> None:
        deploys, broken, mended = Deploys(), shop().upcasting(first=raises).reading(), shop().upcasting().reading()
        await deploys.deploy(broken)
        await deploys.put(broken.v1.draft(PaidV1("o-1", 12.5), id="a"))
        await deploys.deploy(mended)
        assert mended.seen == [], "what is dead waits for a person"
        await deploys.retry_the_dead()
        assert mended.seen == [("order.paid@1", Paid("o-1", 1250, "EUR"))]
        assert deploys.payloads() == [b'{"order":"o-1","euros":12.5}'], "what is stored stays"
        await deploys.stop()

    run(story())


def test_a_first_deploy_from_the_beginning_reads_the_old_versions_in_the_log() -> None:
    async def story() -> None:
        deploys, before, after = Deploys(), shop(), shop().upcasting().reading(start="beginning")
        await deploys.deploy(before)
        await deploys.put(before.v1.draft(PaidV1("o-1", 1), id="a"), before.v2.draft(PaidV2("o-1", 2), id="b"))
        await deploys.deploy(after)
        assert after.seen == [("order.paid@1", Paid("o-1", 100, "EUR")), ("order.paid@2", Paid("o-1", 2, "EUR"))]
        await deploys.stop()

    run(story())


def test_a_running_subscription_reads_old_versions_from_where_it_was_widened() -> None:
    async def story() -> None:
        deploys, before, after = Deploys(), shop().reading(), shop().upcasting().reading()
        await deploys.deploy(before)
        await deploys.put(before.v1.draft(PaidV1("o-1", 1), id="a"), before.v3.draft(Paid("o-1", 2, "EUR"), id="b"))
        await deploys.deploy(after)
        await deploys.put(after.v1.draft(PaidV1("o-1", 3), id="c"))
        assert (before.seen, after.seen) == (
            [("order.paid@3", Paid("o-1", 2, "EUR"))],
            [("order.paid@1", Paid("o-1", 300, "EUR"))],
        )
        assert deploys.histories() == [[(1, 1), (3, 3)]]
        await deploys.stop()

    run(story())


def test_an_upcaster_of_another_text_is_another_plan() -> None:
    digests = {plan_of(one).digest for one in (shop(), shop().upcasting(), shop().upcasting(first=gives_nothing))}
    assert len(digests) == 3
    assert plan_of(shop().upcasting()).digest == plan_of(shop().upcasting()).digest


def plan_of(one: Shop) -> Plan:
    return build_plan([one.integration], Bindings())


def test_what_waited_for_a_type_that_a_deploy_has_taken_away_dies_at_once_and_says_so() -> None:
    async def story() -> None:
        deploys, broken, mended = Deploys(), shop().upcasting(first=raises).reading(), shop().upcasting().reading()
        await deploys.deploy(broken)
        await deploys.put(broken.v1.draft(PaidV1("o-1", 12.5), id="a"))
        await deploys.deploy(shop().reading())
        await deploys.retry_the_dead()
        first, second = deploys.failed()
        assert (first.error, second.outcome, second.error) == ("contract", "reject", "contract")
        assert "reads no order.paid@1 any more" in second.detail
        assert [row.reason for ledger in deploys.disk.ledgers.values() for row in ledger.rows.values()] == ["contract"]
        await deploys.deploy(mended)
        await deploys.retry_the_dead("job_2")
        assert mended.seen == [("order.paid@1", Paid("o-1", 1250, "EUR"))]
        await deploys.stop()

    run(story())
