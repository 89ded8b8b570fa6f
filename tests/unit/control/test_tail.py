"""The tail: from now, in order, nothing twice, and the truth about what was missed."""

from __future__ import annotations

from typing import Any

from tests.unit.control.stage import BOOK, STREAM, Stage, staged

from interlock.control.tail import RING_RECORDS, Recent, position
from interlock.core.event import Draft
from interlock.core.limits import US_PER_SECOND
from interlock.testing.clock import FakeClock


async def accept(stage: Stage, id: str) -> None:
    stage.clock.jump(1_000)
    await stage.store.append([Draft(STREAM, "settled@1", "/psp", id, b"{}", key=id)])


async def ask(stage: Stage, after: str | None, **more: int):
    query = "&".join(
        [*([f"after={after.replace(';', '%3B')}"] if after else []), *(f"{k}={v}" for k, v in more.items())]
    )
    return (await stage.get(f"/api/v1/tail?{query}")).json()


def test_it_begins_now_and_then_gives_each_event_and_failure_once_in_order() -> None:
    async def scenario(stage: Stage) -> None:
        first = await ask(stage, None)
        assert first["items"] == []
        await accept(stage, "a")
        stage.clock.jump(1_000)
        stage.recent("attempt.failed", event="evt_1", subscription=BOOK, status=503, error="http 503", duration_us=5)
        await accept(stage, "b")
        second = await ask(stage, first["next"])
        assert [item["what"] for item in second["items"]] == ["accepted", "attempt.failed", "accepted"]
        assert second["items"][1]["says"] == "status=503 error=http 503"
        third = await ask(stage, second["next"], wait_us=0)
        assert third["items"] == []

    staged(scenario)


def test_it_waits_for_what_comes_and_no_longer_than_asked() -> None:
    async def scenario(stage: Stage) -> None:
        start = (await ask(stage, None))["next"]
        before = stage.clock.monotonic()
        assert (await ask(stage, start, wait_us=US_PER_SECOND))["items"] == []
        assert stage.clock.monotonic() - before == US_PER_SECOND
        stage.clock.call_at(stage.clock.monotonic() + 300_000, lambda: stage.recent("x.y", system="s"))
        came = await ask(stage, start, wait_us=5 * US_PER_SECOND)
        assert [item["what"] for item in came["items"]] == ["x.y"]

    staged(scenario)


def test_a_process_that_stops_keeps_nobody_waiting() -> None:
    async def scenario(stage: Stage) -> None:
        start = (await ask(stage, None))["next"]
        before = stage.clock.monotonic()
        stage.clock.call_at(before + 300_000, stage.recent.close)
        ended = await ask(stage, start, wait_us=5 * US_PER_SECOND)
        assert (ended["items"], ended["next"]) == ([], start)
        assert stage.clock.monotonic() - before < 500_000

    staged(scenario)


def test_a_page_is_bounded_and_the_next_one_goes_on() -> None:
    async def scenario(stage: Stage) -> None:
        start = (await ask(stage, None))["next"]
        for n in range(5):
            await accept(stage, f"e{n}")
        seen: list[str] = []
        for _ in range(5):
            page = await ask(stage, start, limit=2, wait_us=0)
            assert len(page["items"]) <= 2
            seen += [item["event"] for item in page["items"]]
            start = page["next"]
        assert len(seen) == len(set(seen)) == 5

    staged(scenario)


def test_a_slow_reader_is_told_how_much_it_missed_and_a_restart_is_not_a_gap() -> None:
    recent = Recent(FakeClock())
    for _ in range(RING_RECORDS + 7):
        recent("a.b", system="s")
    items, missed = recent.after(0)
    assert (len(items), missed) == (RING_RECORDS, 7)
    fresh = Recent(FakeClock())
    fresh("a.b", system="s")
    assert len(fresh.after(500)[0]) == 1


def test_records_that_say_nothing_about_an_event_a_subscription_or_a_system_are_not_kept() -> None:
    recent = Recent(FakeClock())
    recent("control.request", route="/x", status=200)
    recent("settlement.committed", subscription=BOOK, shard=0, number=7, successes=0, attempts=1, dead=0)
    assert recent.last == 0
    recent("settlement.committed", subscription=BOOK, shard=0, number=8, successes=3, attempts=0, dead=0)
    (((_, item),), _) = recent.after(0)
    assert item.says == "successes=3"


def test_a_failure_says_when_it_is_tried_again() -> None:
    clock = FakeClock()
    recent = Recent(clock)
    recent("attempt.failed", event="evt_1", subscription=BOOK, state="due", due_at=clock.now() + 1_500_000)
    (((_, item),), _) = recent.after(0)
    assert item.says == "state=due next in 1500 ms"


def test_a_position_that_is_none_is_refused() -> None:
    async def scenario(stage: Stage) -> None:
        for text in ("x", "1|payments:x", "1|a:1_0", "%00", "1|a:[[[["):
            assert (await stage.get(f"/api/v1/tail?after={text}")).json()["code"] == "tail.position"

    staged(scenario)
    assert position("3|payments:1,2").offsets == {"payments": [1, 2]}


async def spread(stage: Stage, count: int) -> list[str]:
    """So many events, each a second after the one before, over both shards."""
    ids: list[str] = []
    for n in range(count):
        stage.clock.jump(US_PER_SECOND)
        [done] = await stage.store.append([Draft(STREAM, "settled@1", "/psp", f"spread-{n}", b"{}", key=f"k{n}")])
        assert not isinstance(done, str)
        ids.append(f"spread-{n}")
    return ids


async def followed(stage: Stage, page: dict[str, Any], **more: int) -> list[dict[str, Any]]:
    """All pages from there on until one is empty."""
    items: list[dict[str, Any]] = []
    while page := await ask(stage, page["next"], wait_us=0, **more):
        if not page["items"]:
            return items
        items += page["items"]
    return items


def test_pages_are_in_the_order_of_time_whatever_the_shard() -> None:
    async def scenario(stage: Stage) -> None:
        start = await ask(stage, None)
        await spread(stage, 20)
        stage.clock.jump(US_PER_SECOND)
        stage.recent("attempt.failed", event="evt_1", subscription=BOOK, status=503)
        items = await followed(stage, start, limit=3)
        assert [item["key"] for item in items[:-1]] == [f"k{n}" for n in range(20)]
        assert items[-1]["what"] == "attempt.failed"

    staged(scenario)


def test_it_begins_at_a_time_if_one_is_given_with_events_and_failures_since() -> None:
    async def scenario(stage: Stage) -> None:
        stage.recent("attempt.failed", event="evt_0", subscription=BOOK, status=500)
        await spread(stage, 10)
        since = stage.clock.now() - 4 * US_PER_SECOND
        stage.recent("attempt.failed", event="evt_1", subscription=BOOK, status=503)
        page = await ask(stage, None, since_at=since)
        assert page["items"] == []
        items = await followed(stage, page)
        assert [item.get("key") for item in items if item["what"] == "accepted"] == ["k5", "k6", "k7", "k8", "k9"]
        assert [item["event"] for item in items if item["what"] == "attempt.failed"] == ["evt_1"]
        future = await ask(stage, None, since_at=stage.clock.now() + US_PER_SECOND)
        assert await followed(stage, future) == []
        assert len(await followed(stage, await ask(stage, None, since_at=0))) == 6 + 10 + 2

    staged(scenario)


def test_a_reader_that_is_too_far_behind_is_moved_on_and_told_how_much_it_missed() -> None:
    async def scenario(stage: Stage) -> None:
        start = await ask(stage, None)
        await spread(stage, 30)
        patient = await ask(stage, start["next"], behind_max=30)
        assert (patient["skipped"], len(patient["items"])) == (0, 30)
        moved = await ask(stage, start["next"], behind_max=29)
        assert (moved["skipped"], moved["items"]) == (30, [])
        await accept(stage, "now")
        assert [item["key"] for item in (await ask(stage, moved["next"]))["items"]] == ["now"]

    staged(scenario)


def test_a_clock_that_was_set_back_loses_and_repeats_nothing() -> None:
    async def scenario(stage: Stage) -> None:
        start = await ask(stage, None)
        for n in range(6):
            await accept(stage, f"back-{n}")
            stage.clock.jump(-10 * US_PER_SECOND)
        items = await followed(stage, start, limit=1)
        assert sorted(item["key"] for item in items) == [f"back-{n}" for n in range(6)]

    staged(scenario)


def test_what_a_schedule_does_is_followed_too() -> None:
    recent = Recent(FakeClock())
    recent("schedule.failed", schedule="shop.tidy", due="2026-01-01T00:00:00+00:00", error="boom", failures=1)
    (((_, item),), _) = recent.after(0)
    assert (item.subscription, item.what) == ("shop.tidy", "schedule.failed")
    assert "error=boom" in item.says
