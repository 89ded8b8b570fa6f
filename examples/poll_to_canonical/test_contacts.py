"""The integration in `Lab`: no process, no socket, no waiting."""

from __future__ import annotations

import asyncio

from contacts import billing, contacts, crm, newsletter
from crm_log import page

from interlock.testing.lab import Lab


def test_changes_of_two_pages_reach_everybody_in_the_canonical_form_and_in_order() -> None:
    async def story() -> None:
        lab = Lab(contacts)
        lab.system(crm).answers(page(0), page(2))
        async with lab:
            await lab.settle()
            assert [call.json["name"] for call in lab.system(billing).calls] == ["Ada Lovelace", "Ada King"]
            assert lab.system(newsletter).accepted == [{"email": "ada@example.com"}] * 2
            assert [call.target.partition("?")[2] for call in lab.system(crm).calls] == ["since=0", "since=2"]

    asyncio.run(story())


def test_a_crm_that_is_down_is_asked_again_from_the_same_token() -> None:
    async def story() -> None:
        lab = Lab(contacts)
        lab.system(crm).answers(page(0), 503, page(2))
        async with lab:
            await lab.advance(minutes=1)
            assert [call.target.partition("?")[2] for call in lab.system(crm).calls] == [
                "since=0",
                "since=2",
                "since=2",
            ]
            assert [call.json["name"] for call in lab.system(billing).calls] == ["Ada Lovelace", "Ada King"]

    asyncio.run(story())


def test_a_page_that_the_crm_repeats_changes_nothing() -> None:
    async def story() -> None:
        lab = Lab(contacts)
        lab.system(crm).answers(page(0), page(2), page(0), page(2))
        async with lab:
            await lab.advance(minutes=6)
            assert len(lab.system(crm).calls) == 4
            assert len(lab.system(billing).calls) == 2

    asyncio.run(story())
