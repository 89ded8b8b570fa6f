"""What a System's declaration says of its answers, as a user tests it: error bodies, tokens, and hints of receivers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from tests.unit.testing.test_lab import runs

from interlock import Answer, CallFailed, Context, Event, EventType, HttpSystem, Integration, Later, Reject
from interlock.core.handler import Effect
from interlock.testing.lab import Lab

GOOD = Answer(200, body=b'{"ok": true}')
BAD = Answer(200, body=b'{"ok": false, "error": "try later"}')


@dataclass(frozen=True)
class Placed:
    order: str


class Shop:
    """One subscription that posts to one System, as declared by the test."""

    def __init__(self, *, effect: Effect = "keyed", after: Callable[[Answer], None] | None = None, **declared: Any):
        self.integration = Integration("shop", owner="shop-team", purpose="Orders reach the ERP")
        self.auth = self.integration.http("auth", honours_keys=True)
        self.erp: HttpSystem = self.integration.http("erp", honours_keys=True, **declared)
        self.placed: EventType[Placed] = self.integration.event("order.placed", Placed, key=lambda it: it.order)
        self.failures: list[CallFailed] = []
        self.asked = 0

        @self.integration.subscribe(self.placed, on_dead="skip")
        async def book(event: Event[Placed], context: Context) -> None:
            self.asked += 1
            probe = self.probe if effect == "probe" else None
            more: Any = {"probe": probe} if probe else {}
            try:
                answer = await context.use(self.erp).post("/o", json=event.payload.order, effect=effect, **more)
            except CallFailed as failed:
                self.failures.append(failed)
                raise
            if after is not None:
                after(answer)

    async def probe(self) -> Answer | None:
        return Answer(200, body=b"found")

    async def place(self, lab: Lab, *orders: str) -> None:
        for order in orders:
            await lab.send(self.placed, Placed(order))
        await lab.settle()


def says_ok(answer: Answer) -> bool:
    found: Any = answer.json()
    return found["ok"]


# Error bodies.


@runs
async def test_a_success_with_an_error_body_is_tried_again_until_it_is_one():
    shop = Shop(success_when=says_ok)
    async with Lab(shop.integration) as lab:
        lab.system(shop.erp).answers(BAD, BAD, GOOD)
        await shop.place(lab, "o-1")
        assert len({call.key for call in lab.system(shop.erp).calls}) == 1
        assert [call.succeeded for call in lab.system(shop.erp).calls] == [False, False, True]
        assert lab.system(shop.erp).accepted == ["o-1"]
        assert lab.subscription("shop.book").delivered == 1
        assert shop.failures[0].status == 200
        assert shop.failures[0].answer == BAD


@runs
async def test_the_predicate_may_reject_itself_and_may_say_when_to_come_back():
    def verdict(answer: Answer) -> bool | Later | Reject:
        match answer.json():
            case {"error": "closed"}:
                return Reject("account closed", detail='"token": "hunter2"')
            case {"error": "wait"}:
                return Later("quota", after_us=90_000_000)
            case _:
                return True

    shop = Shop(success_when=verdict)
    async with Lab(shop.integration) as lab:
        lab.system(shop.erp).answers(Answer(200, body=b'{"error": "closed"}'))
        await shop.place(lab, "o-1")
        [letter] = lab.subscription("shop.book").dead
        assert letter.reason == "permanent"
        assert "account closed" in (letter.error or "")
        assert "hunter2" not in (letter.error or "")

        lab.system(shop.erp).answers(Answer(200, body=b'{"error": "wait"}'), GOOD)
        before = lab.now
        await shop.place(lab, "o-2")
        assert (lab.now - before).total_seconds() == pytest.approx(90, abs=1)


@runs
async def test_what_the_predicate_raises_is_a_bug_with_its_cap_and_is_named():
    shop = Shop(success_when=says_ok)
    async with Lab(shop.integration) as lab:
        lab.system(shop.erp).answers(*[Answer(200, body=b"{}")] * 9)
        await shop.place(lab, "o-1")
        [letter] = lab.subscription("shop.book").dead
        assert (letter.attempts, letter.reason) == (5, "exhausted")
        assert (letter.error or "").startswith(
            "success_when KeyError: success_when of shop.erp failed: KeyError at test_"
        )


@runs
async def test_what_is_no_verdict_at_all_is_not_taken_for_a_success():
    shop = Shop(success_when=lambda answer: answer.header("x-ok"))
    async with Lab(shop.integration) as lab:
        await shop.place(lab, "o-1")
        [letter] = lab.subscription("shop.book").dead
        assert "success_when NoneType" in (letter.error or "")
        assert lab.system(shop.erp).accepted == []


@runs
async def test_a_remembered_answer_is_not_judged_anew():
    strict: list[bool] = []

    def after(_: Answer) -> None:
        if not strict:
            strict.append(True)
            raise OSError("the function fails after its call has succeeded, and the predicate changes its mind")

    shop = Shop(success_when=lambda _: not strict, after=after)
    async with Lab(shop.integration) as lab:
        await shop.place(lab, "o-1")
        assert shop.asked == 2
        assert len(lab.system(shop.erp).calls) == 1
        assert lab.subscription("shop.book").delivered == 1


@runs
async def test_an_error_body_of_a_call_that_may_happen_once_is_for_a_person_and_of_a_probed_one_is_asked_about():
    once, probed = Shop(effect="once", success_when=says_ok), Shop(effect="probe", success_when=says_ok)
    async with Lab(once.integration) as lab:
        lab.system(once.erp).answers(BAD)
        await once.place(lab, "o-1")
        assert [letter.reason for letter in lab.subscription("shop.book").dead] == ["ambiguous"]
        assert len(lab.system(once.erp).calls) == 1
    async with Lab(probed.integration) as lab:
        lab.system(probed.erp).answers(BAD)
        await probed.place(lab, "o-1")
        assert lab.subscription("shop.book").delivered == 1
        assert len(lab.system(probed.erp).calls) == 1


@runs
async def test_error_bodies_open_the_breaker_and_rejections_and_bugs_do_not():
    async def calls_made(success_when: Callable[[Answer], Any]) -> int:
        shop = Shop(success_when=success_when)
        async with Lab(shop.integration) as lab:
            lab.system(shop.erp).answers(*[BAD] * 500)
            for number in range(8):
                await lab.send(shop.placed, Placed(f"o-{number}"))
            await lab.advance(milliseconds=1)
            return len(lab.system(shop.erp).calls)

    assert await calls_made(lambda _: Reject("no")) == 8
    assert await calls_made(lambda _: {}["ok"]) == 8

    shop = Shop(success_when=lambda _: False)
    async with Lab(shop.integration) as lab:
        lab.system(shop.erp).answers(*[BAD] * 500)
        for number in range(8):
            await lab.send(shop.placed, Placed(f"o-{number}"))
        await lab.advance(seconds=9)
        assert len(lab.system(shop.erp).calls) < 20  # eight events would have made 30 in this time


# Tokens.


def granting(shop: Shop) -> Callable[[Context], Awaitable[str]]:
    async def refresh(context: Context) -> str:
        answer = await context.use(shop.auth).post("/token")
        found: Any = answer.json()
        return f"Bearer {found['token']}"

    return refresh


def with_tokens() -> Shop:
    held: list[Shop] = []

    async def refresh(context: Context) -> str:
        return await granting(held[0])(context)

    held.append(Shop(refresh=refresh))
    return held[0]


def tokens(*names: str) -> list[Answer]:
    return [Answer(200, body=b'{"token": "%s"}' % name.encode()) for name in names]


def sent_with(lab: Lab, shop: Shop) -> list[str]:
    return [call.headers["authorization"] for call in lab.system(shop.erp).calls]


@runs
async def test_a_401_obtains_one_token_and_repeats_the_call_with_its_key():
    shop = with_tokens()
    async with Lab(shop.integration) as lab:
        lab.system(shop.auth).answers(*tokens("t-1", "t-2"))
        await shop.place(lab, "o-1")
        lab.system(shop.erp).answers(401, 201)
        await shop.place(lab, "o-2")
        assert sent_with(lab, shop) == ["Bearer t-1", "Bearer t-1", "Bearer t-2"]
        first, refused, repeated = lab.system(shop.erp).calls
        assert refused.key == repeated.key != first.key
        assert refused.body == repeated.body
        assert shop.asked == 2  # the attempt did not notice
        assert lab.system(shop.erp).accepted == ["o-1", "o-2"]


@runs
async def test_a_fresh_token_that_is_refused_is_tried_once_more_and_then_nobody_can_help():
    shop = with_tokens()
    async with Lab(shop.integration) as lab:
        lab.system(shop.auth).answers(*tokens(*"abcdef"))
        lab.system(shop.erp).answers(*[401] * 20)
        await shop.place(lab, "o-1")
        [letter] = lab.subscription("shop.book").dead
        assert letter.attempts == 2
        # The first attempt had a new token to begin with.
        assert sent_with(lab, shop) == ["Bearer a", "Bearer a", "Bearer b"]


@runs
async def test_a_refresh_that_fails_is_told_in_words_and_tried_again():
    shop = with_tokens()
    async with Lab(shop.integration) as lab:
        lab.system(shop.auth).answers(503, *tokens("t-1"))
        await shop.place(lab, "o-1")
        assert str(shop.failures[0]) == "shop.erp: refresh"
        outcome = shop.failures[0].outcome
        assert isinstance(outcome, Later)
        assert outcome.detail == "the refresh of shop.erp failed: shop.auth: http 503"
        assert lab.system(shop.erp).accepted == ["o-1"]


@runs
async def test_an_outage_of_who_gives_tokens_kills_nothing():
    shop = with_tokens()
    async with Lab(shop.integration) as lab:
        lab.system(shop.auth).answers(*[503] * 40, *tokens("t-1"))
        for number in range(6):
            await lab.send(shop.placed, Placed(f"o-{number}"))
        await lab.advance(hours=3)
        assert lab.subscription("shop.book").dead == []
        await lab.settle()
        assert lab.subscription("shop.book").delivered == 6


@pytest.mark.parametrize("given", ["", "Bearer hunter2\r\nx: y", None, 7])
def test_what_cannot_stand_in_a_field_is_a_bug_that_does_not_show_it(given: Any):
    @runs
    async def story():
        async def refresh(_: Context) -> str:
            return given

        shop = Shop(refresh=refresh)
        async with Lab(shop.integration) as lab:
            await shop.place(lab, "o-1")
            [letter] = lab.subscription("shop.book").dead
            assert letter.attempts == 5
            assert "hunter2" not in (letter.error or "")
            assert lab.system(shop.erp).calls == []

    story()


@runs
async def test_a_refresh_may_call_the_system_itself_and_ends_with_the_deadline_of_the_call():
    held: list[Shop] = []

    async def refresh(context: Context) -> str:
        found: Any = (await context.use(held[0].erp).post("/token")).json()
        return f"Bearer {found['token']}"

    held.append(Shop(refresh=refresh))
    shop = held[0]
    async with Lab(shop.integration) as lab:
        lab.system(shop.erp).answers(401, *tokens("t-1"))
        await shop.place(lab, "o-1")
        assert [call.target for call in lab.system(shop.erp).calls] == ["/token", "/token", "/o"]

    async def never(_: Context) -> str:
        return await asyncio.get_running_loop().create_future()

    slow = Shop(refresh=never)
    async with Lab(slow.integration) as lab:
        await lab.send(slow.placed, Placed("o-1"))
        await lab.advance(seconds=16)
        assert "has not ended within the deadline" in slow.failures[0].outcome.detail  # type: ignore[union-attr]


# Hints of receivers.


@runs
async def test_a_receiver_may_want_an_event_no_more():
    shop = Shop()
    async with Lab(shop.integration) as lab:
        lab.system(shop.erp).answers(Answer(503, (("webhook-delivery", "abort-message"),)))
        await shop.place(lab, "o-1", "o-2")
        [letter] = lab.subscription("shop.book").dead
        assert (letter.reason, letter.attempts) == ("permanent", 1)
        assert lab.system(shop.erp).accepted == ["o-2"]


@pytest.mark.parametrize("status", [200, 400, 503])
def test_a_receiver_may_want_nothing_more_until_a_person_resumes_it(status: int):
    @runs
    async def story():
        shop = Shop()
        async with Lab(shop.integration) as lab:
            lab.system(shop.erp).answers(Answer(status, (("webhook-delivery", "disable"),)))
            await shop.place(lab, "o-1", "o-2")
            assert lab.system(shop.erp).paused == "it answered webhook-delivery: disable"
            assert lab.subscription("shop.book").dead == []
            assert len(lab.system(shop.erp).calls) == 1
            await lab.resume(shop.erp)
            await lab.settle()
            assert sorted(lab.system(shop.erp).accepted) == ["o-1", "o-2"]

    story()
