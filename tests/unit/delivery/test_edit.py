"""Editing a dead letter: it is settled and its successor appended in one commit, whatever happens around that."""

from __future__ import annotations

from tests.unit.delivery.bench_of_lanes import Bench, Order
from tests.unit.delivery.bench_of_lanes import run as run_bench

from interlock import OnDead
from interlock.core.outcome import Outcome, Reject
from interlock.core.requests import decode_request


class Edited:
    """A bench whose function rejects odd numbers."""

    def __init__(self, on_dead: object = "skip") -> None:
        self.bench = Bench(on_dead=on_dead)
        self.bench.behaviour = self.behave

    async def behave(self, order: Order, attempt: int) -> Outcome | None:
        return Reject("odd") if order.number % 2 else None

    @property
    def appended(self) -> list[str]:
        return [event.draft.id for event in self.bench.disk.shard(self.bench.id.shard).events]


def test_an_edited_letter_is_settled_as_edited_and_its_successor_is_delivered() -> None:
    async def story() -> None:
        one = Edited()
        await one.bench.start()
        await one.bench.put(("a", 1))
        assert await one.bench.edit(1, ("a", 2), "a-1-edited") == {1: "edited"}
        (row,) = await one.bench.rows()
        assert (row.state, row.edited, row.reason) == ("discarded", "a-1-edited", "permanent")
        assert one.bench.calls == [("a", 1), ("a", 2)]
        assert one.bench.disk.ledgers[one.bench.id].held.cursor.counters.discarded == 1
        one.bench.balance()

    run_bench(story())


def test_an_edited_letter_takes_no_other_verb_and_a_second_edit_appends_nothing() -> None:
    async def story() -> None:
        one = Edited()
        await one.bench.start()
        await one.bench.put(("a", 1))
        await one.bench.edit(1, ("a", 2), "a-1-edited")
        for verb in ("restore", "retry", "discard", "skip", "replay"):
            assert await one.bench.ask(verb, 1) == {1: "refused"}  # type: ignore[arg-type]
        assert await one.bench.edit(1, ("a", 4), "another") == {1: "refused"}
        assert one.appended == ["a-1", "a-1-edited"]
        one.bench.balance()

    run_bench(story())


def test_under_a_held_head_the_key_goes_on_behind_and_the_successor_comes_last() -> None:
    async def story() -> None:
        one = Edited(on_dead=OnDead("halt"))
        await one.bench.start()
        await one.bench.put(("a", 1), ("a", 2), ("a", 4))
        assert one.bench.calls == [("a", 1)]
        assert await one.bench.edit(1, ("a", 6), "a-1-edited") == {1: "edited"}
        assert one.bench.calls == [("a", 1), ("a", 2), ("a", 4), ("a", 6)]
        one.bench.balance()

    run_bench(story())


def test_what_was_settled_before_the_edit_is_answered_so_and_nothing_is_appended() -> None:
    async def story() -> None:
        one = Edited()
        await one.bench.start()
        await one.bench.put(("a", 2))
        assert await one.bench.edit(1, ("a", 4), "a-2-edited") == {1: "settled"}
        assert await one.bench.edit(9, ("a", 4), "a-2-edited") == {9: "not-found"}
        assert one.appended == ["a-2"]

    run_bench(story())


def test_an_edit_whose_commit_lost_its_answer_happens_once() -> None:
    async def story() -> None:
        one = Edited()
        await one.bench.start()
        await one.bench.put(("a", 1))
        await one.bench.advance(1)
        one.bench.lose_answers = 1
        await one.bench.edit(1, ("a", 2), "a-1-edited")
        await one.bench.advance(120)
        assert await one.bench.answers() == {1: "edited"}
        assert one.appended == ["a-1", "a-1-edited"]
        assert [row.edited for row in await one.bench.rows()] == ["a-1-edited"]

    run_bench(story())


def test_a_request_that_was_answered_no_longer_holds_the_payload() -> None:
    async def story() -> None:
        one = Edited()
        await one.bench.start()
        await one.bench.put(("a", 1))
        await one.bench.edit(1, ("a", 2), "a-1-edited")
        (cell,) = await one.bench.store.list("request/")
        request = decode_request(cell.value)
        assert (request.state, request.draft) == ("applied", None)

    run_bench(story())
