"""Erasure from the SQLite store: what was erased stands in no file of the folder, nor after a power cut at any step."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random
from typing import Any

import apsw
from tests.conftest import Some
from tests.contract.store_contract import ONE, Lane, Recorder, Steps, draft

from interlock.core.cursor import Attempt, Row
from interlock.core.limits import BODY_INLINE_BYTES_MAX
from interlock.journal.memory import Inline
from interlock.journal.ports import CellWrite, Committed
from interlock.journal.sqlite import SqliteOptions, SqliteStore
from interlock.testing.clock import FakeClock
from interlock.testing.sim.vfs import SimulatedVfs, put

SECRET = b"ada-lovelace-1815"


async def opened(path: Path, clock: FakeClock, vfs: str | None = None) -> SqliteStore:
    options = SqliteOptions(vfs=vfs, window_events=16, segment_events=8)
    return await SqliteStore.open_file(path, clock, Recorder(), Inline(), lambda *_, **__: None, options)


async def filled(store: Any) -> None:
    """Small and large events of the key `SECRET` among others, with a row, a memo, an attempt and a cell about them."""
    await store.make_stream("s", 1)
    key = SECRET.decode()
    for number in range(6):
        mine = draft(f"{key}-{number}", key, data=SECRET * (number + 1), headers=(("x", key),), subject=key)
        await store.append([mine, draft(f"other-{number}", "b", data=b"stays")])
    await store.append([draft(f"{key}-large", key, data=SECRET * BODY_INLINE_BYTES_MAX)])
    lane = await Lane.open(store)
    row = Row(1, key, "due", due_at=0, error=key, memo=SECRET * 300)
    attempt = Attempt("att_1", 1, 1, 0, 1, "later", error=key, detail=key, request=key * 900, response=key * 900)
    for changes in ({"put": [row], "attempts": [attempt]}, {"clear": [1]}):
        assert isinstance(await lane.settle(floor=1, **changes), Committed)
    await store.put([CellWrite(f"newest/sub/s/0/{key}", b"1")])


def found_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and SECRET in path.read_bytes())


def test_what_was_erased_is_in_no_file_once_the_last_step_is_acknowledged(tmp_path: Path) -> None:
    async def story() -> None:
        store = await opened(tmp_path / "store.db", FakeClock())
        await filled(store)
        assert found_in(tmp_path)
        await Steps(store, SECRET.decode()).all()
        assert found_in(tmp_path) == []
        await store.close()
        assert found_in(tmp_path) == []
        again = await opened(tmp_path / "store.db", FakeClock())
        events = (await again.read(ONE, 0, 100)).events
        assert [event.offset for event in events] == [*range(1, 14)]
        assert sum(event.erased_at is not None for event in events) == 7
        assert {event.draft.data for event in events if event.erased_at is None} == {b"stays"}
        known = await again.append([draft(f"{SECRET.decode()}-0", SECRET.decode(), data=b"again")])
        assert (known[0].duplicate, known[0].conflict, known[0].offset) == (True, False, 1)
        await again.close()

    asyncio.run(story())


def test_a_power_cut_at_any_step_leaves_an_erasure_that_can_be_done_again(tmp_path: Path, some: Some) -> None:
    async def story() -> None:
        clock, moments, chance = FakeClock(), list[dict[str, bytes]](), Random(1)
        with SimulatedVfs("erase") as disk:
            store = await opened(tmp_path / "store.db", clock, disk.name)
            await filled(store)
            disk.on_call = lambda: moments.append(disk.found(chance if len(moments) % 2 else None))
            await Steps(store, SECRET.decode()).all()
            store.abandon()
        assert len(moments) > 20
        for n in some(len(moments), 30):
            folder = tmp_path / f"cut-{n}"
            put(moments[n - 1], folder)
            again = await opened(folder / "store.db", clock)
            await Steps(again, SECRET.decode()).all()
            await again.close()
            assert found_in(folder) == []
            check = apsw.Connection(str(folder / "store.db"))
            assert list(check.execute("PRAGMA integrity_check")) == [("ok",)]
            check.close()

    asyncio.run(story())
