"""The watch over the store's disk: each change is told once, and whoever asks hears what there is now."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from interlock.core.limits import DISK_LOOK_US, STORE_RESERVE_BYTES
from interlock.core.ports import DiskLevel, Room
from interlock.journal.sqlite.room import disk_level, disk_room
from interlock.runtime.room import DiskWatch
from interlock.testing.clock import FakeClock

LARGE = 1 << 40


@pytest.mark.parametrize(
    ("free", "total", "level"),
    [
        (LARGE, LARGE, "ok"),
        (LARGE // 20 + 1, LARGE, "ok"),
        (LARGE // 20 - 1, LARGE, "low"),
        (STORE_RESERVE_BYTES, LARGE, "low"),
        (STORE_RESERVE_BYTES - 1, LARGE, "full"),
        (0, LARGE, "full"),
        # On a small disk a twentieth would come after the reserve.
        (2 * STORE_RESERVE_BYTES, 4 * STORE_RESERVE_BYTES, "ok"),
        (2 * STORE_RESERVE_BYTES - 1, 4 * STORE_RESERVE_BYTES, "low"),
    ],
)
def test_what_a_room_means(free: int, total: int, level: DiskLevel) -> None:
    assert disk_level(Room(free, total)) == level


def test_a_real_disk_has_room(tmp_path: Path) -> None:
    room = disk_room(tmp_path)
    assert 0 <= room.free_bytes <= room.total_bytes


def test_each_change_is_told_once_by_itself() -> None:
    async def story() -> None:
        clock, told, rooms = FakeClock(), [], [Room(LARGE, LARGE)]
        watch = DiskWatch(Path(), lambda _: rooms[0], lambda record, **_: told.append(record))
        watching = asyncio.create_task(watch.run(clock))
        for free in (LARGE, LARGE // 30, LARGE // 30, 0, 0, LARGE // 30, LARGE):
            rooms[0] = Room(free, LARGE)
            await clock.advance(DISK_LOOK_US)
        watching.cancel()
        assert told == ["disk.low", "disk.full", "disk.low", "disk.ok"]

    asyncio.run(story())


def test_whoever_asks_hears_what_there_is_now() -> None:
    rooms = [Room(LARGE, LARGE)]
    watch = DiskWatch(Path(), lambda _: rooms[0], lambda *_, **__: None)
    assert watch.look() == (Room(LARGE, LARGE), "ok")
    rooms[0] = Room(0, LARGE)
    assert watch.look()[1] == "full"
