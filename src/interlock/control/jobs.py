"""What became of a command that lanes answer: its job, found by the requests that it left with each cursor."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from interlock.control import shapes
from interlock.control.commands import POLL_US
from interlock.control.problem import Refused
from interlock.control.queries import Reading
from interlock.core import limits
from interlock.core.ports import Clock
from interlock.core.requests import LaneRequest, decode_request, job_of, request_key

PREFIX: Final = "job_"
_WAIT_US_MAX: Final = 5 * limits.US_PER_SECOND
_NAMED_MAX: Final = 5


async def job(reading: Reading, clock: Clock, asked: shapes.JobAsked) -> shapes.JobAnswer:
    """What came of a job so far, at the latest when the wait is over.

    Raises:
        Refused: `job.unknown`, `job.ambiguous`.
    """
    deadline = clock.monotonic() + max(0, min(asked.wait_us, _WAIT_US_MAX))
    name, requests = await _found(reading, asked.job)
    first = found = _answer(name, requests.values())
    while found.applied == first.applied and found.applied < found.of and (now := clock.monotonic()) < deadline:
        await clock.sleep_until(min(now + POLL_US, deadline))
        # A request that has been forgotten meanwhile is as it was last seen.
        cells = await reading.cells.get(list(requests))
        requests |= {key: decode_request(cell.value) for key, cell in cells.items()}
        found = _answer(name, requests.values())
    return found


async def _found(reading: Reading, prefix: str) -> tuple[str, dict[str, LaneRequest]]:
    """The one job that begins so, and its requests by their cells."""
    if not prefix.startswith(PREFIX):
        raise Refused(400, "id.malformed", "the id of a job starts with job_", "give it as the command printed it")
    jobs: dict[str, dict[str, LaneRequest]] = {}
    for line in await reading.views.cursors():
        key = request_key(line.cursor.id, prefix)
        for cell in await reading.cells.list(key):
            jobs.setdefault(job_of(cell.key), {})[cell.key] = decode_request(cell.value)
    if not jobs:
        raise Refused(
            404,
            "job.unknown",
            "no job has an id that begins so",
            "jobs are forgotten some time after their last answer",
        )
    if len(jobs) > 1:
        named = ", ".join(sorted(jobs)[:_NAMED_MAX])
        raise Refused(409, "job.ambiguous", f"several jobs have an id that begins so: {named}", "give more characters")
    return jobs.popitem()


def _answer(name: str, requests: Collection[LaneRequest]) -> shapes.JobAnswer:
    counted: dict[str, int] = {}
    for request in requests:
        for answer in request.results.values():
            counted[answer] = counted.get(answer, 0) + 1
    first = next(iter(requests))
    return shapes.JobAnswer(
        name,
        first.verb,
        first.actor,
        first.reason,
        first.at,
        sum(len(request.offsets) for request in requests),
        sum(counted.values()),
        counted,
    )
