"""The SQLite store on a disk that loses power, fails or is full: nothing acknowledged is lost, nothing half-written."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path
from random import Random
from typing import Any

import apsw
import msgspec
import pytest
from tests.contract.store_contract import ONE, Lane, Recorder, draft
from tests.contract.workload import check, open_store, workload

from interlock.core.errors import StoreError, StoreFull
from interlock.core.event import Shard
from interlock.core.limits import US_PER_SECOND
from interlock.journal.memory import Inline
from interlock.journal.ports import CellWrite, Committed, Retention
from interlock.journal.sqlite import SqliteOptions, SqliteStore
from interlock.journal.sqlite import connection as sqlite_connection
from interlock.testing.clock import FakeClock
from interlock.testing.sim.vfs import SimulatedVfs, put


def test_a_power_cut_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = FakeClock()
        with SimulatedVfs("power-cut-full") as disk:
            store = await open_store(tmp_path / "store.db", clock, disk.name)
            acknowledged: dict[str, Any] = {}
            await workload(store, acknowledged)
            disk.power_cut(tmp_path / "after")
            store.abandon()
        store = await open_store(tmp_path / "after" / "store.db", clock)
        await check(store, acknowledged)
        await store.close()
        file = apsw.Connection(str(tmp_path / "after" / "store.db"))
        assert file.pragma("journal_mode") == "wal"
        assert list(file.execute("PRAGMA integrity_check")) == [("ok",)]

    asyncio.run(scenario())


def test_the_same_power_cut_does_lose_what_synchronous_normal_acknowledged(tmp_path: Path) -> None:
    """Proves that the test above can fail: the disk does forget what was not synced."""
    with SimulatedVfs("power-cut-normal") as disk:
        file = apsw.Connection(str(tmp_path / "store.db"), vfs=disk.name)
        assert file.pragma("journal_mode", "wal") == "wal"
        file.pragma("synchronous", "NORMAL")
        file.execute("CREATE TABLE t (n INTEGER)")
        for number in range(50):
            file.execute("INSERT INTO t VALUES (?)", (number,))
        assert list(file.execute("SELECT count(*) FROM t")) == [(50,)]
        disk.power_cut(tmp_path / "after")
        file.close()
    after = apsw.Connection(str(tmp_path / "after" / "store.db"))
    tables = [name for (name,) in after.execute("SELECT name FROM sqlite_schema")]
    left = next(iter(after.execute("SELECT count(*) FROM t")))[0] if tables else 0
    assert left < 50


def test_the_store_asks_for_full_sync_and_no_checkpoints_in_the_writer(tmp_path: Path) -> None:
    writer = sqlite_connection.connect_writer(tmp_path / "store.db", None)
    assert writer.pragma("journal_mode") == "wal"
    assert writer.pragma("synchronous") == 2
    assert writer.pragma("wal_autocheckpoint") == 0
    assert writer.pragma("page_size") == 4096


@pytest.mark.parametrize("failure", [errno.EIO, errno.ENOSPC], ids=["EIO", "ENOSPC"])
@pytest.mark.parametrize("lasting", [1, 6], ids=["once", "for a while"])
def test_an_error_at_any_write_gives_no_false_answer_and_leaves_no_half_group(
    tmp_path: Path, failure: int, lasting: int
) -> None:
    async def attempt(number: int) -> bool:
        """Whether the workload came to the failing write at all."""
        clock = FakeClock()
        folder = tmp_path / str(number)
        folder.mkdir()
        acknowledged: dict[str, Any] = {}
        with SimulatedVfs(f"failing-{failure}-{lasting}-{number}") as disk:
            store = await open_store(folder / "store.db", clock, disk.name)
            disk.failure = failure
            disk.fail_at, disk.fail_for = disk.calls + number, lasting
            failed_with: StoreError | None = None
            try:
                await workload(store, acknowledged)
            except StoreError as error:
                failed_with = error
            reached = bool(disk.failed)
            assert (failed_with is not None) == reached
            if failure == errno.ENOSPC and failed_with is not None and lasting == 1:
                assert isinstance(failed_with, StoreFull)
            disk.fail_at = None
            await clock.advance(2 * US_PER_SECOND)
            await check(store, acknowledged)
            disk.power_cut(folder / "after")
            store.abandon()
        store = await open_store(folder / "after" / "store.db", clock)
        await check(store, acknowledged)
        await store.close()
        return reached

    async def attempts() -> int:
        number = 1
        while await attempt(number):
            # Each of the first writes, then every seventh: the workload repeats itself.
            number += 1 if number < 24 else 7
        return number

    assert asyncio.run(attempts()) > 40


@pytest.mark.parametrize("dies", [True, False], ids=["the process dies of it", "the process goes on"])
@pytest.mark.parametrize("seed", range(6))
def test_what_a_failed_sync_has_left_in_the_kernel_only_is_durable_before_anything_is_built_on_it(
    tmp_path: Path, seed: int, dies: bool
) -> None:
    """A kernel reports a failed sync once and takes the pages for clean: whoever reads them sees what no disk has."""

    async def scenario() -> None:
        clock, path = FakeClock(), tmp_path / "store.db"
        events: list[tuple[int, str]] = []
        with SimulatedVfs(f"kernel {seed}") as disk:
            store = await open_store(path, clock, disk.name)
            await store.make_stream("s", 1)
            disk.only = "sync"
            disk.fail(errno.EIO, 1)
            with pytest.raises(StoreError, match="in-doubt"):
                await store.append([draft("doubtful")])
            if dies:
                store.abandon()
                store = await open_store(path, clock, disk.name)
            else:
                await clock.advance(2 * US_PER_SECOND)
            cuts = [disk.found(Random(seed))]
            for number in range(3):
                (appended,) = await store.append([draft(f"after-{number}")])
                events.append((appended.offset, f"after-{number}"))
            cuts.append(disk.found(Random(seed)))
            store.abandon()
        for known, cut in zip(([], events), cuts, strict=True):
            folder = tmp_path / f"after {len(known)}"
            put(cut, folder)
            store = await open_store(folder / "store.db", clock)
            await check(store, {"stream": True, "events": known})
            store.abandon()

    asyncio.run(scenario())


def test_the_last_of_the_disk_is_kept_for_settlements_and_commands(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock, path = FakeClock(), tmp_path / "store.db"
        store = await open_store(path, clock)
        await store.make_stream("s", 1)
        await store.append([draft("1")])
        await store.close()
        options = SqliteOptions(reserve_bytes=1 << 60)
        store = await SqliteStore.open_file(path, clock, Recorder(), Inline(), lambda *_, **__: None, options)
        with pytest.raises(StoreFull) as refused:
            await store.append([draft("2")], [CellWrite("c", b"1")])
        assert refused.value.code == "store.full"
        assert await store.get(["c"]) == {}
        lane = await Lane.open(store)
        assert isinstance(await lane.settle(floor=1, emit=[draft("emitted")]), Committed)
        await store.make_stream("_audit", 1)
        (audited,) = await store.append([draft("1", stream="_audit")], [CellWrite("paused", b"1")])
        assert audited.offset == 1
        assert store.bounds(ONE) == (1, 2)

    asyncio.run(scenario())


def test_events_in_doubt_that_are_there_after_all_reach_the_tail(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = FakeClock()
        found = False
        for number in range(1, 30):
            folder = tmp_path / str(number)
            folder.mkdir()
            wakeup = Recorder()
            with SimulatedVfs(f"doubt-{number}") as disk:
                store = await open_store(folder / "store.db", clock, disk.name, wakeup)
                await store.make_stream("s", 1)
                await store.append([draft("1")])
                disk.fail_at = disk.calls + number
                answers: list[Any] = []
                store.submit([draft("2")], (), answers.append)
                await clock.settle()
                assert isinstance(answers[0], list) or answers[0].code == "store.in-doubt"
                disk.fail_at = None
                await clock.advance(2 * US_PER_SECOND)
                told = [event.offset for event in wakeup.events[ONE]]
                assert told == list(range(1, store.bounds(ONE)[1] + 1))
                await store.append([draft("3")])
                told = [event.draft.id for event in wakeup.events[ONE]]
                assert told in (["1", "2", "3"], ["1", "3"])
                found = found or told == ["1", "3"]
                store.abandon()
        assert found

    asyncio.run(scenario())


def test_a_damaged_file_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "store.db"
        path.write_bytes(b"this is not a database" * 500)
        before = path.read_bytes()
        with pytest.raises(StoreError) as refused:
            await open_store(path, FakeClock())
        assert refused.value.code == "store.unusable"
        assert path.read_bytes() == before

    asyncio.run(scenario())


def test_a_second_process_is_refused_and_told_who_has_the_store(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = FakeClock()
        store = await open_store(tmp_path / "store.db", clock)
        with pytest.raises(StoreError) as refused:
            await open_store(tmp_path / "store.db", clock)
        assert refused.value.code == "store.in-use"
        assert "pid" in refused.value.message
        await store.close()
        await (await open_store(tmp_path / "store.db", clock)).close()

    asyncio.run(scenario())


def test_a_store_that_a_newer_version_wrote_is_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = FakeClock()
        await (await open_store(tmp_path / "store.db", clock)).close()
        file = apsw.Connection(str(tmp_path / "store.db"))
        file.execute("INSERT INTO migrations VALUES (99, 'later', 'x', 0)")
        file.close()
        with pytest.raises(StoreError) as refused:
            await open_store(tmp_path / "store.db", clock)
        assert refused.value.code == "store.schema-newer"

    asyncio.run(scenario())


def test_a_value_that_cannot_be_kept_is_refused_alone(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = await open_store(tmp_path / "store.db", FakeClock())
        await store.make_stream("s", 1)
        answers: dict[str, Any] = {}
        bad = msgspec.structs.replace(draft("bad"), subject="x", key="\ud800")
        for name, drafts in (("good", [draft("1")]), ("bad", [bad, draft("2")]), ("also good", [draft("3")])):
            store.submit(drafts, (), lambda answer, name=name: answers.__setitem__(name, answer))
        await store.append([draft("4")])
        assert [each.offset for each in answers["good"]] == [1]
        assert answers["bad"].code == "store.unwritable"
        assert [each.offset for each in answers["also good"]] == [2]
        assert store.bounds(ONE) == (1, 3)

    asyncio.run(scenario())


def test_the_wal_is_checkpointed_beside_the_writer_and_begins_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = await open_store(tmp_path / "store.db", FakeClock())
        await store.make_stream("s", 1)
        sizes: list[int] = []
        for number in range(60):
            await store.append([draft(str(number), data=bytes(1_000_000))])
            sizes.append((tmp_path / "store.db-wal").stat().st_size)
        assert max(sizes) < 40_000_000
        assert store.bounds(Shard("s", 0)) == (1, 60)
        await store.retire("s", Retention(0, 0))
        await store.close()

    asyncio.run(scenario())
