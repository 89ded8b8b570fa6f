"""A person's job over many dead letters, as a cell: its terms, and how far it is. What it does next is decided here.

The set of its events is frozen when it begins. It is released to the lanes slice by slice, each slice as requests
(`core.requests`), and what became of those decides when the next one follows, or whether it stops. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple

import msgspec
from msgspec.structs import replace

from interlock.core import limits
from interlock.core.cursor import CursorId
from interlock.core.event import Draft, Shard
from interlock.core.requests import LaneRequest, Verb, encode_request, request_key

JOB_PREFIX: Final = "job/"
JobState = Literal["running", "paused", "stopped", "done"]

EventPlace = tuple[CursorId, int]


class Job(msgspec.Struct, frozen=True, omit_defaults=True):
    """Terms and progress. Events are counted by their place in the frozen set, from 0.

    Attributes:
        verb: what is asked for each event.
        actor, reason, at: who began it, why and when (µs).
        of: how many events it is about.
        canary: the rest is released only when so many first ones have ended well; 0 for none.
        pace_us: the time between two events; 0 for none.
        stop_percent: it stops when more than this share of what was tried has failed again; None for never.
        keep_memo: as `LaneRequest.keep_memo`.
        state: `stopped` by failures and `paused` by a person release nothing; both can be resumed.
        why: who paused or resumed it, or what stopped it.
        released: how many have been released, in the order of the set.
        paced_at, paced_from: since when the pace counts, and from which event on.
        succeeded: how many have been settled.
        failed: those that died or are held again.
        passed_over: those that the lane found in another state, or that nobody answered for a day.
        forgiven, forgiven_failed: what had ended, and failed, when it was resumed: that does not stop it again.
        ended_at: when it was done.
    """

    verb: Verb
    actor: str
    reason: str
    at: int
    of: int
    canary: int = 0
    pace_us: int = 0
    stop_percent: float | None = None
    keep_memo: bool = True
    state: JobState = "running"
    why: str = ""
    released: int = 0
    paced_at: int = 0
    paced_from: int = 0
    succeeded: int = 0
    failed: tuple[int, ...] = ()
    passed_over: tuple[int, ...] = ()
    forgiven: int = 0
    forgiven_failed: int = 0
    ended_at: int | None = None

    @property
    def ended(self) -> int:
        """Events of which nothing more is expected."""
        return self.succeeded + len(self.failed) + len(self.passed_over)

    @property
    def waiting(self) -> int:
        """Events that were released and have not ended."""
        return self.released - self.ended


class Progress(NamedTuple):
    """What became of the released events: `failing` have failed since and are tried again by themselves."""

    succeeded: int = 0
    failed: tuple[int, ...] = ()
    passed_over: tuple[int, ...] = ()
    failing: int = 0


NOTHING: Final = Progress()


def stepped(job: Job, progress: Progress, now: int) -> Job:
    """The job with its progress, and what follows from that: more is released, or it is stopped or done."""
    job = replace(
        job, succeeded=progress.succeeded, failed=tuple(progress.failed), passed_over=tuple(progress.passed_over)
    )
    if job.state != "running":
        return job
    if job.released == job.of:
        return job if job.waiting else replace(job, state="done", ended_at=now)
    if stop := _stop(job, progress):
        return replace(job, state="stopped", why=stop)
    if job.canary:
        if job.released < min(job.canary, job.of):
            return replace(job, released=min(job.canary, job.of))
        if job.waiting:
            return job
        job = replace(job, canary=0, paced_at=now, paced_from=job.released)
    return replace(job, released=_released(job, now))


def next_at(job: Job) -> int | None:
    """When its pace lets the next one follow; None if that is not what it waits for."""
    if job.state != "running" or not job.pace_us or job.canary or job.released >= job.of:
        return None
    return job.paced_at + (job.released - job.paced_from) * job.pace_us


def resumed(job: Job, why: str, now: int) -> Job:
    """The job as it goes on: what has failed so far is accepted, the pace counts from now, no canary is waited for."""
    return replace(
        job,
        state="running",
        why=why,
        canary=0,
        paced_at=now,
        paced_from=job.released,
        forgiven=job.succeeded + len(job.failed),
        forgiven_failed=len(job.failed),
    )


def _stop(job: Job, progress: Progress) -> str:
    """Why it may not go on; "" if it may."""
    failed = len(job.failed) - job.forgiven_failed
    if job.canary and failed:
        return f"{failed} of the first {job.canary} failed again"
    if job.stop_percent is None:
        return ""
    tried = job.succeeded + len(job.failed) - job.forgiven + progress.failing
    bad = failed + progress.failing
    # Of few events one failure is a large share.
    if tried >= limits.JOB_TRIED_MIN and bad * 100 > job.stop_percent * tried:
        return f"{bad} of {tried} failed again, more than {job.stop_percent:g} %"
    return ""


def _released(job: Job, now: int) -> int:
    """How many may be released by now."""
    upto = job.of
    if job.pace_us:
        upto = min(upto, job.paced_from + 1 + max(0, now - job.paced_at) // job.pace_us)
    if job.stop_percent is not None:
        # Else all of them would be under way before the first failure is known.
        upto = min(upto, job.released + max(0, limits.JOB_OPEN_MAX - job.waiting))
    return max(job.released, upto)


def job_key(job: str) -> str:
    """The key of a job's cell."""
    return JOB_PREFIX + job


def set_key(job: str) -> str:
    """The key of the cell with the frozen set of a job."""
    return f"jobset/{job}"


def encode_job(job: Job) -> bytes:
    """The value of a job's cell."""
    return msgspec.json.encode(job)


decode_job = msgspec.json.Decoder(Job).decode


def encode_set(events: Mapping[CursorId, Sequence[int]]) -> bytes:
    """The value of a set's cell: cursors in order, offsets ascending, so that a key's events keep their order."""
    lines = [(id.subscription, *id.shard, sorted(offsets)) for id, offsets in sorted(events.items())]
    return msgspec.json.encode(lines)


_decode_lines = msgspec.json.Decoder(list[tuple[str, str, int, list[int]]]).decode


def decode_set(value: bytes) -> list[EventPlace]:
    """The frozen set, in the order in which it is released."""
    return [
        (CursorId(subscription, Shard(stream, number)), offset)
        for subscription, stream, number, offsets in _decode_lines(value)
        for offset in offsets
    ]


def slices(
    name: str, job: Job, events: Sequence[EventPlace], released: range, now: int, draft: Draft | None = None
) -> dict[str, bytes]:
    """The requests that release a part of the set: cells by their keys."""
    made: dict[str, bytes] = {}
    at = released.start
    while at < released.stop:
        cursor, _ = events[at]
        end = at
        while end < min(released.stop, at + limits.REQUEST_OFFSETS_MAX) and events[end][0] == cursor:
            end += 1
        offsets = tuple(offset for _, offset in events[at:end])
        request = LaneRequest(job.verb, offsets, job.actor, job.reason, now, job.keep_memo, draft=draft)
        made[request_key(cursor, name if at == 0 else f"{name}.{at}")] = encode_request(request)
        at = end
    return made
