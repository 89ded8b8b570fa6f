"""Drives jobs: looks at what became of the events that a job has released, and releases the next slice to the lanes.

All that it does is a commit of the job's cell together with the requests that the step releases: a pause that was
committed in between refuses it. It keeps nothing that is not in cells, so it goes on after a restart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from interlock.core import limits
from interlock.core.cursor import CursorId, Row
from interlock.core.errors import StoreError
from interlock.core.jobs import (
    JOB_PREFIX,
    EventPlace,
    Job,
    Progress,
    decode_job,
    decode_set,
    encode_job,
    next_at,
    set_key,
    slices,
    stepped,
)
from interlock.core.ports import Clock, Emit
from interlock.core.requests import Answer, Verb, decode_request, request_key
from interlock.journal.ports import AppendRefused, Cell, CellWrite, Store

_LIST_MAX: Final = 10_000
_AS_ASKED: Final[Mapping[Verb, Answer]] = {
    "retry": "retried",
    "skip": "skipped",
    "discard": "discarded",
    "restore": "restored",
    "edit": "edited",
    "replay": "replayed",
}
"""What a lane answers if it did what the verb says."""


@dataclass
class _Work:
    """A job under way. `open`: places in its set, of events that were released and have not ended."""

    events: Sequence[EventPlace]
    open: dict[int, None] = field(default_factory=dict[int, None])
    taken: dict[int, None] = field(default_factory=dict[int, None])
    changed_at: int = 0


class JobDriver:
    """See the module."""

    def __init__(self, store: Store, clock: Clock, emit: Emit) -> None:
        self._store = store
        self._clock = clock
        self._emit = emit
        self._works: dict[str, _Work] = {}
        self._woken = asyncio.Event()

    def changed(self, cells: Iterable[str]) -> None:
        """Cells have a new version."""
        if any(key.startswith(JOB_PREFIX) or (self._works and key.startswith("request/")) for key in cells):
            self._woken.set()

    async def run(self) -> None:
        """Step every job that runs, whenever one may have something to do. It never ends by itself."""
        while True:
            self._woken.clear()
            try:
                ats = [await self._step(cell) for cell in await self._store.list(JOB_PREFIX, _LIST_MAX)]
            except StoreError:
                # What was written is seen when the cells are read again.
                self._works.clear()
                ats = [self._clock.now() + limits.JOB_LOOK_MAX_US]
            at = min((at for at in ats if at is not None), default=None)
            timer = None
            if at is not None:
                wait_us = max(0, at - self._clock.now())
                timer = self._clock.call_at(self._clock.monotonic() + wait_us, self._woken.set)
            await self._woken.wait()
            if timer is not None:
                timer.cancel()

    async def _step(self, cell: Cell) -> int | None:
        """One look at a job; when the next is due."""
        name, job, now = cell.key.removeprefix(JOB_PREFIX), decode_job(cell.value), self._clock.now()
        if job.state != "running":
            self._works.pop(name, None)
            return None
        work = self._works.get(name) or await self._load(name, job)
        if work is None:
            return None
        progress = await self._look(name, work, job)
        after = stepped(job, progress, now)
        if after != job:
            work.changed_at = now
            expires_at = now + limits.JOB_KEPT_US if after.state == "done" else None
            writes = [CellWrite(cell.key, encode_job(after), expected=cell.version, expires_at=expires_at)]
            if after.state == "done":
                writes.append(CellWrite(set_key(name), None))
            asked_until = now + limits.REQUEST_ASKED_US
            released = slices(name, after, work.events, range(job.released, after.released), now)
            writes += [CellWrite(key, value, expires_at=asked_until) for key, value in released.items()]
            if isinstance(await self._store.append([], writes), AppendRefused):
                # A person was faster. What was seen is seen again.
                del self._works[name]
                return now
            work.open |= dict.fromkeys(range(job.released, after.released))
            if after.state != "running":
                del self._works[name]
                self._emit("job.ended", job=name, verb=after.verb, state=after.state, why=after.why)
                return None
        since_us = now - work.changed_at
        look_at = now + max(limits.JOB_LOOK_US, min(since_us // 4, limits.JOB_LOOK_MAX_US))
        paced_at = next_at(after)
        return look_at if paced_at is None else min(look_at, max(now + 1, paced_at))

    async def _load(self, name: str, job: Job) -> _Work | None:
        found = await self._store.get([set_key(name)])
        if not found:
            return None
        work = _Work(decode_set(found[set_key(name)].value), changed_at=self._clock.now())
        ended = frozenset((*job.failed, *job.passed_over))
        work.open = dict.fromkeys(at for at in range(job.released) if at not in ended)
        self._works[name] = work
        return work

    async def _look(self, name: str, work: _Work, job: Job) -> Progress:
        """What became of the open ones. Answers are read before rows: what was answered is in the rows by then."""
        if not work.open:
            return Progress(job.succeeded, job.failed, job.passed_over)
        failed, passed_over, failing = [*job.failed], [*job.passed_over], 0
        answers = await self._answers(name, work)
        rows = await self._rows(work) if job.verb == "retry" else {}
        for at in list(work.open):
            answer = answers.get(work.events[at])
            if answer is None and at not in work.taken:
                continue
            if answer is not None:
                work.taken[at] = None
            row = rows.get(work.events[at])
            is_taken = answer == _AS_ASKED[job.verb] or (answer is None and job.verb == "retry")
            if not is_taken or (row is not None and row.job != name):
                passed_over.append(at)
            elif row is not None and row.state in ("due", "running"):
                failing += row.attempts > 0
                continue
            elif row is not None:
                failed.append(at)
            del work.open[at]
        ended = job.released - len(work.open)
        return Progress(ended - len(failed) - len(passed_over), tuple(failed), tuple(passed_over), failing)

    async def _answers(self, name: str, work: _Work) -> dict[EventPlace, Answer]:
        """What lanes have said of open events. A request that is gone has been answered a day ago, or never will be."""
        found: dict[EventPlace, Answer] = {}
        asked: dict[EventPlace, None] = {}
        untaken = [at for at in work.open if at not in work.taken]
        for cursor in dict.fromkeys(work.events[at][0] for at in untaken):
            for cell in await self._store.list(request_key(cursor, name), _LIST_MAX):
                request = decode_request(cell.value)
                asked |= dict.fromkeys((cursor, offset) for offset in request.offsets)
                found |= {(cursor, offset): answer for offset, answer in request.results.items()}
        work.taken |= dict.fromkeys(at for at in untaken if work.events[at] not in asked)
        return found

    async def _rows(self, work: _Work) -> dict[EventPlace, Row]:
        offsets: dict[CursorId, list[int]] = {}
        for at in work.open:
            cursor, offset = work.events[at]
            offsets.setdefault(cursor, []).append(offset)
        return {
            (cursor, row.offset): row
            for cursor, some in offsets.items()
            for row in await self._store.rows(cursor, some)
        }
