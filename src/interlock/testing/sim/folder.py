"""What goes wrong with the files of large payloads, and what must be there of them when a run is over."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable, Iterator

from interlock.journal.memory_disk import MemoryDisk
from interlock.testing.sim.loop import SimLoop, current_process
from interlock.testing.sim.ports import SimRandom
from interlock.testing.sim.swarm import Swarm


class PowerCut(BaseException):
    """The machine went dark in the middle of a commit: nothing of that process goes on."""


class Folder:
    """Breaks the disk's folder while `breaking`: a step fails, or the power goes and takes what was not synced.

    `failed` notes in the history that the store of the process that runs has failed.
    """

    def __init__(self, loop: SimLoop, disk: MemoryDisk, swarm: Swarm, failed: Callable[[], None]) -> None:
        self.breaking = True
        self._loop = loop
        self._disk = disk
        self._swarm = swarm
        self._failed = failed
        self._chance: random.Random = loop.stream("folder")
        disk.files.before = self._before

    def _before(self, step: str) -> None:
        draw, swarm = self._chance.random(), self._swarm
        if not self.breaking or draw >= swarm.file_fail + swarm.power_cuts:
            return
        process = current_process()
        if draw < swarm.file_fail or process is None:
            self._loop.note(f"{step} of a payload's file fails")
            self._failed()
            raise OSError(self._chance.choice((errno.ENOSPC, errno.EIO)), "the simulated disk failed")
        self._loop.note(f"the power goes before the {step} of a payload's file")
        self._disk.files.power_cut(SimRandom(self._chance))
        process.kill()
        raise PowerCut

    def faults(self) -> Iterator[str]:
        """What is wrong when everything was mended, a day has passed and the files were collected."""
        claims = {claim.hash: claim for claim in self._disk.claims()}
        for name, claim in claims.items():
            data = self._disk.bodies.read(claim)
            if not isinstance(data, bytes):
                yield f"the payload {name} is {data}"
        for name in self._disk.files.names():
            if name not in claims:
                yield f"the file {name} is left and nothing claims it"
