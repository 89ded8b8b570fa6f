"""Replay by command: which events are meant, what is refused with what instead, and what speaks against it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.unit.control.stage import BOOK, CURSOR, STREAM, Stage, staged

from interlock.control import replay, shapes
from interlock.control.audit import STREAM as AUDIT
from interlock.control.audit import AuditEntry, Who
from interlock.control.problem import Refused
from interlock.core.controls import Control, encode_control, subscription_control_key
from interlock.core.cursor import Attempt, Counters, CursorId, Row, Success
from interlock.core.event import Draft, Shard
from interlock.core.ids import minted_id
from interlock.core.limits import LEASE_TTL_US, REQUEST_ASKED_US, US_PER_SECOND
from interlock.core.requests import decode_request, request_prefix
from interlock.journal.ports import Assign, CellWrite, Committed, Lease, Retention, Settlement
from interlock.testing.clock import FIRST_NOW

KEY = "k1"


async def ids(stage: Stage) -> list[str]:
    """The ids of the events of the shard, by offset from 1."""
    return [event.id for event in (await stage.store.read(CURSOR.shard, 0, 100)).events]


async def ask(stage: Stage, **members: Any) -> Any:
    return (await stage.post("/api/v1/replay", members)).json()


async def settle(stage: Stage, name: str, **changes: Any) -> None:
    """Commit for another cursor of the shard."""
    lease = await stage.store.renew("w1", LEASE_TTL_US)
    assert isinstance(lease, Lease)
    (opened,) = await stage.store.open(
        lease, [Assign(CursorId(name, CURSOR.shard), "beginning", frozenset({"settled@1"}))]
    )  # type: ignore[misc]
    cursor = opened.cursor
    fields = {"floor": cursor.floor, "above": cursor.above, "counters": cursor.counters} | changes
    (done,) = await stage.store.commit([Settlement(cursor.id, "w1", cursor.epoch, 1, **fields)])
    assert isinstance(done, Committed)


def test_a_settled_event_is_asked_of_its_lane_and_audited() -> None:
    async def scenario(stage: Stage) -> None:
        stage.process.answer = "replayed"
        one, *_ = await ids(stage)
        dry = await ask(stage, events=[one], dry_run=True)
        assert (dry["job"], dry["of"], dry["events"]) == (None, 1, [one])
        assert await stage.store.list(request_prefix(CURSOR)) == []
        done = await ask(stage, events=[one[:-1]], reason="lost", actor="ann")
        assert (done["of"], done["applied"], done["answers"]) == (1, 1, {"replayed": 1})
        assert [(share["subscription"], share["events"]) for share in done["shares"]] == [(BOOK, 1)]
        (cell,) = await stage.store.list(request_prefix(CURSOR))
        request = decode_request(cell.value)
        assert (request.verb, request.offsets, request.reason, request.pace_us) == ("replay", (1,), "lost", 0)
        (event,) = (await stage.store.read(Shard(AUDIT, 0), 0, 9)).events
        entry = msgspec.json.decode(event.draft.data, type=AuditEntry)
        assert (entry.action, entry.subject, entry.actor) == ("event.replay", done["job"], "token[0] (ann)")
        assert ("control.command", "event.replay") in [(n, f.get("verb")) for n, f in stage.records.all]

    staged(scenario)


@pytest.mark.parametrize(
    ("offset", "state", "instead"),
    [
        (2, "dead", "interlock dead retry --event"),
        (4, "held", "interlock dead skip --event"),
        (6, "waiting", "wait for it"),
    ],
)
def test_an_event_that_is_not_settled_is_refused_with_what_to_do_instead(offset: int, state: str, instead: str) -> None:
    async def scenario(stage: Stage) -> None:
        id = (await ids(stage))[offset - 1]
        told = await stage.post("/api/v1/replay", {"events": [id]})
        assert (told.status, told.json()["code"]) == (409, "replay.nothing")
        assert instead in told.json()["remedy"]
        assert id in told.json()["detail"]
        both = await ask(stage, events=[id, (await ids(stage))[0]], dry_run=True)
        assert (both["of"], [(one["event"], one["state"]) for one in both["passed_over"]]) == (1, [(id, state)])

    staged(scenario)


def test_a_discarded_event_is_to_be_restored_and_one_that_was_never_covered_is_told() -> None:
    async def scenario(stage: Stage) -> None:
        await settle(stage, BOOK, put=[Row(2, None, "discarded")], counters=Counters(1, 0, 1, 1))
        told = await stage.post("/api/v1/replay", {"events": [(await ids(stage))[1]]})
        assert "interlock dead restore --event" in told.json()["remedy"]
        await stage.store.append([Draft(STREAM, "other@1", "/psp", "x", b"{}", key="q")])
        other = next(event.id for event in await stage.views.events(replay.EventsQuery(type="other@1")))
        for members in ({"events": [other]}, {"events": [other], "subscription": BOOK}):
            told = await stage.post("/api/v1/replay", members)
            assert (told.status, "covered it" in told.json()["detail"]) == (409, True)
        assert (await ask(stage, type="other@1"))["of"] == 0, "a filter means what was settled of what fits"

    staged(scenario)


def test_a_subscription_that_brings_delayed_events_on_replays_nothing() -> None:
    async def scenario(stage: Stage) -> None:
        plan = stage.admin.reading.plan
        assert plan is not None
        delay = msgspec.structs.replace(plan.subscriptions[BOOK], kind="delay")
        reading = stage.admin.reading._replace(plan=msgspec.structs.replace(plan, subscriptions={BOOK: delay}))
        with pytest.raises(Refused) as refused:
            await replay.command(
                reading, stage.commands, Who("ann", ""), shapes.ReplayCommand(events=(await ids(stage))[:1])
            )
        assert refused.value.code == "replay.nothing"

    staged(scenario)


def test_a_retired_event_is_told_from_one_that_never_was() -> None:
    async def scenario(stage: Stage) -> None:
        one, *_ = await ids(stage)
        await settle(stage, BOOK, floor=6, counters=Counters(delivered=2, dead=2))
        stage.clock.jump(10 * US_PER_SECOND)
        assert await stage.store.retire(STREAM, Retention(0, 1)) == 6
        told = await stage.post("/api/v1/replay", {"events": [one]})
        assert (told.status, told.json()["code"]) == (410, "event.retired")
        assert (await ask(stage, events=["evt_0000"]))["code"] == "event.unknown"
        assert (await ask(stage, events=["evt_zz"]))["code"] == "id.malformed"

    staged(scenario)


def test_what_is_newer_of_the_same_key_and_delivered_already_is_counted() -> None:
    async def scenario(stage: Stage) -> None:
        key = (await stage.store.fetch(CURSOR.shard, [1]))[0].draft.key
        drafts = [Draft(STREAM, "settled@1", "/psp", f"n{n}", b"{}", key=key) for n in range(3)]
        await stage.store.append([*drafts, Draft(STREAM, "other@1", "/psp", "no", b"{}", key=key)])
        # 1, 7 and 8 are delivered, 9 is not yet, 10 is of another type.
        await settle(stage, BOOK, floor=8, counters=Counters(delivered=4, dead=2))
        all_ids = await ids(stage)
        (share,) = (await ask(stage, events=[all_ids[0]], dry_run=True))["shares"]
        assert (share["newer"], share["keys"]) == (2, [{"key": key, "events": 2}])
        (share,) = (await ask(stage, events=[all_ids[0], all_ids[7]], dry_run=True))["shares"]
        assert share["newer"] == 1, "what is replayed itself is in its order"
        assert (await ask(stage, key=key, dry_run=True))["shares"][0]["newer"] == 0

    staged(scenario)


def test_a_share_tells_whether_it_is_paused_and_which_calls_act_twice() -> None:
    async def scenario(stage: Stage) -> None:
        await settle(stage, BOOK, effects=frozenset({"once", "natural"}))
        key = subscription_control_key(BOOK)
        await stage.store.put([CellWrite(key, encode_control(Control(paused=True)))])
        (share,) = (await ask(stage, events=(await ids(stage))[:1], dry_run=True))["shares"]
        assert (share["paused"], share["effects"]) == (True, ["natural", "once"])

    staged(scenario)


def test_a_pace_is_shared_by_the_lanes_and_lasts_a_day_at_most() -> None:
    async def scenario(stage: Stage) -> None:
        await settle(stage, BOOK, floor=6, counters=Counters(delivered=2, dead=2))
        one, *_, last = await ids(stage)
        stage.process.deaf = True
        done = await ask(stage, events=[one, last], per_second=0.5)
        assert (done["takes_us"], done["of"]) == (4 * US_PER_SECOND, 2)
        (cell,) = await stage.store.list(request_prefix(CURSOR))
        assert decode_request(cell.value).pace_us == 2 * US_PER_SECOND
        assert cell.expires_at == stage.clock.now() + 4 * US_PER_SECOND + REQUEST_ASKED_US
        for pace in (0, -1, 1e-6, 1e9):
            assert (await ask(stage, events=[one], per_second=pace))["code"] == "replay.pace"

    staged(scenario)


def test_what_is_meant_must_be_said_in_one_way() -> None:
    async def scenario(stage: Stage) -> None:
        one, *_ = await ids(stage)
        for members in ({}, {"events": [one], "key": "k"}, {"events": [one] * 1_001}):
            assert (await ask(stage, **members))["code"] == "replay.unselected"
        assert (await ask(stage, events=[one], subscription="payments.nope"))["code"] == "subscription.unknown"
        assert (await ask(stage, since_at=FIRST_NOW, dry_run=True))["events"][:1] == [one]
        later = await ask(stage, after=one, dry_run=True)
        assert (later["of"], one in later["events"]) == (1, False)
        assert {each["state"] for each in later["passed_over"]} == {"dead", "held", "waiting"}

    staged(scenario)


def test_a_filter_takes_the_oldest_and_says_where_it_was_cut() -> None:
    async def scenario(stage: Stage) -> None:
        key = (await stage.store.fetch(CURSOR.shard, [1]))[0].draft.key
        count = replay.EVENTS_MAX + 5
        await stage.store.append([Draft(STREAM, "settled@1", "/psp", f"m{n}", b"1", key=key) for n in range(count)])
        await settle(stage, BOOK, floor=6 + count, counters=Counters(delivered=2 + count, dead=2))
        first = await ask(stage, key=key, dry_run=True)
        assert (first["of"], first["more"]) == (replay.EVENTS_MAX, (await ids_of(stage, key))[replay.EVENTS_MAX - 1])
        assert first["shares"][0]["newer"] == 6
        rest = await ask(stage, key=key, after=first["more"], dry_run=True)
        assert (rest["of"], rest["more"]) == (6, None)

    staged(scenario)


async def ids_of(stage: Stage, key: str | None) -> list[str]:
    found = await stage.views.events(replay.EventsQuery(key=key, limit=5_000))
    return [event.id for event in reversed(found)]


def test_the_timeline_has_a_moment_for_each_time_that_a_person_put_the_event_back() -> None:
    async def scenario(stage: Stage) -> None:
        job = minted_id("job_", stage.clock.now() + 5_000, b"random")
        other = minted_id("job_", stage.clock.now() + 9_000, b"random")
        at = stage.clock.now() + 6_000
        asked = {"trigger": "replay", "actor": "ann", "job": job, "why": "lost"}
        await settle(
            stage,
            BOOK,
            counters=Counters(dead=2),
            attempts=[Attempt(f"att_{n}", 1, n, at + n, 10, "later", **asked) for n in (2, 3)],  # type: ignore[arg-type]
            successes=[Success(1, at - 9_000, 1, 0, filtered=True)],
            put=[Row(1, KEY, "due", due_at=at, trigger="replay", job=other, actor="bob", why="again", replays=2)],
        )
        shown = (await stage.get(f"/api/v1/events/{(await ids(stage))[0]}")).json()
        moments = [moment for moment in shown["timeline"] if moment["what"] == "replay"]
        assert [(each["job"], each["actor"], each["why"]) for each in moments] == [
            (job, "ann", "lost"),
            (other, "bob", "again"),
        ]
        assert moments[0]["at"] == (stage.clock.now() + 5_000) // 1_000 * 1_000
        assert [each["outcome"] for each in shown["timeline"] if each["what"] == "attempt"][:2] == ["filtered", "done"]
        (passage,) = shown["subscriptions"]
        assert (passage["state"], passage["trigger"], passage["actor"], passage["why"]) == (
            "due",
            "replay",
            "bob",
            "again",
        )

    staged(scenario)
