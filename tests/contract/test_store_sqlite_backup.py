"""Backup and restore of the SQLite store: a copy is whole, checked and believed only then; a restore begins a new time.

Over real processes: `tests/e2e/test_backup.py` and the month.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import stat
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import apsw
import pytest
from tests.contract.store_contract import ONE, Lane, Recorder, draft, large

from interlock.core.cursor import Counters, CursorId, Row
from interlock.core.errors import StoreError
from interlock.core.event import Claim
from interlock.core.limits import BODY_ORPHAN_US, LEASE_TTL_US, US_PER_HOUR, US_PER_MS
from interlock.core.ports import Room
from interlock.journal.memory import Inline
from interlock.journal.ports import Assign, CellWrite, LeaseLost, Retention
from interlock.journal.sqlite import SqliteOptions, SqliteStore
from interlock.journal.sqlite.backup import PARTIAL, back_up, contents, copy, examined
from interlock.journal.sqlite.connection import APPLICATION_ID
from interlock.journal.sqlite.files import DiskFiles, bodies_folder
from interlock.journal.sqlite.restore import EPOCHS_PASSED, prepared, put_in_place
from interlock.testing.clock import FakeClock
from interlock.testing.sim.vfs import SimulatedVfs

T = TypeVar("T")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


async def opened(path: Path, clock: FakeClock) -> SqliteStore:
    options = SqliteOptions(window_events=16, segment_events=8)
    return await SqliteStore.open_file(path, clock, Recorder(), Inline(), lambda *_, **__: None, options)


async def filled(path: Path, clock: FakeClock) -> SqliteStore:
    """A store with thirty events, five of them delivered, one of those a straggler, and a cell."""
    store = await opened(path, clock)
    await store.make_stream("s", 1)
    for number in range(30):
        await store.append([draft(f"{number}")], [CellWrite("last", f"{number}".encode())])
    lane = await Lane.open(store)
    await lane.settle(floor=5, put=[Row(3, "a", "due", due_at=clock.now())], counters=Counters(delivered=4))
    return store


def run(story: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(story)


def restored(backup: Path, store: Path, clock: FakeClock, newest_at: int = 0) -> Path | None:
    with prepared(backup, store, newest_at, clock.now()) as partial:
        return put_in_place(partial, store, clock.now())


def refused(work: Any) -> StoreError:
    with pytest.raises(StoreError) as error:
        work()
    assert error.value.remedy
    return error.value


def leftovers(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir() if PARTIAL in each.name)


def test_a_backup_of_a_store_that_is_written_to_holds_all_that_was_acknowledged(
    tmp_path: Path, clock: FakeClock
) -> None:
    async def story() -> None:
        store = await filled(tmp_path / "store.db", clock)
        made = back_up(tmp_path / "store.db", tmp_path / "backup.db")
        assert (made.events, made.newest_at, made.heads, made.delivered) == (30, clock.now(), {"s": (30,)}, {"sub": 4})
        # The log of the store was never merged into its file: what the backup holds came from both.
        assert (tmp_path / "store.db-wal").stat().st_size > 0
        await store.append([draft("later")])
        await store.close()

        copied = await opened(tmp_path / "backup.db", clock)
        assert [event.draft.id for event in (await copied.read(ONE, 0, 100)).events] == [f"{n}" for n in range(30)]
        assert (await copied.get(["last"]))["last"].value == b"29"
        assert [row.offset for row in await copied.rows(CursorId("sub", ONE), [3])] == [3]
        await copied.close()

    run(story())
    assert stat.S_IMODE((tmp_path / "backup.db").stat().st_mode) == 0o600
    assert leftovers(tmp_path) == []


def test_a_reading_backup_does_not_hold_up_the_writer(tmp_path: Path, clock: FakeClock) -> None:
    async def story() -> None:
        store = await filled(tmp_path / "store.db", clock)
        reader = apsw.Connection(str(tmp_path / "store.db"), apsw.SQLITE_OPEN_READONLY)
        with reader:
            assert next(iter(reader.execute("SELECT count(*) FROM events_1_1")))
            await store.append([draft("while it reads")])
        reader.close()
        assert store.bounds(ONE) == (1, 31)
        await store.close()

    run(story())


def test_a_backup_that_was_cut_off_anywhere_is_refused(tmp_path: Path, clock: FakeClock) -> None:
    run(_closed(filled(tmp_path / "store.db", clock)))
    back_up(tmp_path / "store.db", tmp_path / "backup.db")
    whole = (tmp_path / "backup.db").read_bytes()
    codes: set[str] = set()
    for size in (0, 10, 100, 4096, len(whole) // 2, len(whole) - 4096, len(whole) - 1):
        (tmp_path / "cut.db").write_bytes(whole[:size])
        codes.add(refused(lambda: examined(tmp_path / "cut.db")).code)
    assert codes <= {"backup.damaged", "backup.not-a-store"}


async def _closed(opening: Coroutine[Any, Any, SqliteStore]) -> None:
    await (await opening).close()


def test_a_flipped_page_is_found(tmp_path: Path, clock: FakeClock) -> None:
    run(_closed(filled(tmp_path / "store.db", clock)))
    back_up(tmp_path / "store.db", tmp_path / "backup.db")
    content = bytearray((tmp_path / "backup.db").read_bytes())
    content[4096 * 3 : 4096 * 3 + 64] = b"\xff" * 64
    (tmp_path / "backup.db").write_bytes(content)
    assert refused(lambda: examined(tmp_path / "backup.db")).code == "backup.damaged"


def test_a_file_that_is_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("a shopping list\n" * 1_000)
    other = apsw.Connection(str(tmp_path / "other.db"))
    other.execute("CREATE TABLE t (a)")
    other.close()
    assert refused(lambda: examined(tmp_path / "text")).code == "backup.not-a-store"
    assert refused(lambda: examined(tmp_path / "other.db")).code == "backup.not-a-store"
    assert refused(lambda: examined(tmp_path / "nothing")).code == "backup.missing"
    assert refused(lambda: examined(tmp_path)).code == "backup.missing"


def test_a_backup_of_a_newer_version_is_refused_and_says_which_is_needed(tmp_path: Path, clock: FakeClock) -> None:
    run(_closed(filled(tmp_path / "store.db", clock)))
    newer = apsw.Connection(str(tmp_path / "store.db"))
    newer.execute("INSERT INTO migrations VALUES (99, 'later', 'x', 0)")
    newer.close()
    error = refused(lambda: examined(tmp_path / "store.db"))
    assert error.code == "store.schema-newer"
    assert "install that version" in error.remedy


def test_books_that_do_not_balance_are_told_and_the_copy_is_made_all_the_same(tmp_path: Path, clock: FakeClock) -> None:
    run(_closed(filled(tmp_path / "store.db", clock)))
    file = apsw.Connection(str(tmp_path / "store.db"))
    file.execute("DELETE FROM rows")
    file.close()
    assert back_up(tmp_path / "store.db", tmp_path / "backup.db").unbalanced == ["sub on s/0"]
    assert (tmp_path / "backup.db").exists()


def test_a_store_made_before_stores_had_an_id_is_known_by_its_tables(tmp_path: Path, clock: FakeClock) -> None:
    run(_closed(filled(tmp_path / "store.db", clock)))
    file = apsw.Connection(str(tmp_path / "store.db"))
    assert file.pragma("application_id") == APPLICATION_ID
    file.pragma("application_id", 0)
    file.close()
    assert examined(tmp_path / "store.db").events == 30


def test_a_database_of_another_program_never_becomes_a_store(tmp_path: Path, clock: FakeClock) -> None:
    other = apsw.Connection(str(tmp_path / "other.db"))
    other.execute("CREATE TABLE t (a)")
    other.close()
    before = (tmp_path / "other.db").read_bytes()
    assert refused(lambda: run(opened(tmp_path / "other.db", clock))).code == "store.foreign"
    assert (tmp_path / "other.db").read_bytes() == before


@pytest.mark.parametrize("failure", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_fails_or_fills_during_a_backup_leaves_nothing_and_the_former_backup_as_it_was(
    tmp_path: Path, clock: FakeClock, failure: int
) -> None:
    run(_closed(filled(tmp_path / "store.db", clock)))
    (tmp_path / "backup.db").write_bytes(b"the former one")
    with SimulatedVfs(f"backup-{failure}") as disk:
        disk.fail_at, disk.failure = 4, failure
        error = refused(lambda: back_up(tmp_path / "store.db", tmp_path / "backup.db", disk.name))
    assert disk.failed
    # What a simulated disk raises reaches us as an I/O error; a real full disk says `backup.no-room`.
    assert error.code in ("backup.no-room", "backup.failed")
    assert (tmp_path / "backup.db").read_bytes() == b"the former one"
    assert leftovers(tmp_path) == []


def test_a_backup_does_not_take_the_reserve_of_the_store(tmp_path: Path, clock: FakeClock) -> None:
    run(_closed(filled(tmp_path / "store.db", clock)))
    nearly = Room(64 * 1024 * 1024, 1 << 40)
    error = refused(lambda: back_up(tmp_path / "store.db", tmp_path / "backup.db", disk=lambda _: nearly))
    assert error.code == "backup.no-room"


def test_a_half_backup_of_a_killed_process_is_written_over_and_one_under_way_is_left_alone(
    tmp_path: Path, clock: FakeClock
) -> None:
    run(_closed(filled(tmp_path / "store.db", clock)))
    partial = tmp_path / f"backup.db{PARTIAL}"
    partial.write_bytes(b"half")
    assert back_up(tmp_path / "store.db", tmp_path / "backup.db").events == 30
    handle = os.open(partial, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        error = refused(lambda: back_up(tmp_path / "store.db", tmp_path / "backup.db"))
    finally:
        os.close(handle)
    assert error.code == "backup.running"
    assert partial.exists()


@pytest.mark.parametrize("target", ["nowhere/backup.db", ".", "store.db"])
def test_a_target_that_cannot_be_is_refused(tmp_path: Path, clock: FakeClock, target: str) -> None:
    run(_closed(filled(tmp_path / "store.db", clock)))
    assert refused(lambda: back_up(tmp_path / "store.db", tmp_path / target)).code == "backup.unwritable"
    assert examined(tmp_path / "store.db").events == 30


def test_after_a_restore_no_id_is_given_a_second_time_even_if_the_clock_has_gone_back(
    tmp_path: Path, clock: FakeClock
) -> None:
    async def story() -> None:
        store = await filled(tmp_path / "store.db", clock)
        back_up(tmp_path / "store.db", tmp_path / "backup.db")
        lost = [appended.id for number in range(10) for appended in await store.append([draft(f"lost-{number}")])]
        await store.close()
        former = contents(tmp_path / "store.db")
        assert former is not None
        assert former.newest_at is not None
        # The machine that restores it has a clock that is an hour behind.
        behind = FakeClock(clock.now() - US_PER_HOUR)
        assert restored(tmp_path / "backup.db", tmp_path / "store.db", behind, former.newest_at) is not None

        store = await opened(tmp_path / "store.db", behind)
        new = [appended.id for number in range(10) for appended in await store.append([draft(f"new-{number}")])]
        assert not set(new) & set(lost)
        # A receiver that compares ids to know what is newer is right all the time.
        assert min(new) > max(lost)
        again = await store.append([draft("lost-3")])
        assert not again[0].duplicate, "the backup knows nothing of it"
        known = await store.append([draft("7")])
        assert known[0].duplicate
        await store.close()
        assert examined(tmp_path / "store.db").events == 41

    run(story())


def test_after_a_restore_every_former_worker_is_fenced_and_its_calls_are_waited_for(
    tmp_path: Path, clock: FakeClock
) -> None:
    async def story() -> None:
        store = await filled(tmp_path / "store.db", clock)
        back_up(tmp_path / "store.db", tmp_path / "backup.db")
        for number in range(5):
            before = await Lane.open(store, f"w{number}")
        await store.close()
        restored(tmp_path / "backup.db", tmp_path / "store.db", clock)

        store = await opened(tmp_path / "store.db", clock)
        lease = await store.renew("new", LEASE_TTL_US)
        assert not isinstance(lease, LeaseLost)
        answer = await store.open(lease, [Assign(CursorId("sub", ONE), "beginning", frozenset({"t"}))])
        assert not isinstance(answer, LeaseLost)
        [found] = answer
        assert found.cursor.epoch > before.cursor.epoch + EPOCHS_PASSED // 2
        assert found.cursor.floor == 5
        assert found.former_dead
        assert found.former_until == clock.now() + LEASE_TTL_US
        before.store = store
        assert isinstance(await before.settle(floor=6), LeaseLost)
        await store.close()

    run(story())


def test_a_restore_keeps_the_former_store_with_what_only_its_log_held(tmp_path: Path, clock: FakeClock) -> None:
    async def story() -> None:
        store = await filled(tmp_path / "store.db", clock)
        back_up(tmp_path / "store.db", tmp_path / "backup.db")
        await store.append([draft("lost")])
        # As after SIGKILL: nothing was merged, nothing closed.
        store.abandon()

    run(story())
    aside = restored(tmp_path / "backup.db", tmp_path / "store.db", clock)
    assert aside is not None
    assert examined(aside).events == 31
    assert examined(tmp_path / "store.db").events == 30
    assert stat.S_IMODE((tmp_path / "store.db").stat().st_mode) == 0o600
    assert leftovers(tmp_path) == []
    # A second one within the second does not touch what the first has kept.
    other = restored(tmp_path / "backup.db", tmp_path / "store.db", clock)
    assert other not in (None, aside)
    assert examined(aside).events == 31


def test_a_damaged_store_is_put_aside_with_its_log(tmp_path: Path, clock: FakeClock) -> None:
    run(_closed(filled(tmp_path / "store.db", clock)))
    back_up(tmp_path / "store.db", tmp_path / "backup.db")
    (tmp_path / "store.db").write_bytes(b"\0" * 20_000)
    (tmp_path / "store.db-wal").write_bytes(b"what was left")
    aside = restored(tmp_path / "backup.db", tmp_path / "store.db", clock)
    assert aside is not None
    assert aside.read_bytes() == b"\0" * 20_000
    assert aside.with_name(f"{aside.name}-wal").read_bytes() == b"what was left"
    assert not (tmp_path / "store.db-wal").exists()
    assert examined(tmp_path / "store.db").events == 30


def test_a_restore_where_there_was_no_store_puts_nothing_aside(tmp_path: Path, clock: FakeClock) -> None:
    run(_closed(filled(tmp_path / "store.db", clock)))
    copy_of = tmp_path / "elsewhere.db"
    assert restored(tmp_path / "store.db", copy_of, clock) is None
    assert examined(copy_of).events == 30


def test_a_store_that_somebody_reads_is_not_put_aside(tmp_path: Path, clock: FakeClock) -> None:
    run(_closed(filled(tmp_path / "store.db", clock)))
    back_up(tmp_path / "store.db", tmp_path / "backup.db")
    reader = apsw.Connection(str(tmp_path / "store.db"), apsw.SQLITE_OPEN_READONLY)
    with reader:
        assert next(iter(reader.execute("SELECT count(*) FROM streams")))
        error = refused(lambda: restored(tmp_path / "backup.db", tmp_path / "store.db", clock))
    reader.close()
    assert error.code == "restore.busy"
    assert examined(tmp_path / "store.db").events == 30
    assert leftovers(tmp_path) == []


def test_a_disk_that_fills_while_a_backup_is_copied_leaves_the_store_as_it_was(
    tmp_path: Path, clock: FakeClock
) -> None:
    run(_closed(filled(tmp_path / "store.db", clock)))
    back_up(tmp_path / "store.db", tmp_path / "backup.db")
    before = (tmp_path / "store.db").read_bytes()
    with SimulatedVfs("restore-full") as disk:
        disk.fail_at, disk.failure = 2, errno.ENOSPC
        (tmp_path / "target").touch()
        error = refused(lambda: copy(tmp_path / "backup.db", tmp_path / "target", disk.name))
    assert error.code in ("backup.no-room", "backup.failed")
    assert (tmp_path / "store.db").read_bytes() == before


def test_an_id_holds_the_millisecond_so_the_new_time_begins_one_later(tmp_path: Path, clock: FakeClock) -> None:
    async def story() -> None:
        store = await filled(tmp_path / "store.db", clock)
        await store.close()
        restored(tmp_path / "store.db", tmp_path / "new.db", clock, clock.now())
        store = await opened(tmp_path / "new.db", clock)
        (appended,) = await store.append([draft("new")])
        assert appended.accepted_at >= clock.now() + US_PER_MS
        await store.close()

    run(story())


def synced(work: Callable[[], object]) -> list[tuple[str, str]]:
    """Which files are synced and which get a new name, in this order, as Python's profiler sees it."""
    seen: list[tuple[str, str]] = []

    def note(frame: FrameType, event: str, called: Any) -> None:
        if event == "c_call" and called is os.fsync:
            seen.append(("sync", frame.f_locals["path"].name))
        elif event == "c_call" and called is os.replace:
            seen.append(("name", frame.f_locals["target"].name))

    former = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(former)
    return seen


def test_a_copy_is_synced_before_it_gets_its_name_and_its_folder_afterwards(tmp_path: Path, clock: FakeClock) -> None:
    store, backup = tmp_path / "store.db", tmp_path / "backup.db"
    run(filled(store, clock)).abandon()
    folder = ("sync", tmp_path.name)
    assert synced(lambda: back_up(store, backup)) == [("sync", backup.name + PARTIAL), ("name", backup.name), folder]
    with prepared(backup, store, clock.now(), clock.now()) as partial:
        seen = synced(lambda: put_in_place(partial, store, clock.now()))
    assert seen[0] == ("sync", partial.name)
    assert seen[-2:] == [("name", store.name), folder]


async def with_large_payloads(path: Path, clock: FakeClock) -> SqliteStore:
    store = await filled(path, clock)
    await store.append([draft(name, data=large(name)) for name in ("x", "y", "z")])
    return store


async def with_one_more(path: Path, clock: FakeClock) -> SqliteStore:
    store = await opened(path, clock)
    await store.append([draft("x", data=large("x"))])
    return store


async def payloads(path: Path, clock: FakeClock) -> dict[str, bytes | str]:
    """By id, the large payloads of a store that is opened for this; why one is absent."""
    store = await opened(path, clock)
    events = [await store.whole(event) for event in (await store.read(ONE, 30, 100)).events]
    await store.close()
    return {event.draft.id: event.absent or event.draft.data for event in events}


WHOLE = {name: large(name) for name in ("x", "y", "z")}


def test_a_backup_carries_the_large_payloads_and_a_restore_puts_them_back(tmp_path: Path, clock: FakeClock) -> None:
    run(_closed(with_large_payloads(tmp_path / "store.db", clock)))
    made = back_up(tmp_path / "store.db", tmp_path / "backup.db")
    assert (made.bodies, made.bodies_bytes, made.bodies_lost) == (3, 3 * len(large("x")), 0)
    (tmp_path / "other").mkdir()
    (tmp_path / "backup.db").rename(tmp_path / "other" / "backup.db")
    assert restored(tmp_path / "other" / "backup.db", tmp_path / "other" / "store.db", clock) is None
    # The restored store is no larger for what it carried.
    assert (tmp_path / "other" / "store.db").stat().st_size < made.bodies_bytes
    assert run(payloads(tmp_path / "other" / "store.db", clock)) == WHOLE
    folder = tmp_path / "other" / "store.db.bodies"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(each.stat().st_mode) for each in folder.iterdir()} == {0o600}


def test_a_backup_that_is_opened_as_it_is_has_its_large_payloads(tmp_path: Path, clock: FakeClock) -> None:
    run(_closed(with_large_payloads(tmp_path / "store.db", clock)))
    back_up(tmp_path / "store.db", tmp_path / "backup.db")
    assert run(payloads(tmp_path / "backup.db", clock)) == WHOLE
    assert run(payloads(tmp_path / "backup.db", clock)) == WHOLE


def test_a_large_payload_that_is_lost_is_told_by_the_backup_and_costs_no_other(
    tmp_path: Path, clock: FakeClock
) -> None:
    run(_closed(with_large_payloads(tmp_path / "store.db", clock)))
    (tmp_path / "store.db.bodies" / Claim.of(large("y")).hash).unlink()
    made = back_up(tmp_path / "store.db", tmp_path / "backup.db")
    assert (made.bodies, made.bodies_lost) == (3, 1)
    assert run(payloads(tmp_path / "backup.db", clock)) == WHOLE | {"y": "missing"}


class Overtaken(DiskFiles):
    """Files that something happens to before the first of them is read."""

    def __init__(self, folder: Path, before: Callable[[], None]) -> None:
        super().__init__(folder)
        self._before = before

    def read(self, name: str) -> bytes | None:
        before, self._before = self._before, lambda: None
        before()
        return super().read(name)


def test_a_payload_that_retention_removes_while_it_is_copied_makes_the_copy_anew(
    tmp_path: Path, clock: FakeClock
) -> None:
    path = tmp_path / "store.db"
    run(_closed(with_large_payloads(path, clock)))

    async def retired() -> None:
        clock.jump(2 * BODY_ORPHAN_US)
        store = await opened(path, clock)
        await store.retire_subscription("sub")
        await store.append([draft("new", data=large("new"))])
        assert await store.retire("s", Retention(US_PER_HOUR, 10**12)) == 33
        assert (await store.collect()).files == 3
        await store.close()

    files = Overtaken(bodies_folder(path), lambda: run(retired()))
    made = back_up(path, tmp_path / "backup.db", files=files)
    assert (made.events, made.bodies, made.bodies_lost) == (1, 1, 0)


def test_a_restore_gives_the_former_store_its_large_payloads_for_its_own(tmp_path: Path, clock: FakeClock) -> None:
    run(_closed(filled(tmp_path / "store.db", clock)))
    back_up(tmp_path / "store.db", tmp_path / "backup.db")
    run(_closed(with_one_more(tmp_path / "store.db", clock)))
    aside = restored(tmp_path / "backup.db", tmp_path / "store.db", clock)
    assert aside is not None

    async def collected() -> None:
        clock.jump(2 * BODY_ORPHAN_US)
        store = await opened(tmp_path / "store.db", clock)
        assert (await store.collect()).files == 1
        await store.close()

    run(collected())
    assert run(payloads(aside, clock)) == {"x": large("x")}
    assert restored(aside, tmp_path / "store.db", clock) is not None
    assert run(payloads(tmp_path / "store.db", clock)) == {"x": large("x")}
