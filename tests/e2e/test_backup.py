"""`interlock db` as an operator uses it: a backup under load, one that is killed, and what a restore refuses."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import subprocess
import threading
from contextlib import closing
from pathlib import Path

from tests.e2e.project import Project

from interlock.core.event import Draft, Event, Shard
from interlock.journal.memory import Inline
from interlock.journal.sqlite import SqliteStore
from interlock.runtime.clock import SystemClock


class Deaf:
    """Emit and Wakeup that nobody hears."""

    def __call__(self, record: str, /, **fields: object) -> None: ...
    def appended(self, shard: Shard, events: list[Event]) -> None: ...
    def changed(self, cells: object) -> None: ...


def filled(path: Path, events: int) -> None:
    """A store with so many events of 4 kB, which take a moment to copy."""

    async def fill() -> None:
        store = await SqliteStore.open_file(path, SystemClock(), Deaf(), Inline(), Deaf())
        await store.make_stream("orders", 8)
        for start in range(0, events, 1_000):
            numbers = range(start, start + 1_000)
            await store.append([Draft("orders", "order.paid@1", "/t", f"{n}", b"x" * 4_000) for n in numbers])
        await store.close()

    path.parent.mkdir()
    asyncio.run(fill())


def test_a_backup_under_load_holds_what_was_acknowledged_before_it_and_holds_nobody_up(project: Project) -> None:
    told: list[str] = []
    stop = threading.Event()

    def load() -> None:
        for number in range(100_000):
            if stop.is_set():
                return
            assert project.hook(f"d-{number}", f"o-{number % 5}", number) == 202
            told.append(f"d-{number}")

    with project.running():
        thread = threading.Thread(target=load, daemon=True)
        thread.start()
        try:
            project.until(lambda: len(told) > 50)
            before = len(told)
            made = project.json("db", "backup", "under-load.db")
            after = len(told)
        finally:
            stop.set()
            thread.join()
        assert after > before + 10, "nothing was accepted while it ran"
        project.until(lambda: len(project.books.effects) == len(told))
        project.cli("doctor")
    assert stat.S_IMODE((project.folder / "under-load.db").stat().st_mode) == 0o600
    assert before <= made["events"] <= len(told)

    restored = project.cli("db", "restore", "under-load.db", "--yes", "--reason", "a rehearsal")
    assert f"not in the backup: {len(told) - made['events']} events accepted since" in restored.err
    assert set(told[:before]) <= logged(project)
    entry = project.json("events", "ls", "--stream", "_audit")["events"][0]
    assert "a rehearsal" in project.cli("events", "show", entry["id"], "-o", "json").out


def test_a_backup_that_is_killed_leaves_no_file_under_its_name(project: Project) -> None:
    filled(project.folder / ".interlock" / "interlock.db", 20_000)
    backup, partial = project.folder / "b.db", project.folder / "b.db.partial"
    process = project.spawn("db", "backup", "b.db", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    project.until(lambda: process.poll() is not None or (partial.exists() and partial.stat().st_size > 1_000_000))
    process.kill()
    process.wait()
    assert not backup.exists(), "it was quicker than this test"
    assert partial.exists()
    assert "error[backup.missing]" in project.cli("db", "restore", "b.db", code=1).err
    assert "error[backup." in project.cli("db", "restore", "b.db.partial", code=1).err
    assert project.json("db", "backup", "b.db")["events"] == 20_000
    assert not partial.exists()


def test_what_cannot_be_restored_is_refused_with_its_remedy_and_changes_nothing(project: Project) -> None:
    assert "error[cli.no-store]" in project.cli("db", "backup", "b.db", code=1).err
    with project.running():
        assert project.hook("d-1", "o-1", 1) == 202
        project.until(lambda: len(project.books.effects) == len(project.shelf.effects) == 1)
    assert "would write b.db  1 event," in project.cli("db", "backup", "b.db", "--dry-run").out
    assert not (project.folder / "b.db").exists()
    assert "1 event," in project.cli("db", "current").out
    project.cli("db", "backup", "b.db")
    whole = (project.folder / "b.db").read_bytes()
    (project.folder / "cut.db").write_bytes(whole[: len(whole) // 2])
    (project.folder / "text.db").write_text("not a database\n" * 500)
    with closing(sqlite3.connect(project.folder / "newer.db")) as newer:
        newer.deserialize(whole)
        newer.execute("INSERT INTO migrations VALUES (99, 'later', 'x', 0)")
        newer.commit()
        (project.folder / "newer.db").write_bytes(newer.serialize())
    refusals = {
        "cut.db": ("backup.damaged", "use another backup"),
        "text.db": ("backup.not-a-store", "give a file that `interlock db backup` has written"),
        "newer.db": ("store.schema-newer", "install that version again"),
        "nothing.db": ("backup.missing", "give the path of a backup"),
    }
    for name, (code, remedy) in refusals.items():
        told = project.cli("db", "restore", name, "--yes", code=1)
        assert f"error[{code}]" in told.err
        assert f"fix: {remedy}" in told.err
    assert "add --yes to agree" in project.cli("db", "restore", "b.db", code=2).err
    assert [each.name for each in (project.folder / ".interlock").iterdir() if "restor" in each.name] == []
    assert "d-1" in logged(project)


def logged(project: Project) -> set[str]:
    """The producers' ids in the store: read by SQLite alone, without our code."""
    with closing(sqlite3.connect(project.folder / ".interlock" / "interlock.db")) as file:
        tables = file.execute("SELECT name FROM sqlite_schema WHERE name GLOB 'events_*'").fetchall()
        return {id for (table,) in tables for (id,) in file.execute(f'SELECT id FROM "{table}"')}
