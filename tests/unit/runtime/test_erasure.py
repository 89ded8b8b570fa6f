"""Erasure over the production engine, as a person uses it: whatever state an event is in, nothing of it is left."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.unit.runtime.workbench import Line, Paid, Workbench, at_work

from interlock.control import erase_shapes, shapes, table
from interlock.control.audit import STREAM
from interlock.control.problem import Refused
from interlock.core.cursor import CursorId
from interlock.core.erasure import Erasure, encode_erasure, erasure_key
from interlock.journal.memory_disk import MemoryTx
from interlock.journal.ports import CellWrite, Erase, Forget


def asked(**members: Any) -> erase_shapes.EraseCommand:
    return erase_shapes.EraseCommand(**{"reason": "asked to by letter"} | members)


def held(bench: Workbench) -> str:
    """All that the disk holds, as text."""
    disk = bench.lab._disk
    parts: list[object] = [disk.cells, disk.files.names()]
    for stream in disk.streams.values():
        parts += [stream.identities, *((log.events, log.kept) for log in stream.shards)]
    parts += [(one.rows, one.marks, one.attempts, one.settled) for one in disk.ledgers.values()]
    return repr(parts)


def left_of(bench: Workbench) -> bool:
    return "ada-1815" in held(bench)


def sound(bench: Workbench) -> None:
    """The books of every cursor balance, on disk and in memory."""
    for lane in bench.lab._engine._fleet._lanes.values():
        assert lane.turn is not None
        left, right = lane.turn.equation()
        assert left == right, lane.id
    for one in bench.lab._disk.ledgers.values():
        cursor, counters = one.held.cursor, one.held.cursor.counters
        settled = counters.delivered + counters.filtered + counters.discarded
        open_rows = sum(row.state != "discarded" for row in one.rows.values())
        behind = sum(mark.count for mark in one.marks.values())
        assert cursor.floor - cursor.start + cursor.above.bit_count() == settled + open_rows + behind


async def refused(bench: Workbench, **members: Any) -> str:
    with pytest.raises(Refused) as caught:
        await bench.ask(table.ERASE, asked(**members))
    return caught.value.code


@pytest.mark.parametrize("on_dead", ["skip", "halt"])
def test_nothing_of_a_key_is_left_whatever_became_of_its_events(on_dead: str) -> None:
    async def story(bench: Workbench) -> None:
        await bench.put("ada-1815", "S-1", "delivered")
        await bench.put("ada-1815", "S-91-ada", "dead or held")
        for number in range(3):
            await bench.put("ada-1815", "S-2", f"behind {number}")
        kept = await bench.put("o-2", "S-91", "another's")
        assert left_of(bench)
        counted = await bench.ask(table.ERASE, asked(key="ada-1815", dry_run=True))
        assert (counted.job, counted.of, dict(counted.streams)) == (None, 5, {"shop": 5})
        done = await bench.ask(table.ERASE, asked(key="ada-1815"))
        assert (done.of, done.erased, done.done) == (5, 5, True)
        await bench.rest()
        log = "".join(str(event.draft.data) for event in bench.lab._disk.streams[STREAM].shards[0].events)
        left = held(bench) + log
        assert not [text for text in ("ada-1815", "S-91-ada", "behind 0", "dead or held") if text in left]
        sound(bench)
        # What is another's stays as it was.
        detail = await bench.ask(table.EVENT, shapes.EventAsked(kept))
        assert "S-91" in detail.payload
        assert {row.subscription: row.state for row in detail.subscriptions}["shop.pick"] != "settled"

    at_work(story, on_dead=on_dead)


def test_an_erased_event_is_shown_as_one_and_its_identity_is_known_for_as_long_as_before() -> None:
    async def story(bench: Workbench) -> None:
        id = await bench.put("o-1", "S-1", "once")
        await bench.ask(table.ERASE, asked(event=id))
        detail = await bench.ask(table.EVENT, shapes.EventAsked(id))
        assert detail.event.erased_at is not None
        assert (detail.event.id, detail.event.key, detail.event.source, detail.payload) == (id, None, "", "")
        draft = bench.paid.draft(Paid("o-1"), id="once")
        (again,) = await bench.store.append([draft])
        assert (again.id, again.duplicate, again.conflict) == (id, True, False)
        assert (await bench.ask(table.ERASE, asked(event=id))).of == 0

    at_work(story)


def test_an_attempt_under_way_ends_first_and_its_failure_leaves_nothing() -> None:
    async def story(bench: Workbench) -> None:
        bench.hangs = True
        id = await bench.put("ada-1815", "S-1", "under way")
        task = asyncio.ensure_future(table.ERASE.handler(bench.admin, "token[0]", asked(event=id, wait_us=1_000_000)))
        await bench.rest(2)
        answer = await task
        assert (answer.erased, answer.done) == (0, False)
        await bench.rest(40)
        assert not left_of(bench)
        sound(bench)
        assert not any(one.rows for one in bench.lab._disk.ledgers.values())

    at_work(story)


def test_what_waits_in_memory_is_not_delivered_once_the_erasure_is_acknowledged() -> None:
    async def story(bench: Workbench) -> None:
        who = shapes.ControlCommand("shop.pick", reason="tests")
        await bench.ask(table.SUBSCRIPTION_PAUSE, who)
        await bench.put("ada-1815", "S-1", "waits")
        lane = next(
            lane
            for lane in bench.lab._engine._fleet._lanes.values()
            if lane.id.subscription == "shop.pick" and lane.turn is not None and lane.turn.window
        )
        done = await bench.ask(table.ERASE, asked(key="ada-1815"))
        assert done.done
        assert lane.turn is not None
        assert not lane.turn.window
        await bench.ask(table.SUBSCRIPTION_RESUME, who)
        await bench.rest(2)
        assert bench.lab.system(bench.warehouse).accepted == []
        sound(bench)

    at_work(story)


@pytest.mark.parametrize("after", range(12))
def test_an_erasure_whose_process_dies_at_any_step_is_finished_by_the_next(after: int) -> None:
    async def story(bench: Workbench) -> None:
        await bench.put("ada-1815", "S-1", "delivered")
        await bench.put("ada-1815", "S-91", "held")
        await bench.put("ada-1815", "S-1", "behind")
        erasure = Erasure(bench.lab.clock.now(), 3, key="ada-1815", streams=("shop",))
        await bench.store.put([CellWrite(erasure_key("job_1"), encode_erasure(erasure))])
        for _ in range(after):
            await asyncio.sleep(0)
        await bench.restart()
        await bench.rest(70)
        assert not left_of(bench)
        sound(bench)
        pick = [one for id, one in bench.lab._disk.ledgers.items() if id.subscription == "shop.pick"]
        assert not any(one.rows or one.marks for one in pick)

    at_work(story, on_dead="halt")


@pytest.mark.parametrize("after", range(0, 60, 3))
def test_an_erasure_that_begins_at_any_moment_leaves_nothing_and_the_key_goes_on(after: int) -> None:
    async def story(bench: Workbench) -> None:
        bench.emits = True
        skus = ["S-1", "S-1", "S-91", "S-1", "S-2", "S-1"]
        drafts = [bench.paid.draft(Paid("ada-1815", [Line(sku)]), id=f"ada-1815-{n}") for n, sku in enumerate(skus)]
        await bench.store.append([*drafts, bench.paid.draft(Paid("o-2"), id="o-2")])
        for _ in range(after):
            await asyncio.sleep(0)
        await bench.ask(table.ERASE, asked(key="ada-1815"))
        await bench.rest(2)
        sound(bench)
        # What an attempt emitted has another key: its id is its maker's, and says whose it was.
        others = [event for log in bench.lab._disk.streams["shop"].shards for event in log.events if event.draft.key]
        assert {event.draft.key for event in others} <= {"o-2", "emitted"}
        sent = len(bench.lab.system(bench.warehouse).accepted)
        bench.emits = False
        await bench.put("ada-1815", "S-1", "anew")
        assert len(bench.lab.system(bench.warehouse).accepted) == sent + 1
        await bench.restart()
        await bench.rest(70)
        sound(bench)
        assert len(bench.lab.system(bench.warehouse).accepted) == sent + 1

    at_work(story, on_dead="halt")


def test_what_a_mark_counts_leaves_it_and_the_key_goes_on() -> None:
    async def story(bench: Workbench) -> None:
        await bench.put("o-1", "S-91", "held")
        behind = [await bench.put("o-1", "S-1", f"behind {number}") for number in range(3)]
        await bench.rest(120)
        assert [mark.count for one in bench.lab._disk.ledgers.values() for mark in one.marks.values()] == [3]
        await bench.ask(table.ERASE, asked(event=behind[1]))
        sound(bench)
        assert [mark.count for one in bench.lab._disk.ledgers.values() for mark in one.marks.values()] == [2]
        await bench.ask(table.ERASE, asked(key="o-1"))
        sound(bench)
        assert not any(one.marks or one.rows for one in bench.lab._disk.ledgers.values())

    at_work(story, on_dead="halt")


def test_a_tombstone_that_a_lane_comes_to_later_is_filtered_without_a_call() -> None:
    async def story(bench: Workbench) -> None:
        who = shapes.ControlCommand("shop.pick", reason="tests")
        await bench.ask(table.SUBSCRIPTION_PAUSE, who)
        await bench.put("o-1", "S-1", "1")
        (event,) = (log.events[0] for log in bench.lab._disk.streams["shop"].shards if log.events)
        done = CellWrite("erasure/none", encode_erasure(Erasure(0, 0, ended_at=1)))
        # No lane is asked: the process is not there any more.
        commit = MemoryTx(bench.lab._disk, bench.lab.clock.now(), {})
        commit.erase(Erase(event.shard, [1], "job_1", b"{}"))
        commit.forget(Forget(event.shard, [1], "job_1", None, done))
        await bench.restart()
        await bench.rest(70)
        await bench.ask(table.SUBSCRIPTION_RESUME, who)
        await bench.rest(2)
        assert bench.lab.system(bench.warehouse).accepted == []
        sound(bench)
        one = bench.lab._disk.ledgers[CursorId("shop.pick", event.shard)]
        assert (one.held.cursor.counters.filtered, one.attempts, one.rows) == (1, [], {})

    at_work(story)


def test_an_erased_event_is_not_replayed() -> None:
    async def story(bench: Workbench) -> None:
        id = await bench.put("o-1", "S-1", "1")
        await bench.ask(table.ERASE, asked(event=id))
        before = bench.state[1]
        done = await bench.ask(table.REPLAY, shapes.ReplayCommand(events=(id,), reason="tests"))
        assert done.answers == {"not-found": 2}
        assert bench.state[1] == before

    at_work(story)


def test_it_is_refused_without_a_reason_without_a_choice_and_for_the_audit() -> None:
    async def story(bench: Workbench) -> None:
        assert await refused(bench) == "erase.unselected"
        assert await refused(bench, key="a", event="evt_1") == "erase.unselected"
        assert await refused(bench, event="evt_1", stream="shop") == "erase.unselected"
        assert await refused(bench, key="a", reason=" ") == "erase.reason-missing"
        assert await refused(bench, key="a", stream="elsewhere") == "stream.unknown"
        await bench.put("o-1", "S-1", "1")
        await bench.ask(table.ERASE, asked(key="o-1"))
        assert await refused(bench, key="a", stream=STREAM) == "erase.audit"
        entry = bench.lab._disk.streams[STREAM].shards[0].events[0]
        assert await refused(bench, event=entry.id) == "erase.audit"

    at_work(story)
