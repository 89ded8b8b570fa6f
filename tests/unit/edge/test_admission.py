"""Backpressure at the edge: what is refused when the store is full, slow or broken, and with which answer."""

from __future__ import annotations

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
