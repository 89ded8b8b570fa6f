"""How much room a disk has: how it is asked, and what the answer means."""

from __future__ import annotations

import os
from pathlib import Path

from interlock.core.limits import STORE_LOW_PERCENT, STORE_RESERVE_BYTES
from interlock.core.ports import DiskLevel, Room


def disk_room(folder: Path) -> Room:
    """The room of the disk that a folder is on, as far as this user may use it."""
    disk = os.statvfs(folder)
    return Room(disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize)


def disk_level(room: Room, reserve_bytes: int = STORE_RESERVE_BYTES) -> DiskLevel:
    """`full`: only the reserve is left, which intake does not get. `low`: it is coming to that."""
    if room.free_bytes < reserve_bytes:
        return "full"
    low = room.free_bytes * 100 < room.total_bytes * STORE_LOW_PERCENT
    return "low" if low or room.free_bytes < 2 * reserve_bytes else "ok"
