"""`resequence`: the events of a key in the order of their numbers, and a word where one is missing."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock import Context, Draft, Event, Integration, PayloadError
from interlock.core import event as stored
from interlock.core import limits
from interlock.core.cursor import CursorId
from interlock.core.event import Shard
from interlock.delivery.sequences import Known, SequencesByKey, take
from interlock.journal.memory import MemoryDisk, MemoryStore
from interlock.journal.ports import CellWrite, Retired
from interlock.spec.patterns.resequence import Held, Resequencing, Sequence, numbered, resequence
from interlock.testing.clock import FakeClock
from interlock.testing.lab import Lab
from interlock.testing.sim.swarm import limited


@dataclass(frozen=True)
class Payment:
    account: str
    sequence: int


def by_account(it: Payment) -> str:
    return it.account


payments = Integration("payments", owner="payments-team", purpose="Bookings in the order of the bank")
ledger = payments.http("ledger", honours_keys=True)
raw = payments.event("payment.raw", Payment, key=by_account)
ordered = payments.event("payment.ordered", Payment, key=by_account)
payments.resequence(raw, into=ordered, by="sequence", gap_after=timedelta(minutes=5), buffer_max=3, first=1)


@payments.subscribe(ordered, on_dead="halt")
async def book(event: Event[Payment], context: Context) -> None:
    skipped = event.extensions.get("interlockskipped", "")
    body = {"account": event.payload.account, "number": event.payload.sequence, "skipped": skipped}
    await context.use(ledger).post("/entries", json=body)


class Bank(Lab):
    def __init__(self) -> None:
        super().__init__(payments)
        self.records: list[tuple[str, dict[str, object]]] = []

    def _emit(self, record: str, /, **fields: object) -> None:
        self.records.append((record, fields))
        super()._emit(record, **fields)

    async def pay(self, *numbers: int, account: str = "a") -> None:
        for number in numbers:
            await self.send(raw, Payment(account, number))
        await self.advance(seconds=1)

    def booked(self, account: str = "a") -> list[Any]:
        entries = [it for it in self.system(ledger).accepted if it["account"] == account]
        return [(it["number"], it["skipped"]) if it["skipped"] else it["number"] for it in entries]

    def told(self, name: str) -> list[dict[str, object]]:
        return [fields for record, fields in self.records if record == name]

    @property
    def late(self) -> int:
        return self.subscription("payments.payment-ordered").late


class Deaf:
    def appended(self, shard: Shard, events: Any) -> None: ...
    def changed(self, cells: Any) -> None: ...


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(story)


def test_what_comes_before_its_turn_waits_for_it() -> None:
    async def story() -> None:
        async with Bank() as lab:
            await lab.pay(3, 1)
            await lab.pay(1, account="b")
            assert (lab.booked(), lab.booked("b")) == ([1], [1])
            await lab.pay(2, 4)
            assert lab.booked() == [1, 2, 3, 4]
            await lab.settle()
            assert (lab.booked(), lab.told("sequence.skipped")) == ([1, 2, 3, 4], [])
            assert [key for key, cell in lab._disk.cells.items() if "-held/" in key and cell.value] == []

    run(story())


def test_what_has_not_come_in_time_is_gone_on_without_and_said() -> None:
    async def story() -> None:
        async with Bank() as lab:
            await lab.pay(1, 4)
            await lab.advance(minutes=3)
            await lab.pay(6)
            assert lab.booked() == [1]
            await lab.advance(minutes=2, seconds=1)
            assert lab.booked() == [1, (4, "2-3")]
            await lab.advance(minutes=3)
            assert lab.booked() == [1, (4, "2-3"), (6, "5")], "each waits for its own time"
            assert [it["count"] for it in lab.told("sequence.skipped")] == [2, 1]
            await lab.pay(2, 7)
            assert (lab.booked()[3:], lab.late) == ([7], 1)
            await lab.settle()

    run(story())


def test_a_number_that_waits_already_is_repeated_and_one_that_passed_is_late() -> None:
    async def story() -> None:
        async with Bank() as lab:
            await lab.pay(1, 3, 3, 1)
            await lab.pay(2)
            assert (lab.booked(), lab.late, len(lab.told("sequence.repeated"))) == ([1, 2, 3], 1, 1)

    run(story())


def test_a_full_buffer_goes_on_as_if_the_time_had_passed() -> None:
    async def story() -> None:
        async with Bank() as lab:
            await lab.pay(1, 3, 4, 6)
            assert lab.booked() == [1]
            await lab.pay(8)
            assert lab.booked() == [1, (3, "2"), 4]

    run(story())


@pytest.mark.parametrize("bounds", [{"SEQUENCE_KEYS_MAX": 1}, {"SEQUENCE_MEMORY_BYTES": 1}, {"SEQUENCE_BYTES_MAX": 1}])
def test_what_is_not_in_memory_is_asked_of_the_store(bounds: dict[str, int]) -> None:
    async def story() -> None:
        async with Bank() as lab:
            for number in (2, 1, 3):
                for account in "abcd":
                    await lab.pay(number, account=account)
            waits = "SEQUENCE_BYTES_MAX" not in bounds
            assert [lab.booked(account) for account in "abcd"] == [[1, 2, 3] if waits else [(2, "1"), 3]] * 4

    with limited(bounds):
        run(story())


def test_two_of_one_raw_type_do_not_keep_each_other_looking() -> None:
    async def story() -> None:
        two = Integration("two", owner="o", purpose="p")
        source = two.event("raw", Payment, key=by_account)
        for name, minutes in (("fast", 1), ("slow", 7)):
            into = two.event(name, Payment, key=by_account)
            two.resequence(source, into=into, by=lambda it: it.sequence, gap_after=timedelta(minutes=minutes))
        async with Lab(two) as lab:
            for number in (1, 3, 5):
                await lab.send(source, Payment("a", number))
                await lab.advance(seconds=20)
            await lab.settle()
            assert [lab.subscription(f"two.{name}").delivered for name in ("fast", "slow")] == [3, 3]
            looks = [
                it for shard in lab._disk.streams["two"].shards for it in shard.events if "overdue" in it.draft.type
            ]
            assert len(looks) == 4, "one for each gap of each"

    run(story())


@given(
    st.lists(st.tuples(st.integers(1, 12), st.integers(0, 40)), max_size=25),
    st.integers(1, 4),
    st.sampled_from([None, 1]),
)
def test_each_number_comes_once_in_order_and_whatever_came_in_time(
    arrivals: list[tuple[int, int]], buffer_max: int, first: int | None
) -> None:
    how = Resequencing("n", 60, buffer_max, first)
    state, now, look_at = Sequence(), 0, None
    came: dict[int, int] = {}
    out: list[tuple[int, int]] = []
    for offset, (number, wait) in enumerate([*arrivals, (0, 1_000)], 1):
        now += wait
        while look_at is not None and look_at <= now:
            step = resequence(state, None, look_at, look_at, how)
            out += [(it.held.number, look_at) for it in step.released]
            state, look_at = step.sequence, step.look_at
        if number == 0:
            break
        step = resequence(state, Held(number, offset, now, 10), None, now, how)
        assert len(step.sequence.held) <= buffer_max
        assert step.sequence.next not in [it.number for it in step.sequence.held]
        if step.fate == "taken":
            came[number] = now
        else:
            assert number in came or number < (step.sequence.next or 0)
        out += [(it.held.number, now) for it in step.released]
        state, look_at = step.sequence, step.look_at or look_at
    numbers = [number for number, _ in out]
    assert numbers == sorted(set(numbers)) == sorted(came), "in order, once, and nothing that was taken stays"
    assert all(at <= came[number] + 60 for number, at in out), "nothing waits longer than it may"


def test_only_a_whole_number_numbers() -> None:
    assert numbered("sequence")(Payment("a", 7)) == 7
    for wrong in ("other", lambda _: "7", lambda _: True, lambda _: 1 << 62):
        with pytest.raises(PayloadError) as caught:
            numbered(wrong)(Payment("a", 7))  # type: ignore[arg-type]
        assert caught.value.code == "payload.number-unusable"
    assert limits.SEQUENCE_BUFFER <= limits.SEQUENCE_BUFFER_CEILING


def test_what_another_process_has_released_is_a_lost_cursor() -> None:
    async def story() -> None:
        cursor, shard = CursorId("payments.ordered", Shard("payments", 0)), Shard("payments", 0)
        store = MemoryStore(FakeClock(), Deaf(), emit=lambda *_, **__: None, disk=MemoryDisk())
        one = SequencesByKey(cursor, lambda _: True)
        await one.load("a", store, lambda: True)
        event = stored.Event(shard, 1, 1, Draft("payments", "payment.raw@1", "/", "1", b"{}", key="a"))
        how = Resequencing("n", 60, 9, 1)
        one.changed("a", one.of("a"), take(one.of("a") or Known(), event, 2, event.draft, "x", how).known)
        writes = list(one.take(0))
        await store.put(writes)
        other = SequencesByKey(cursor, lambda _: True)
        await other.load("a", store, lambda: True)
        assert other.of("a") == one.of("a"), "as it was written"
        await store.put([CellWrite(write.key, None) for write in writes if "-held/" in write.key])
        with pytest.raises(Retired):
            await SequencesByKey(cursor, lambda _: True).load("a", store, lambda: True)
        lost = SequencesByKey(cursor, lambda _: True)
        await lost.load("a", store, lambda: False)
        assert not lost.knows("a"), "a lane that was lost meanwhile remembers nothing"

    run(story())
