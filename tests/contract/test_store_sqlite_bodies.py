"""Large payloads of the SQLite store: on a real folder, in an older file, and when the power goes at any step."""

from __future__ import annotations

import asyncio
import stat
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import NamedTuple

import apsw
from tests.conftest import Some
from tests.contract.store_contract import ONE, Lane, Recorder, draft, large

from interlock.core.event import Claim
from interlock.journal.memory import Inline
from interlock.journal.memory_files import MemoryFiles
from interlock.journal.ports import Committed
from interlock.journal.sqlite import SqliteOptions, SqliteStore
from interlock.journal.sqlite.files import DiskFiles, bodies_folder
from interlock.testing.clock import FakeClock
from interlock.testing.sim.ports import SimRandom
from interlock.testing.sim.vfs import SimulatedVfs, put


async def opened(path: Path, clock: FakeClock, files: MemoryFiles | None = None, vfs: str | None = None) -> SqliteStore:
    options = SqliteOptions(vfs=vfs, window_events=16, segment_events=8, files=files)
    return await SqliteStore.open_file(path, clock, Recorder(), Inline(), lambda *_, **__: None, options)


def test_files_and_their_folder_are_for_this_user_only_and_stand_beside_the_store(tmp_path: Path) -> None:
    async def story() -> None:
        clock = FakeClock()
        store = await opened(tmp_path / "store.db", clock)
        await store.make_stream("s", 1)
        assert not bodies_folder(tmp_path / "store.db").exists()
        await store.append([draft("1", data=large("1"))])
        folder = tmp_path / "store.db.bodies"
        (file,) = folder.iterdir()
        assert (stat.S_IMODE(folder.stat().st_mode), stat.S_IMODE(file.stat().st_mode)) == (0o700, 0o600)
        assert (file.name, file.read_bytes()) == (Claim.of(large("1")).hash, large("1"))
        assert DiskFiles(folder).names() == {file.name: (len(large("1")), clock.now())}
        await store.close()

    asyncio.run(story())


def test_a_store_of_the_version_before_goes_on_with_its_payloads_where_they_are(tmp_path: Path) -> None:
    async def story() -> None:
        clock, path = FakeClock(), tmp_path / "store.db"
        store = await opened(path, clock)
        await store.make_stream("s", 1)
        await store.append([draft("small"), draft("in its row", data=b"?")])
        await store.close()
        before = apsw.Connection(str(path))
        before.execute("UPDATE events_1_1 SET data = ? WHERE n = 2", (large("old"),))
        before.execute("DROP TABLE bodies; DELETE FROM migrations WHERE number >= 6")
        before.close()

        store = await opened(path, clock)
        await store.append([draft("in a file", data=large("new"))])
        again = (await store.append([draft("in its row", data=large("old"))]))[0]
        assert (again.duplicate, again.conflict) == (True, False)
        events = (await store.read(ONE, 0, 10)).events
        assert [event.claim is None for event in events] == [True, True, False]
        assert [(await store.whole(event)).draft.data for event in events] == [b"{}", large("old"), large("new")]
        await store.close()

    asyncio.run(story())


class Moment(NamedTuple):
    """What a power cut would have left at a step, and which payloads had been acknowledged by then, by offset."""

    files: dict[str, bytes]
    bodies: MemoryFiles
    acknowledged: dict[int, bytes]


def test_a_power_cut_at_any_step_leaves_every_acknowledged_payload_whole(tmp_path: Path, some: Some) -> None:
    async def story() -> None:
        clock, bodies, chance = FakeClock(), MemoryFiles(), Random(5)
        moments: list[Moment] = []
        acknowledged: dict[int, bytes] = {}
        with SimulatedVfs("large payloads") as disk:

            def note(_: str = "") -> None:
                left = deepcopy(bodies, {id(bodies.before): None})
                left.before = lambda _: None
                left.power_cut(SimRandom(chance))
                moments.append(Moment(disk.found(chance if len(moments) % 2 else None), left, dict(acknowledged)))

            disk.on_call = bodies.before = note
            store = await opened(tmp_path / "store.db", clock, bodies, disk.name)
            await store.make_stream("s", 1)
            lane = await Lane.open(store)
            for number in range(6):
                data = large(f"{number // 2}")
                (appended,) = await store.append([draft(f"{number}", data=data)])
                acknowledged[appended.offset] = data
                emitted = large(f"e{number}")
                settled = await lane.settle(floor=appended.offset, emit=[draft(f"e{number}", data=emitted)])
                assert isinstance(settled, Committed)
                acknowledged[appended.offset + 1] = emitted
            store.abandon()
        assert len(moments) > 60
        for n in some(len(moments), 40):
            moment, folder = moments[n - 1], tmp_path / f"{n}"
            put(moment.files, folder)
            store = await opened(folder / "store.db", clock, moment.bodies)
            if moment.acknowledged:
                events = {event.offset: event for event in (await store.read(ONE, 0, 100)).events}
                for offset, data in moment.acknowledged.items():
                    assert (await store.whole(events[offset])).draft.data == data
                for event in events.values():
                    assert (await store.whole(event)).absent is None, "nothing refers to a file that is not durable"
            store.abandon()

    asyncio.run(story())
