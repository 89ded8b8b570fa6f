"""Lab with a SQL System: what a user writes to test a function that writes to a database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import wraps
from typing import Any

from interlock.core.limits import RECEIPT_KEEP_US, US_PER_DAY
from interlock.journal.ports import Retention
from interlock.runtime.receipts import forgettable_before
from interlock.spec.declare import Integration
from interlock.spec.function import Context, Event, SqlSystem
from interlock.testing.lab import Lab


@dataclass(frozen=True)
class Settled:
    account: str
    cents: int


payments = Integration("payments", owner="payments-team", purpose="Settlements reach the ledger within five minutes")
ledger = payments.sql("ledger")
mailer = payments.http("mailer", honours_keys=True)
settled = payments.event("payment.settled", Settled, key=lambda p: p.account)
booked = payments.event("payment.booked", Settled, key=lambda p: p.account)


@payments.subscribe(settled, on_dead="skip", freshness=timedelta(minutes=5))
async def book(event: Event[Settled], context: Context) -> None:
    it = event.payload
    async with context.use(ledger).once() as tx:
        await tx.execute("INSERT INTO entries VALUES ($1, $2)", event.source_id, it.cents)
        ((balance,),) = await tx.fetch(
            "UPDATE balances SET cents = cents + $2 WHERE account = $1 RETURNING cents", it.account, it.cents
        )
        tx.result = balance
    await context.use(mailer).post("/mails", json={"account": it.account, "balance": tx.result})
    context.emit(booked.draft(it, id=event.source_id))


def runs(test: Callable[[], Coroutine[None, None, None]]) -> Callable[[], None]:
    """A test that is a coroutine, without a plug-in of pytest."""

    @wraps(test)
    def run() -> None:
        asyncio.run(test())

    return run


def opened(lab: Lab, system: SqlSystem = ledger) -> Any:
    database = lab.system(system)
    database.execute("CREATE TABLE entries (id TEXT, cents INTEGER CHECK (cents > 0))")
    database.execute("CREATE TABLE balances (account TEXT PRIMARY KEY, cents INTEGER)")
    database.execute("INSERT INTO balances VALUES ($1, 0)", "a-1")
    return database


@runs
async def test_an_event_is_written_once_whatever_becomes_of_its_attempts():
    async with Lab(payments) as lab:
        database = opened(lab)
        database.fails("connect", "conflict", "server")
        database.loses_answers()
        lab.system(mailer).answers(503)
        await lab.send(settled, Settled("a-1", 700))
        await lab.settle()
        assert database.rows("SELECT * FROM entries") == [("lab-1", 700)]
        assert database.rows("SELECT cents FROM balances") == [(700,)]
        assert database.receipts == 1
        assert lab.system(mailer).accepted == [{"account": "a-1", "balance": 700}]
        assert lab.subscription("payments.book").stragglers == []
        assert lab.subscription("payments.book").dead == []


@runs
async def test_a_constraint_is_a_dead_letter_and_nothing_of_the_block_is_there():
    async with Lab(payments) as lab:
        database = opened(lab)
        await lab.send(settled, Settled("a-1", -1))
        await lab.settle()
        (letter,) = lab.subscription("payments.book").dead
        assert letter.error.startswith("sql SQLITE_CONSTRAINT_CHECK: ")
        assert (database.rows("SELECT * FROM entries"), database.receipts) == ([], 0)


@runs
async def test_an_outage_opens_the_breaker_and_loses_nothing():
    async with Lab(payments) as lab:
        database = opened(lab)
        database.fails(*["connect"] * 8)
        for cents in (1, 2, 3):
            await lab.send(settled, Settled(f"a-{cents}", cents))
            database.execute("INSERT OR IGNORE INTO balances VALUES ($1, 0)", f"a-{cents}")
        await lab.advance(seconds=5)
        assert lab._engine.systems.is_down(ledger.name)
        await lab.settle()
        assert database.rows("SELECT cents FROM entries ORDER BY cents") == [(1,), (2,), (3,)]


# A function that does in the block what belongs behind it.

hasty = Integration("hasty", owner="team", purpose="To be told so")
store = hasty.sql("store")
seen = hasty.event("seen", Settled, key=lambda p: p.account)
told = hasty.event("told", Settled, key=lambda p: p.account)


@hasty.subscribe(seen, on_dead="skip", freshness=timedelta(minutes=5))
async def tell(event: Event[Settled], context: Context) -> None:
    async with context.use(store).once() as tx:
        await tx.execute("CREATE TABLE IF NOT EXISTS t (a)")
        context.emit(told.draft(event.payload, id=event.source_id))


@runs
async def test_what_would_be_lost_behind_a_receipt_is_refused_the_first_time():
    async with Lab(hasty) as lab:
        await lab.send(seen, Settled("a-1", 1))
        await lab.settle()
        (letter,) = lab.subscription("hasty.tell").dead
        assert letter.error.startswith("call.emits-inside: ")
        assert lab.system(store).receipts == 0


# Values.

kinds = Integration("kinds", owner="team", purpose="Values of every kind")
table = kinds.sql("table")
came = kinds.event("came", Settled, key=lambda p: p.account)


@kinds.subscribe(came, on_dead="skip", freshness=timedelta(minutes=5))
async def keep(event: Event[Settled], context: Context) -> None:
    async with context.use(table).once() as tx:
        values = (
            1,
            1.5,
            "x",
            b"y",
            None,
            True,
            Decimal("1.50"),
            date(2026, 11, 28),
            datetime(2026, 11, 28, tzinfo=UTC),
        )
        rows = await tx.fetch(
            'SELECT $9, $8, $7, $6, $5, $4, $3, $2, $1, \'$1\', "$1" FROM (SELECT 7 AS "$1")', *values
        )
        tx.result = [each.decode() if isinstance(each, bytes) else each for each in rows[0]]
    context.log("kept", values=tx.result)


@runs
async def test_values_stand_for_their_numbers_and_are_what_sqlite_has():
    async with Lab(kinds) as lab:
        await lab.send(came, Settled("a-1", 1))
        await lab.settle()
        assert lab.subscription("kinds.keep").dead == []
        ((result,),) = lab.system(table).rows("SELECT result FROM interlock_inbox")
        expected = '["2026-11-28T00:00:00+00:00","2026-11-28","1.50",1,null,"y","x",1.5,1,"$1",7]'
        assert result.decode() == expected


# Receipts.


@runs
async def test_a_receipt_may_be_forgotten_when_no_event_of_its_time_can_be_delivered_again():
    async with Lab(payments) as lab:
        opened(lab)
        clock, store = lab.clock, lab._engine.store
        assert await forgettable_before(lab.plan, store, clock.now()) == clock.now() - RECEIPT_KEEP_US
        accepted_at = clock.now()
        await lab.send(settled, Settled("a-1", 5))
        await lab.settle()
        clock.jump(40 * US_PER_DAY)
        # The log still has the event, so a person can have it delivered again.
        assert await forgettable_before(lab.plan, store, clock.now()) == accepted_at
        await store.retire("payments", Retention(US_PER_DAY, 0))
        assert await forgettable_before(lab.plan, store, clock.now()) == clock.now() - RECEIPT_KEEP_US
