"""What a store is: one suite for every backend. A backend joins with a subclass that says how its world is made.

A world is a place where stores are opened, crash and are opened again, with a clock that the test moves.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import wraps
from itertools import pairwise, product
from pathlib import Path
from typing import Any, Protocol

import pytest
from msgspec.structs import replace

from interlock.core.cursor import Attempt, Counters, CursorId, Mark, Past, Row, Success, TypesFrom
from interlock.core.errors import StoreBusy, StoreError, StoreFull
from interlock.core.event import Appended, Claim, Draft, Event, Shard
from interlock.core.ids import shard_of
from interlock.core.limits import (
    BODY_INLINE_BYTES_MAX,
    BODY_ORPHAN_US,
    DISCARDED_KEPT_US,
    READ_BYTES_MAX,
    READ_SCAN_OFFSETS_MAX,
    US_PER_DAY,
    US_PER_SECOND,
    WRITER_QUEUE_BYTES_MAX,
)
from interlock.journal.memory_files import MemoryFiles
from interlock.journal.ports import (
    AppendRefused,
    Assign,
    CellConflict,
    CellsConflict,
    CellWrite,
    Committed,
    Erase,
    Forget,
    IdentityConflict,
    LeaseLost,
    Opened,
    Retention,
    Retired,
    Settlement,
)
from interlock.journal.views import EventsQuery
from interlock.testing.clock import FakeClock
from interlock.testing.sim.swarm import limited

TTL = 60 * US_PER_SECOND
ONE = Shard("s", 0)
TYPES = frozenset({"t@1"})
FOR_EVER = Retention(age_us=10_000 * US_PER_DAY, bytes=10**12)
A_DAY = Retention(age_us=US_PER_DAY, bytes=10**12)


class Recorder:
    """A Wakeup that keeps what it was told."""

    def __init__(self) -> None:
        self.events: dict[Shard, list[Event]] = {}
        self.cells: list[str] = []

    def appended(self, shard: Shard, events: Sequence[Event]) -> None:
        self.events.setdefault(shard, []).extend(events)

    def changed(self, cells: Iterable[str]) -> None:
        self.cells.extend(cells)


class World(Protocol):
    """Where the stores of one test live."""

    clock: FakeClock
    wakeup: Recorder
    records: list[str]
    files: MemoryFiles
    """Where its large payloads are."""
    shares_disk: bool
    """Whether two processes can have it open, as a zombie and its successor do."""

    async def open(self) -> Any:
        """A store, as a process that has just started opens it. A segment holds 8 events, the window 16 identities."""
        ...

    async def crash(self, store: Any) -> None:
        """The process of this store dies: nothing that it has under way is finished."""
        ...


def on_loop(test: Callable[[Any, World], Awaitable[None]]) -> Callable[..., None]:
    """Run a test's coroutine in a world of its own."""

    @wraps(test)
    def run(self: StoreContract, tmp_path: Path) -> None:
        asyncio.run(test(self, self.make_world(tmp_path)))  # type: ignore[arg-type]  # a coroutine function's result

    del run.__wrapped__  # type: ignore[attr-defined]  # pytest would take the fixtures of the wrapped one
    return run


def draft(id: str, key: str | None = "a", **more: Any) -> Draft:
    return Draft(**({"stream": "s", "type": "t@1", "source": "src", "id": id, "data": b"{}", "key": key} | more))


async def stream_of(store: Any, count: int, shards: int = 1) -> None:
    """A stream with `count` events, their ids the numbers from 1."""
    await store.make_stream("s", shards)
    if count:
        await store.append([draft(str(number)) for number in range(1, count + 1)])


def large(name: str) -> bytes:
    """A payload that is too large for the log, another one for each name."""
    return name.encode() * (BODY_INLINE_BYTES_MAX + 1)


async def append_whole(store: Any, *drafts: Draft) -> Any:
    """`submit_whole`, awaited; what it is answered, be it an exception."""
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    store.submit_whole(drafts, future.set_result)
    return await future


class Lane:
    """A worker with one cursor, which keeps count of epoch and number."""

    def __init__(self, store: Any, worker: str, opened: Opened) -> None:
        self.store = store
        self.worker = worker
        self.opened = opened
        self.cursor = opened.cursor
        self.number = 0

    @classmethod
    async def open(cls, store: Any, worker: str = "w1", **assign: Any) -> Lane:
        lease = await store.renew(worker, TTL)
        (opened,) = await store.open(
            lease, [Assign(**({"id": CursorId("sub", ONE), "start": "beginning", "types": TYPES} | assign))]
        )
        return cls(store, worker, opened)

    def settlement(self, **changes: Any) -> Settlement:
        cursor = self.cursor
        fields: dict[str, Any] = {
            "cursor": cursor.id,
            "worker": self.worker,
            "epoch": cursor.epoch,
            "number": self.number + 1,
            "floor": cursor.floor,
            "above": cursor.above,
            "counters": cursor.counters,
        }
        return Settlement(**(fields | changes))

    async def settle(self, **changes: Any) -> Any:
        settlement = self.settlement(**changes)
        (answer,) = await self.store.commit([settlement])
        if isinstance(answer, Committed):
            self.number = settlement.number
            self.cursor = replace(
                self.cursor, floor=settlement.floor, above=settlement.above, counters=settlement.counters
            )
        return answer


class Steps:
    """The steps of an erasure, as `control.eraser` takes them, with what lanes answer left out."""

    def __init__(self, store: Any, key: str, offsets: Sequence[int] = ()) -> None:
        self.store = store
        self.key = key
        self.offsets = offsets

    async def erase(self) -> Sequence[str]:
        self.offsets = self.offsets or await self.store.of_key(ONE, self.key, 1_000)
        return await self.store.erase(Erase(ONE, self.offsets, "job_1", b"asked"))

    async def forget(self) -> None:
        await self.store.collect(0)
        await self.store.forget(Forget(ONE, self.offsets, "job_1", self.key, CellWrite("erasure/job_1", b"done")))

    async def all(self) -> None:
        await self.erase()
        await self.forget()


class StoreContract:
    """The promises of `journal/ports.py`, each as a test."""

    def make_world(self, folder: Path) -> World:
        raise NotImplementedError

    # Streams

    @on_loop
    async def test_a_stream_keeps_the_shards_it_was_made_with(self, world: World) -> None:
        store = await world.open()
        made = await store.make_stream("s", 4)
        assert await store.make_stream("s", 8) == made
        assert made.shards == 4
        assert made.created_at == world.clock.now()
        assert store.stream("s") == made
        assert store.stream("other") is None
        await store.close()
        assert (await world.open()).stream("s") == made

    @on_loop
    async def test_an_append_to_an_unknown_stream_is_refused_whole(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 0)
        with pytest.raises(StoreError) as refused:
            await store.append([draft("1"), draft("2", stream="other")])
        assert refused.value.code == "store.stream-unknown"
        assert store.bounds(ONE) == (1, 0)

    # Append

    @on_loop
    async def test_an_event_comes_back_as_it_was_given_and_in_its_keys_shard(self, world: World) -> None:
        store = await world.open()
        await store.make_stream("s", 4)
        full = Draft(
            *("s", "t@1", "/src", "id-1", b"\x00\xff", "key é \U0001f600", "2026-01-01T00:00:00Z", "subject"),
            *("text/plain", "schema", (("ext", "1"), ("b", "")), (("h", "v"),), "evt_cause", "00-trace"),
        )
        bare = Draft("s", "t@1", "/src", "id-2", b"")
        first, second = await store.append([full, bare])
        assert first.shard.number == shard_of("key é \U0001f600", 4)
        assert second.shard.number == shard_of("id-2", 4)
        for appended, given in ((first, full), (second, bare)):
            (event,) = (await store.read(appended.shard, appended.offset - 1, 1)).events
            assert event == Event(appended.shard, appended.offset, appended.accepted_at, given)
            assert event.id == appended.id
        assert first.accepted_at == world.clock.now()

    @on_loop
    async def test_offsets_have_no_gaps_under_concurrent_appends(self, world: World) -> None:
        store = await world.open()
        await store.make_stream("s", 3)

        async def producer(name: int) -> list[Appended]:
            return [
                appended
                for turn in range(10)
                for appended in await store.append([draft(f"{name}-{turn}-{k}", f"key{name + k}") for k in range(3)])
            ]

        answers = [each for found in await asyncio.gather(*map(producer, range(8))) for each in found]
        assert len({(each.shard, each.offset) for each in answers}) == 240
        for number in range(3):
            shard = Shard("s", number)
            oldest, newest = store.bounds(shard)
            events = (await store.read(shard, 0, 1_000)).events
            assert [event.offset for event in events] == list(range(1, newest + 1))
            assert oldest == 1
            assert world.wakeup.events.get(shard, []) == list(events)
        assert sum(store.bounds(Shard("s", number))[1] for number in range(3)) == 240

    @on_loop
    async def test_accepted_at_never_goes_back_in_a_shard(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 1)
        world.clock.jump(-US_PER_DAY)
        await store.append([draft("2")])
        world.clock.jump(2 * US_PER_DAY)
        await store.append([draft("3")])
        times = [event.accepted_at for event in (await store.read(ONE, 0, 10)).events]
        assert times == sorted(times)
        assert times[0] == times[1]

    @on_loop
    async def test_an_append_with_a_cell_in_conflict_writes_nothing(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 0)
        await store.put([CellWrite("c", b"1")])
        answer = await store.append([draft("1")], [CellWrite("d", b"x"), CellWrite("c", b"2", expected=0)])
        assert isinstance(answer, AppendRefused)
        assert answer.conflict.found is not None
        assert answer.conflict.found.value == b"1"
        assert store.bounds(ONE) == (1, 0)
        assert set(await store.get(["c", "d"])) == {"c"}
        (appended,) = await store.append([draft("1")], [CellWrite("c", b"2", expected=1), CellWrite("c", b"3")])
        assert appended.offset == 1
        assert (await store.get(["c"]))["c"].version == 3

    @on_loop
    async def test_submit_answers_each_request_and_isolates_one_that_fails(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 0)
        answers: dict[str, Any] = {}

        def submit(name: str, *drafts: Draft) -> None:
            store.submit(drafts, (), lambda answer: answers.__setitem__(name, answer))

        submit("good", draft("1"))
        submit("unknown", draft("2", stream="nowhere"))
        submit("also good", draft("3"), draft("4"))
        assert answers == {}
        await store.append([draft("5")])
        assert [each.offset for each in answers["good"]] == [1]
        assert answers["unknown"].code == "store.stream-unknown"
        assert [each.offset for each in answers["also good"]] == [2, 3]

    @on_loop
    async def test_a_callback_that_raises_costs_no_other_its_answer(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 0)
        raised: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: raised.append(context["exception"]))
        answers: list[Any] = []

        def fails(_: object) -> None:
            raise RuntimeError("a callback's own fault")

        store.submit([draft("1")], (), fails)
        store.submit([draft("2")], (), answers.append)
        await store.append([draft("3")])
        await world.clock.settle()
        assert [each.offset for (each,) in answers] == [2]
        assert [str(error) for error in raised] == ["a callback's own fault"]

    @on_loop
    async def test_above_the_queues_bound_an_append_is_refused_and_a_settlement_is_not(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 1)
        lane = await Lane.open(store)
        large = bytes(WRITER_QUEUE_BYTES_MAX // 2)
        answers: list[Any] = []
        for number in range(3):
            store.submit([draft(f"large-{number}", data=large)], (), answers.append)
        settled = lane.settle(floor=1)
        del large
        assert isinstance(await settled, Committed)
        await world.clock.settle()
        assert sum(isinstance(answer, StoreBusy) for answer in answers) == 2
        assert store.bounds(ONE)[1] == 2
        assert "store.writer-busy" in world.records

    @on_loop
    async def test_what_was_acknowledged_is_there_after_a_crash(self, world: World) -> None:
        store = await world.open()
        await store.make_stream("s", 3)
        answers: list[Appended] = []
        for number in range(40):
            answers += await store.append([draft(str(number), f"key{number % 7}", data=b"%d" % number)])
        lane = await Lane.open(store, id=CursorId("sub", answers[0].shard))
        row = Row(1, "a", "due", due_at=5, memo=b"memo")
        await lane.settle(floor=1, above=5, put=[row], marks=[Mark("k", 2, 3, 2)], counters=Counters(delivered=2))
        await store.put([CellWrite("c", b"v")])
        await world.crash(store)
        store = await world.open()
        for number, appended in enumerate(answers):
            (event,) = await store.fetch(appended.shard, [appended.offset])
            assert event.draft.data == b"%d" % number
            assert event.accepted_at == appended.accepted_at
        reopened = await Lane.open(store, "w2", id=lane.cursor.id)
        assert reopened.cursor.floor == 1
        assert reopened.cursor.above == 5
        assert reopened.cursor.counters == Counters(delivered=2)
        assert [each.offset for each in reopened.opened.rows] == [1]
        assert reopened.opened.marks == [Mark("k", 2, 3, 2)]
        assert (await store.rows(lane.cursor.id, [1]))[0].memo == b"memo"
        assert (await store.get(["c"]))["c"].value == b"v"
        (again,) = await store.append([draft("next", "key0")])
        assert again.offset == store.bounds(again.shard)[1]

    # Dedupe

    @on_loop
    async def test_a_known_identity_is_not_written_again_and_says_where_it_is(self, world: World) -> None:
        store = await world.open()
        await store.make_stream("s", 2)
        await store.make_stream("other", 2)
        (first,) = await store.append([draft("1")])
        world.clock.jump(US_PER_SECOND)
        same, changed, other_source, other_stream = await store.append(
            [draft("1"), draft("1", data=b"[]"), draft("1", source="src2"), draft("1", stream="other")]
        )
        assert same == replace(first, duplicate=True)
        assert changed == replace(first, duplicate=True, conflict=True)
        assert not other_source.duplicate
        assert not other_stream.duplicate
        assert same.id == first.id

    @on_loop
    async def test_duplicates_within_one_append_and_within_one_group_are_found(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 0)
        groups = await asyncio.gather(
            store.append([draft("1"), draft("1"), draft("2"), draft("2", data=b"[]")]),
            store.append([draft("2"), draft("3")]),
        )
        assert [[(each.offset, each.duplicate, each.conflict) for each in group] for group in groups] == [
            [(1, False, False), (1, True, False), (2, False, False), (2, True, True)],
            [(2, True, False), (3, False, False)],
        ]

    @on_loop
    async def test_an_identity_is_known_by_its_source_and_id_not_by_key_or_type(self, world: World) -> None:
        store = await world.open()
        await store.make_stream("s", 8)
        (first,) = await store.append([draft("1", "a")])
        (again,) = await store.append([draft("1", "another key", type="u@2")])
        assert again == replace(first, duplicate=True)

    @on_loop
    async def test_identities_older_than_the_window_are_found_and_survive_a_crash(self, world: World) -> None:
        store = await world.open()
        await store.make_stream("s", 3)
        first = {}
        for batch in range(12):
            drafts = [draft(f"{batch}-{number}", f"key{number % 5}") for number in range(900)]
            for each, appended in zip(drafts, await store.append(drafts), strict=True):
                first[each.id] = appended
            world.clock.jump(US_PER_DAY // 4)
        asked = [f"{batch}-{number}" for batch in range(12) for number in (0, 450, 899)]
        for _ in range(2):
            answers = await store.append([draft(id, data=b"other") for id in asked])
            assert answers == [replace(first[id], duplicate=True, conflict=True) for id in asked]
            await world.crash(store)
            store = await world.open()
        assert sum(store.bounds(Shard("s", number))[1] for number in range(3)) == 12 * 900

    @on_loop
    async def test_an_identity_is_forgotten_after_its_days_have_passed(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 1)
        world.clock.jump(7 * US_PER_DAY)
        (within,) = await store.append([draft("1")])
        assert within.duplicate
        world.clock.jump(US_PER_DAY)
        (beyond,) = await store.append([draft("1")])
        assert not beyond.duplicate
        assert beyond.offset == 2
        (known_again,) = await store.append([draft("1")])
        assert known_again == replace(beyond, duplicate=True)

    # Whole appends

    @on_loop
    async def test_a_whole_append_without_a_conflict_is_an_append(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 1)
        known, new, again = await append_whole(store, draft("1"), draft("2"), draft("2"))
        assert (known.offset, known.duplicate, known.conflict) == (1, True, False)
        assert (new.offset, new.duplicate) == (2, False)
        assert again == replace(new, duplicate=True)
        assert await append_whole(store) == []
        refused = await append_whole(store, draft("3"), draft("4", stream="other"))
        assert refused.code == "store.stream-unknown"
        assert store.bounds(ONE) == (1, 2)

    @on_loop
    async def test_a_whole_append_writes_nothing_if_an_identity_is_known_with_another_payload(
        self, world: World
    ) -> None:
        store = await world.open()
        await store.make_stream("other", 1)
        await stream_of(store, 2)
        _, second = (await store.read(ONE, 0, 2)).events
        there = Appended(ONE, 2, second.accepted_at, duplicate=True, conflict=True)
        changed = draft("2", data=b"[]")
        for _ in range(2):
            answer = await append_whole(store, draft("3"), draft("o", stream="other"), changed, draft("1"), changed)
            assert answer == IdentityConflict({2: there, 4: there})
            assert store.bounds(ONE) == (1, 2)
            assert store.bounds(Shard("other", 0)) == (1, 0)
            await world.crash(store)
            store = await world.open()
        # What was refused is not known: it is taken when it comes without the conflict.
        third, other = await append_whole(store, draft("3"), draft("o", stream="other"))
        assert (third.offset, third.duplicate, other.duplicate) == (3, False, False)

    @on_loop
    async def test_a_whole_append_whose_own_drafts_disagree_writes_nothing(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 0)
        answer = await append_whole(store, draft("1"), draft("1", source="elsewhere"), draft("1", data=b"[]"))
        assert answer == IdentityConflict({2: None})
        assert store.bounds(ONE) == (1, 0)

    @on_loop
    async def test_in_one_group_a_refused_whole_append_concerns_no_other(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 0)
        first, refused, third, plain = await asyncio.gather(
            append_whole(store, draft("1"), draft("2")),
            append_whole(store, draft("3"), draft("2", data=b"[]"), draft("4")),
            append_whole(store, draft("2"), draft("3", data=b"third")),
            store.append([draft("2", data=b"[]"), draft("4")]),
        )
        assert [each.offset for each in first] == [1, 2]
        assert refused == IdentityConflict({1: replace(first[1], duplicate=True, conflict=True)})
        # The draft 3 of the refused one was never there, so the third one brings it.
        assert [(each.offset, each.duplicate, each.conflict) for each in third] == [(2, True, False), (3, False, False)]
        assert [(each.offset, each.duplicate, each.conflict) for each in plain] == [(2, True, True), (4, False, False)]
        assert [event.draft.id for event in (await store.read(ONE, 0, 10)).events] == ["1", "2", "3", "4"]
        assert [event.offset for event in world.wakeup.events[ONE]] == [1, 2, 3, 4]

    @on_loop
    async def test_a_whole_append_finds_conflicts_older_than_the_window(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 0)
        for number in range(60):
            await store.append([draft(f"{number}-{k}") for k in range(5)])
        answer = await append_whole(store, draft("new"), draft("0-0", data=b"[]"), draft("30-1"))
        assert isinstance(answer, IdentityConflict)
        assert {place: there.offset for place, there in answer.known.items() if there} == {1: 1}
        assert store.bounds(ONE) == (1, 300)

    # Reading

    @on_loop
    async def test_a_read_gives_offset_order_its_types_and_the_last_offset_scanned(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 0)
        await store.append([draft(str(number), type="odd@1" if number % 2 else "even@1") for number in range(1, 21)])
        batch = await store.read(ONE, 2, 3, frozenset({"odd@1"}))
        assert [event.offset for event in batch.events] == [3, 5, 7]
        assert batch.upto == 7
        batch = await store.read(ONE, 15, 10, frozenset({"odd@1", "unknown@1"}))
        assert [event.offset for event in batch.events] == [17, 19]
        assert batch.upto == 20
        assert await store.read(ONE, 20, 10) == ([], 20)
        assert (await store.read(ONE, 0, 10, frozenset({"unknown@1"}))) == ([], 20)
        assert (await store.read(ONE, 0, 10, frozenset())) == ([], 20)

    @on_loop
    async def test_a_read_that_finds_nothing_passes_a_bounded_stretch(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 0)
        for start in range(0, READ_SCAN_OFFSETS_MAX + 500, 500):
            await store.append([draft(str(start + number)) for number in range(500)])
        assert await store.read(ONE, 0, 10, frozenset({"other@1"})) == ([], READ_SCAN_OFFSETS_MAX)
        batch = await store.read(ONE, READ_SCAN_OFFSETS_MAX, 10, frozenset({"other@1"}))
        assert batch == ([], READ_SCAN_OFFSETS_MAX + 500)

    @on_loop
    async def test_a_cold_shard_is_read_between_many_events_of_a_hot_one(self, world: World) -> None:
        store = await world.open()
        await store.make_stream("s", 4)
        hot = "hot"
        cold = next(str(n) for n in range(100) if shard_of(str(n), 4) != shard_of(hot, 4))
        for number in range(6):
            await store.append([draft(f"{number}-{k}", hot) for k in range(700)])
            await store.append([draft(f"cold-{number}", cold)])
        shard = Shard("s", shard_of(cold, 4))
        batch = await store.read(shard, 0, 100)
        assert [event.draft.id for event in batch.events] == [f"cold-{number}" for number in range(6)]
        assert [event.draft.id for event in await store.fetch(shard, [5, 1])] == ["cold-4", "cold-0"]
        hot_shard = Shard("s", shard_of(hot, 4))
        offsets = [event.offset for event in (await store.read(hot_shard, 1_000, 2_500)).events]
        assert offsets == list(range(1_001, 3_501))

    @on_loop
    async def test_fetch_answers_in_the_order_asked_and_says_what_is_not_there(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 9)
        assert [event.offset for event in await store.fetch(ONE, [7, 2, 9])] == [7, 2, 9]
        with pytest.raises(Retired):
            await store.fetch(ONE, [2, 10])

    @on_loop
    async def test_nothing_appears_below_upto_while_others_append(self, world: World) -> None:
        store = await world.open()
        await store.make_stream("s", 2)

        async def produce(name: str) -> None:
            for number in range(40):
                await store.append([draft(f"{name}{number}", f"{number}")])

        async def follow(shard: Shard, until: Sequence[asyncio.Task[None]]) -> list[int]:
            seen: list[int] = []
            after = 0
            while not all(task.done() for task in until) or after < store.bounds(shard)[1]:
                batch = await store.read(shard, after, 3)
                seen += [event.offset for event in batch.events]
                assert batch.upto >= after
                after = batch.upto
            return seen

        producers = [asyncio.create_task(produce(name)) for name in "ab"]
        seen = await asyncio.gather(*(follow(Shard("s", number), producers) for number in range(2)))
        assert all(found == list(range(1, len(found) + 1)) for found in seen)
        assert sum(map(len, seen)) == 80

    # Leases and opening

    @on_loop
    async def test_a_lease_is_renewed_while_it_lasts_and_not_revived(self, world: World) -> None:
        store = await world.open()
        lease = await store.renew("w1", TTL)
        assert lease.expires_at == world.clock.now() + TTL
        world.clock.jump(TTL - 1)
        assert (await store.renew("w1", TTL)).expires_at == world.clock.now() + TTL
        world.clock.jump(TTL)
        assert isinstance(await store.renew("w1", TTL), LeaseLost)
        await store.renew("w2", TTL)
        await store.release("w2")
        assert isinstance(await store.renew("w2", TTL), LeaseLost)
        await store.release("never seen")

    @on_loop
    async def test_opening_without_a_valid_lease_is_refused(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 1)
        lease = await store.renew("w1", TTL)
        world.clock.jump(TTL)
        assert isinstance(await store.open(lease, [Assign(CursorId("sub", ONE))]), LeaseLost)
        assert isinstance(await store.open(lease._replace(worker="w9"), [Assign(CursorId("sub", ONE))]), LeaseLost)

    @on_loop
    async def test_a_new_cursor_starts_now_at_the_beginning_or_at_an_instant(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 2)
        world.clock.jump(US_PER_DAY)
        instant = world.clock.now()
        await store.append([draft("3"), draft("4")])
        world.clock.jump(US_PER_DAY)
        await store.append([draft("5")])
        lease = await store.renew("w1", TTL)
        starts: dict[str, Any] = {
            "a": "now",
            "b": "beginning",
            "c": instant,
            "d": world.clock.now() + 1,
            "e": 0,
            "f": instant + 1,
        }
        opened = await store.open(lease, [Assign(CursorId(name, ONE), start) for name, start in starts.items()])
        assert [each.cursor.start for each in opened] == [5, 0, 2, 5, 0, 4]
        assert all(each.cursor.start == each.cursor.floor for each in opened)
        # The start was recorded: a later opening does not ask for it again.
        (again,) = await store.open(lease, [Assign(CursorId("a", ONE), "beginning")])
        assert again.cursor.start == 5

    @on_loop
    async def test_opening_raises_the_epoch_and_refuses_the_former_holder(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 3)
        former = await Lane.open(store, "w1")
        assert isinstance(await former.settle(floor=1), Committed)
        successor = await Lane.open(store, "w2")
        assert successor.cursor.epoch == former.cursor.epoch + 1
        assert successor.cursor.number == 0
        assert successor.opened.former_until == world.clock.now() + TTL
        assert isinstance(await former.settle(floor=2), LeaseLost)
        assert isinstance(await successor.settle(floor=3), Committed)
        assert (await Lane.open(store, "w2")).cursor.floor == 3

    @on_loop
    async def test_a_worker_that_opens_its_own_cursor_again_has_no_former_holder(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 1)
        first = await Lane.open(store, "w1")
        again = await Lane.open(store, "w1")
        assert again.opened.former_until == 0
        assert again.cursor.epoch == first.cursor.epoch + 1
        assert isinstance(await first.settle(floor=1), LeaseLost)

    @on_loop
    async def test_former_until_is_zero_when_the_cursor_or_the_lease_was_given_back_or_has_ended(
        self, world: World
    ) -> None:
        store = await world.open()
        await stream_of(store, 1)
        lane = await Lane.open(store, "w1")
        await lane.settle(release=True)
        assert (await Lane.open(store, "w2")).opened.former_until == 0
        await store.release("w2")
        third = await Lane.open(store, "w3")
        assert third.opened.former_until == 0
        world.clock.jump(TTL)
        assert (await Lane.open(store, "w4")).opened.former_until == 0

    @on_loop
    async def test_a_former_holder_before_the_last_one_still_counts(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 1)
        await Lane.open(store, "w1")
        until = world.clock.now() + TTL
        world.clock.jump(US_PER_SECOND)
        second = await Lane.open(store, "w2")
        await second.settle(release=True)
        assert (await Lane.open(store, "w3")).opened.former_until == until

    @on_loop
    async def test_a_former_holder_is_named_as_dead_when_its_process_is(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 1)
        await Lane.open(store, "w1")
        assert not (await Lane.open(store, "w2")).opened.former_dead
        await world.crash(store)
        opened = (await Lane.open(await world.open(), "w3")).opened
        assert opened.former_dead
        assert opened.former_until > world.clock.now()

    @on_loop
    async def test_types_are_recorded_from_the_highest_accounted_offset_on(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 9)
        lane = await Lane.open(store)
        assert lane.cursor.types == (TypesFrom(1, TYPES),)
        await lane.settle(floor=2, above=0b100)
        both = frozenset({"t@1", "u@1"})
        lane = await Lane.open(store, types=both)
        history = (TypesFrom(1, TYPES), TypesFrom(6, both))
        assert lane.cursor.types == history
        assert (await Lane.open(store, types=both)).cursor.types == history
        assert (await Lane.open(store, types=None)).cursor.types == history
        other = frozenset({"v@1"})
        assert (await Lane.open(store, types=other)).cursor.types == (TypesFrom(1, TYPES), TypesFrom(6, other))
        assert (await Lane.open(store, types=TYPES)).cursor.types == (TypesFrom(1, TYPES),)
        await world.crash(store)
        assert (await Lane.open(await world.open(), "w2", types=None)).cursor.types == (TypesFrom(1, TYPES),)

    @on_loop
    async def test_unclean_counts_openings_until_one_was_closed_well(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 1)
        assert (await Lane.open(store, "w1")).cursor.unclean == 1
        lane = await Lane.open(store, "w1")
        assert lane.cursor.unclean == 2
        await lane.settle(clean=True)
        lane = await Lane.open(store, "w1")
        assert lane.cursor.unclean == 1
        await lane.settle(release=True)
        assert isinstance(await lane.settle(), LeaseLost)
        assert (await Lane.open(store, "w1")).cursor.unclean == 1

    # Settling

    @on_loop
    async def test_a_settlement_is_refused_when_its_lease_epoch_worker_or_number_is_wrong(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 9)
        lane = await Lane.open(store)
        await store.renew("w2", TTL)
        wrong: list[dict[str, Any]] = [
            {"epoch": lane.cursor.epoch + 1},
            {"worker": "w2"},
            {"worker": "nobody"},
            {"number": 2},
            {"number": 0},
            {"cursor": CursorId("unknown", ONE)},
            {"floor": -1},
        ]
        for changes in wrong:
            refused = await lane.settle(**({"floor": 1, "put": [Row(1, "a", "due")], "emit": [draft("new")]} | changes))
            assert isinstance(refused, LeaseLost), changes
        assert isinstance(await lane.settle(floor=1), Committed)
        lane.number = 0
        assert isinstance(await lane.settle(floor=2), LeaseLost)
        lane.number = 1
        world.clock.jump(TTL)
        assert isinstance(await lane.settle(floor=2), LeaseLost)
        assert await store.rows(lane.cursor.id, [1]) == []
        assert store.bounds(ONE) == (1, 9)
        assert (await Lane.open(store, "w3")).cursor.floor == 1

    @on_loop
    async def test_a_renewed_lease_goes_on_committing(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 2)
        lane = await Lane.open(store)
        world.clock.jump(TTL - 1)
        await store.renew("w1", TTL)
        world.clock.jump(TTL - 1)
        assert isinstance(await lane.settle(floor=1), Committed)
        await store.release("w1")
        assert isinstance(await lane.settle(floor=2), LeaseLost)

    @on_loop
    async def test_a_lost_lease_of_one_lane_does_not_touch_the_others_of_its_group(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 4)
        one = await Lane.open(store, id=CursorId("one", ONE))
        two = await Lane.open(store, id=CursorId("two", ONE))
        three = await Lane.open(store, id=CursorId("three", ONE))
        await Lane.open(store, "w2", id=CursorId("two", ONE))
        answers = await store.commit([lane.settlement(floor=3) for lane in (one, two, three)])
        assert [type(answer) for answer in answers] == [Committed, LeaseLost, Committed]
        floors = [(await Lane.open(store, "w3", id=CursorId(n, ONE))).cursor.floor for n in ("one", "two", "three")]
        assert floors == [3, 0, 3]

    @on_loop
    async def test_all_of_a_settlement_is_written_or_nothing_of_it(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 9)
        lane = await Lane.open(store)
        await store.put([CellWrite("taken", b"1")])
        everything: dict[str, Any] = {
            "floor": 5,
            "above": 0b11,
            "counters": Counters(delivered=3, filtered=2, discarded=1, dead=1),
            "put": [Row(1, "a", "due", due_at=9)],
            "marks": [Mark("a", 2, 4, 3)],
            "successes": [Success(3, 1, 2, 200)],
            "attempts": [Attempt("att_1", 1, 1, 1, 2, "later", error="http 503")],
            "emit": [draft("emitted")],
            "token": "t-1",
            "effects": frozenset({"natural"}),
        }
        refused = await lane.settle(**everything, cells=[CellWrite("new", b"1"), CellWrite("taken", b"2", expected=7)])
        assert isinstance(refused, CellsConflict)
        assert refused.conflict.key == "taken"
        assert store.bounds(ONE) == (1, 9)
        assert await store.rows(lane.cursor.id, [1]) == []
        assert set(await store.get(["new", "taken"])) == {"taken"}
        answer = await lane.settle(**everything, cells=[CellWrite("new", b"1"), CellWrite("taken", b"2", expected=1)])
        assert answer == Committed(1)
        assert store.bounds(ONE) == (1, 10)
        opened = (await Lane.open(store)).opened
        cursor = opened.cursor
        assert (cursor.floor, cursor.above, cursor.token) == (5, 0b11, "t-1")
        assert cursor.counters == Counters(delivered=3, filtered=2, discarded=1, dead=1)
        assert cursor.effects == frozenset({"natural"})
        assert [row.offset for row in opened.rows] == [1]
        assert opened.marks == [Mark("a", 2, 4, 3)]
        assert (await store.get(["taken"]))["taken"].value == b"2"
        assert {"new", "taken"} <= set(world.wakeup.cells)

    @on_loop
    async def test_a_settlement_that_says_nothing_of_token_and_effects_leaves_them(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 2)
        lane = await Lane.open(store)
        await lane.settle(token="t-1", effects=frozenset({"natural"}))
        await lane.settle(effects=frozenset({"once"}))
        cursor = (await Lane.open(store)).cursor
        assert cursor.token == "t-1"
        assert cursor.effects == frozenset({"natural", "once"})

    @on_loop
    async def test_rows_are_written_whole_cleared_and_listed_live_in_offset_order(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 9)
        lane = await Lane.open(store)
        whole = Row(
            *(4, None, "held", 1, 2, 3, 4, 5, "charge", 6, "ambiguous", "timeout", 503, "p.ledger", "fp_x", 7, 8, 9),
            memo=b"memo",
            type="t@1",
        )
        states = [Row(8, "h", "running"), Row(6, "f", "dead"), Row(2, "b", "due"), Row(7, "g", "discarded"), whole]
        await lane.settle(floor=9, put=states)
        opened = (await Lane.open(store)).opened
        assert list(opened.rows) == [states[2], replace(whole, memo=b""), states[0]]
        assert list(await store.rows(lane.cursor.id, [7, 4, 99, 6])) == [states[3], whole, states[1]]
        lane = await Lane.open(store)
        await lane.settle(clear=[4, 99], put=[Row(2, "b", "dead")])
        assert [row.state for row in await store.rows(lane.cursor.id, [2, 4])] == ["dead"]
        assert await store.rows(CursorId("unknown", ONE), [1]) == []

    @on_loop
    async def test_a_row_put_without_memo_keeps_the_one_it_has(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 9)
        lane = await Lane.open(store)
        await lane.settle(floor=1, put=[Row(1, "a", "due", memo=b"calls")])
        await lane.settle(put=[Row(1, "a", "dead", attempts=3)])
        (row,) = await store.rows(lane.cursor.id, [1])
        assert (row.state, row.attempts, row.memo) == ("dead", 3, b"calls")
        await lane.settle(put=[Row(1, "a", "due", memo=b"other")])
        assert (await store.rows(lane.cursor.id, [1]))[0].memo == b"other"
        await lane.settle(clear=[1])
        await lane.settle(put=[Row(1, "a", "due")])
        assert (await store.rows(lane.cursor.id, [1]))[0].memo == b""

    @on_loop
    async def test_the_past_of_an_event_is_told_by_the_records_of_all_its_attempts(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 9)
        lane = await Lane.open(store)
        failed = Attempt("att_1", 2, 1, 5, 1, "later")
        again = Attempt(
            "att_2", 2, 2, 30, 1, "done", trigger="replay", actor="ann", job="job_1", why="x", filtered=True
        )
        refused = Attempt("att_3", 3, 1, 40, 1, "reject", job="job_2")
        await lane.settle(floor=4, successes=[Success(1, 10, 1, 200), Success(2, 10, 1, 200)], attempts=[failed])
        # A later attempt may be written before an earlier one is read: what counts is when they started.
        await lane.settle(attempts=[again, refused], successes=[Success(3, 9, 1, 0, filtered=True)])
        past = await store.past(lane.cursor.id, [3, 1, 2, 4, 99])
        assert past == {
            1: Past(1, filtered=False, done_at=10),
            2: Past(3, filtered=True, done_at=30, jobs=frozenset({"job_1"})),
            3: Past(2, filtered=True, done_at=9, jobs=frozenset({"job_2"})),
        }
        assert await store.past(lane.cursor.id, []) == {}
        assert await store.past(CursorId("unknown", ONE), [1]) == {}

    @on_loop
    async def test_successes_that_lie_far_apart_are_each_found(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 0)
        for first in range(1, 5_001, 1_000):
            await store.append([draft(str(number), data=b"1") for number in range(first, first + 1_000)])
        lane = await Lane.open(store)
        await lane.settle(floor=5_000, successes=[Success(offset, 1, 1, 200) for offset in (4_999, 3, 2_900, 5_000)])
        assert sorted(await store.past(lane.cursor.id, [5_000, 3, 2_900, 4])) == [3, 2_900, 5_000]
        (event,) = await store.fetch(ONE, [3])
        (passage,) = await store.views().timeline(event)
        assert [success.offset for success in passage.successes] == [3]

    @on_loop
    async def test_what_a_key_misses_is_found_until_it_is_told(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 9)
        lane = await Lane.open(store)
        await lane.settle(
            floor=8,
            counters=Counters(dead=4, discarded=1),
            put=[
                Row(4, "a", "discarded"),
                Row(1, "a", "dead", reason="permanent", memo=b"calls"),
                Row(2, "a", "due"),
                Row(3, "a", "dead", trigger="replay"),
                Row(5, "b", "dead"),
                Row(6, None, "dead"),
                Row(7, "c", "held"),
            ],
        )
        missing = await store.missing(lane.cursor.id, "a")
        assert [(row.offset, row.reason, row.memo) for row in missing] == [(1, "permanent", b""), (4, None, b"")]
        await lane.settle(put=[Row(1, "a", "dead", told=8)])
        assert [row.offset for row in await store.missing(lane.cursor.id, "a")] == [4]
        assert [await store.missing(lane.cursor.id, key) for key in ("c", "d")] == [[], []]
        assert await store.missing(CursorId("unknown", ONE), "a") == []
        assert (await Lane.open(store, "w2")).opened.gaps == ["a", "b"]

    @on_loop
    async def test_how_a_row_was_put_back_is_kept_with_it(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 9)
        lane = await Lane.open(store)
        row = Row(1, "a", "due", replays=1, trigger="replay", job="job_1", actor="ann", why="lost")
        await lane.settle(floor=1, put=[row])
        assert await store.rows(lane.cursor.id, [1]) == [row]
        assert (await Lane.open(store, "w2")).opened.rows == [row]

    @on_loop
    async def test_a_mark_is_moved_and_goes_at_zero(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 9)
        lane = await Lane.open(store)
        await lane.settle(floor=9, marks=[Mark("b", 2, 9, 4), Mark("a", 1, 8, 3), Mark("c", 3, 3, 1)])
        await lane.settle(marks=[Mark("b", 5, 9, 3), Mark("c", 3, 3, 0)])
        assert (await Lane.open(store)).opened.marks == [Mark("a", 1, 8, 3), Mark("b", 5, 9, 3)]

    @on_loop
    async def test_of_two_settlements_in_one_commit_the_second_takes_away_what_the_first_put(
        self, world: World
    ) -> None:
        store = await world.open()
        await stream_of(store, 1)
        lane = await Lane.open(store)
        first = lane.settlement(floor=1, put=[Row(1, "a", "due")])
        second = lane.settlement(number=2, floor=1, clear=[1])
        assert list(await store.commit([first, second])) == [Committed(1), Committed(2)]
        assert list(await store.rows(CursorId("sub", ONE), [1])) == []

    @on_loop
    async def test_above_keeps_all_bits_of_the_window(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 1)
        lane = await Lane.open(store)
        bits = (1 << 1023) | (1 << 512) | 1 << 1
        await lane.settle(above=bits)
        assert (await Lane.open(store)).cursor.above == bits

    @on_loop
    async def test_what_a_settlement_emits_is_appended_once_and_wakes_the_tail(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 2)
        lane = await Lane.open(store)
        await lane.settle(floor=1, emit=[draft("derived"), draft("derived"), draft("2")])
        assert [event.draft.id for event in world.wakeup.events[ONE]] == ["1", "2", "derived"]
        await lane.settle(floor=2, emit=[draft("derived", data=b"other")])
        assert store.bounds(ONE) == (1, 3)
        with pytest.raises(StoreError):
            await lane.settle(floor=2, emit=[draft("x", stream="unknown")], put=[Row(2, "a", "due")])
        assert await store.rows(lane.cursor.id, [2]) == []

    @on_loop
    async def test_cursors_of_many_subscriptions_settle_in_one_commit(self, world: World) -> None:
        store = await world.open()
        await store.make_stream("s", 8)
        await store.append([draft(str(number), str(number)) for number in range(64)])
        lanes = [
            await Lane.open(store, id=CursorId(f"sub{which}", Shard("s", number)))
            for which in range(20)
            for number in range(8)
        ]
        for turn in range(1, 4):
            answers = await store.commit(
                [
                    lane.settlement(
                        number=turn, floor=turn, put=[Row(turn, "k", "dead")], successes=[Success(turn, 1, 1, 200)]
                    )
                    for lane in lanes
                ]
            )
            assert answers == [Committed(turn)] * len(lanes)
        reopened = [await Lane.open(store, id=lane.cursor.id) for lane in lanes]
        assert {lane.cursor.floor for lane in reopened} == {3}

    # Cells

    @on_loop
    async def test_a_cell_is_compared_and_set_by_its_version(self, world: World) -> None:
        store = await world.open()
        (made,) = await store.put([CellWrite("c", b"1", expected=0)])
        assert (made.version, made.value) == (1, b"1")
        (conflict,) = await store.put([CellWrite("c", b"x", expected=0)])
        assert conflict == CellConflict("c", made)
        (second,) = await store.put([CellWrite("c", b"2", expected=1)])
        assert second.version == 2
        (conflict,) = await store.put([CellWrite("none", b"x", expected=3)])
        assert conflict == CellConflict("none", None)
        first, stale, third = await store.put(
            [CellWrite("c", b"3"), CellWrite("c", b"4", expected=2), CellWrite("c", b"5", expected=3)]
        )
        assert (first.version, third.version) == (3, 4)
        assert isinstance(stale, CellConflict)
        assert await store.get(["c", "none"]) == {"c": third}

    @on_loop
    async def test_a_cell_that_expired_or_was_deleted_is_not_there_but_its_version_goes_on(self, world: World) -> None:
        store = await world.open()
        expires_at = world.clock.now() + 10
        await store.put([CellWrite("c", b"1", expires_at=expires_at), CellWrite("d", b"1")])
        world.clock.jump(9)
        assert (await store.get(["c"]))["c"].expires_at == expires_at
        world.clock.jump(1)
        assert await store.get(["c"]) == {}
        assert [cell.key for cell in await store.list("")] == ["d"]
        (deleted,) = await store.put([CellWrite("d", None, expected=1)])
        assert (deleted.version, deleted.value) == (1, b"")
        assert await store.list("") == []
        again = await store.put([CellWrite("c", b"2", expected=0), CellWrite("d", b"2", expected=0)])
        # Otherwise a compare-and-set that was under way would hit the new cell.
        assert [cell.version for cell in again] == [2, 2]
        (stale,) = await store.put([CellWrite("c", b"x", expected=1)])
        assert isinstance(stale, CellConflict)
        (nothing,) = await store.put([CellWrite("never", None)])
        assert (nothing.version, nothing.value) == (0, b"")

    @on_loop
    async def test_cells_are_listed_by_prefix_in_key_order(self, world: World) -> None:
        store = await world.open()
        keys = ["a/1", "a/2", "a/10", "a", "b/1", "a%", "A/1", "a/é", "a/\U0001f600", "a/_"]
        await store.put([CellWrite(key, key.encode()) for key in keys])
        assert [cell.key for cell in await store.list("a/")] == sorted(key for key in keys if key.startswith("a/"))
        assert [cell.key for cell in await store.list("a/", 2)] == ["a/1", "a/10"]
        assert [cell.key for cell in await store.list("")] == sorted(keys)
        assert sorted(world.wakeup.cells) == sorted(keys)

    # Retention

    @on_loop
    async def test_retiring_takes_whole_segments_that_are_out_of_bounds(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 3)
        world.clock.jump(2 * US_PER_DAY)
        await store.append([draft("4")])
        assert await store.retire("s", FOR_EVER) == 0
        assert await store.retire("s", A_DAY) == 3
        assert store.bounds(ONE) == (4, 4)
        with pytest.raises(Retired) as retired:
            await store.read(ONE, 2, 10)
        assert (retired.value.shard, retired.value.offset) == (ONE, 3)
        assert [event.offset for event in (await store.read(ONE, 3, 10)).events] == [4]
        with pytest.raises(Retired):
            await store.fetch(ONE, [3])
        await world.crash(store)
        store = await world.open()
        assert store.bounds(ONE) == (4, 4)
        assert await store.retire("s", Retention(0, 0)) == 0 or store.bounds(ONE) == (5, 4)

    @on_loop
    async def test_after_everything_was_retired_offsets_go_on(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 3)
        world.clock.jump(2 * US_PER_DAY)
        assert await store.retire("s", A_DAY) == 3
        assert store.bounds(ONE) == (4, 3)
        assert await store.read(ONE, 3, 10) == ([], 3)
        await world.crash(store)
        store = await world.open()
        (appended,) = await store.append([draft("1")])
        assert (appended.offset, appended.duplicate) == (4, False)
        assert store.bounds(ONE) == (4, 4)
        with pytest.raises(StoreError):
            await store.retire("unknown", A_DAY)

    @on_loop
    async def test_a_full_segment_is_closed_and_bytes_retire_the_oldest_first(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 0)
        for number in range(20):
            await store.append([draft(str(number), data=bytes(1_000))])
        kept = Retention(10_000 * US_PER_DAY, 12 * 1_128)
        assert await store.retire("s", kept) == 8
        assert store.bounds(ONE) == (9, 20)
        assert [event.offset for event in (await store.read(ONE, 8, 100)).events] == list(range(9, 21))

    @on_loop
    async def test_a_segment_is_closed_at_a_size_so_that_a_bound_of_bytes_is_kept_in_small_steps(
        self, world: World
    ) -> None:
        store = await world.open()
        await stream_of(store, 0)
        with limited({"SEGMENT_BYTES": 600}):
            for number in range(8):
                await store.append([draft(f"{number}", data=b"x" * 200)])
        (line,) = await store.views().streams()
        assert (line.segments, line.bytes, line.held_by) == (4, 8 * 328, [])
        assert await store.retire("s", Retention(10_000 * US_PER_DAY, 5 * 328)) == 4

    @on_loop
    async def test_retention_never_passes_the_floor_of_a_cursor(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 3)
        lane = await Lane.open(store)
        await Lane.open(store, id=CursorId("a poll", ONE), types=None)
        await lane.settle(floor=2)
        await store.renew("w1", 10 * US_PER_DAY)
        world.clock.jump(2 * US_PER_DAY)
        assert await store.retire("s", A_DAY) == 0
        assert store.bounds(ONE) == (1, 3)
        await lane.settle(floor=3)
        assert await store.retire("s", A_DAY) == 3

    @on_loop
    async def test_a_row_is_refused_for_the_last_event_that_was_retired_and_taken_for_the_next(
        self, world: World
    ) -> None:
        store = await world.open()
        await stream_of(store, 17)
        lane = await Lane.open(store)
        await lane.settle(floor=8)
        assert await store.retire("s", Retention(10_000 * US_PER_DAY, 12 * 130)) == 8
        assert isinstance(await lane.settle(put=[Row(8, "a", "due")]), LeaseLost)
        assert isinstance(await lane.settle(floor=9, put=[Row(9, "a", "due")]), Committed)

    @on_loop
    async def test_a_commit_that_fills_several_segments_puts_into_each_what_it_holds(self, world: World) -> None:
        store = await world.open()
        await store.make_stream("s", 1)
        await store.append([draft(str(number)) for number in range(20)])
        lane = await Lane.open(store)
        await lane.settle(floor=20)
        assert await store.retire("s", Retention(10_000 * US_PER_DAY, 5 * 130)) == 16

    @on_loop
    async def test_events_of_rows_and_marks_are_kept_when_their_segment_goes(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 0)
        await store.append([draft(str(number), "ab"[number % 2], data=b"%d" % number) for number in range(1, 8)])
        lane = await Lane.open(store)
        row = Row(2, "a", "dead")
        await lane.settle(floor=7, put=[row], marks=[Mark("b", 3, 5, 2)])
        world.clock.jump(2 * US_PER_DAY)
        assert await store.retire("s", A_DAY) == 7
        assert store.bounds(ONE) == (8, 7)
        found = await store.fetch(ONE, [5, 2, 3])
        assert [(event.offset, event.draft.data) for event in found] == [(5, b"5"), (2, b"2"), (3, b"3")]
        for gone in (1, 4, 6, 7):
            with pytest.raises(Retired):
                await store.fetch(ONE, [gone])
        batch = await store.kept(ONE, 0, 2)
        assert ([event.offset for event in batch.events], batch.upto) == ([2, 3], 3)
        batch = await store.kept(ONE, 3, 2)
        assert ([event.offset for event in batch.events], batch.upto) == ([5], 7)
        lane = await Lane.open(store, "w2")
        await lane.settle(clear=[2])
        assert await store.retire("s", A_DAY) == 0
        with pytest.raises(Retired):
            await store.fetch(ONE, [2])
        assert len(await store.fetch(ONE, [3, 5])) == 2

    @on_loop
    async def test_a_row_about_an_event_that_is_gone_refuses_its_settlement(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 0)
        await store.append([draft(str(number), "ab"[number % 2]) for number in range(1, 8)])
        lane = await Lane.open(store)
        await lane.settle(floor=7, put=[Row(2, "a", "dead")])
        world.clock.jump(2 * US_PER_DAY)
        assert await store.retire("s", A_DAY) == 7
        lane = await Lane.open(store, "w2")
        refused = await lane.settle(put=[Row(3, "b", "due")], cells=[CellWrite("c", b"1")])
        assert isinstance(refused, LeaseLost)
        assert "retired" in refused.why
        assert (await store.rows(lane.cursor.id, [3]), dict(await store.get(["c"]))) == ([], {})
        assert isinstance(await lane.settle(put=[Row(2, "a", "due")]), Committed), "that one was kept"

    @on_loop
    async def test_a_stream_at_its_bound_refuses_intake_but_not_what_is_emitted(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 3)
        lane = await Lane.open(store)
        full = Retention(10_000 * US_PER_DAY, 100)
        assert await store.retire("s", full) == 0
        with pytest.raises(StoreFull) as refused:
            await store.append([draft("4")])
        assert refused.value.code == "store.stream-full"
        assert "'s' is at its bound of bytes, and sub has yet to read" in refused.value.message
        (line,) = [line for line in await store.views().streams() if line.made.name == "s"]
        assert (line.full, line.held_by) == (True, ["sub"])
        await store.make_stream("_audit", 1)
        await store.append([draft("1", stream="_audit")])
        await store.retire("_audit", full)
        assert isinstance(await store.append([draft("2", stream="_audit")]), list)
        assert isinstance(await lane.settle(floor=3, emit=[draft("derived")]), Committed)
        await lane.settle(floor=4)
        assert await store.retire("s", full) == 4
        assert (await store.append([draft("5")]))[0].offset == 5

    @on_loop
    async def test_what_was_discarded_long_ago_goes_and_an_open_dead_letter_never_does(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 4)
        lane, now = await Lane.open(store), world.clock.now()
        rows = [
            Row(1, "a", "dead", died_at=now),
            Row(2, "a", "discarded", died_at=now),
            Row(3, "a", "discarded", died_at=now + US_PER_DAY),
        ]
        counters = Counters(delivered=1, discarded=2, dead=1)
        assert isinstance(await lane.settle(floor=4, put=rows, counters=counters), Committed)
        world.clock.jump(2 * US_PER_DAY)
        await store.append([draft("later")])
        assert await store.retire("s", A_DAY) == 4
        assert [event.offset for event in (await store.kept(ONE, 0, 10)).events] == [1, 2, 3]
        world.clock.jump(DISCARDED_KEPT_US - US_PER_DAY - 1)
        await store.retire("s", FOR_EVER)
        assert [event.offset for event in (await store.kept(ONE, 0, 10)).events] == [1, 3]
        assert [row.offset for row in await store.rows(CursorId("sub", ONE), [1, 2, 3])] == [1, 3]
        found = await store.views().conservation(CursorId("sub", ONE))
        assert found.holds
        world.clock.jump(1_000 * US_PER_DAY)
        await store.retire("s", FOR_EVER)
        assert [event.offset for event in (await store.kept(ONE, 0, 10)).events] == [1]

    # Large payloads

    @on_loop
    async def test_a_payload_above_the_bound_is_in_a_file_and_comes_back_whole(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 0)
        inline = b"x" * BODY_INLINE_BYTES_MAX
        await store.append([draft("inline", data=inline), draft("large", data=large("1"))])
        for again in (False, True):
            if again:
                await world.crash(store)
                store = await world.open()
            small, event = (await store.read(ONE, 0, 10)).events
            assert small.draft.data == inline
            assert (event.claim, event.draft.data, event.size) == (Claim.of(large("1")), b"", len(large("1")))
            whole = await store.whole(event)
            assert whole.draft == draft("large", data=large("1"))
            assert await store.whole(small) is small
            assert world.files.durable(Claim.of(large("1")).hash) == large("1")
        assert (await store.fetch(ONE, [2]))[0].claim == (await store.views().events(EventsQuery()))[0].claim
        assert [event.claim is None for event in world.wakeup.events[ONE]] == [True, False]

    @on_loop
    async def test_one_content_is_one_file_and_a_damaged_one_is_replaced(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 0)
        await store.append([draft("1", data=large("same")), draft("2", data=large("same"))])
        (name,) = world.files.names()
        world.files.damage(name)
        await store.append([draft("3", data=large("same"))])
        assert list(world.files.names()) == [name]
        for event in (await store.read(ONE, 0, 10)).events:
            assert (await store.whole(event)).draft.data == large("same")

    @on_loop
    async def test_a_known_identity_is_compared_by_the_hash_of_its_large_payload(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 0)
        await store.append([draft("1", data=large("one"))])
        again = [(await store.append([draft("1", data=data)]))[0] for data in (large("one"), large("two"), b"")]
        assert [(each.duplicate, each.conflict) for each in again] == [(True, False), (True, True), (True, True)]
        assert isinstance(await append_whole(store, draft("1", data=large("two"))), IdentityConflict)

    @on_loop
    async def test_an_emitted_large_payload_is_durable_with_its_settlement(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 1)
        lane = await Lane.open(store)
        assert isinstance(await lane.settle(floor=1, emit=[draft("e", data=large("e"))]), Committed)
        (event,) = (await store.read(ONE, 1, 10)).events
        assert (await store.whole(event)).draft.data == large("e")
        assert world.files.durable(Claim.of(large("e")).hash) == large("e")

    @on_loop
    async def test_a_file_that_is_lost_or_damaged_is_told_of_its_event_alone(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 0)
        await store.append([draft(name, data=large(name)) for name in ("whole", "missing", "damaged")])
        world.files.remove(Claim.of(large("missing")).hash)
        world.files.damage(Claim.of(large("damaged")).hash)
        events = (await store.read(ONE, 0, 10)).events
        assert [(await store.whole(event)).absent for event in events] == [None, "missing", "damaged"]
        assert world.records.count("body.absent") == 2
        found = await store.views().bodies()
        assert (found.files, found.lost, found.events) == (3, 1, [events[1].id])

    @on_loop
    async def test_a_disk_that_refuses_a_large_payload_leaves_nothing_of_its_request(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 0)
        steps = ("write", "sync", "rename", "sync_folder")
        for number, (step, failure) in enumerate(product(steps, (errno.ENOSPC, errno.EIO))):

            def refuse(at: str, step: str = step, failure: int = failure) -> None:
                if at == step:
                    raise OSError(failure, "simulated")

            data, (_, head) = large(f"{number}"), store.bounds(ONE)
            world.files.before = refuse
            with pytest.raises(StoreError) as refused:
                await store.append([draft(f"small-{number}"), draft(f"large-{number}", data=data)])
            assert isinstance(refused.value, StoreFull) == (failure == errno.ENOSPC)
            assert not any(name.endswith(".partial") for name in world.files.names())
            await store.append([draft(f"after-{number}")])
            world.files.before = lambda _: None
            await store.append([draft(f"large-{number}", data=data)])
            after, again = (await store.read(ONE, head, 10)).events
            assert after.draft.id == f"after-{number}"
            assert (await store.whole(again)).draft.data == world.files.durable(Claim.of(data).hash) == data

    @on_loop
    async def test_one_refused_large_payload_of_a_group_costs_no_other_request(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 0)

        def refuse(at: str) -> None:
            if at == "write":
                raise OSError(errno.ENOSPC, "simulated")

        world.files.before = refuse
        good, bad, also = await asyncio.gather(
            store.append([draft("1")]),
            store.append([draft("2", data=large("2"))]),
            store.append([draft("3")]),
            return_exceptions=True,
        )
        assert isinstance(bad, StoreFull)
        assert [each[0].offset for each in (good, also)] == [1, 2]

    @on_loop
    async def test_files_that_nothing_claims_go_after_a_day_and_no_other(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 0)
        await store.append([draft("1", data=large("claimed"))])
        world.files.write("left by a crash", b"12345", world.clock.now())
        assert await store.collect() == (0, 0)
        world.clock.jump(BODY_ORPHAN_US - 1)
        assert await store.collect() == (0, 0)
        world.clock.jump(1)
        assert await store.collect() == (1, 5)
        assert list(world.files.names()) == [Claim.of(large("claimed")).hash]
        assert await store.collect() == (0, 0)

    @on_loop
    async def test_an_append_that_claims_an_old_file_while_it_is_collected_keeps_it(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 0)
        name = Claim.of(large("again")).hash
        for first in (True, False):
            world.files.write(name, large("again"), world.clock.now())
            world.clock.jump(BODY_ORPHAN_US)
            append, collect = store.append([draft(f"{first}", data=large("again"))]), store.collect()
            await asyncio.gather(*((append, collect) if first else (collect, append)))
            for event in (await store.read(ONE, 0, 10)).events:
                assert (await store.whole(event)).draft.data == large("again")

    @on_loop
    async def test_a_file_is_claimed_as_long_as_its_event_is_in_the_log_or_kept(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 0)
        await store.append([draft(name, data=large(name)) for name in ("gone", "kept", "shared")])
        lane = await Lane.open(store)
        assert isinstance(await lane.settle(floor=3, put=[Row(2, "a", "dead")]), Committed)
        world.clock.jump(2 * US_PER_DAY)
        await store.append([draft("later", data=large("shared"))])
        assert await store.retire("s", A_DAY) == 3
        assert (await store.collect()).files == 1
        (kept,) = await store.fetch(ONE, [2])
        assert (await store.whole(kept)).draft.data == large("kept")
        lane = await Lane.open(store, "w2")
        assert isinstance(await lane.settle(clear=[2]), Committed)
        await store.retire("s", FOR_EVER)
        assert (await store.collect()).files == 1
        assert list(world.files.names()) == [Claim.of(large("shared")).hash]

    @on_loop
    async def test_an_erased_event_keeps_its_place_and_its_key_until_the_last_step(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 0)
        await store.append([draft("1", data=b"secret", subject="x", headers=(("h", "x"),), extensions=(("e", "x"),))])
        await store.append([draft("2", "b"), draft("3", data=large("3")), draft("4", key=None)])
        assert await store.of_key(ONE, "a", 10) == [1, 3]
        assert await store.of_key(ONE, "a", 1) == [1]
        before = await store.fetch(ONE, [1, 2, 3, 4])
        steps = Steps(store, "a")
        await steps.erase()
        for key in ("a", None):
            events = (await store.read(ONE, 0, 10)).events
            assert [event.offset for event in events] == [1, 2, 3, 4]
            assert [event.id for event in events] == [event.id for event in before]
            assert [events[1], events[3]] == [before[1], before[3]]
            for event in (events[0], events[2]):
                left = Draft("s", "t@1", "", event.draft.id, b"", key)
                assert (event.draft, event.claim, event.erased_at) == (left, None, world.clock.now())
            await steps.forget()
        assert await store.of_key(ONE, "a", 10) == []
        assert list(world.files.names()) == []
        await world.crash(store)
        assert (await (await world.open()).read(ONE, 0, 10)).events == events

    @on_loop
    async def test_the_identity_of_an_erased_event_is_known_as_before_also_after_a_restart(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 0)
        await store.append([draft(str(number)) for number in range(1, 31)])
        await Steps(store, "a", [1, 29]).all()
        for _ in range(2):
            again = await store.append([draft("1", data=b"other"), draft("29"), draft("30", data=b"other")])
            assert [(each.offset, each.duplicate, each.conflict) for each in again] == [
                (1, True, False),
                (29, True, False),
                (30, True, True),
            ]
            await world.crash(store)
            store = await world.open()

    @on_loop
    async def test_every_cursor_on_the_shard_is_asked_once_and_in_the_same_commit(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 2)
        for name in ("sub", "other"):
            await Lane.open(store, id=CursorId(name, ONE))
        steps = Steps(store, "a")
        keys = await steps.erase()
        assert sorted(keys) == ["request/other/s/0/job_1", "request/sub/s/0/job_1"]
        await store.put([CellWrite(keys[0], b"answered")])
        assert sorted(await steps.erase()) == sorted(keys)
        assert {cell.value for cell in (await store.get(keys)).values()} == {b"answered", b"asked"}
        await steps.forget()
        assert await store.get(keys) == {}
        assert (await store.get(["erasure/job_1"]))["erasure/job_1"].value == b"done"

    @on_loop
    async def test_what_is_kept_of_a_retired_segment_is_erased_with_what_attempts_say(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 3)
        lane = await Lane.open(store)
        quoting = Attempt("att_1", 1, 1, 0, 1, "later", error="x", detail="x", request="x", response="x", why="x")
        attempts = [quoting, replace(quoting, id="att_2", offset=2)]
        row = Row(1, "a", "dead")
        assert isinstance(await lane.settle(floor=3, put=[row], attempts=attempts), Committed)
        world.clock.jump(2 * US_PER_DAY)
        await store.append([draft("later", "b")])
        assert await store.retire("s", A_DAY) == 3
        assert await store.of_key(ONE, "a", 10) == [1]
        await store.put([CellWrite("newest/sub/s/0/a", b"1"), CellWrite("newest/sub/s/0/b", b"1")])
        await Steps(store, "a").all()
        (event,) = (await store.kept(ONE, 0, 10)).events
        assert (event.draft.data, event.draft.key, event.erased_at) == (b"", None, world.clock.now())
        assert list(await store.get(["newest/sub/s/0/a", "newest/sub/s/0/b"])) == ["newest/sub/s/0/b"]
        (passage,) = await store.views().timeline(event)
        assert [(each.number, each.error, each.detail, each.request, each.response, each.why) for each in
                passage.attempts] == [(1, "erased", "", "", "", None)]  # fmt: skip

    @on_loop
    async def test_large_payloads_count_for_the_size_of_their_stream_also_after_a_restart(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 0)
        await store.append([draft("1", data=large("1"))])
        (before,) = await store.views().streams()
        assert before.bytes == len(large("1")) + 128
        await world.crash(store)
        assert (await (await world.open()).views().streams()) == [before]

    @on_loop
    async def test_a_read_gives_a_bounded_amount_of_payload(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 0)
        payload = b"x" * BODY_INLINE_BYTES_MAX
        fits = READ_BYTES_MAX // BODY_INLINE_BYTES_MAX
        await store.append([draft(f"{number}", data=payload) for number in range(fits + 20)])
        batch = await store.read(ONE, 0, 10_000)
        assert (len(batch.events), batch.upto) == (fits + 1, fits + 1)
        assert len((await store.read(ONE, batch.upto, 10_000)).events) == 19

    # Life of a subscription

    @on_loop
    async def test_a_subscription_is_renamed_with_all_that_it_has(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 5)
        lane = await Lane.open(store)
        await lane.settle(floor=3, put=[Row(1, "a", "dead")], marks=[Mark("a", 2, 3, 2)])
        with pytest.raises(StoreError) as refused:
            await store.rename_subscription("sub", "renamed")
        assert refused.value.code == "store.subscription-held"
        await lane.settle(release=True)
        with pytest.raises(StoreError) as refused:
            await store.rename_subscription("nobody", "renamed")
        assert refused.value.code == "store.subscription-unknown"
        await (await Lane.open(store, id=CursorId("other", ONE))).settle(release=True)
        with pytest.raises(StoreError) as refused:
            await store.rename_subscription("sub", "other")
        assert refused.value.code == "store.subscription-exists"
        assert await store.rename_subscription("sub", "renamed") == 1
        await world.crash(store)
        store = await world.open()
        renamed = await Lane.open(store, "w2", id=CursorId("renamed", ONE))
        assert renamed.cursor.floor == 3
        assert renamed.opened.marks == [Mark("a", 2, 3, 2)]
        assert len(await store.rows(CursorId("renamed", ONE), [1])) == 1
        assert (await Lane.open(store, "w2")).cursor.floor == 0

    @on_loop
    async def test_a_retired_subscription_is_forgotten_and_pins_nothing(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 5)
        lane = await Lane.open(store)
        await lane.settle(floor=1, put=[Row(1, "a", "dead")])
        with pytest.raises(StoreError):
            await store.retire_subscription("sub")
        world.clock.jump(2 * US_PER_DAY)
        assert await store.retire("s", A_DAY) == 0
        assert await store.retire_subscription("sub") == 1
        assert await store.rows(lane.cursor.id, [1]) == []
        assert await store.retire("s", A_DAY) == 5
        with pytest.raises(StoreError) as refused:
            await store.retire_subscription("sub")
        assert refused.value.code == "store.subscription-unknown"

    # The end

    @on_loop
    async def test_a_closed_store_answers_what_was_queued_and_takes_nothing_more(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 0)
        pending = asyncio.ensure_future(store.append([draft("1")]))
        await asyncio.sleep(0)
        await store.close()
        assert (await pending)[0].offset == 1
        with pytest.raises(StoreError) as refused:
            await store.append([draft("2")])
        assert refused.value.code == "store.closed"
        assert (await world.open()).bounds(ONE) == (1, 1)

    @on_loop
    async def test_the_tail_hears_each_event_once_and_in_order(self, world: World) -> None:
        store = await world.open()
        await store.make_stream("s", 2)
        lane = await Lane.open(store, id=CursorId("sub", Shard("s", 0)))
        await asyncio.gather(
            *(store.append([draft(f"{n}-{k}", f"{k}") for k in range(5)]) for n in range(6)),
            lane.settle(emit=[draft("e1", "1"), draft("e2", "2"), draft("0-1", "1")]),
        )
        for number in range(2):
            told = [event.offset for event in world.wakeup.events[Shard("s", number)]]
            assert all(after == before + 1 for before, after in pairwise(told))
            assert told[0] == 1
            assert told[-1] == store.bounds(Shard("s", number))[1]
