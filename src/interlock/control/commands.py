"""Commands of people: each is one commit of cells and an audit event. What they mean is applied by lanes and layers.

Control state (pause, resume) is a cell that everybody reads; requests (retry, skip, discard, restore, edit, replay) are
cells that one lane answers. A job about dead letters is a cell besides, which releases its requests slice by slice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec
from msgspec.structs import replace

from interlock.control.audit import Audit, Change, Who
from interlock.control.ports import ActsOn
from interlock.core import limits
from interlock.core.controls import (
    Control,
    decode_control,
    encode_control,
    schedule_control_key,
    subscription_control_key,
    system_control_key,
)
from interlock.core.cursor import CursorId
from interlock.core.erasure import Erasure, decode_erasure, encode_erasure, erasure_key
from interlock.core.event import Draft
from interlock.core.ids import minted_id
from interlock.core.jobs import (
    NOTHING,
    Job,
    decode_job,
    decode_set,
    encode_job,
    encode_set,
    job_key,
    resumed,
    set_key,
    slices,
    stepped,
)
from interlock.core.ports import Clock, Emit, Random
from interlock.core.requests import Answer, LaneRequest, Verb, decode_request, encode_request, request_key
from interlock.journal.ports import Cell, Cells, CellWrite, Journal

POLL_US: Final = 50 * limits.US_PER_MS
"""How often a command looks whether it has been applied: often enough to feel at once, rare enough to cost nothing."""
APPLY_US: Final = 1 * limits.US_PER_SECOND
"""Control state is to be acted on within this after its commit, in any process."""
NO_STATE: Final = b"null"


class Applied(NamedTuple):
    """A change of control state: what it is after it, and how many of the processes act on it already."""

    control: Control
    applied: int
    of: int


class Asked(NamedTuple):
    """A request that was made: its job, how many events it is about, and the lanes' answers so far."""

    job: str
    of: int
    answers: Mapping[Answer, int]

    @property
    def applied(self) -> int:
        """Events that have an answer."""
        return sum(self.answers.values())


class Terms(NamedTuple):
    """How a job goes about its events, as `core.jobs.Job` has it.

    `action`: what the audit calls it, if not by its verb. `draft`: of an edit, what is appended instead.
    """

    keep_memo: bool = True
    canary: int = 0
    per_second: float | None = None
    stop_percent: float | None = None
    action: str = ""
    draft: Draft | None = None


class Commands:
    """What a person may do. Whether they may is decided before; whether the subject exists is the caller's to check."""

    def __init__(self, journal: Journal, cells: Cells, live: ActsOn, clock: Clock, random: Random, emit: Emit) -> None:
        self._audit = Audit(journal, cells, clock, random)
        self._cells = cells
        self._live = live
        self._clock = clock
        self._random = random
        self._emit = emit

    async def pause_system(self, system: str, who: Who, *, paused: bool) -> Applied:
        """Send nothing more to a System, or send again. Intake goes on; what waits spends no attempt."""
        return await self._control("system", system, system_control_key(system), who, paused=paused)

    async def pause_subscription(self, subscription: str, who: Who, *, paused: bool) -> Applied:
        """Start no attempt of a subscription, or start them again."""
        return await self._control(
            "subscription", subscription, subscription_control_key(subscription), who, paused=paused
        )

    async def pause_subscriptions(self, subscriptions: Sequence[str], who: Who) -> Sequence[str]:
        """Pause those that are not, in one commit; gives their names. Nobody is waited for."""
        made: list[str] = []

        def decide(found: Sequence[Cell | None]) -> Change:
            cells = zip(subscriptions, found, strict=True)
            running = [(name, cell) for name, cell in cells if not (cell and decode_control(cell.value).paused)]
            made[:] = [name for name, _ in running]
            paused = encode_control(Control(paused=True, by=who.actor, reason=who.reason, at=self._clock.now()))
            writes = [
                CellWrite(subscription_control_key(name), paused, expected=cell.version if cell else 0)
                for name, cell in running
            ]
            return Change(NO_STATE, msgspec.json.encode({"paused": made}), writes)

        keys = [subscription_control_key(name) for name in subscriptions]
        action, subject = "subscription.pause", "*"
        await self._audit.commit(action, subject, who, keys, decide)
        self._emit("control.command", verb=action, subject=subject, actor=who.actor, reason=who.reason)
        return made

    async def pause_schedule(self, schedule: str, who: Who, *, paused: bool) -> Applied:
        """Start no run of a schedule, or start them again. A run that is under way ends."""
        return await self._control("schedule", schedule, schedule_control_key(schedule), who, paused=paused)

    async def _control(self, kind: str, subject: str, key: str, who: Who, *, paused: bool) -> Applied:
        at = self._clock.now()
        made = Control()

        def decide(found: Sequence[Cell | None]) -> Change:
            nonlocal made
            cell = found[0]
            before = cell.value if cell and cell.value else encode_control(Control())
            forced = decode_control(before).forced
            made = Control(paused=paused, forced=forced, by=who.actor, reason=who.reason, at=at)
            after = encode_control(made)
            return Change(before, after, [CellWrite(key, after, expected=cell.version if cell else 0)])

        action = f"{kind}.{'pause' if paused else 'resume'}"
        await self._audit.commit(action, subject, who, [key], decide)
        self._emit("control.command", verb=action, subject=subject, actor=who.actor, reason=who.reason)
        cell = (await self._cells.get([key])).get(key)
        version = cell.version if cell else 0
        await self._until(lambda: self._live.acted_on(key) >= version, APPLY_US)
        return Applied(made, int(self._live.acted_on(key) >= version), 1)

    async def ask(
        self,
        verb: Verb,
        events: Mapping[CursorId, Sequence[int]],
        who: Who,
        *,
        per_second: float | None = None,
        wait_us: int = APPLY_US,
    ) -> Asked:
        """Ask the lanes of these cursors, in one commit, and wait a bounded time for their answers.

        The set is what it is now: events that come to the same group later are not touched. `per_second` spreads them
        over time, all cursors together.
        """
        at = self._clock.now()
        job = self.new_id("job_")
        of = sum(len(offsets) for offsets in events.values())
        lasts_us = 0 if per_second is None else of / per_second * limits.US_PER_SECOND
        cells = {
            request_key(cursor, job if part == 0 else f"{job}.{part}"): encode_request(
                LaneRequest(
                    verb,
                    tuple(offsets),
                    who.actor,
                    who.reason,
                    at,
                    # Each cursor at its share of the pace, so that all of them end together.
                    pace_us=int(lasts_us / len(all_offsets)),
                )
            )
            for cursor, all_offsets in events.items()
            for part, offsets in enumerate(_parts(sorted(all_offsets)))
        }
        after = msgspec.json.encode({"job": job, "events": _named(events)})
        expires_at = at + int(lasts_us) + limits.REQUEST_ASKED_US
        writes = [CellWrite(key, value, expires_at=expires_at) for key, value in cells.items()]
        action = "event.replay" if verb == "replay" else f"dead.{verb}"
        await self._committed(action, job, who, after, writes)
        return Asked(job, of, await self._answers(list(cells), of, wait_us))

    async def begin(
        self, verb: Verb, events: Mapping[CursorId, Sequence[int]], who: Who, terms: Terms, wait_us: int = APPLY_US
    ) -> Asked:
        """Begin a job about dead letters: its cell, its frozen set and its first slice are one commit with the audit.

        Waits a bounded time for the answers to the first slice; the job's driver releases the others.
        """
        at = self._clock.now()
        name = self.new_id("job_")
        of = sum(len(offsets) for offsets in events.values())
        job = Job(
            verb,
            who.actor,
            who.reason,
            at,
            of,
            min(terms.canary, of),
            0 if terms.per_second is None else max(1, int(limits.US_PER_SECOND / terms.per_second)),
            terms.stop_percent,
            terms.keep_memo,
            paced_at=at,
        )
        job = stepped(job, NOTHING, at)
        frozen = encode_set(events)
        first = slices(name, job, decode_set(frozen), range(job.released), at, terms.draft)
        draft = terms.draft
        edited = None if draft is None else {"id": draft.id, "stream": draft.stream, "key": draft.key}
        after = msgspec.json.encode(
            {"job": name, "events": _named(events)} | ({} if edited is None else {"edited": edited})
        )
        expires_at = at + limits.REQUEST_ASKED_US
        writes = [CellWrite(key, value, expires_at=expires_at) for key, value in first.items()]
        writes += [CellWrite(job_key(name), encode_job(job)), CellWrite(set_key(name), frozen)]
        await self._committed(terms.action or f"dead.{verb}", name, who, after, writes)
        return Asked(name, of, await self._answers(list(first), job.released, wait_us))

    def new_id(self, prefix: str) -> str:
        """An id for something that a command makes."""
        return minted_id(prefix, self._clock.now(), self._random.bytes(9))

    async def steer(self, name: str, who: Who, *, paused: bool) -> Job | None:
        """Pause a job, so that it releases nothing more, or let it go on; None if there is no such job.

        One that is done stays so, and is given as it is.
        """
        key, at = job_key(name), self._clock.now()
        found = (await self._cells.get([key])).get(key)
        if found is None:
            return None
        made = decode_job(found.value)

        def decide(cells: Sequence[Cell | None]) -> Change:
            nonlocal made
            cell = cells[0]
            assert cell is not None, "a job stays for long after it has ended"
            before = made = decode_job(cell.value)
            if before.state != "done":
                why = f"{'paused' if paused else 'resumed'} by {who.actor}"
                made = replace(before, state="paused", why=why) if paused else resumed(before, why, at)
            return Change(cell.value, encode_job(made), [CellWrite(key, encode_job(made), expected=cell.version)])

        if made.state != "done":
            action = f"job.{'pause' if paused else 'resume'}"
            await self._audit.commit(action, name, who, [key], decide)
            self._emit("control.command", verb=action, subject=name, actor=who.actor, reason=who.reason, job=name)
        return made

    def now(self) -> int:
        """µs since the epoch."""
        return self._clock.now()

    async def erase(self, erasure: Erasure, who: Who, subject: Mapping[str, str], wait_us: int) -> tuple[str, Erasure]:
        """Begin an erasure, in one commit with its audit event, and wait a bounded time until it has ended.

        `subject` is what the audit says of what is erased.
        """
        job, action = self.new_id("job_"), "event.erase"
        key = erasure_key(job)
        after = msgspec.json.encode({"job": job, "count": erasure.of, "streams": erasure.streams} | dict(subject))
        await self._committed(action, job, who, after, [CellWrite(key, encode_erasure(erasure))])
        deadline = self._clock.monotonic() + wait_us
        while erasure.ended_at is None and (now := self._clock.monotonic()) < deadline:
            await self._clock.sleep_until(min(now + POLL_US, deadline))
            found = await self._cells.get([key])
            erasure = decode_erasure(found[key].value) if key in found else erasure
        return job, erasure

    async def _committed(self, action: str, job: str, who: Who, after: bytes, writes: Sequence[CellWrite]) -> None:
        await self._audit.commit(action, job, who, [], lambda _: Change(NO_STATE, after, writes))
        self._emit("control.command", verb=action, subject=job, actor=who.actor, reason=who.reason, job=job)

    async def record(self, action: str, subject: str, who: Who, before: object, after: object) -> None:
        """Audit a change that stands in no cell: it was made before, and is not taken back if this fails."""
        change = Change(msgspec.json.encode(before), msgspec.json.encode(after))
        await self._audit.commit(action, subject, who, [], lambda _: change)
        self._emit("control.command", verb=action, subject=subject, actor=who.actor, reason=who.reason)

    async def _answers(self, keys: Sequence[str], of: int, wait_us: int) -> Mapping[Answer, int]:
        deadline = self._clock.monotonic() + wait_us
        while True:
            counted: dict[Answer, int] = {}
            for cell in (await self._cells.get(keys)).values():
                for result in decode_request(cell.value).results.values():
                    counted[result] = counted.get(result, 0) + 1
            now = self._clock.monotonic()
            if sum(counted.values()) >= of or now >= deadline:
                return counted
            await self._clock.sleep_until(min(now + POLL_US, deadline))

    async def _until(self, reached: Callable[[], bool], wait_us: int) -> None:
        deadline = self._clock.monotonic() + wait_us
        while not reached() and (now := self._clock.monotonic()) < deadline:
            await self._clock.sleep_until(min(now + POLL_US, deadline))


def _parts(offsets: Sequence[int]) -> list[Sequence[int]]:
    size = limits.REQUEST_OFFSETS_MAX
    return [offsets[first : first + size] for first in range(0, len(offsets), size)]


def _named(events: Mapping[CursorId, Sequence[int]]) -> Mapping[str, Sequence[int]]:
    return {f"{id.subscription}/{id.shard.stream}/{id.shard.number}": offsets for id, offsets in events.items()}
