"""`if_newer_than=`: what is not newer than what was delivered is late, and is filtered and counted."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.delivery.bench_of_lanes import Bench, Order
from tests.unit.delivery.bench_of_lanes import run as run_bench

from interlock import Context, Event, Integration, Later, Outcome, PayloadError, Reject
from interlock.core import limits
from interlock.core.cursor import CursorId
from interlock.core.event import Shard
from interlock.delivery.newest import NewestByKey, is_late
from interlock.journal.ports import CellWrite
from interlock.spec.newness import Newness, newness_of
from interlock.testing.lab import Lab
from interlock.testing.sim.swarm import limited


@dataclass(frozen=True)
class Contact:
    id: str
    changed_at: datetime
    name: str


@dataclass(frozen=True)
class Party:
    id: str
    revision: int
    name: str


crm = Integration("crm", owner="sales", purpose="One customer record")
erp = crm.http("erp", honours_keys=True)
contact = crm.event("contact.changed", Contact, key=lambda it: it.id)
party = crm.event("party.changed", Party, key=lambda it: it.id)
START = datetime(2026, 1, 1, tzinfo=UTC)


@crm.translate(contact, into=party, if_newer_than="changed_at", on_dead="skip")
def to_party(it: Contact) -> Party:
    return Party(it.id, (it.changed_at - START) // timedelta(hours=1), it.name)


@crm.subscribe(party, if_newer_than=lambda it: it.revision, on_dead="skip")
async def write(event: Event[Party], context: Context) -> None:
    await context.use(erp).put(f"/parties/{event.payload.id}", json={"name": event.payload.name})


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(story)


def test_of_two_sources_of_one_key_the_newer_state_stands_whichever_comes_last() -> None:
    async def story() -> None:
        async with Lab(crm) as lab:
            await lab.send(contact, Contact("c", START + timedelta(hours=2), "Ann Lee"))
            await lab.send(contact, Contact("c", START + timedelta(hours=1), "Ann"))
            await lab.send(party, Party("c", 1, "Ann (import)"))
            await lab.send(party, Party("d", 1, "Bob"))
            await lab.send(party, Party("c", 3, "Ann Lee-Ito"))
            await lab.settle()
            assert [it["name"] for it in lab.system(erp).accepted if it["name"] != "Bob"] == ["Ann Lee", "Ann Lee-Ito"]
            assert lab.system(erp).accepted[1:] != [], "another key has its own"
            view = lab.subscription("crm.write")
            assert (view.delivered, view.late, lab.subscription("crm.to_party").late) == (3, 1, 1)

    run(story())


class Ranked:
    """A bench whose subscription delivers what is newer; `number` says how new an order is."""

    def __init__(self) -> None:
        self.bench = Bench(on_dead="skip", proves_deaths=True, if_newer_than="number")
        self.bad: set[int] = set()
        self.flaky: set[int] = set()
        self.bench.behaviour = self._behave

    async def _behave(self, order: Order, attempt: int) -> Outcome | None:
        if order.number in self.flaky and attempt == 1:
            return Later("http 503")
        return Reject("http 422") if order.number in self.bad else None

    async def put(self, *numbers: int) -> None:
        await self.bench.put(*[("a", number) for number in numbers])
        await self.bench.advance(3)

    @property
    def numbers(self) -> list[int]:
        return [number for _, number in self.bench.calls]

    @property
    def late(self) -> int:
        return self.bench.disk.ledgers[self.bench.id].held.cursor.counters.late

    async def again(self) -> None:
        await self.bench.kill()
        await self.bench.start()


def test_what_was_delivered_is_known_to_the_next_process_and_what_failed_is_not() -> None:
    async def story() -> None:
        one = Ranked()
        one.bad = {9}
        await one.bench.start()
        await one.put(5, 9)
        await one.again()
        await one.put(4, 5_000, 8)
        assert (one.numbers, one.late) == ([5, 9, 5_000], 2)
        assert [record for record, _ in one.bench.records if record == "event.late"] == ["event.late"] * 2
        one.bench.balance()

    run_bench(story())


def test_a_crash_before_the_commit_delivers_again_what_was_not_settled() -> None:
    async def story() -> None:
        one = Ranked()
        await one.bench.start()
        await one.put(1)
        one.bench.refuse_commits = 1
        await one.put(7)
        assert one.numbers == [1, 7, 7], "nothing was written, so it is not late"
        one.bench.lose_answers = 1
        await one.put(8)
        await one.put(6)
        assert (one.numbers, one.late) == ([1, 7, 7, 8], 1), "it was written, and the lane finds it so"

    run_bench(story())


def test_a_dead_letter_that_is_retried_behind_a_newer_event_is_late() -> None:
    async def story() -> None:
        one = Ranked()
        one.bad = {1}
        await one.bench.start()
        await one.put(1, 2)
        one.bad = set()
        assert await one.bench.ask("retry", 1) == {1: "retried"}
        await one.bench.advance(2)
        assert (one.numbers, one.late, await one.bench.rows()) == ([1, 2], 1, [])
        one.bench.balance()

    run_bench(story())


def test_the_newest_one_is_replayed_and_an_older_one_is_late() -> None:
    async def story() -> None:
        one = Ranked()
        await one.bench.start()
        await one.put(1, 2)
        await one.again()
        assert await one.bench.ask("replay", 1, 2) == {1: "replayed", 2: "replayed"}
        await one.bench.advance(2)
        assert (one.numbers, one.late) == ([1, 2, 2], 1)
        one.bench.balance()

    run_bench(story())


def test_a_retry_keeps_its_place_and_is_not_late() -> None:
    async def story() -> None:
        one = Ranked()
        one.flaky = {1}
        await one.bench.start()
        await one.put(1, 2, 1)
        assert (one.numbers, one.late) == ([1, 1, 2], 0), "the same id again is a duplicate"

    run_bench(story())


def test_a_value_of_another_kind_and_the_cell_of_an_earlier_life_say_nothing() -> None:
    async def story() -> None:
        one = Ranked()
        await one.bench.start()
        cell = f"newest/{one.bench.id.subscription}/shop/0/a"
        await one.bench.store.put([CellWrite(cell, b'["number",100,77]')])
        await one.put(1)
        assert one.numbers == [1], "this cursor never delivered an offset 77"
        await one.bench.kill()
        await one.bench.store.put([CellWrite(cell, b'["moment",100,1]')])
        await one.bench.start()
        await one.put(2)
        assert one.numbers == [1, 2]

    run_bench(story())


def test_a_lane_that_remembers_few_keys_asks_the_store() -> None:
    async def story() -> None:
        one = Ranked()
        await one.bench.start()
        for number in (5, 4):
            await one.bench.put(*[(key, number) for key in "abcde"])
            await one.bench.advance(2)
        assert (len(one.bench.calls), one.late) == (5, 5)

    with limited({"NEWEST_KEYS_MAX": 1}):
        run_bench(story())


def test_what_does_not_say_how_new_it_is_is_a_dead_letter() -> None:
    @dataclass
    class Loose:
        key: str
        at: datetime

    shop = Integration("shop", owner="shop-team", purpose="tests")
    loose = shop.event("loose", Loose, key=lambda it: it.key)

    async def book(event: Event[Loose], context: Context) -> None:
        raise AssertionError("it is never called")

    shop.subscribe(loose, on_dead="skip", if_newer_than="at")(book)

    async def story() -> None:
        async with Lab(shop) as lab:
            await lab.send(loose, Loose("a", datetime(2026, 1, 1)))  # noqa: DTZ001 - that is the point.
            await lab.settle()
            (letter,) = lab.subscription("shop.book").dead
            assert letter.reason == "contract"
            assert "without a time zone" in (letter.error or "")

    run(story())


@pytest.mark.parametrize("value", [True, 1.5, None, 1 << 63, "x" * 256, datetime(2026, 1, 1)])  # noqa: DTZ001 - as above.
def test_only_what_can_be_compared_says_how_new_something_is(value: Any) -> None:
    with pytest.raises(PayloadError) as caught:
        newness_of("x")({"x": value})
    assert caught.value.code == "payload.newness-unusable"


def test_a_field_that_is_not_there_and_a_function_that_fails_are_told_as_such() -> None:
    for said in ("x", lambda it: it["x"] / 0):
        with pytest.raises(PayloadError):
            newness_of(said)({})


def test_moments_are_compared_as_moments() -> None:
    noon = datetime.fromisoformat("2026-01-01T12:00:00+01:00")
    assert newness_of("at")({"at": noon}) == newness_of("at")({"at": datetime(2026, 1, 1, 11, tzinfo=UTC)})


class Reference:
    """All deliveries, in order; nothing is ever forgotten."""

    def __init__(self) -> None:
        self.delivered: dict[str, tuple[int, int]] = {}

    def comes(self, key: str, value: int, offset: int) -> bool:
        before = self.delivered.get(key)
        if before is not None and (value < before[0] or (value == before[0] and offset != before[1])):
            return False
        self.delivered[key] = (value, offset)
        return True


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 6), st.sampled_from(["come", "fail", "settle", "crash"])),
        max_size=60,
    ),
    st.integers(1, 3),
)
def test_whatever_is_delivered_fails_or_is_lost_what_is_late_is_as_in_a_tiny_reference(
    steps: list[tuple[str, int, str]], remembered: int
) -> None:
    id = CursorId("s", Shard("log", 0))
    cells: dict[str, bytes] = {}
    durable, reference = Reference(), Reference()
    by_key = NewestByKey(id, lambda offset: True)
    with limited({"NEWEST_KEYS_MAX": remembered}):
        for offset, (key, value, what) in enumerate(steps, 1):
            if what == "crash":
                by_key = NewestByKey(id, lambda offset: True)
                reference.delivered = dict(durable.delivered)
            if what == "settle":
                written = list(by_key.take(0))
                assert all(write.expires_at == limits.NEWEST_KEPT_US for write in written)
                cells |= {write.key: write.value or b"" for write in written}
                by_key.committed()
                durable.delivered = dict(reference.delivered)
            if not by_key.knows(key):
                by_key.loaded(key, cells.get(by_key.cell(key)))
            newness = Newness("number", value)
            late = is_late(newness, offset, by_key.of(key))
            if what == "fail":
                continue
            assert late is not reference.comes(key, value, offset)
            if not late:
                by_key.delivered(key, offset, newness)
