"""Watches the disk of the store: what it finds is told once when it changes, and whenever somebody asks.

Intake is refused by the store itself, before each commit; this is for people.
"""

from __future__ import annotations

from pathlib import Path

from interlock.core.limits import DISK_LOOK_US
from interlock.core.ports import Clock, Disk, DiskLevel, Emit, Room
from interlock.journal.sqlite.room import disk_level


class DiskWatch:
    """The room of the disk that a folder is on."""

    def __init__(self, folder: Path, disk: Disk, emit: Emit) -> None:
        self._folder = folder
        self._disk = disk
        self._emit = emit
        self._told: DiskLevel = "ok"

    def look(self) -> tuple[Room, DiskLevel]:
        """What there is now; a change is told."""
        room = self._disk(self._folder)
        level = disk_level(room)
        if level != self._told:
            self._told = level
            self._tell(room, level)
        return room, level

    def _tell(self, room: Room, level: DiskLevel) -> None:
        match level:
            case "ok":
                self._emit("disk.ok", free_bytes=room.free_bytes, total_bytes=room.total_bytes)
            case "low":
                self._emit("disk.low", free_bytes=room.free_bytes, total_bytes=room.total_bytes)
            case "full":
                self._emit("disk.full", free_bytes=room.free_bytes, total_bytes=room.total_bytes)

    async def run(self, clock: Clock) -> None:
        """Look again and again, until cancelled."""
        while True:
            self.look()
            await clock.sleep_until(clock.monotonic() + DISK_LOOK_US)
