"""Backpressure at the edge: what is refused when the store is full, slow or broken, and with which answer."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.edge.plane import Plane, cloud_event

from interlock.core import limits
from interlock.core.errors import StoreBusy, StoreError, StoreFull

PUSH = b'{"ref":"refs/heads/main","repository":{"full_name":"octo/hello"}}'


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (StoreFull("store.full", "No room.", "Free space."), 507, "store.full"),
        (StoreBusy("store.busy", "Busy.", "Wait."), 503, "store.busy"),
        (StoreError("store.commit-failed", "It failed.", "Look."), 503, "store.in-doubt"),
        (OSError(5, "EIO"), 503, "store.in-doubt"),
    ],
)
def test_a_store_that_cannot_take_an_event_is_told_with_the_time_to_come_back(failure, status, code):
    plane = Plane()
    plane.log.failure = failure
    batch = plane.post_json([cloud_event()], "application/cloudevents-batch+json")
    for answer in (plane.from_github(PUSH), plane.post_json(cloud_event()), batch):
        assert (answer.status, answer.json["code"], answer.json["retryable"]) == (status, code, True)
        assert answer.fields["retry-after"] == str(answer.json["retry_after"])
    assert len(plane.records("intake.refused")) == 3
    assert plane.records("webhook.accepted") == []


def test_while_draining_nothing_new_is_read_and_what_was_taken_is_answered():
    plane = Plane()
    plane.log.holding = True
    taken = plane.from_github(PUSH)
    plane.app.drain()
    for answer in (plane.from_github(PUSH), plane.post_json(cloud_event())):
        assert (answer.status, answer.json["code"], answer.collected) == (503, "intake.draining", False)
    plane.log.held.pop()()
    assert taken.status == 202


def test_the_level_rises_with_what_waits_for_the_store_and_falls_with_its_answers():
    plane = Plane()
    plane.log.holding = True
    levels = []
    for _ in range(10):
        events = [cloud_event(id=f"e-{plane.log.commits}-{n}") for n in range(limits.BATCH_EVENTS_MAX)]
        plane.post_json(events, "application/cloudevents-batch+json")
        levels.append(plane.app.level)
    assert levels == ["green"] * 5 + ["amber"] * 3 + ["red", "full"]
    refused = plane.from_github(PUSH)
    assert (refused.status, refused.json["code"], refused.collected) == (503, "intake.busy", False)
    for answer in plane.log.held:
        answer()
    assert plane.app.level == "green"
    assert plane.log.commits == 10


def rows_of(tenant: str, count: int) -> list[object]:
    return [
        cloud_event(id=f"{tenant}-{n}", type="import.row@1", data={"account": tenant, "amount": n})
        for n in range(count)
    ]


def post_rows(plane: Plane, tenant: str, count: int):
    return plane.post_json(rows_of(tenant, count), "application/cloudevents-batch+json")


def test_a_draft_says_whose_it_is():
    plane = Plane()
    plane.post_json(cloud_event(id="1", type="import.row@1", tenant="not-so", data={"account": "acme", "amount": 1}))
    assert plane.log.drafts[0].extensions == (("tenant", "acme"),)
    assert plane.log.drafts[0].tenant == "acme"


def test_when_much_waits_the_tenant_that_has_most_of_it_is_refused_first_and_told_so():
    plane = Plane()
    plane.log.holding = True
    for n in range(8):
        assert not post_rows(plane, "flood", 1_000 - n).answers
    assert not post_rows(plane, "quiet", 600).answers
    assert plane.app.level == "red"
    refused = post_rows(plane, "flood", 1)
    assert (refused.status, refused.json["code"], refused.json["retryable"]) == (429, "intake.over-share", True)
    assert "'flood'" in refused.json["detail"]
    assert not post_rows(plane, "quiet", 10).answers, "it has its share left"
    assert not post_rows(plane, "newcomer", 10).answers
    for answer in plane.log.held:
        answer()
    plane.log.holding = False
    assert post_rows(plane, "flood", 1).status == 202


def test_a_tenant_alone_may_fill_the_way():
    plane = Plane()
    plane.log.holding = True
    for _ in range(9):
        assert not post_rows(plane, "flood", 1_000).answers
    assert plane.app.level == "red"
    assert not post_rows(plane, "flood", 1_000).answers
    assert post_rows(plane, "flood", 1).status == 503


@pytest.mark.parametrize(("seconds", "told"), [(0, 1), (2, 10), (600, 60)])
def test_the_time_to_come_back_is_what_draining_takes_at_the_present_pace(seconds, told):
    plane = Plane()
    plane.log.holding = True
    events = [[cloud_event(id=f"{batch}-{n}") for n in range(1_000)] for batch in range(12)]
    for batch in events[:3]:
        plane.post_json(batch, "application/cloudevents-batch+json")
    asyncio.run(plane.clock.advance(seconds * 1_000_000))
    plane.log.held.pop(0)()
    plane.log.held.pop(0)()
    for batch in events[3:]:
        plane.post_json(batch, "application/cloudevents-batch+json")
    refused = plane.from_github(PUSH)
    assert (refused.status, refused.fields["retry-after"]) == (503, str(told))
