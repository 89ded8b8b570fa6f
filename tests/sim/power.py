"""`python -m tests.sim.power [--cuts 200] [--plant BUG]`: cut the power; nothing that was acknowledged is missing.

Clients append to the production SQLite store on a simulated disk. A cut leaves of that disk what was synced and any
part of what was not, torn and in any order; the next process goes on with it. `--plant` breaks the product first: the
command must then find events missing, and exit with 1.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, NamedTuple, get_args

from interlock.core.event import Draft, Shard
from interlock.core.limits import US_PER_SECOND
from interlock.journal.memory_disk import MemoryDisk
from interlock.journal.sqlite import SqliteOptions, backend
from interlock.journal.sqlite.backend import SqliteBackend, SqliteTx
from interlock.journal.store import run_each
from interlock.testing.sim.auditor import Auditor
from interlock.testing.sim.guard import sealed
from interlock.testing.sim.history import History
from interlock.testing.sim.loop import Process, SimLoop
from interlock.testing.sim.ports import SimClock
from interlock.testing.sim.storage import FileStorage, Ports

Plant = Literal["synchronous-normal", "ack-before-commit"]
SHARDS = 2
CLIENTS = 6
OPTIONS = SqliteOptions(window_events=64, segment_events=400)


class Found(NamedTuple):
    """How often the power was cut, how many events had been acknowledged, and how many of those are missing."""

    cuts: int
    acknowledged: int
    missing: int

    def __str__(self) -> str:
        return f"{self.cuts} power cuts: {self.missing} of {self.acknowledged} acknowledged events missing"


def cut_power(cuts: int, seed: int = 1, plant: Plant | None = None) -> Found:
    """Do it, and count."""
    with TemporaryDirectory(prefix="interlock-power-") as folder, planted(plant), sealed():
        outages = _Outages(SimLoop(seed, "random"), Path(folder))
        return outages.run(cuts)


class _Outages:
    def __init__(self, loop: SimLoop, folder: Path) -> None:
        self._loop = loop
        self._clock = SimClock(loop)
        self._chance = loop.stream("outages")
        self._acknowledged: dict[str, tuple[Shard, int]] = {}
        self._nobody = Auditor(loop, MemoryDisk(), History(), frozenset())
        self._storage = FileStorage(loop, folder, self._nobody, OPTIONS)

    def run(self, cuts: int) -> Found:
        try:
            missing = self._loop.run_until_complete(self._cut(cuts))
            assert not self._loop.errors, self._loop.errors
            return Found(cuts, len(self._acknowledged), missing)
        finally:
            self._loop.close()
            self._storage.close()

    async def _cut(self, cuts: int) -> int:
        for number in range(cuts):
            process = self._process(f"app-{number}")
            process.spawn(self._serve(process))
            await self._clock.sleep_until(self._loop.now_us + self._chance.randrange(US_PER_SECOND // 4))
            self._storage.cut_power([process])
        process = self._process("the last")
        return await process.spawn(self._count_missing(process))

    def _process(self, name: str) -> Process:
        process = Process(self._loop, name)
        process.on_death.append(lambda: self._storage.left(process))
        return process

    async def _open(self, process: Process) -> Any:
        ports = Ports(
            self._loop,
            process,
            self._clock,
            _Nobody(),
            lambda *_, **__: None,
            lambda: self._chance.randrange(500, 8_000),
            lambda: None,
        )
        store = await self._storage.open(ports)
        await store.make_stream("s", SHARDS)
        return store

    async def _serve(self, process: Process) -> None:
        store = await self._open(process)
        for client in range(CLIENTS):
            process.spawn(self._append(store, f"{process.name}/{client}"))

    async def _append(self, store: Any, client: str) -> None:
        for number in range(1 << 30):
            id = f"{client}/{number}"
            (appended,) = await store.append([Draft("s", "t@1", "clients", id, b"x" * self._chance.randrange(600), id)])
            self._acknowledged[id] = appended.shard, appended.offset

    async def _count_missing(self, process: Process) -> int:
        store = await self._open(process)
        there: dict[tuple[Shard, int], str] = {}
        for shard in (Shard("s", number) for number in range(SHARDS)):
            after = 0
            while after < store.bounds(shard)[1]:
                batch = await store.read(shard, after, 1_000)
                there |= {(shard, event.offset): event.draft.id for event in batch.events}
                after = batch.upto
        return sum(there.get(place) != id for id, place in self._acknowledged.items())


class _Nobody:
    """Nobody waits for events."""

    def appended(self, shard: Shard, events: Sequence[Any]) -> None:
        return None

    def changed(self, cells: Any) -> None:
        return None


@contextmanager
def planted(plant: Plant | None) -> Generator[None]:
    """Within the block the product has this bug."""
    connect, transaction = backend.connect_writer, SqliteBackend._transaction

    def connect_without_syncs(path: Path, vfs: str | None) -> Any:
        connection = connect(path, vfs)
        connection.pragma("synchronous", "NORMAL")
        return connection

    def answer_first(self: SqliteBackend, runs: Sequence[Any]) -> Sequence[Any]:
        """What is answered is committed when the next group comes."""
        connection = self._connection
        assert connection is not None
        if connection.in_transaction:
            connection.execute("COMMIT")
        connection.execute("BEGIN IMMEDIATE")
        tx = SqliteTx(self._tables, self.bodies, connection, self._clock.now())
        answers = run_each(tx, runs)
        tx.write()
        tx.apply(self._found)
        return tx.told(answers)

    try:
        if plant == "synchronous-normal":
            backend.connect_writer = connect_without_syncs
        elif plant == "ack-before-commit":
            SqliteBackend._transaction = answer_first  # type: ignore[method-assign]  # that is the plant
        yield
    finally:
        backend.connect_writer = connect
        SqliteBackend._transaction = transaction  # type: ignore[method-assign]


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cuts", type=int, default=200, help="how often the power is cut")
    parser.add_argument("--seed", type=int, default=1, help="for when, and for what is left of what was not synced")
    parser.add_argument("--plant", choices=get_args(Plant), help="a bug that must be noticed")
    asked = parser.parse_args()
    found = cut_power(asked.cuts, asked.seed, asked.plant)
    sys.stdout.write(f"{found}\n")
    return 1 if found.missing else 0


if __name__ == "__main__":
    sys.exit(main())
