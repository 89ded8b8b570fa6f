"""What the read-only views answer: one suite for every backend, as `store_contract`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.contract.store_contract import A_DAY, ONE, TTL, Lane, World, append_whole, draft, on_loop, stream_of

from interlock.core.cursor import Attempt, Counters, CursorId, Mark, Row, Success
from interlock.core.errors import InterlockError
from interlock.core.event import Shard
from interlock.core.limits import US_PER_DAY, US_PER_SECOND
from interlock.journal.views import EventsQuery, RowsQuery, Seen

ALL = EventsQuery(limit=1_000)


async def three_streams(store: Any, world: World) -> list[str]:
    """Events over three streams and some hours; their ids, oldest first."""
    ids: list[str] = []
    for name in ("a", "b", "s"):
        await store.make_stream(name, 3)
    for number in range(12):
        drafts = [
            draft(f"{number}-{k}", f"key{k}", stream="abs"[(number + k) % 3], type="odd@1" if k % 2 else "even@1")
            for k in range(4)
        ]
        appended = await store.append(drafts)
        order = sorted(zip(drafts, appended, strict=True), key=lambda pair: pair[0].stream)
        ids += [each.id for _, each in order]
        world.clock.jump(3_600 * US_PER_SECOND)
    return ids


class ViewsContract:
    """The promises of `journal/views.py`, each as a test."""

    def make_world(self, folder: Path) -> World:
        raise NotImplementedError

    @on_loop
    async def test_events_come_newest_first_over_all_streams(self, world: World) -> None:
        store = await world.open()
        ids = await three_streams(store, world)
        views = store.views()
        assert [event.id for event in await views.events(ALL)] == ids[::-1]
        assert [event.id for event in await views.events(EventsQuery(limit=5))] == ids[:-6:-1]

    @on_loop
    async def test_pages_of_events_join_without_gap_or_overlap_in_both_directions(self, world: World) -> None:
        store = await world.open()
        ids = await three_streams(store, world)
        views = store.views()
        seen: list[str] = []
        while page := await views.events(EventsQuery(limit=7, before=seen[-1] if seen else None)):
            seen += [event.id for event in page]
        assert seen == ids[::-1]
        assert [event.id for event in await views.events(EventsQuery(limit=3, oldest=True))] == ids[2::-1]
        since = (await views.events(ALL))[20].accepted_at
        oldest = await views.events(EventsQuery(limit=1_000, since=since))
        assert await views.events(EventsQuery(limit=2, since=since, oldest=True)) == oldest[-2:]
        seen = [ids[0]]
        while page := await views.events(EventsQuery(limit=7, after=seen[-1])):
            seen += [event.id for event in reversed(page)]
        assert seen == ids

    @on_loop
    async def test_events_are_filtered_by_stream_type_key_and_instant(self, world: World) -> None:
        store = await world.open()
        await three_streams(store, world)
        views = store.views()
        everything = await views.events(ALL)
        since = everything[20].accepted_at
        query = EventsQuery(stream="s", type="odd@1", key="key1", since=since, limit=1_000)
        expected = [
            event
            for event in everything
            if event.shard.stream == "s"
            and event.draft.type == "odd@1"
            and event.draft.key == "key1"
            and event.accepted_at >= since
        ]
        assert expected
        assert list(await views.events(query)) == expected
        assert await views.events(EventsQuery(stream="unknown")) == []
        assert await views.events(EventsQuery(since=world.clock.now() + 1)) == []

    @on_loop
    async def test_an_event_is_found_by_a_prefix_of_its_id(self, world: World) -> None:
        store = await world.open()
        ids = await three_streams(store, world)
        views = store.views()
        for id in ids[::7]:
            for asked in (id, id.removeprefix("evt_"), id[:20]):
                assert id in [event.id for event in await views.events_by_prefix(asked, 50)]
            assert [event.id for event in await views.events_by_prefix(id)] == [id]
        assert [event.id for event in await views.events_by_prefix("evt_0", 3)] == ids[:3]
        assert await views.events_by_prefix("evt_v") == []
        for malformed in ("evt_xyz!", ids[0] + "0"):
            with pytest.raises(InterlockError) as refused:
                await views.events_by_prefix(malformed)
            assert refused.value.code == "id.malformed"

    @on_loop
    async def test_a_timeline_says_what_each_subscription_made_of_an_event(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 6)
        lane = await Lane.open(store)
        await Lane.open(store, id=CursorId("late", ONE), start="now")
        await Lane.open(store, id=CursorId("other types", ONE), types=frozenset({"u@1"}))
        failed = Attempt("att_1", 2, 1, 10, 5, "later", error="http 503", status=503)
        again = Attempt("att_2", 2, 2, 20, 5, "later", error="http 503", status=503)
        dead = Row(2, "a", "dead", attempts=2, died_at=30, fingerprint="fp_1", memo=b"m")
        await lane.settle(
            floor=4,
            above=0b10,
            put=[dead],
            marks=[Mark("a", 3, 4, 2)],
            successes=[Success(1, 5, 7, 200), Success(6, 6, 7, 201)],
            attempts=[again, failed],
            counters=Counters(delivered=2, dead=1),
        )
        views = store.views()
        timelines: dict[int, dict[str, Any]] = {}
        for event in await store.fetch(ONE, range(1, 7)):
            timelines[event.offset] = {each.cursor.subscription: each for each in await views.timeline(event)}
        states = [timelines[offset]["sub"].state for offset in range(1, 7)]
        assert states == ["settled", "dead", "behind", "behind", "waiting", "settled"]
        assert timelines[2]["sub"].attempts == [failed, again]
        assert timelines[2]["sub"].row == msgspec.structs.replace(dead, memo=b"")
        assert timelines[1]["sub"].successes == [Success(1, 5, 7, 200)]
        assert timelines[6]["sub"].successes == [Success(6, 6, 7, 201)]
        assert {timelines[2][name].state for name in ("late", "other types")} == {"not-read"}
        assert list(timelines[1]) == ["late", "other types", "sub"]
        found = await views.standing(await store.fetch(ONE, [6, 2, 4]))
        assert [each["sub"] for each in found] == ["settled", "dead", "behind"]
        assert [dict(each) for each in found][1] == {"late": "not-read", "other types": "not-read", "sub": "dead"}
        assert await views.standing([]) == []

    @on_loop
    async def test_what_waits_behind_a_mark_above_the_floor_is_not_settled(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 6)
        lane = await Lane.open(store)
        held = Row(1, "a", "held", attempts=1)
        await lane.settle(floor=1, above=0b110, put=[held], marks=[Mark("a", 3, 4, 2)])
        events = await store.fetch(ONE, range(1, 7))
        states = [each["sub"] for each in await store.views().standing(events)]
        assert states == ["held", "waiting", "behind", "behind", "waiting", "waiting"]

    @on_loop
    async def test_an_event_tells_how_often_it_came_again_and_how_often_with_another_payload(
        self, world: World
    ) -> None:
        store = await world.open()
        await store.make_stream("other", 2)
        await stream_of(store, 3)
        events = (await store.read(ONE, 0, 3)).events
        first = world.clock.now()
        await store.append([draft("2"), draft("2"), draft("3"), draft("2", stream="other")])
        world.clock.jump(US_PER_SECOND)
        await asyncio.gather(store.append([draft("2", data=b"[]")]), append_whole(store, draft("2"), draft("4")))
        later = world.clock.now()
        seen = [await store.views().seen(event) for event in events]
        assert seen == [Seen(), Seen(4, 1, later), Seen(1, 0, first)]
        world.clock.jump(-US_PER_DAY)
        await store.append([draft("2"), draft("1")])
        await world.crash(store)
        store = await world.open()
        seen = [await store.views().seen(event) for event in events]
        assert seen == [Seen(1, 0, world.clock.now()), Seen(5, 1, later), Seen(1, 0, first)]

    @on_loop
    async def test_what_a_settlement_emits_again_counts_and_what_a_refused_whole_append_brings_does_not(
        self, world: World
    ) -> None:
        store = await world.open()
        await stream_of(store, 2)
        lane = await Lane.open(store)
        await lane.settle(floor=1, emit=[draft("2"), draft("new")])
        await append_whole(store, draft("2"), draft("1", data=b"[]"))
        one, two, new = (await store.read(ONE, 0, 9)).events
        at = world.clock.now()
        assert [await store.views().seen(event) for event in (one, two, new)] == [Seen(), Seen(1, 0, at), Seen()]

    @on_loop
    async def test_how_often_an_event_came_again_is_forgotten_with_its_segment(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 8)
        world.clock.jump(US_PER_DAY)
        await store.append([draft("9"), draft("9"), draft("1")])
        old, new = await store.fetch(ONE, [1, 9])
        at = world.clock.now()
        assert [await store.views().seen(event) for event in (old, new)] == [Seen(1, 0, at)] * 2
        world.clock.jump(US_PER_SECOND)
        assert await store.retire("s", A_DAY) == 8
        assert [await store.views().seen(event) for event in (old, new)] == [Seen(), Seen(1, 0, at)]

    @on_loop
    async def test_rows_are_listed_by_page_state_subscription_and_fingerprint(self, world: World) -> None:
        store = await world.open()
        await store.make_stream("s", 2)
        for name in ("b", "a"):
            for number in range(2):
                lane = await Lane.open(store, id=CursorId(name, Shard("s", number)))
                rows = [
                    Row(offset, "k", "dead" if offset % 2 else "due", fingerprint=f"fp_{offset % 3}", memo=b"m")
                    for offset in range(1, 6)
                ]
                await lane.settle(put=rows)
        views = store.views()
        everything = await views.rows(RowsQuery())
        places = [(line.cursor.subscription, line.cursor.shard.number, line.row.offset) for line in everything]
        assert places == sorted(places)
        assert len(places) == 20
        assert {line.row.memo for line in everything} == {b""}
        paged: list[Any] = []
        while page := await views.rows(
            RowsQuery(limit=3, after=(paged[-1].cursor, paged[-1].row.offset) if paged else None)
        ):
            paged += page
        assert paged == list(everything)
        found = await views.rows(RowsQuery(subscription="a", states=frozenset({"dead", "held"}), fingerprint="fp_0"))
        assert [(line.cursor, line.row.offset) for line in found] == [
            (CursorId("a", Shard("s", number)), 3) for number in range(2)
        ]

    @on_loop
    async def test_dead_letters_are_grouped_by_cause_with_the_most_recent_as_sample(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 6)
        lane = await Lane.open(store)
        fields: dict[str, Any] = {"fingerprint": "fp_1", "error": "http 422", "status": 422, "system": "p.erp"}
        await lane.settle(
            floor=6,
            put=[
                Row(1, "a", "dead", died_at=10, reason="permanent", **fields),
                Row(2, "a", "dead", died_at=30, reason="exhausted", **fields),
                Row(3, "a", "dead", died_at=20, reason="permanent", **fields),
                Row(4, "a", "dead", died_at=40, fingerprint="fp_2", error="timeout"),
                Row(5, "a", "discarded", died_at=50, **fields),
                Row(6, "a", "due", **fields),
            ],
        )
        newest, other = await store.views().dead_groups()
        assert (newest.fingerprint, newest.count, newest.error) == ("fp_2", 1, "timeout")
        assert (other.fingerprint, other.subscription, other.count) == ("fp_1", "sub", 3)
        assert (other.first_at, other.last_at, other.reason) == (10, 30, "exhausted")
        assert (other.error, other.status, other.system) == ("http 422", 422, "p.erp")
        assert other.sample == (await store.fetch(ONE, [2]))[0]
        # The sample is still there when its segment is not.
        await store.renew("w1", 10 * US_PER_DAY)
        world.clock.jump(2 * US_PER_DAY)
        assert await store.retire("s", A_DAY) == 6
        groups = await store.views().dead_groups()
        assert [group.sample and group.sample.draft.id for group in groups] == ["4", "2"]

    @on_loop
    async def test_cursors_tell_lag_by_type_rows_by_state_and_who_holds_them(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 0)
        await store.append([draft(str(n), type="t@1" if n % 3 else "u@1") for n in range(1, 31)])
        await Lane.open(store, "w1", id=CursorId("a", ONE), types=frozenset({"t@1", "u@1"}))
        lane = await Lane.open(store, "w2", id=CursorId("b", ONE))
        first_waiting = (await store.fetch(ONE, [21]))[0]
        await lane.settle(floor=20, put=[Row(2, "a", "dead"), Row(5, "b", "due")], marks=[Mark("b", 6, 9, 3)])
        world.clock.jump(TTL - 1)
        await store.renew("w2", TTL)
        world.clock.jump(1)
        a, b = await store.views().cursors()
        assert (a.cursor.id.subscription, a.worker, a.until) == ("a", "w1", 0)
        assert a.lag == {"t@1": 20, "u@1": 10}
        assert (b.worker, b.until) == ("w2", world.clock.now() - 1 + TTL)
        assert b.lag == {"t@1": 6}
        assert (b.marks, b.behind) == (1, 3)
        assert list(await store.views().marks(lane.cursor.id)) == [Mark("b", 6, 9, 3)]
        assert list(await store.views().marks(lane.cursor.id._replace(subscription="nobody"))) == []
        assert b.rows == {"dead": 1, "due": 1}
        assert b.oldest_at == first_waiting.accepted_at
        assert b.cursor.floor == 20

    @on_loop
    async def test_lag_is_exact_however_far_a_cursor_is_behind(self, world: World) -> None:
        store = await world.open()
        await store.make_stream("s", 2)
        for batch in range(50):
            await store.append([draft(f"{batch}-{n}", "a", type="t@1" if n % 5 else "u@1") for n in range(400)])
        shard = (await store.append([draft("last")]))[0].shard
        lane = await Lane.open(store, id=CursorId("sub", shard), types=frozenset({"t@1", "u@1"}))
        floors = (0, 1, 8_000, 8_191, 8_192, 8_193, 16_384, 19_999, 20_000, 20_001)
        events = (await store.read(shard, 0, 20_001)).events
        for floor in floors:
            await lane.settle(floor=floor)
            (line,) = await store.views().cursors()
            above = [event.draft.type for event in events if event.offset > floor]
            expected = {type: above.count(type) for type in ("t@1", "u@1") if type in above}
            assert line.lag == expected

    @on_loop
    async def test_streams_tell_bounds_counts_and_size(self, world: World) -> None:
        store = await world.open()
        await store.make_stream("empty", 1)
        await stream_of(store, 3, shards=2)
        oldest = world.clock.now()
        world.clock.jump(2 * US_PER_DAY)
        await store.append([draft("4", data=bytes(100), type="u@1")])
        empty, s = await store.views().streams()
        assert (empty.made.name, empty.events, empty.bytes, empty.oldest_at) == ("empty", 0, 0, None)
        assert list(empty.bounds) == [(1, 0)]
        assert (s.made.shards, s.events, s.segments, s.oldest_at, s.full) == (2, 4, 2, oldest, False)
        assert s.counts == {"t@1": 3, "u@1": 1}
        assert s.bytes == 4 * 128 + 3 * 2 + 100
        await store.retire("s", A_DAY)
        s = (await store.views().streams())[1]
        assert (s.events, s.counts) == (1, {"t@1": 3, "u@1": 1})
        assert s.oldest_at == world.clock.now()

    @on_loop
    async def test_conservation_is_counted_anew_and_names_what_does_not_add_up(self, world: World) -> None:
        store = await world.open()
        await stream_of(store, 9)
        lane = await Lane.open(store)
        views = store.views()
        good: dict[str, Any] = {
            "floor": 6,
            "above": 0b10,
            "counters": Counters(delivered=1, filtered=1, discarded=1, dead=1),
            "put": [Row(1, "a", "dead"), Row(2, "a", "due"), Row(3, "a", "discarded")],
            "marks": [Mark("a", 4, 6, 2)],
        }
        await lane.settle(**good)
        found = await views.conservation(lane.cursor.id)
        assert found is not None
        assert found.holds
        assert (found.accounted, found.settled, found.stragglers, found.behind) == (7, 3, 2, 2)
        wrong: list[tuple[dict[str, Any], int]] = [
            ({"counters": Counters(delivered=2, filtered=1, discarded=1, dead=1)}, 0),
            ({"put": [Row(9, "a", "due")]}, 1),
            ({"put": [Row(2, "a", "dead")]}, 1),
            ({"marks": [Mark("b", 6, 4, 1)]}, 1),
            ({"marks": [Mark("b", 4, 5, 3)]}, 1),
            ({"floor": 20, "above": 0}, 1),
        ]
        for changes, problems in wrong:
            other = await world.open() if world.shares_disk else store
            name = f"wrong {len(changes)} {changes}"
            bad = await Lane.open(other, id=CursorId(name, ONE))
            merged = good | {key: value for key, value in changes.items() if key not in ("put", "marks")}
            merged["put"] = [*good["put"], *changes.get("put", [])]
            merged["marks"] = [*good["marks"], *changes.get("marks", [])]
            await bad.settle(**merged)
            found = await views.conservation(bad.cursor.id)
            assert found is not None
            assert not found.holds, changes
            assert len(found.problems) == problems, (changes, found.problems)
        assert await views.conservation(CursorId("unknown", ONE)) is None
        assert await views.conservation(CursorId("sub", Shard("unknown", 0))) is None
