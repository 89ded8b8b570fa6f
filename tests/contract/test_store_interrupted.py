"""A store that is interrupted at its n-th call of the disk, or its caller at the n-th await, for n = 1, 2, 3 and on."""

from __future__ import annotations

import asyncio
import errno
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest
from tests.awaits import cancelled_at
from tests.conftest import Some
from tests.contract.store_contract import Recorder
from tests.contract.workload import Acknowledged, check, open_store, workload

from interlock.core.errors import StoreError
from interlock.core.limits import US_PER_SECOND
from interlock.journal.memory import MemoryStore
from interlock.testing.clock import FakeClock
from interlock.testing.sim.vfs import SimulatedVfs, put


class Moment(NamedTuple):
    """What was durable when a call of the disk came, and what had been acknowledged by then."""

    files: dict[str, bytes]
    acknowledged: Acknowledged


def watched(disk: SimulatedVfs, acknowledged: Acknowledged, seed: int) -> list[Moment]:
    """The moments before each call of the disk, from now on."""
    moments: list[Moment] = []
    chance = Random(seed)

    def note() -> None:
        moments.append(Moment(disk.found(chance if len(moments) % 2 else None), deepcopy(acknowledged)))

    disk.on_call = note
    return moments


async def found(moment: Moment, folder: Path, clock: FakeClock, vfs: str | None = None) -> None:
    """Open what a power cut at this moment has left, twice, and look at it."""
    put(moment.files, folder)
    for _ in range(2):
        store = await open_store(folder / "store.db", clock, vfs)
        await check(store, moment.acknowledged)
        store.abandon()


def test_a_power_cut_at_any_call_of_the_disk_loses_nothing_that_was_acknowledged(tmp_path: Path, some: Some) -> None:
    async def scenario() -> None:
        clock, acknowledged = FakeClock(), Acknowledged()
        with SimulatedVfs("cut anywhere") as disk:
            moments = watched(disk, acknowledged, 1)
            store = await open_store(tmp_path / "store.db", clock, disk.name)
            await workload(store, acknowledged)
            await store.close()
        assert len(moments) > 100
        for n in some(len(moments), 40):
            await found(moments[n - 1], tmp_path / str(n), clock)

    asyncio.run(scenario())


def test_a_power_cut_while_it_recovers_from_a_power_cut_loses_nothing(tmp_path: Path, some: Some) -> None:
    async def scenario() -> None:
        clock, acknowledged = FakeClock(), Acknowledged()
        with SimulatedVfs("cut once") as disk:
            first = watched(disk, acknowledged, 2)
            store = await open_store(tmp_path / "store.db", clock, disk.name)
            await workload(store, acknowledged)
            store.abandon()
        for n in some(len(first), 4):
            with SimulatedVfs(f"cut again {n}") as disk:
                moment = first[n - 1]
                folder = tmp_path / f"first-{n}"
                folder.mkdir()
                disk.restart({str(folder / Path(path).name): content for path, content in moment.files.items()})
                second = watched(disk, moment.acknowledged, n)
                await found(Moment({}, moment.acknowledged), folder, clock, disk.name)
            for m in some(len(second), 12):
                await found(second[m - 1], tmp_path / f"second-{n}-{m}", clock)

    asyncio.run(scenario())


@pytest.mark.parametrize("failure", [errno.EIO, errno.ENOSPC], ids=["EIO", "ENOSPC"])
def test_an_error_at_any_call_while_the_store_is_made_is_told_and_leaves_one_that_opens(
    tmp_path: Path, failure: int, some: Some
) -> None:
    async def attempt(n: int) -> int:
        """How many calls of the disk it takes, whether or not one of them fails."""
        clock, folder = FakeClock(), tmp_path / str(n)
        folder.mkdir()
        with SimulatedVfs(f"failing start {failure} {n}") as disk:
            disk.failure, disk.fail_at = failure, n
            with suppress(StoreError):
                await (await open_store(folder / "store.db", clock, disk.name)).close()
            calls, disk.fail_at = disk.calls, None
            store = await open_store(folder / "store.db", clock, disk.name)
            acknowledged = Acknowledged()
            await workload(store, acknowledged)
            await check(store, acknowledged)
            store.abandon()
        return calls

    async def attempts() -> None:
        for n in some(await attempt(0), 20):
            await attempt(n)

    asyncio.run(attempts())


@pytest.mark.parametrize("kind", ["memory", "SQLite"])
def test_a_caller_that_is_cancelled_at_any_await_leaves_a_store_that_goes_on(
    tmp_path: Path, kind: str, some: Some
) -> None:
    async def attempt(n: int) -> int:
        clock, acknowledged = FakeClock(), Acknowledged()
        if kind == "memory":
            store: Any = MemoryStore(clock, Recorder(), emit=lambda *_, **__: None)
        else:
            store = await open_store(tmp_path / f"{n}.db", clock)
        task = asyncio.ensure_future(cancelled_at(workload(store, acknowledged), n))
        [awaits] = await asyncio.gather(task, return_exceptions=True)
        if n:
            assert isinstance(awaits, asyncio.CancelledError)
        await clock.advance(2 * US_PER_SECOND)
        await check(store, acknowledged)
        await store.close()
        return awaits if isinstance(awaits, int) else 0

    async def attempts() -> None:
        last = await attempt(0)
        assert last > 20
        for n in some(last, 30):
            await attempt(n)

    asyncio.run(attempts())
