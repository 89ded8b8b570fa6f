"""The engine as a whole on the memory store and the fake clock: polls, names that a plan forgets, controls."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest

from interlock import Context, Draft, Integration, Page, SpecError
from interlock.core.errors import InterlockError
from interlock.core.event import Shard
from interlock.core.ports import Wakeup
from interlock.journal.memory import Inline, MemoryDisk, MemoryStore
from interlock.journal.ports import Store
from interlock.runtime.compose import Engine, World
from interlock.runtime.ports import SystemNet, SystemRandom
from interlock.spec.bindings import Bindings
from interlock.spec.check import planned
from interlock.testing.clock import FakeClock
from interlock.testing.fakes import FakeSecrets, anyone
from interlock.testing.lab import Lab


@dataclass
class Contact:
    name: str


class Here:
    """An engine over a disk that outlives it."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.disk = MemoryDisk()
        self.records: list[str] = []

    def engine(self, *integrations: Integration) -> Engine:
        def emit(record: str, /, **fields: object) -> None:
            self.records.append(record)

        world = World(self.clock, SystemRandom(), SystemNet(), Inline(), emit, FakeSecrets(), anyone)

        def open_store(wakeup: Wakeup) -> Awaitable[Store]:
            async def opened() -> Store:
                return MemoryStore(self.clock, wakeup, emit=emit, disk=self.disk)

            return opened()

        return Engine(planned(integrations, Bindings()), world, open_store)


def crm() -> Integration:
    return Integration("crm", owner="crm-team", purpose="Contacts are known everywhere within the hour")


def test_a_poll_reads_page_by_page_and_goes_on_from_its_token_after_a_restart() -> None:
    async def story() -> None:
        here, asked = Here(), list[str | None]()
        integration = crm()
        contact = integration.event("contact", Contact, key=lambda it: it.name)

        @integration.poll(every=timedelta(minutes=5))
        async def contacts(since: str | None, context: Context) -> Page:
            asked.append(since)
            number = int(since or "0")
            return Page([contact.draft(Contact(f"n{number}"), id=f"c{number}")], next=str(number + 1), more=number < 1)

        first = here.engine(integration)
        await first.start()
        await here.clock.advance(timedelta(seconds=1))
        assert asked == [None, "1"]
        first.abandon()
        second = here.engine(integration)
        await second.start()
        await here.clock.advance(timedelta(minutes=11))
        assert asked[2:] == ["2", "3", "4"]
        ends = [second.store.bounds(Shard("crm", number))[1] for number in range(8)]
        assert sum(ends) == len(asked)
        await _stop(here, second)

    asyncio.run(story())


def test_a_poll_that_emits_is_told_where_its_drafts_belong() -> None:
    async def story() -> None:
        here, refused = Here(), list[str]()
        integration = crm()
        contact = integration.event("contact", Contact, key=lambda it: it.name)

        @integration.poll(every=timedelta(minutes=5))
        async def contacts(since: str | None, context: Context) -> Page:
            try:
                context.emit(contact.draft(Contact("a"), id="a"))
            except InterlockError as error:
                refused.append(error.code)
            return Page([], next=since)

        engine = here.engine(integration)
        await engine.start()
        await here.clock.advance(timedelta(seconds=1))
        assert refused == ["poll.emits"]
        await _stop(here, engine)

    asyncio.run(story())


def test_a_schedule_emits_nothing_and_its_calls_keep_their_keys_for_the_same_time() -> None:
    async def story() -> None:
        integration = crm()
        contact = integration.event("contact", Contact, key=lambda it: it.name)
        book = integration.http("book", honours_keys=True)

        @integration.schedule(cron="0 6 * * *", timezone="Europe/Berlin", missed="run once")
        async def nightly(due: datetime, context: Context) -> list[Draft]:
            with pytest.raises(InterlockError, match="emits") as refused:
                context.emit(contact.draft(Contact("a"), id="a"))
            assert refused.value.code == "schedule.emits"
            await context.use(book).post("/nights", json={"day": due.date().isoformat()})
            return [contact.draft(Contact("a"), id=f"{due:%F}")]

        async with Lab(integration) as lab:
            lab.system(book).answers(503)
            view = lab.schedule("crm.nightly")
            assert (str(view.next_at), view.last_at) == ("2026-01-01 06:00:00+01:00", None)
            await lab.advance(hours=4, minutes=59)
            assert lab.system(book).calls == []
            await lab.advance(minutes=2)
            assert str(view.last_at) == "2026-01-01 06:00:00+01:00"
            await lab.advance(days=1)
            first, again, next_day = lab.system(book).calls
            assert first.key == again.key != next_day.key
            assert lab.system(book).accepted == [{"day": "2026-01-01"}, {"day": "2026-01-02"}]

    asyncio.run(story())


def test_a_process_without_lanes_gets_a_lease_back_that_ended_while_it_was_suspended() -> None:
    async def story() -> None:
        integration = crm()
        integration.event("contact", Contact, key=lambda it: it.name)
        ran = list[str]()

        @integration.schedule(every=timedelta(minutes=1), missed="run once")
        async def minutely(due: datetime, context: Context) -> list[Draft]:
            ran.append(f"{due:%H:%M}")
            return []

        here = Here()
        engine = here.engine(integration)
        await engine.start()
        await here.clock.advance(timedelta(minutes=1))
        here.clock.jump(timedelta(minutes=10))
        await here.clock.advance(timedelta(minutes=2))
        assert "lease.lost" in here.records
        assert ran[-1] == "00:13"
        await _stop(here, engine)

    asyncio.run(story())


def test_a_plan_that_forgets_a_subscription_is_refused_with_its_remedy() -> None:
    async def story() -> None:
        here = Here()
        before = crm()
        contact = before.event("contact", Contact, key=lambda it: it.name)
        before.subscribe(contact, on_dead="skip")(_named("old_name"))
        first = here.engine(before)
        await first.start()
        await _stop(here, first)
        after = crm()
        contact = after.event("contact", Contact, key=lambda it: it.name)
        after.subscribe(contact, on_dead="skip")(_named("new_name"))
        second = here.engine(after)
        with pytest.raises(SpecError, match=r"interlock subscriptions rename crm\.old_name") as refused:
            await second.start()
        assert refused.value.code == "plan.forgets"
        await second.stop()

    asyncio.run(story())


def _named(name: str) -> object:
    async def function(event: object, context: object) -> None: ...

    function.__name__ = name
    return function


async def _stop(here: Here, engine: Engine) -> None:
    stopping = asyncio.ensure_future(engine.stop())
    await here.clock.advance(timedelta(seconds=20))
    await stopping
