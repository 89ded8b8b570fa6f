"""What a job does next, as a table: canary, pace, failures, the end."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from interlock.core import limits
from interlock.core.cursor import CursorId
from interlock.core.event import Shard
from interlock.core.jobs import NOTHING, Job, Progress, decode_set, encode_set, next_at, resumed, slices, stepped
from interlock.core.limits import US_PER_SECOND
from interlock.core.requests import decode_request

JOB = Job("retry", "ann", "why", 0, 1_000)
ONE = CursorId("shop.pick", Shard("shop", 0))
TWO = CursorId("shop.pick", Shard("shop", 1))


@pytest.mark.parametrize(
    ("job", "progress", "now", "released", "state"),
    [
        (JOB, NOTHING, 0, 1_000, "running"),
        (replace(JOB, pace_us=US_PER_SECOND), NOTHING, 0, 1, "running"),
        (replace(JOB, pace_us=US_PER_SECOND), NOTHING, 2_500_000, 3, "running"),
        (replace(JOB, canary=2), NOTHING, 0, 2, "running"),
        (replace(JOB, canary=2, released=2), Progress(1), 0, 2, "running"),
        (replace(JOB, canary=2, released=2), Progress(1, failing=1), 0, 2, "running"),
        (replace(JOB, canary=2, released=2), Progress(2), 0, 1_000, "running"),
        (replace(JOB, canary=2, released=2), Progress(1, (), (1,)), 0, 1_000, "running"),
        (replace(JOB, canary=2, released=2), Progress(1, (1,)), 0, 2, "stopped"),
        (replace(JOB, stop_percent=10.0), NOTHING, 0, limits.JOB_OPEN_MAX, "running"),
        (replace(JOB, stop_percent=10.0, released=100), Progress(5, (1, 2)), 0, 107, "running"),
        (replace(JOB, stop_percent=10.0, released=100), Progress(9, (1,)), 0, 110, "running"),
        (replace(JOB, stop_percent=10.0, released=100), Progress(8, (1, 2)), 0, 100, "stopped"),
        (replace(JOB, stop_percent=10.0, released=100), Progress(8, (), (), 2), 0, 100, "stopped"),
        (replace(JOB, stop_percent=10.0, of=3, released=3), Progress(2, (1,)), 0, 3, "done"),
        (replace(JOB, stop_percent=10.0, of=3, released=3), Progress(1, (1,)), 0, 3, "running"),
        (replace(JOB, released=1_000), Progress(998, (1,), (2,)), 7, 1_000, "done"),
        (replace(JOB, released=1_000), Progress(998, (1,)), 7, 1_000, "running"),
        (replace(JOB, state="paused", released=5), Progress(5), 7, 5, "paused"),
    ],
)
def test_what_follows_from_what_became_of_the_released(
    job: Job, progress: Progress, now: int, released: int, state: str
) -> None:
    after = stepped(job, progress, now)
    assert (after.released, after.state) == (released, state)
    assert (after.ended_at == now) == (state == "done")


def test_the_pace_counts_from_the_end_of_the_canary() -> None:
    job = replace(JOB, canary=1, released=1, pace_us=US_PER_SECOND)
    after = stepped(job, Progress(1), 60 * US_PER_SECOND)
    assert (after.released, next_at(after)) == (2, 61 * US_PER_SECOND)
    assert next_at(replace(after, state="paused")) is None


def test_what_failed_before_it_was_resumed_does_not_stop_it_again() -> None:
    stopped = stepped(replace(JOB, stop_percent=10.0, released=100), Progress(5, (1, 2, 3, 4, 5)), 0)
    assert stopped.state == "stopped"
    after = resumed(stopped, "ann", 10)
    after = stepped(after, Progress(14, (1, 2, 3, 4, 5)), 10)
    assert (after.state, after.released) == ("running", 119)
    assert stepped(after, Progress(18, (1, 2, 3, 4, 5, 6, 7)), 10).state == "stopped"


def test_a_slice_is_a_request_a_cursor_and_the_set_keeps_the_order_of_keys() -> None:
    events = decode_set(encode_set({TWO: [5, 3], ONE: [9, 1, 4]}))
    assert events == [(ONE, 1), (ONE, 4), (ONE, 9), (TWO, 3), (TWO, 5)]
    made = slices("job_1", JOB, events, range(1, 4), 7)
    assert {key: decode_request(value).offsets for key, value in made.items()} == {
        "request/shop.pick/shop/0/job_1.1": (4, 9),
        "request/shop.pick/shop/1/job_1.3": (3,),
    }


def test_a_slice_is_cut_where_a_request_may_hold_no_more() -> None:
    count = 2 * limits.REQUEST_OFFSETS_MAX + 1
    made = slices("job_1", JOB, decode_set(encode_set({ONE: range(1, count + 1)})), range(count), 7)
    assert sorted(len(decode_request(value).offsets) for value in made.values()) == [1, 1_000, 1_000]
