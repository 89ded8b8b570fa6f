"""The integration in `Lab`: the production engine in memory, on a clock that only moves when the test says so."""

from __future__ import annotations

from payments import ledger, payments

from interlock.testing.lab import Lab

ROUTE, SECRET = "POST /hooks/psp", "psp.webhook"
SETTLEMENT = {"id": "psp-1", "account": "a-1", "cents": 1250}
ENTRY = {"account": "a-1", "cents": 1250}


async def test_a_settlement_is_booked_once_even_if_the_ledger_flaps() -> None:
    async with Lab(payments) as lab:
        lab.system(ledger).answers(503, 503, 201)
        await lab.hook(ROUTE, SETTLEMENT, signed_with=SECRET)
        await lab.settle()
        assert lab.system(ledger).accepted == [ENTRY]
        assert lab.subscription("payments.book").stragglers == []


async def test_a_settlement_that_is_sent_again_changes_nothing() -> None:
    async with Lab(payments) as lab:
        for _ in range(2):
            await lab.hook(ROUTE, SETTLEMENT, signed_with=SECRET)
        await lab.settle()
        assert lab.system(ledger).accepted == [ENTRY]
