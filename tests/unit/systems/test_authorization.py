"""One `Authorization` for many calls: obtained once however many were refused, shared, and shown nowhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from msgspec.structs import replace
from tests.unit.systems.test_registry import CRM, ID, World, plan

from interlock.call.classify import answered
from interlock.call.effect import CallFailed, Scope
from interlock.core.handler import Call, Handler
from interlock.core.limits import RECHECK_US, US_PER_SECOND
from interlock.core.outcome import Answer, Later, Outcome, Unavailable
from interlock.spec.plan import HttpBinding, Plan
from interlock.systems.registry import Systems


class Bench:
    """A System that accepts one token at a time, and whoever gives the next one, when the test says so."""

    def __init__(self, refresh: Callable[[Any], Any] | None = None, **binding: Any) -> None:
        self.world = World()
        self.valid = "t-1"
        self.granted = 0
        self.granting = ""
        self.seen: list[tuple[str, str]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.contexts: list[tuple[str, str, int]] = []
        declared = plan(crm=HttpBinding("https://crm.example", **binding))
        spec = replace(declared.systems[CRM], refresh=refresh or self.refresh)
        self.plan: Plan = replace(declared, systems={CRM: spec})
        self.systems = Systems(self.plan, self.world, self.transport, self.context)

    def context(self, name: str, run: str, deadline: int) -> Any:
        self.contexts.append((name, run, deadline))
        return None

    async def refresh(self, _: Any) -> str:
        self.granted += 1
        await self.gate.wait()
        return f"Bearer {self.granting or self.valid}"

    def transport(self, _: str) -> Handler:
        async def handle(call: Call) -> Outcome:
            field = dict(call.headers).get("authorization", "")
            self.seen.append((call.key, field))
            await asyncio.sleep(0)
            status = 201 if field == f"Bearer {self.valid}" else 401
            return answered(call, Answer(status, body=field.rpartition(" ")[2].encode()), 0)

        return handle

    def call(self, name: str) -> asyncio.Task[Answer]:
        scope = Scope(identity=(ID[0], ID[1], name), deadline=self.world.clock.monotonic() + 30 * US_PER_SECOND)
        return asyncio.ensure_future(self.systems.client(CRM, scope).post("/entries", json=name))


def run(story: Callable[[], Coroutine[None, None, None]]) -> None:
    asyncio.run(story())


def test_many_401s_at_once_obtain_one_token_and_every_call_keeps_its_key():
    async def story() -> None:
        bench = Bench()
        await bench.call("first")
        bench.valid = "t-2"
        bench.seen.clear()
        await asyncio.gather(*(bench.call(f"o-{number}") for number in range(12)))
        assert bench.granted == 2
        refused = [key for key, field in bench.seen if field == "Bearer t-1"]
        repeated = [key for key, field in bench.seen if field == "Bearer t-2"]
        assert len(refused) == 12
        assert sorted(refused) == sorted(repeated)
        assert len({run for _, run, _ in bench.contexts}) == 2

    run(story)


def test_a_binding_begins_with_its_own_field_and_what_was_obtained_takes_its_place():
    async def story() -> None:
        bench = Bench(headers={"Authorization": "Bearer old", "X-Shop": "1"})
        await bench.call("o-1")
        assert [field for _, field in bench.seen] == ["Bearer old", "Bearer t-1"]

    run(story)


def test_a_refresh_that_fails_fails_once_for_all_who_waited_for_it():
    async def story() -> None:
        asked: list[int] = []

        async def refresh(_: Any) -> str:
            asked.append(1)
            await asyncio.sleep(0)
            raise CallFailed("shop.auth", Later("http 500", status=500))

        bench = Bench(refresh)
        ends = await asyncio.gather(*(bench.call(f"o-{number}") for number in range(9)), return_exceptions=True)
        assert len(asked) == 1
        outcomes = [end.outcome for end in ends if isinstance(end, CallFailed)]
        assert len(outcomes) == 9
        detail = "the refresh of shop.crm failed: shop.auth: http 500"
        assert set(outcomes) == {Later("refresh", detail=detail)}
        assert bench.world.records == [
            ("system.refresh-failed", {"system": CRM, "why": "shop.auth: http 500"}),
        ]

    run(story)


def test_who_was_cancelled_while_it_obtained_a_token_leaves_that_to_the_next():
    async def story() -> None:
        bench = Bench()
        bench.gate.clear()
        first, second = bench.call("o-1"), bench.call("o-2")
        for _ in range(5):
            await asyncio.sleep(0)
        assert bench.granted == 1
        first.cancel()
        bench.gate.set()
        assert (await second).status == 201
        assert bench.granted == 2

    run(story)


def test_a_system_that_gives_tokens_and_is_not_to_be_called_now_makes_the_event_wait_and_counts_nothing():
    async def story() -> None:
        async def refresh(_: Any) -> str:
            raise CallFailed("shop.auth", Unavailable("paused", None, "shop.auth"))

        bench = Bench(refresh)
        with pytest.raises(CallFailed) as failed:
            await bench.call("o-1")
        assert failed.value.outcome == Unavailable("paused", RECHECK_US, "shop.auth")

    run(story)


def test_no_value_that_is_or_was_in_use_stands_in_a_record():
    async def story() -> None:
        bench = Bench()
        await bench.call("o-1")
        bench.valid = "t-secret"
        await bench.call("o-2")
        bench.valid = "another"

        scope = Scope(identity=ID, deadline=bench.world.clock.monotonic() + 30 * US_PER_SECOND)
        bench.granting = "t-secret"
        with pytest.raises(CallFailed):
            await bench.systems.client(CRM, scope).post("/entries")
        told = f"{scope.calls} {bench.world.records}"
        assert scope.calls[-1].response.endswith("[redacted]")
        assert "t-secret" not in told
        assert "t-1" not in told

    run(story)
