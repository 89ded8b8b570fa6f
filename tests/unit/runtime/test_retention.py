"""The duty of retention: what goes, what is told of a stream that grows, and by whom it is held."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from interlock.core.cursor import CursorId
from interlock.core.errors import StoreFull
from interlock.core.event import Draft, Shard
from interlock.core.limits import BODY_INLINE_BYTES_MAX, BODY_ORPHAN_US, RETENTION_EVERY_US, US_PER_DAY, US_PER_SECOND
from interlock.journal.memory import MemoryDisk, MemoryStore
from interlock.journal.ports import Assign, Committed, Settlement
from interlock.runtime.retention import Keeper
from interlock.spec.plan import StreamSpec
from interlock.testing.clock import FakeClock

ONE = Shard("s", 0)
EVENT = 1_000 + 128


class Deaf:
    """A Wakeup that nobody hears."""

    def appended(self, *_: object) -> None: ...
    def changed(self, *_: object) -> None: ...


class Scene:
    """A store with one stream of ten events at most, read by `slow`, and its keeper."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.told: list[tuple[str, dict[str, object]]] = []
        self.mine = True
        self.disk = MemoryDisk(segment_events=2)
        self.store = MemoryStore(self.clock, Deaf(), emit=lambda *_, **__: None, disk=self.disk)
        stream = StreamSpec("s", 1, keep_us=30 * US_PER_DAY, keep_bytes=10 * EVENT)
        self.keeper = Keeper(self.store, self.store.views(), [stream], (self.clock, self.emit), lambda: self.mine)
        self._number = 0

    def emit(self, record: str, /, **fields: object) -> None:
        self.told.append((record, fields))

    async def send(self, count: int) -> None:
        for _ in range(count):
            self._number += 1
            await self.store.append([Draft("s", "t@1", "src", f"{self._number}", b"x" * 1_000)])

    async def read_to(self, floor: int) -> None:
        lease = await self.store.renew(f"w{floor}", 60 * US_PER_SECOND)
        opened: Any = await self.store.open(lease, [Assign(CursorId("slow", ONE), "beginning", frozenset({"t@1"}))])  # type: ignore[arg-type]
        cursor = opened[0].cursor
        (answer,) = await self.store.commit(
            [Settlement(cursor.id, f"w{floor}", cursor.epoch, 1, floor, 0, cursor.counters, release=True)]
        )
        assert isinstance(answer, Committed)

    def records(self) -> list[str]:
        return [record for record, _ in self.told]


def test_a_stream_that_somebody_holds_is_told_at_four_fifths_then_refuses_and_recovers() -> None:
    async def story() -> None:
        scene = Scene()
        await scene.store.make_stream("s", 1)
        await scene.read_to(0)
        await scene.send(8)
        await scene.keeper.look()
        assert scene.records() == []
        assert scene.keeper.has_room("s")
        await scene.send(1)
        for _ in range(2):
            await scene.keeper.look()
        assert not scene.keeper.has_room("s"), "polls wait before anybody is refused"
        assert scene.told == [
            ("retention.near", {"stream": "s", "bytes": 9 * EVENT, "bound": 10 * EVENT, "held_by": "slow"})
        ]
        await scene.send(2)
        await scene.keeper.look()
        assert scene.records() == ["retention.near", "retention.full"]
        with pytest.raises(StoreFull) as refused:
            await scene.send(1)
        assert "slow has yet to read" in refused.value.message
        await scene.read_to(11)
        # It does not wait for the next round: intake is refused for a minute, not for ten.
        await scene.keeper.look()
        assert scene.records()[2:] == ["retention.retired", "retention.ok"]
        assert scene.keeper.has_room("s")
        await scene.send(1)

    asyncio.run(story())


def test_a_stream_that_everybody_has_read_is_cut_to_its_bound_without_a_word() -> None:
    async def story() -> None:
        scene = Scene()
        await scene.store.make_stream("s", 1)
        await scene.send(13)
        await scene.keeper.look()
        assert scene.records() == ["retention.retired"]
        assert scene.store.bounds(ONE) == (5, 13)

    asyncio.run(story())


def test_a_process_without_a_lease_does_nothing() -> None:
    async def story() -> None:
        scene = Scene()
        await scene.store.make_stream("s", 1)
        await scene.send(13)
        scene.mine = False
        await scene.keeper.look()
        assert scene.store.bounds(ONE) == (1, 13)

    asyncio.run(story())


def test_files_that_nothing_claims_are_collected_in_its_rounds() -> None:
    async def story() -> None:
        scene = Scene()
        await scene.store.make_stream("s", 1)
        scene.disk.files.write("left", b"x" * BODY_INLINE_BYTES_MAX, scene.clock.now())
        await scene.keeper.look()
        assert scene.records() == []
        await scene.clock.advance(BODY_ORPHAN_US)
        await scene.keeper.look()
        assert scene.told == [("bodies.collected", {"files": 1, "bytes": BODY_INLINE_BYTES_MAX})]
        await scene.clock.advance(RETENTION_EVERY_US)
        await scene.keeper.look()
        assert len(scene.told) == 1

    asyncio.run(story())
