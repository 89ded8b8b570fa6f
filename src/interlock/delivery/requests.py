"""What persons have asked of a lane and has no answer yet (rule 6). It does the awaiting; others decide.

`deadletter.py` decides what becomes of rows, `replay.py` what becomes of settled events.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from msgspec.structs import replace

from interlock.core import limits
from interlock.core.cursor import CursorId, Past
from interlock.core.event import Event
from interlock.core.requests import Answer, LaneRequest, encode_request, job_of
from interlock.delivery import deadletter, erase, replay
from interlock.delivery.attempt import Ports
from interlock.delivery.deadletter import Ask
from interlock.delivery.tail import Tails
from interlock.delivery.turn import Turn
from interlock.journal.ports import CellWrite, Journal, Ledger, Retired


class Requests:
    """Of one lane. With its memory they go, and are read from their cells again before anything is answered.

    A cell says what has been answered: that is written in the settlement that makes it true. So what an older process,
    or a settlement in doubt, has done of a request is not done again.
    """

    def __init__(self, id: CursorId, journal: Journal, ledger: Ledger, ports: Ports, tails: Tails) -> None:
        self._id = id
        self._journal = journal
        self._ledger = ledger
        self._ports = ports
        self._tails = tails
        self._asked: dict[str, LaneRequest] = {}
        self._answers: dict[str, dict[int, Answer]] = {}
        self._are_read = False

    def take(self, key: str, request: LaneRequest) -> None:
        """A request from its cell, also one that has been applied."""
        if request.state == "asked":
            self._asked[key] = request
            self._answers.setdefault(key, {**request.results})
        else:
            self._asked.pop(key, None)
            self._answers.pop(key, None)

    def all_read(self) -> None:
        """All cells have been read since the cursor was opened: nobody else has anything of them under way."""
        self._are_read = True

    def forget(self) -> None:
        """The lane has lost its memory: what was answered in it may not be durable."""
        self._asked, self._answers, self._are_read = {}, {}, False

    def wait(self, now: int) -> bool:
        """Whether an event waits for its answer, and not for its time."""
        return self._are_read and any(self._open(key, request, now) for key, request in self._asked.items())

    def next_at(self, now: int) -> int | None:
        """When the next part of a request that is spread over time is due."""
        return min((at for each in self._asked.values() if (at := replay.next_at(each, now)) is not None), default=None)

    async def answer(self, turn: Turn, is_current: Callable[[], bool]) -> None:
        """Apply what can be applied; what runs is asked again when it has ended."""
        for key, request in list(self._asked.items() if self._are_read else ()):
            now = self._ports.clock.now()
            asked = [offset for offset in self._open(key, request, now) if offset not in turn.running]
            if not asked:
                continue
            if request.verb == "erase":
                new = await self._erased(turn, asked, is_current)
            elif request.verb == "replay":
                new = await self._replayed(turn, Ask(request, job_of(key), now), asked, is_current)
            else:
                new = await self._applied(turn, Ask(request, job_of(key), now), asked, is_current)
            if not is_current():
                return
            self._note(turn, key, request, new)

    def _open(self, key: str, request: LaneRequest, now: int) -> list[int]:
        """The offsets whose turn has come and that have no answer."""
        answers = self._answers.get(key, {})
        return [offset for offset in request.offsets[: replay.due(request, now)] if offset not in answers]

    def _note(self, turn: Turn, key: str, request: LaneRequest, new: Mapping[int, Answer]) -> None:
        """The answers ride in the settlement that makes them true."""
        if not new:
            return
        answers = self._answers.setdefault(key, {})
        answers |= new
        if len(answers) == len(frozenset(request.offsets)):
            # It is forgotten when its cell says so: a reading that is under way may still bring what it said before.
            done = replace(request, state="applied", draft=None, results=answers)
            expires_at = self._ports.clock.now() + limits.US_PER_DAY
            turn.changes.cell(CellWrite(key, encode_request(done), expires_at=expires_at))
            self._ports.emit(
                "lane.request-applied", subscription=self._id.subscription, verb=request.verb, actor=request.actor
            )
        else:
            expires_at = replay.ends_at(request) + limits.REQUEST_ASKED_US
            part = replace(request, results={**answers})
            turn.changes.cell(CellWrite(key, encode_request(part), expires_at=expires_at))

    async def _applied(
        self, turn: Turn, ask: Ask, asked: Sequence[int], is_current: Callable[[], bool]
    ) -> Mapping[int, Answer]:
        stored = {row.offset: row for row in await self._ledger.rows(self._id, asked)}
        if not is_current():
            return {}
        return {
            offset: deadletter.apply(turn, ask, offset, stored.get(offset))
            for offset in asked
            if offset not in turn.running
        }

    async def _erased(self, turn: Turn, asked: Sequence[int], is_current: Callable[[], bool]) -> Mapping[int, Answer]:
        # Nothing that is read from here on has what they said; what was read before stands in the turn, or runs.
        self._tails.drop(self._id.shard)
        events = await self._events(asked)
        for offset in asked:
            with suppress(Retired):
                if offset not in events:
                    (events[offset],) = await self._journal.fetch(self._id.shard, [offset])
        stored, number = {}, -1
        # A settlement that is made meanwhile may put a row that was not seen.
        while is_current() and number != turn.number:
            number = turn.number
            stored = {row.offset: row for row in await self._ledger.rows(self._id, asked)}
        if not is_current():
            return {}
        return {
            offset: erase.erase(turn, events[offset], stored.get(offset)) if offset in events else "settled"
            for offset in asked
            if offset not in turn.running
        }

    async def _replayed(
        self, turn: Turn, ask: Ask, asked: Sequence[int], is_current: Callable[[], bool]
    ) -> Mapping[int, Answer]:
        events = await self._events(asked)
        if not is_current():
            return {}
        # What is settled now stays so until this request is applied: only requests put back, one after the other. So
        # all records of it are in memory now, or in the ledger by the time that it is asked.
        answers: dict[int, Answer] = {}
        settled: list[int] = []
        for offset in asked:
            answer = replay.answered(turn, ask, offset, events.get(offset))
            if answer is None:
                settled.append(offset)
            else:
                answers[offset] = answer
        recent = [record for record in turn.changes.records() if record.offset in events]
        stored = {row.offset: row for row in await self._ledger.rows(self._id, settled)}
        known = await self._ledger.past(self._id, settled)
        if not is_current():
            return {}
        for offset in settled:
            past = known.get(offset, Past())
            for record in recent:
                past = past.then(record) if record.offset == offset else past
            answers[offset] = replay.put_back(turn, ask, events[offset], past, stored.get(offset))
        return answers

    async def _events(self, offsets: Sequence[int]) -> dict[int, Event]:
        """Those that are in the log, by offset; what was retired or is not there yet is left out."""
        while True:
            oldest, newest = self._journal.bounds(self._id.shard)
            wanted = [offset for offset in offsets if oldest <= offset <= newest]
            try:
                return {event.offset: event for event in await self._journal.fetch(self._id.shard, wanted)}
            except Retired:
                if self._journal.bounds(self._id.shard)[0] == oldest:
                    raise
