"""The store on SQLite against the contract."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from tests.contract.store_contract import Recorder, StoreContract, draft
from tests.contract.views_contract import ViewsContract

from interlock.core.event import Shard
from interlock.core.ids import shard_of
from interlock.journal.memory import Inline
from interlock.journal.memory_files import MemoryFiles
from interlock.journal.ports import Retention, Retired
from interlock.journal.segments import size_of
from interlock.journal.sqlite import SqliteOptions, SqliteStore
from interlock.journal.views import EventsQuery
from interlock.runtime.clock import SystemClock
from interlock.runtime.ports import ThreadOffload
from interlock.testing.clock import FakeClock

T = TypeVar("T")


class SqliteWorld:
    """One file, with small segments and a small window, so that few events reach every table."""

    shares_disk = False

    def __init__(self, folder: Path) -> None:
        self.path = folder / "store.db"
        self.clock = FakeClock()
        self.wakeup = Recorder()
        self.records: list[str] = []
        self.files = MemoryFiles()
        self.options = SqliteOptions(window_events=16, segment_events=8, files=self.files)

    async def open(self) -> SqliteStore:
        return await SqliteStore.open_file(self.path, self.clock, self.wakeup, Inline(), self.emit, self.options)

    def emit(self, record: str, /, **fields: object) -> None:
        self.records.append(record)

    async def crash(self, store: SqliteStore) -> None:
        store.abandon()


class TestSqliteStore(StoreContract):
    def make_world(self, folder: Path) -> SqliteWorld:
        return SqliteWorld(folder)


class TestSqliteViews(ViewsContract):
    def make_world(self, folder: Path) -> SqliteWorld:
        return SqliteWorld(folder)


def test_readers_on_threads_see_a_prefix_while_the_writer_writes_and_retires(tmp_path: Path) -> None:
    async def scenario(writes: ThreadOffload, reads: ThreadOffload) -> None:
        wakeup = Recorder()
        options = SqliteOptions(reads, window_events=16, segment_events=50)
        store = await SqliteStore.open_file(
            tmp_path / "store.db", SystemClock(), wakeup, writes, lambda *_, **__: None, options
        )
        await store.make_stream("s", 2)
        done = False

        async def produce(name: int) -> None:
            for number in range(60):
                await store.append([draft(f"{name}-{number}-{k}", f"{k}") for k in range(4)])

        async def follow(shard: Shard) -> int:
            after = seen = 0
            while not done or after < store.bounds(shard)[1]:
                try:
                    batch = await store.read(shard, after, 40)
                except Retired:
                    after = store.bounds(shard)[0] - 1
                    continue
                assert [event.offset for event in batch.events] == list(range(after + 1, batch.upto + 1))
                seen += len(batch.events)
                after = batch.upto
                await store.views().events(EventsQuery(limit=20))
                await store.views().streams()
            return seen

        followers = [asyncio.create_task(follow(Shard("s", number))) for number in range(2)]
        for turn in range(4):
            await asyncio.gather(*map(produce, range(turn * 4, turn * 4 + 4)))
            await store.retire("s", Retention(10**15, 30_000))
        done = True
        assert sum(await asyncio.gather(*followers)) > 0
        assert sum(store.bounds(Shard("s", number))[1] for number in range(2)) == 3_840
        assert {shard: [event.offset for event in events] for shard, events in wakeup.events.items()} == {
            shard: list(range(1, store.bounds(shard)[1] + 1)) for shard in wakeup.events
        }
        await store.close()

    writes, reads = ThreadOffload("writes"), ThreadOffload("reads", threads=3)
    try:
        asyncio.run(scenario(writes, reads))
    finally:
        writes.close()
        reads.close()


class AtOnce:
    """Offload that is done before it returns: the next group commits while the answers of the last are given."""

    def run(self, function: Callable[[], T]) -> Awaitable[T]:
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        done.set_result(function())
        return done


def test_what_a_commit_made_durable_is_told_with_its_own_answers(tmp_path: Path) -> None:
    """The writer's thread must not add to what the loop is telling: lanes were told of a shard without events."""

    async def scenario() -> None:
        wakeup, told = Recorder(), dict[str, list[int]]()
        store = await SqliteStore.open_file(
            tmp_path / "store.db", FakeClock(), wakeup, AtOnce(), lambda *_, **__: None, SqliteOptions()
        )
        await store.make_stream("s", 1)
        loop = asyncio.get_running_loop()
        answered = loop.create_future()

        def note(id: str) -> None:
            told[id] = [event.offset for events in wakeup.events.values() for event in events]
            if len(told) == 2:
                answered.set_result(None)

        store.submit([draft("1")], (), lambda _: note("1"))
        loop.call_soon(store.submit, [draft("2")], (), lambda _: note("2"))
        await answered
        assert told == {"1": [1], "2": [1, 2]}
        await store.close()

    asyncio.run(scenario())


def test_a_segment_is_read_without_the_one_before_it_though_the_store_was_opened_between_its_events(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        world = SqliteWorld(tmp_path)
        store = await world.open()
        await store.make_stream("s", 2)
        keys = {number: next(key for key in "abcdefgh" if shard_of(key, 2) == number) for number in range(2)}
        # The first segment holds eight of both shards; the second begins with one of shard 0.
        await store.append([draft(str(n), keys[n % 2]) for n in range(8)] + [draft("8", keys[0])])
        await world.crash(store)
        store = await world.open()
        await store.append([draft("9", keys[1])])
        assert await store.retire("s", Retention(10**15, 3 * size_of(draft("9")))) == 8
        batch = await store.read(Shard("s", 1), 4, 10)
        assert [event.draft.id for event in batch.events] == ["9"]
        assert [event.draft.id for event in await store.fetch(Shard("s", 1), [5])] == ["9"]
        await store.close()

    asyncio.run(scenario())
