"""What became of commands that lanes answer: their jobs, each with the requests that it left with cursors."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

from interlock.control import dead_shapes
from interlock.control.audit import Who
from interlock.control.commands import POLL_US, Commands
from interlock.control.problem import Refused
from interlock.control.queries import Reading, bounded
from interlock.core import limits
from interlock.core.jobs import JOB_PREFIX, Job, decode_job, job_key
from interlock.core.ports import Clock
from interlock.core.requests import LaneRequest, decode_request, job_of, request_key

PREFIX: Final = "job_"
_WAIT_US_MAX: Final = 5 * limits.US_PER_SECOND
_NAMED_MAX: Final = 5
_LISTED_MAX: Final = 10_000


class _Found(NamedTuple):
    """A job: its own cell, where it has one, and its requests by their cells."""

    name: str
    job: Job | None
    requests: Mapping[str, LaneRequest]


async def job(reading: Reading, clock: Clock, asked: dead_shapes.JobAsked) -> dead_shapes.JobAnswer:
    """What came of a job so far, at the latest when the wait is over.

    Raises:
        Refused: `job.unknown`, `job.ambiguous`.
    """
    deadline = clock.monotonic() + max(0, min(asked.wait_us, _WAIT_US_MAX))
    name = await _name(reading, asked.job)
    first = found = _answer(await _found(reading, name))
    while found == first and not _is_over(found) and (now := clock.monotonic()) < deadline:
        await clock.sleep_until(min(now + POLL_US, deadline))
        found = _answer(await _found(reading, name))
    return found


async def jobs(reading: Reading, asked: dead_shapes.JobsAsked) -> dead_shapes.Jobs:
    """Jobs about dead letters, the latest first."""
    cells = await reading.cells.list(JOB_PREFIX, _LISTED_MAX)
    # Their names are in the order of time.
    names = [cell.key.removeprefix(JOB_PREFIX) for cell in reversed(cells)]
    if asked.running:
        done = {cell.key for cell in cells if decode_job(cell.value).state == "done"}
        names = [name for name in names if job_key(name) not in done]
    return dead_shapes.Jobs(
        [_answer(await _found(reading, name, answers=False)) for name in names[: bounded(asked.limit)]]
    )


async def steer(
    reading: Reading, commands: Commands, who: Who, asked: dead_shapes.JobCommand, *, paused: bool
) -> dead_shapes.JobAnswer:
    """Pause a job or let it go on.

    Raises:
        Refused: `job.unknown`, `job.ambiguous`, `job.not-steered`.
    """
    name = await _name(reading, asked.job)
    if asked.dry_run:
        return _answer(await _found(reading, name))
    done = await commands.steer(name, who, paused=paused)
    if done is None or done.state == "done":
        told = "is done" if done is not None else "was handed to its lanes as a whole"
        raise Refused(409, "job.not-steered", f"{name} {told}", "pause the subscription to stop deliveries")
    return _answer(await _found(reading, name))


async def _name(reading: Reading, prefix: str) -> str:
    """The one job that begins so."""
    if not prefix.startswith(PREFIX):
        raise Refused(400, "id.malformed", "the id of a job starts with job_", "give it as the command printed it")
    names = {cell.key.removeprefix(JOB_PREFIX) for cell in await reading.cells.list(job_key(prefix))}
    for line in await reading.views.cursors():
        names |= {job_of(cell.key) for cell in await reading.cells.list(request_key(line.cursor.id, prefix))}
    if not names:
        raise Refused(
            404,
            "job.unknown",
            "no job has an id that begins so",
            "jobs are forgotten some time after their last answer",
        )
    if len(names) > 1:
        named = ", ".join(sorted(names)[:_NAMED_MAX])
        raise Refused(409, "job.ambiguous", f"several jobs have an id that begins so: {named}", "give more characters")
    return names.pop()


async def _found(reading: Reading, name: str, *, answers: bool = True) -> _Found:
    cell = (await reading.cells.get([job_key(name)])).get(job_key(name))
    job = None if cell is None else decode_job(cell.value)
    requests: dict[str, LaneRequest] = {}
    # Of a job that is done its own cell says enough, so that many can be listed.
    for line in await reading.views.cursors() if job is None or job.state != "done" or answers else ():
        for each in await reading.cells.list(request_key(line.cursor.id, name)):
            requests[each.key] = decode_request(each.value)
    return _Found(name, job, requests)


def _answer(found: _Found) -> dead_shapes.JobAnswer:
    job, requests = found.job, found.requests.values()
    counted = _counted(requests)
    if job is None:
        first = next(iter(requests))
        return dead_shapes.JobAnswer(
            found.name,
            first.verb,
            first.actor,
            first.reason,
            first.at,
            sum(len(request.offsets) for request in requests),
            sum(counted.values()),
            counted,
        )
    return dead_shapes.JobAnswer(
        found.name,
        job.verb,
        job.actor,
        job.reason,
        job.at,
        job.of,
        # Lanes' answers are forgotten a day after they were given.
        max(sum(counted.values()), job.ended),
        counted,
        job.state,
        job.why,
        job.released,
        job.succeeded,
        len(job.failed),
        len(job.passed_over),
        job.waiting,
        job.canary,
        limits.US_PER_SECOND / job.pace_us if job.pace_us else None,
        job.stop_percent,
        job.ended_at,
    )


def _counted(requests: Collection[LaneRequest]) -> dict[str, int]:
    counted: dict[str, int] = {}
    for request in requests:
        for answer in request.results.values():
            counted[answer] = counted.get(answer, 0) + 1
    return counted


def _is_over(found: dead_shapes.JobAnswer) -> bool:
    return found.applied >= found.of and found.state in (None, "done")
