"""A workload of a store that can be interrupted anywhere, and what must hold of the store that is found afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.contract.store_contract import ONE, Lane, Recorder, draft

from interlock.core.cursor import CursorId, Row
from interlock.journal.memory import Inline
from interlock.journal.ports import CellWrite, Committed
from interlock.journal.sqlite import SqliteOptions, SqliteStore
from interlock.testing.clock import FakeClock

Acknowledged = dict[str, Any]
"""What was answered, by kind."""


async def open_store(
    path: Path, clock: FakeClock, vfs: str | None = None, wakeup: Recorder | None = None
) -> SqliteStore:
    options = SqliteOptions(vfs=vfs, window_events=16, segment_events=8)
    return await SqliteStore.open_file(path, clock, wakeup or Recorder(), Inline(), lambda *_, **__: None, options)


async def workload(store: Any, acknowledged: Acknowledged) -> None:
    """Appends, settlements and cells; what was answered stands in `acknowledged`, also when it ends early."""
    await store.make_stream("s", 1)
    acknowledged["stream"] = True
    lane = None
    for number in range(12):
        appended = await store.append([draft(f"{number}-{k}") for k in range(3)], [CellWrite(f"c{number}", b"1")])
        acknowledged.setdefault("events", []).extend((each.offset, f"{number}-{k}") for k, each in enumerate(appended))
        acknowledged.setdefault("cells", []).append(f"c{number}")
        if lane is None:
            lane = await Lane.open(store)
        settled = await lane.settle(
            floor=number * 3 + 1, put=[Row(number * 3 + 1, "a", "dead")], emit=[draft(f"emitted-{number}", "b")]
        )
        assert isinstance(settled, Committed)
        acknowledged["floor"] = lane.cursor.floor
        acknowledged.setdefault("rows", []).append(number * 3 + 1)


async def check(store: Any, acknowledged: Acknowledged) -> None:
    """All that was acknowledged is there, whole, offsets have no gaps, and the store goes on; may be asked twice."""
    if "stream" not in acknowledged:
        return
    oldest, newest = store.bounds(ONE)
    events = list((await store.read(ONE, 0, 1_000)).events)
    assert [event.offset for event in events] == list(range(oldest, newest + 1))
    by_offset = {event.offset: event.draft.id for event in events}
    for offset, id in acknowledged.get("events", []):
        assert by_offset[offset] == id
    # A group is there whole or not at all: three events with their cell, an emitted one with its row and floor.
    ids = {event.draft.id for event in events}
    assert len(ids) == len(events)
    cells = {cell.key for cell in await store.list("c")}
    assert set(acknowledged.get("cells", [])) <= cells
    rows = {row.offset for row in await store.rows(CursorId("sub", ONE), range(1, 40))}
    assert set(acknowledged.get("rows", [])) <= rows
    for number in range(12):
        assert {f"{number}-{k}" in ids for k in range(3)} == {f"c{number}" in cells}
        assert (f"emitted-{number}" in ids) == (number * 3 + 1 in rows)
    if "floor" in acknowledged:
        reopened = await Lane.open(store, "checker")
        assert reopened.cursor.floor == max(rows)
        assert reopened.cursor.floor >= acknowledged["floor"]
    (appended,) = await store.append([draft(f"after-{newest}")])
    assert appended.offset == newest + 1
    acknowledged["events"] = [*acknowledged.get("events", []), (appended.offset, f"after-{newest}")]
