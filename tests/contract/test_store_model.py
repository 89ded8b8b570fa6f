"""The SQLite store against the one in memory: whatever is done to both, their answers and their views are the same."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.contract.store_contract import TTL, Recorder, append_whole, draft

from interlock.core.cursor import Attempt, Counters, CursorId, Mark, Row, Success
from interlock.core.errors import StoreError
from interlock.core.event import Shard
from interlock.core.limits import US_PER_DAY, US_PER_SECOND
from interlock.journal.memory import Inline, MemoryDisk, MemoryStore
from interlock.journal.ports import Assign, CellWrite, LeaseLost, Opened, Retention, Retired, Settlement
from interlock.journal.sqlite import SqliteOptions, SqliteStore
from interlock.journal.views import EventsQuery, RowsQuery
from interlock.testing.clock import FakeClock

STREAMS = ("s", "other")
SHARDS = 2
SEGMENT = 8
WORKERS = st.sampled_from(["w1", "w2", "w3"])
SUBSCRIPTIONS = st.sampled_from(["one", "two"])
KEYS = st.sampled_from([None, "a", "b", "c"])
OFFSETS = st.integers(1, 30)
STATES = st.sampled_from(["running", "due", "held", "dead", "discarded"])

drafts = st.lists(
    st.builds(
        draft,
        st.integers(0, 40).map(str),
        KEYS,
        stream=st.sampled_from(STREAMS),
        data=st.sampled_from([b"1", b"2"]),
        type=st.sampled_from(["t@1", "u@1"]),
        subject=st.sampled_from([None, "subject"]),
    ),
    max_size=5,
)
cells = st.lists(
    st.builds(
        CellWrite,
        st.sampled_from(["x", "x/1", "y"]),
        st.sampled_from([None, b"", b"1"]),
        st.sampled_from([None, 0, 1, 2, 3]),
        st.none(),
    ),
    max_size=3,
)
rows = st.lists(
    st.builds(
        Row,
        OFFSETS,
        KEYS,
        STATES,
        died_at=st.integers(1, 3),
        fingerprint=st.sampled_from(["fp_1", "fp_2", None]),
        memo=st.sampled_from([b"", b"memo"]),
        trigger=st.sampled_from(["auto", "replay"]),
        told=st.sampled_from([None, 30]),
    ),
    max_size=3,
    unique_by=lambda row: row.offset,
)
marks = st.lists(
    st.builds(
        lambda key, first, count: Mark(key, first, first + 3, count), st.sampled_from("abc"), OFFSETS, st.integers(0, 4)
    ),
    max_size=2,
    unique_by=lambda mark: mark.key,
)


class Both(RuleBasedStateMachine):
    """Does everything twice and compares."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = TemporaryDirectory()
        self.clock = FakeClock()
        self.disk = MemoryDisk(segment_events=SEGMENT)
        self.memory_heard, self.sqlite_heard = Recorder(), Recorder()
        self.opened: dict[tuple[str, Shard], tuple[str, Opened, int]] = {}
        self.attempts = 0
        self.open_both()

    def open_both(self) -> None:
        async def opening() -> tuple[MemoryStore, SqliteStore]:
            memory = MemoryStore(self.clock, self.memory_heard, emit=_ignore, disk=self.disk)
            path = Path(self.folder.name) / "store.db"
            options = SqliteOptions(window_events=4, segment_events=SEGMENT)
            return memory, await SqliteStore.open_file(path, self.clock, self.sqlite_heard, Inline(), _ignore, options)

        self.memory, self.sqlite = self.runner.run(opening())

    def both(self, ask: Any) -> Any:
        """What both answer; exceptions are answers too."""

        async def answer(asked: Awaitable[Any]) -> Any:
            try:
                return plain(await asked)
            except (StoreError, Retired) as error:
                return type(error).__name__, getattr(error, "code", str(error))

        async def asking() -> tuple[Any, Any]:
            return await answer(ask(self.memory)), await answer(ask(self.sqlite))

        memory, sqlite = self.runner.run(asking())
        assert memory == sqlite
        return memory

    @initialize()
    def streams(self) -> None:
        for name in STREAMS:
            self.both(lambda store, name=name: store.make_stream(name, SHARDS))

    @rule(drafts=drafts, cells=cells)
    def append(self, drafts: Any, cells: Any) -> None:
        self.both(lambda store: store.append(drafts, cells))

    @rule(drafts=drafts)
    def append_whole(self, drafts: Any) -> None:
        self.both(lambda store: append_whole(store, *drafts))

    @rule(drafts=drafts, more=drafts, plain_ones=drafts)
    def append_in_one_group(self, drafts: Any, more: Any, plain_ones: Any) -> None:
        self.both(
            lambda store: asyncio.gather(
                append_whole(store, *drafts),
                store.append(plain_ones),
                append_whole(store, *more),
                return_exceptions=True,
            )
        )

    @rule(cells=cells)
    def put(self, cells: Any) -> None:
        self.both(lambda store: store.put(cells))

    @rule(key=st.sampled_from(["x", "y"]), after=st.integers(-1, 100))
    def put_with_expiry(self, key: str, after: int) -> None:
        write = CellWrite(key, b"e", expires_at=self.clock.now() + after * US_PER_SECOND)
        self.both(lambda store: store.put([write]))

    @rule(by=st.sampled_from([US_PER_SECOND, TTL, US_PER_DAY, 8 * US_PER_DAY, -US_PER_SECOND]))
    def time_passes(self, by: int) -> None:
        self.clock.jump(by)

    @rule(worker=WORKERS)
    def renew(self, worker: str) -> None:
        self.both(lambda store: store.renew(worker, TTL))

    @rule(worker=WORKERS)
    def release(self, worker: str) -> None:
        self.both(lambda store: store.release(worker))

    @rule(
        worker=WORKERS,
        subscription=SUBSCRIPTIONS,
        number=st.integers(0, SHARDS - 1),
        start=st.sampled_from(["now", "beginning", 1]),
        types=st.sampled_from([None, frozenset({"t@1"}), frozenset({"t@1", "u@1"})]),
    )
    def open(self, worker: str, subscription: str, number: int, start: Any, types: Any) -> None:
        shard = Shard("s", number)

        async def opening(store: Any) -> Any:
            lease = await store.renew(worker, TTL)
            if isinstance(lease, LeaseLost):
                return lease
            found = await store.open(lease, [Assign(CursorId(subscription, shard), start, types)])
            self.opened[subscription, shard] = worker, found[0], 0
            return found

        self.both(opening)

    @rule(data=st.data(), rows=rows, marks=marks, emit=drafts, cells=cells, clear=st.lists(OFFSETS, max_size=2))
    def settle(self, data: Any, rows: Any, marks: Any, emit: Any, cells: Any, clear: Any) -> None:
        if not self.opened:
            return
        at = data.draw(st.sampled_from(sorted(self.opened)))
        worker, opened, number = self.opened[at]
        cursor = opened.cursor
        self.attempts += 1
        settlement = Settlement(
            cursor=cursor.id,
            worker=worker,
            epoch=cursor.epoch,
            number=number + data.draw(st.sampled_from([1, 1, 1, 1, 0])),
            floor=cursor.floor + data.draw(st.integers(0, 8)),
            above=data.draw(st.sampled_from([0, 2, 1 << 1000])),
            counters=Counters(*data.draw(st.tuples(*[st.integers(0, 9)] * 5))),
            put=rows,
            clear=clear,
            marks=marks,
            emit=emit,
            cells=cells,
            successes=[Success(offset, 1, 2, 200) for offset in clear],
            attempts=[Attempt(f"att_{self.attempts}", row.offset, 1, self.attempts, 2, "later") for row in rows],
            token=data.draw(st.sampled_from([None, "token"])),
            clean=data.draw(st.booleans()),
            release=data.draw(st.sampled_from([False, False, False, True])),
        )
        (answer,) = self.both(lambda store: store.commit([settlement]))
        if answer == ("Committed", settlement.number):
            after = msgspec.structs.replace(cursor, floor=settlement.floor)
            self.opened[at] = worker, msgspec.structs.replace(opened, cursor=after), settlement.number

    @rule(days=st.sampled_from([0, 1, 9]), size=st.sampled_from([0, 1_000, 10**9]))
    def retire(self, days: int, size: int) -> None:
        for name in STREAMS:
            self.both(lambda store, name=name: store.retire(name, Retention(days * US_PER_DAY, size)))

    @rule(old=SUBSCRIPTIONS, new=SUBSCRIPTIONS)
    def rename(self, old: str, new: str) -> None:
        self.both(lambda store: store.rename_subscription(old, new))

    @rule(name=SUBSCRIPTIONS)
    def retire_subscription(self, name: str) -> None:
        self.both(lambda store: store.retire_subscription(name))

    @rule()
    def crash(self) -> None:
        self.memory.abandon()
        self.sqlite.abandon()
        self.open_both()

    @rule(
        number=st.integers(0, SHARDS - 1),
        after=st.integers(0, 40),
        limit=st.integers(1, 9),
        types=st.sampled_from([None, frozenset({"t@1"})]),
    )
    def read(self, number: int, after: int, limit: int, types: Any) -> None:
        shard = Shard("s", number)
        self.both(lambda store: store.read(shard, after, limit, types))
        self.both(lambda store: store.kept(shard, after, limit))
        self.both(lambda store: store.fetch(shard, [after, after + 1]))
        self.both(lambda store: store.rows(CursorId("one", shard), range(after, after + limit)))
        self.both(lambda store: store.missing(CursorId("one", shard), "a"))

    @invariant()
    def all_that_can_be_seen_is_the_same(self) -> None:
        for number in range(SHARDS):
            for name in STREAMS:
                shard = Shard(name, number)
                bounds = self.memory.bounds(shard) if self.memory.stream(name) else None
                assert bounds == (self.sqlite.bounds(shard) if self.sqlite.stream(name) else None)
        events = self.both(lambda store: store.views().events(EventsQuery(limit=5)))
        self.both(lambda store: store.views().rows(RowsQuery()))
        self.both(lambda store: store.views().dead_groups())
        self.both(lambda store: store.views().streams())
        self.both(lambda store: store.list(""))
        for cursor in self.both(lambda store: store.views().cursors()):
            id = cursor["cursor"]["id"]
            self.both(lambda store, id=id: store.views().conservation(CursorId(id[1], Shard(*id[2][1:]))))
        if events:
            self.both(_timeline_of_newest)
            self.both(_seen_of_newest)
        assert plain(self.memory_heard.events) == plain(self.sqlite_heard.events)

    def teardown(self) -> None:
        self.runner.run(self.sqlite.close())
        self.runner.close()
        self.folder.cleanup()


async def _timeline_of_newest(store: Any) -> Any:
    views = store.views()
    (event,) = await views.events(EventsQuery(limit=1))
    return await views.timeline(event)


async def _seen_of_newest(store: Any) -> Any:
    views = store.views()
    return [await views.seen(event) for event in await views.events(EventsQuery(limit=20))]


def _ignore(record: str, /, **fields: object) -> None:
    """Telemetry."""


def plain(value: Any) -> Any:
    """A value with its type's name, without what only one backend can know (`former_dead`), to be compared."""
    if isinstance(value, msgspec.Struct):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__ if name != "former_dead"} | {
            "": type(value).__name__
        }
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return (type(value).__name__, *map(plain, value))
    if isinstance(value, dict):
        return {plain(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, StoreError):
        return type(value).__name__, value.code
    return value


TestBoth = Both.TestCase
TestBoth.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
