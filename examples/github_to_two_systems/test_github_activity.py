"""The integration in `Lab`: no process, no socket, no waiting. Run with pytest, like the test of any integration."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
from github_activity import activity, chat, tracker

from interlock.testing.lab import Lab

ROUTE, SECRET = "POST /hooks/github", "github.webhook"
PUSH = (Path(__file__).parent / "payloads" / "push.2.json").read_bytes()


async def deliver(lab: Lab, kind: str, payload: Any, id: str) -> None:
    """A delivery as GitHub makes it."""
    await lab.hook(ROUTE, payload, signed_with=SECRET, id=id, headers={"x-github-event": kind})


def test_a_push_reaches_tracker_and_chat_in_its_own_words() -> None:
    async def story() -> None:
        async with Lab(activity) as lab:
            await deliver(lab, "push", PUSH, "d-1")
            await lab.settle()
            [entry], [line] = lab.system(tracker).accepted, lab.system(chat).accepted
            assert entry["project"] == line["channel"] == "Codertocat/Hello-World"
            assert entry["text"] == line["text"] == "Codertocat pushed 0 commits to refs/tags/simple-tag"
            assert entry["delivery"] == "d-1"

    asyncio.run(story())


def test_a_flaky_tracker_gets_every_entry_once_and_in_order_while_the_chat_goes_on() -> None:
    async def story() -> None:
        async with Lab(activity) as lab:
            lab.system(tracker).answers(503, 503, 201)
            for number in range(3):
                await deliver(lab, "push", PUSH, f"d-{number}")
            await lab.advance(milliseconds=100)
            assert [line["delivery"] for line in lab.system(chat).accepted] == ["d-0", "d-1", "d-2"]
            assert lab.system(tracker).accepted == []
            await lab.settle()
            assert [entry["delivery"] for entry in lab.system(tracker).accepted] == ["d-0", "d-1", "d-2"]
            assert lab.subscription("github.file_in_tracker").stragglers == []

    asyncio.run(story())


def test_a_delivery_that_github_sends_again_changes_nothing() -> None:
    async def story() -> None:
        async with Lab(activity) as lab:
            for _ in range(2):
                await deliver(lab, "push", PUSH, "d-1")
            await lab.settle()
            assert len(lab.system(tracker).accepted) == len(lab.system(chat).accepted) == 1

    asyncio.run(story())


def test_a_payload_that_accept_cannot_read_is_kept_as_a_dead_letter() -> None:
    async def story() -> None:
        async with Lab(activity) as lab:
            body = {name: part for name, part in msgspec.json.decode(PUSH).items() if name != "sender"}
            await deliver(lab, "push", body, "d-1")
            await lab.settle()
            [letter] = lab.subscription("github.accept.inbox").dead
            assert letter.reason == "poison_decode"
            assert lab.system(tracker).accepted == []

    asyncio.run(story())
