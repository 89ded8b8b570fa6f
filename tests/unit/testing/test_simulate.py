"""`interlock simulate`: users' functions under drawn faults, what is found, and what is not said of sound ones."""

from __future__ import annotations

import datetime
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest

from interlock import Answer, CallFailed, Context, Event, HttpSystem, Integration, Later
from interlock.core.errors import SpecError
from interlock.spec.bindings import Bindings
from interlock.testing.simulate.run import Verdict, shortest, simulated
from interlock.testing.simulate.script import FAULTS, Answered, Arriving, Kill, Script, drawn, told
from interlock.testing.simulate.story import parse_story, tell_story
from interlock.testing.simulate.subject import Subject, subject
from interlock.testing.simulation import Arrival, Request, Seen, Simulation

SECOND = 1_000_000


@dataclass(frozen=True)
class Paid:
    account: str
    cents: int


Function = Callable[[Event[Paid], Context], Awaitable[None]]


class Shop:
    """One subscription to one type, at one System, with a function that a test gives."""

    def __init__(self, *, honours_keys: bool = True) -> None:
        self.integration = Integration("shop", owner="shop-team", purpose="tests")
        self.books: HttpSystem = self.integration.http("books", honours_keys=honours_keys)
        self.paid = self.integration.event("paid", Paid, key=lambda it: it.account)
        self.sim = Simulation()

        async def post(event: Event[Paid], context: Context) -> None:
            await context.use(self.books).post("/entries", json={"cents": event.payload.cents})

        self.post = post

    def of(self, function: Function, **options: Any) -> Subject:
        function.__name__ = function.__qualname__ = "book"
        self.integration.subscribe(self.paid, start="beginning", **options)(function)
        return subject([self.integration], Bindings(), self.sim)


def played(of: Subject, *acts: Any, arrivals: int = 1) -> Verdict:
    """One run with these faults, things arriving a second apart from the second second on."""
    arriving = [Arriving((2 + number) * SECOND, "paid@1", number + 1) for number in range(arrivals)]
    return simulated(of, 1, [], Script(arriving, list(acts), 60 * SECOND))


def rules(verdict: Verdict) -> set[str]:
    return {broken.rule.removeprefix("simulate.") for broken in verdict.broken}


@pytest.mark.parametrize("seed", range(1, 13))
def test_nothing_is_said_of_a_sound_integration_whatever_goes_wrong(seed: int) -> None:
    shop = Shop()

    @shop.sim.invariant
    def each_payment_is_booked_once(seen: Seen) -> bool:
        return len(seen.effects(shop.books)) + len(seen.dead("shop.book")) == len(seen.events(shop.paid))

    verdict = simulated(shop.of(shop.post), seed, list(FAULTS))
    assert verdict.broken == [], verdict.broken
    assert verdict.counts.accepted
    assert verdict.counts.calls


def test_a_seed_takes_the_same_steps_each_time() -> None:
    shop = Shop()
    of = shop.of(shop.post)
    assert simulated(of, 5, list(FAULTS)).trace == simulated(of, 5, list(FAULTS)).trace
    assert simulated(of, 5, list(FAULTS)).trace != simulated(of, 6, list(FAULTS)).trace


def test_a_call_that_is_repeated_at_a_system_without_keys_takes_effect_twice() -> None:
    shop = Shop(honours_keys=False)
    verdict = played(shop.of(shop.post), Answered(0, "shop.books", "lost"))
    assert rules(verdict) == {"effect-twice"}
    (broken,) = verdict.broken
    timeline = "\n".join(verdict.tale.about(broken.events, broken.subscriptions))
    assert timeline.count("POST /entries takes effect") == 2
    assert "! fault" in timeline
    assert "attempt 2 begins" in timeline


def test_a_key_that_is_honoured_makes_the_same_harmless() -> None:
    shop = Shop()
    verdict = played(shop.of(shop.post), Answered(0, "shop.books", "lost"))
    assert verdict.broken == []
    assert "knows its key: no second effect" in "\n".join(verdict.tale.about(frozenset(), frozenset()))


def test_an_error_that_is_swallowed_is_found_and_a_final_answer_that_is_handled_is_not() -> None:
    shop = Shop()

    async def swallow(event: Event[Paid], context: Context) -> None:
        try:
            await shop.post(event, context)
        except CallFailed:
            context.log("never mind")

    of = shop.of(swallow)
    assert rules(played(of, Answered(0, "shop.books", "503"))) == {"swallowed-error"}
    shop.sim.answers(shop.books)(lambda _request, _state: 404)
    assert rules(played(subject([shop.integration], Bindings(), shop.sim))) == set()
    shop.sim.systems.clear()
    shop.sim.excuse("swallowed-error", "shop.book", because="nobody reads these books")
    assert rules(played(of, Answered(0, "shop.books", "503"))) == set()


def test_a_probe_that_lies_loses_the_effect_or_doubles_it() -> None:
    for answer, rule in ((Answer(200), "effect-missing"), (None, "effect-twice")):
        shop = Shop(honours_keys=False)

        async def probe(shop: Shop = shop, answer: Answer | None = answer) -> Answer | None:
            return answer

        async def transfer(event: Event[Paid], context: Context, shop: Shop = shop, probe: Any = probe) -> None:
            await context.use(shop.books).post("/transfers", json={}, effect="probe", probe=probe)

        how: Any = "hang" if answer else "lost"
        assert rules(played(shop.of(transfer), Answered(0, "shop.books", how))) == {rule}


def test_events_of_a_key_that_overtake_each_other_are_found() -> None:
    shop = Shop()

    async def put(event: Event[Paid], context: Context) -> None:
        await context.use(shop.books).put(f"/accounts/{event.payload.account}", json={}, effect="natural")

    @shop.sim.arrivals(shop.paid)
    def always_the_same(_: Random) -> Paid:
        return Paid("a-1", 1)

    of = shop.of(put, order="none")
    assert rules(played(of, Answered(0, "shop.books", "hang"), arrivals=2)) == {"order-lost"}
    assert rules(played(of, arrivals=2)) == set()


def test_a_rule_of_the_users_own_is_told_with_its_words_and_its_line() -> None:
    shop = Shop()

    @shop.sim.invariant
    def nothing_costs_less_than_a_million(seen: Seen) -> None:
        assert all(it.cents > 100_000_000 for it in seen.events(shop.paid)), "too cheap"

    (broken,) = played(shop.of(shop.post)).broken
    assert (broken.rule, broken.subject) == ("simulate.invariant", "nothing_costs_less_than_a_million")
    assert broken.message.startswith("too cheap")
    assert broken.where is not None
    assert broken.where.file == __file__


async def touch_datetime(_event: Event[Paid], _context: Context) -> None:
    datetime.datetime.now(tz=datetime.UTC)


async def touch_time(_event: Event[Paid], _context: Context) -> None:
    try:
        time.time()
    except AssertionError:
        return  # Whoever catches everything is found all the same.


def touch_thread(_event: Event[Paid], _context: Context) -> None:
    threading.Thread(target=print).start()


@pytest.mark.parametrize("function", [touch_datetime, touch_time, touch_thread])
def test_whatever_reaches_the_real_world_is_named_with_its_line(function: Any) -> None:
    line = function.__code__.co_firstlineno
    broken = played(Shop().of(function)).broken[0]
    assert broken.rule == "simulate.real-world"
    assert broken.where is not None
    assert broken.where.file == __file__
    assert line < broken.where.line <= line + 3


def test_after_a_simulation_the_real_world_is_back() -> None:
    before = datetime.datetime, time.time
    played(Shop().of(touch_datetime))
    assert (datetime.datetime, time.time) == before
    assert isinstance(datetime.datetime.now(tz=datetime.UTC), datetime.datetime)


def test_dates_can_be_made_and_compared_in_a_simulation() -> None:
    shop = Shop()

    async def compare(event: Event[Paid], context: Context) -> None:
        assert isinstance(event.accepted_at, datetime.datetime)
        assert datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC) <= event.accepted_at
        assert datetime.datetime.fromisoformat("2026-01-01T00:00:00Z") < context.deadline

    verdict = played(shop.of(compare))
    assert (verdict.broken, verdict.counts.dead) == ([], 0)


def test_a_function_that_fails_for_ever_ends_in_the_dead_letters_and_they_are_counted() -> None:
    shop = Shop()

    async def fail(_event: Event[Paid], _context: Context) -> None:
        raise KeyError("cents")

    verdict = played(shop.of(fail, on_dead="skip"))
    assert (verdict.broken, verdict.counts.dead) == ([], 1)
    assert next(iter(verdict.dead))[1].startswith("KeyError")


def test_what_wakes_itself_without_an_end_does_not_hang_the_simulation() -> None:
    shop = Shop()

    async def later(_event: Event[Paid], _context: Context) -> Any:
        return Later("not today", attempts_max=10_000)

    assert rules(played(shop.of(later, on_dead="halt"))) <= {"never-settles"}


def test_a_failing_run_is_made_shorter_until_what_is_left_is_what_it_takes() -> None:
    shop = Shop(honours_keys=False)
    of = shop.of(shop.post)
    acts = [
        Kill(40 * SECOND, 0),
        Answered(5 * SECOND, "shop.books", "lost"),
        Answered(30 * SECOND, "shop.books", "503"),
    ]
    verdict = played(of, *sorted(acts, key=lambda act: act.at), arrivals=20)
    assert "effect-twice" in rules(verdict)
    short = shortest(of, verdict, [])
    assert (len(short.play.arrivals), len(short.play.acts)) == (1, 1)
    assert rules(short) == {"effect-twice"}


def test_webhooks_are_signed_and_what_is_refused_is_a_finding() -> None:
    from interlock import standard_webhooks

    shop = Shop()

    @shop.integration.webhook("POST /hooks/shop", verify=standard_webhooks(secret="shop.webhook"))
    def accept(hook: Any) -> list[Any]:
        it = hook.json(Paid)
        return [shop.paid.draft(it, id=hook.id)]

    @shop.sim.arrivals("POST /hooks/shop")
    def one(chance: Random) -> Arrival:
        return Arrival({"account": "a-1", "cents": chance.randrange(9)})

    of = shop.of(shop.post)
    assert of.cast.sources == ["POST /hooks/shop"]
    hooked = Script([Arriving(SECOND, "POST /hooks/shop", 1)], [], 10 * SECOND)
    verdict = simulated(of, 1, [], hooked)
    assert (verdict.broken, verdict.counts.calls) == ([], 1)
    shop.sim.arrivals("POST /hooks/shop")(lambda _: Arrival({}, {"webhook-id": "a id that was not signed"}))
    refused = simulated(subject([shop.integration], Bindings(), shop.sim), 1, [], hooked)
    assert rules(refused) == {"arrival-refused"}


def test_a_function_that_answers_for_a_system_and_raises_is_a_finding() -> None:
    shop = Shop()

    @shop.sim.answers(shop.books)
    def answer(request: Request, _: dict[str, Any]) -> int:
        raise ZeroDivisionError

    assert "answers-raised" in rules(played(shop.of(shop.post, on_dead="skip")))


def test_what_names_nothing_that_is_there_is_refused_with_what_is() -> None:
    shop = Shop()
    shop.sim.arrivals("POST /hooks/shop")(lambda _: {})
    with pytest.raises(SpecError, match=r"there is: paid@1 \(simulate\.unknown-source\)"):
        shop.of(shop.post)


def test_what_a_function_sees_of_its_attempt_is_what_it_sees_in_production() -> None:
    shop = Shop()
    shop.sim.answers(shop.books)(lambda request, _state: 422 if request.json["cents"] == 1 else 201)
    shop.sim.arrivals(shop.paid)(lambda chance: Paid("a-1", next(numbers)))
    numbers = iter([1, 2])
    gaps: list[int] = []

    async def note(event: Event[Paid], context: Context) -> None:
        gaps.append(0 if context.gap is None else context.gap.count)
        assert context.attempt == 1
        await shop.post(event, context)

    verdict = played(shop.of(note, on_dead="skip"), arrivals=2)
    assert (verdict.broken, verdict.counts.dead, gaps) == ([], 1, [0, 1])


def test_a_database_is_refused_with_what_can_be_simulated() -> None:
    shop = Shop()
    shop.integration.sql("ledger")
    with pytest.raises(SpecError, match=r"shop\.ledger is a database.*simulate\.database"):
        shop.of(shop.post)


def test_every_kind_of_fault_is_drawn_and_has_its_words() -> None:
    shop = Shop()
    of = shop.of(shop.post)
    for kind in FAULTS:
        scripts = [drawn(seed, of.cast, [kind]) for seed in range(40)]
        acts = [act for script in scripts for act in script.acts]
        assert acts or kind == "duplicates"
        assert all(len(told(act)) > 10 for act in acts)
    assert not drawn(3, of.cast, []).acts


def test_a_story_tells_the_turns_of_the_breaker_and_balances_its_books() -> None:
    shop = Shop()
    of = shop.of(shop.post)
    story = tell_story(of, parse_story("books 503 for 3m; crash at 2m", of))
    text = "\n".join(story.lines)
    assert story.settled
    for expected in (
        "shop.books is down for 3 min",
        "breaker OPEN",
        "breaker closed",
        "is killed",
        "waiting: shop.book",
    ):
        assert expected in text, text
    assert "300 events accepted\n  shop.book: 300 delivered, 0 dead letters" in text


@pytest.mark.parametrize("words", ["", "books", "books broken", "nobody 503", "books 503 for ever", "crash for 5m"])
def test_words_that_are_no_story_are_refused_with_those_that_are(words: str) -> None:
    shop = Shop()
    with pytest.raises(SpecError, match=r"is not understood \(simulate\.story-unknown\)"):
        parse_story(words, shop.of(shop.post))
