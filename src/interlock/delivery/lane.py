"""A lane: one subscription on one shard. It does the awaiting; `turn.py` does the deciding.

An idle lane has no task, no timer and no write. Workers await the user's functions directly, many events each. What
goes wrong with the store loses the lane: it drops its memory, waits until its attempts have ended, and is opened anew
(rule 9).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from interlock.core import limits
from interlock.core.cursor import Attempt, CursorId
from interlock.core.event import Event
from interlock.core.handler import Effect
from interlock.core.outcome import Done, Outcome, Unavailable
from interlock.core.ports import Timer
from interlock.core.requests import LaneRequest
from interlock.delivery import reading
from interlock.delivery.attempt import Ports, Program, Run
from interlock.delivery.guard import Cause, Guard
from interlock.delivery.loading import Stores, load
from interlock.delivery.newest import NewestByKey
from interlock.delivery.passing import Passing
from interlock.delivery.reading import Log
from interlock.delivery.requests import Requests
from interlock.delivery.schedule import Terms, is_suspect
from interlock.delivery.sequences import SequencesByKey
from interlock.delivery.start import Failed, Start
from interlock.delivery.tail import Tails
from interlock.delivery.turn import Turn
from interlock.delivery.work import Ended, Work
from interlock.journal.ports import (
    Journal,
    LeaseLost,
    Ledger,
    Opened,
    Retired,
    Settlement,
    SettleResult,
)
from interlock.spec.plan import SubscriptionSpec


@dataclass(frozen=True)
class Crew:
    """What a lane needs of the process that it runs in.

    `dirty(lane)`: it has something to commit. `lost(lane, why)`: it has dropped its memory and can be opened again once
    `lane.ended()` returns. `lease_until()`: monotonic µs, counted from the sending of the renewal. `began`, `over`: an
    attempt runs, and whoever watches deadlines may cancel its task after setting `run.expired`. `alone` is for the one
    suspect that may run in the whole process (rule 12). `trips` asks the guard, and pauses what it names.
    """

    journal: Journal
    ledger: Ledger
    stores: Stores
    ports: Ports
    tails: Tails
    plan: str
    first_names: Mapping[str, str]
    available: Callable[[str, str], int | None]
    release: Callable[[str, str], None]
    is_down: Callable[[str], bool]
    is_paused: Callable[[str], bool]
    guard: Guard
    trips: Callable[[CursorId, int, Cause], bool]
    dirty: Callable[[Lane], None]
    lost: Callable[[Lane, str], None]
    lease_until: Callable[[], int]
    began: Callable[[Run, asyncio.Task[Any]], None]
    over: Callable[[Run], None]
    alone: asyncio.Lock


class Lane:
    """See the module. `turn` is None while the cursor is not open here."""

    def __init__(self, id: CursorId, spec: SubscriptionSpec, crew: Crew) -> None:
        self.id = id
        self.spec = spec
        self.crew = crew
        self.turn: Turn | None = None
        self.requests = Requests(id, crew.journal, crew.ledger, crew.ports, crew.tails)
        self._log = Log(id.shard, crew.journal, crew.tails)
        self.systems: dict[str, None] = dict.fromkeys(spec.systems)
        self.paused = False
        self.program = Program.of(spec, crew.ports, crew.first_names.get(spec.name, spec.name))
        self._terms = Terms(spec.retry, spec.on_dead)
        self._tasks: dict[asyncio.Task[None], None] = {}
        self._pumping = False
        self._suspends = False
        self._under_way_until = 0
        self._openings = 0
        self._tried_upto = 0
        self._again = False
        self._timer: Timer | None = None
        self._timer_at = 0
        self._durable: list[tuple[int, asyncio.Future[bool]]] = []

    # Life.

    def open(self, opened: Opened, *, crashed: bool) -> None:
        """Begin with the cursor as the ledger gave it."""
        now = self.crew.ports.clock.now()
        self._openings += 1
        if self._openings == 1 and "probe" in opened.cursor.effects:
            # That a former holder closed well does not say that it settled what it, or one before it, had begun.
            self._tried_upto = self._log.newest
        self.turn = Turn(opened, self._terms, self.spec.order == "key", now, crashed)
        self.turn.paused = self.paused
        self._passing = Passing(self.turn)
        names = self.id._replace(subscription=self.program.first_name)
        if self.program.newness is not None:
            self.turn.newest = NewestByKey(names, self.turn.accounts_for)
        if self.spec.kind == "resequence":
            self.turn.sequences = SequencesByKey(names, self.turn.accounts_for)
        self.turn.held_until = max(self.turn.held_until, self._under_way_until)
        # A pump that was cancelled before its first step has not said that it ended.
        self._pumping = False
        if self.turn.changes.any:
            self.crew.dirty(self)
        self.wake()

    def _cursor_lost(self, turn: Turn, retired: Retired) -> None:
        """An offset that it needs is gone (rule 4): the ledger is asked where it stands."""
        if self.turn is turn:
            id = self.id
            self.crew.ports.emit(
                "lane.cursor-lost", subscription=id.subscription, shard=id.shard.number, offset=retired.offset
            )
            self.lose("an offset that it needs was retired")

    def lose(self, why: str) -> None:
        """Drop everything: the ledger is the truth again."""
        if self.turn is None:
            return
        if self.turn.in_doubt:
            self._under_way_until = self.crew.ports.clock.now() + self.spec.deadline_us
        self.turn = None
        self._drop_timer()
        for _, waiter in self._durable:
            if not waiter.done():
                waiter.set_result(False)
        self._durable = []
        self.requests.forget()
        current = asyncio.current_task()
        for task in self._tasks:
            if task is not current:
                task.cancel()
        self.crew.lost(self, why)

    async def ended(self) -> None:
        """Wait until every attempt and read of a lost or stopping lane has ended (rule 10)."""
        while self._tasks:
            await asyncio.wait(list(self._tasks))

    def stop(self) -> None:
        """Start nothing more; what runs may end."""
        if self.turn is not None:
            self.turn.stopping = True

    def cancel(self) -> None:
        """End what runs. It counts as no attempt."""
        if self.turn is not None:
            self.turn.cut_off(self.crew.ports.clock.now())
        for task in self._tasks:
            task.cancel()

    @property
    def idle(self) -> bool:
        """Nothing runs and nothing is in flight."""
        return not self._tasks and (self.turn is None or self.turn.in_flight is None)

    # What wakes it.

    def appended(self, events: Sequence[Event], before: int) -> None:
        """Events became durable after the offset `before`; take them at once if the lane has read up to there."""
        turn = self.turn
        if turn is None:
            return
        if not self._pumping and turn.read_to == before and turn.resume_to <= before:
            upto = events[-1].offset
            types, until = turn.types_after(before)
            if until is None and upto - turn.floor <= limits.WINDOW_OFFSETS and turn.room() >= len(events):
                found = events if types is None else [event for event in events if event.draft.type in types]
                turn.offer(found, upto, self.crew.ports.clock.now())
                self._spawn(turn)
                self._arm(turn)
                return
        self.wake()

    def wake(self) -> None:
        """Something may have changed: look at everything once."""
        if self.turn is None:
            return
        self._again = True
        if not self._pumping:
            self._pumping = True
            self._task(self._pump(self.turn))

    def pause(self, paused: bool) -> None:
        """Start no attempts, or start them again. What runs goes on."""
        self.paused = paused
        if self.turn is not None:
            self.turn.paused = paused
            self.turn.timers.thaw()
            self.wake()

    def opened_up(self) -> None:
        """A System that it uses may be available again: ask anew."""
        if self.turn is not None:
            self.turn.gated_until = 0
            self.turn.timers.thaw()
            self.wake()

    def _task(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks[task] = None
        task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            self.crew.ports.emit(
                "lane.failed", subscription=self.id.subscription, shard=self.id.shard.number, error=repr(error)
            )
            self.lose(f"{type(error).__name__} in the lane")

    # The pump: everything that needs the store.

    async def _pump(self, turn: Turn) -> None:
        def is_current() -> bool:
            return self.turn is turn

        try:
            while self._again and self.turn is turn:
                self._again = False
                turn.fire(self.crew.ports.clock.now(), self._is_paused)
                await self.requests.answer(turn, is_current)
                await reading.read(turn, self._log, self.crew.ports.clock.now, is_current)
                self._again |= await reading.claim(turn, self._log, is_current)
                if self.turn is turn:
                    self._spawn(turn)
                    self._again |= self._passing.make_room(self.crew.ports.clock.now(), self._log.newest)
                    if turn.changes.any:
                        self.crew.dirty(self)
        except Retired as retired:
            self._cursor_lost(turn, retired)
        finally:
            self._pumping = False
            if self.turn is not None and self.turn is turn:
                self._arm(turn)

    # Attempts.

    def _spawn(self, turn: Turn) -> None:
        """Ask the Systems, then see that there are workers for what is ready."""
        now = self.crew.ports.clock.now()
        if not (turn.ready_now(now) and self._lease_lasts(self.crew.ports.clock.monotonic())):
            return
        wait_us = self._wait_us("")
        if wait_us is not None:
            turn.gated_until = max(turn.gated_until, now + max(wait_us, 1))
            return
        workers = len(self._tasks) - self._pumping
        # A function that never suspends needs one worker for all; the second one finds out whether it does.
        wanted = len(turn.ready) if self._suspends else min(len(turn.ready), 2)
        for _ in range(min(wanted, limits.RUNNING_MAX - workers)):
            self._task(self._work(turn))

    def _wait_us(self, event: str) -> int | None:
        """How long to wait for the Systems that the function is known to use; None if all are open.

        For an event (not "") what is scarce is kept until `release`.
        """
        for system in self.systems:
            wait_us = self.crew.available(system, event)
            if wait_us is not None:
                return wait_us
        return None

    async def _work(self, turn: Turn) -> None:
        clock = self.crew.ports.clock
        task = asyncio.current_task()
        assert task is not None, "workers are tasks"
        suspended, self._suspends = self._suspends, bool(turn.running)
        if self._suspends and not suspended and self.turn is turn:
            self._spawn(turn)
        now = clock.monotonic()
        burst_until = now + limits.FUNCTION_BURST_US
        while self.turn is turn and self._lease_lasts(now):
            start = turn.next_start(clock.now())
            if start is None:
                break
            if start.row is not None and is_suspect(start.row):
                await self._attempt_alone(turn, start, task)
            else:
                await self._attempt(turn, start, task)
            now = clock.monotonic()
            if now > burst_until:
                await clock.sleep_until(0)
                now = clock.monotonic()
                burst_until = now + limits.FUNCTION_BURST_US
        if self.turn is turn:
            if turn.changes.any:
                self.crew.dirty(self)
            if self._has_work(turn):
                self.wake()
            else:
                self._arm(turn)

    def _has_work(self, turn: Turn) -> bool:
        """Whether a look at everything would find something to do now."""
        behind = turn.read_to < self._log.newest and turn.room() > 0
        startable = turn.ready_now(self.crew.ports.clock.now()) and self._lease_lasts(self.crew.ports.clock.monotonic())
        return behind or startable or bool(turn.marks.claims) or self.requests.wait(self.crew.ports.clock.now())

    @property
    def stalled(self) -> int | None:
        """If something could be done now and nobody is at it, the number of the last settlement; None if all is well.

        Between two steps of the loop that may be so. Where it stays so, under one number, a wake-up was lost.
        """
        turn = self.turn
        if turn is None or turn.stopping or self._tasks or turn.in_flight is not None or not self._has_work(turn):
            return None
        return turn.number

    def _lease_lasts(self, now: int) -> bool:
        """Rule 2: no attempt starts that could outlive the lease. `now` is monotonic."""
        return now + self.spec.deadline_us <= self.crew.lease_until()

    async def _attempt_alone(self, turn: Turn, start: Start, task: asyncio.Task[Any]) -> None:
        """Of all suspects one runs at a time, until it is settled: the next death of the process names it (rule 12)."""
        async with self.crew.alone:
            if self.turn is not turn:
                return
            if turn.stopping or turn.paused or not self._lease_lasts(self.crew.ports.clock.monotonic()):
                turn.unstart(start, 1, self.crew.ports.clock.now())
                return
            await self._attempt(turn, start, task)
            if self.turn is turn and turn.changes.any:
                await self._until_durable(turn.number + 1)

    async def _attempt(self, turn: Turn, start: Start, task: asyncio.Task[Any]) -> None:
        crew, clock = self.crew, self.crew.ports.clock
        event = start.event
        must_load = event is None or event.claim is not None or turn.must_look_back(start.line.key)
        if must_load and not await self._load(turn, start):
            return
        assert start.event is not None, "loaded above"
        # At once: while this one waits for anything, others may take its key's place in memory.
        newest, known = turn.newest.of(start.line.key), turn.sequences.of(start.line.key)
        id = start.event.id if self.systems else ""
        # Loading takes time: what held when the attempt was chosen is asked once more.
        now = clock.monotonic()
        deadline = now + self.spec.deadline_us
        wait_us = self._wait_us(id) if self._lease_lasts(now) else 0
        if wait_us is not None:
            turn.unstart(start, wait_us, clock.now())
            return
        if turn.careful:
            if not await self._durable_start(turn, start, None):
                return
            deadline = clock.monotonic() + self.spec.deadline_us

        async def announce(effect: Effect, call: str) -> bool:
            return await self._announce(turn, start, effect, call)

        def may_send() -> bool:
            return self.turn is turn and clock.monotonic() < min(deadline, crew.lease_until())

        # What ended before the lane was lost may not have been settled: its calls may have been made.
        again = turn.crashed or self._openings > 1 or start.row is not None or start.offset <= self._tried_upto
        work = Work(start.event, start.row, deadline, may_send, announce, again, start.gap, newest, known)
        run = Run(self.program, work)
        crew.began(run, task)
        try:
            ended = await run.run()
        finally:
            crew.over(run)
            for system in self.systems if id else ():
                crew.release(system, id)
        if run.expired:
            task.uncancel()
        if self.turn is turn:
            self._settle(turn, start, run, ended)

    def _settle(self, turn: Turn, start: Start, run: Run, ended: Ended) -> None:
        """Tell the turn how it ended."""
        crew = self.crew
        now = crew.ports.clock.now()
        if ended.systems:
            self.systems.update(dict.fromkeys(ended.systems))
        outcome = ended.outcome
        if isinstance(outcome, Done):
            straggler = start.row is not None or start.offset in turn.rows
            record = run.record(ended, start.started_at, now, crew.plan) if straggler else None
            if ended.emits:
                turn.changes.emit(ended.emits)
            if run.late:
                turn.late += 1
                crew.ports.emit("event.late", subscription=self.id.subscription, event=run.work.event.id)
            elif run.newness is not None:
                turn.newest.delivered(start.line.key, start.offset, run.newness)
            if run.resequenced is not None:
                turn.sequences.changed(start.line.key, run.work.known, run.resequenced.known)
                run.tell()
            turn.done(start, now, ended.status, record, outcome.filtered)
            crew.guard.good(self.id, start.offset, ended.systems)
        elif isinstance(outcome, Unavailable) and outcome.scope == "due":
            turn.postpone(start, now + (outcome.after_us or 0), now)
        else:
            record = run.record(ended, start.started_at, now, crew.plan)
            down = record.system is not None and crew.is_down(record.system)
            failed = Failed(outcome, record, ended.memo, down, lambda: self._spares(outcome, record))
            row = turn.failed(start, failed, now, crew.ports.random.uniform(0.0, 1.0))
            crew.ports.emit(
                "attempt.failed",
                subscription=self.id.subscription,
                event=run.work.event.id,
                attempt=record.id,
                number=record.number,
                outcome=record.outcome,
                error=record.error,
                status=record.status,
                system=record.system,
                state="waiting" if row is None else row.state,
                due_at=None if row is None else row.due_at,
                trace=record.trace,
            )
        crew.dirty(self)

    def _is_paused(self, system: str) -> bool:
        """A System that something of the lane waits for is one that it uses: it is told when that is resumed."""
        paused = self.crew.is_paused(system)
        if paused:
            self.systems[system] = None
        return paused

    def _spares(self, outcome: Outcome, record: Attempt) -> bool:
        """Whether an event whose attempts would end with this one is held back: what is paused lets nothing die.

        The guard may pause it at this moment. Only what is in an inbox has failed before it came there.
        """
        answered = record.system if getattr(outcome, "status", None) is not None else None
        if self.paused or (answered is not None and self._is_paused(answered)):
            return True
        cause = Cause(record.error, record.status, answered, record.fingerprint or "")
        return self.spec.kind != "inbox" and self.crew.trips(self.id, record.offset, cause)

    async def _load(self, turn: Turn, start: Start) -> bool:
        """Bring what the attempt needs of the store; false if the lane was lost meanwhile."""
        try:
            await load(turn, start, self.id, self.crew.stores, lambda: self.turn is turn)
        except Retired as retired:
            self._cursor_lost(turn, retired)
        return self.turn is turn

    async def _durable_start(self, turn: Turn, start: Start, call: str | None) -> bool:
        """Make the `running` row durable before going on; false if the lane was lost meanwhile."""
        if self.turn is not turn:
            return False
        number = turn.begin_durably(start, call, self.crew.ports.clock.now())
        return await self._until_durable(number)

    async def _announce(self, turn: Turn, start: Start, effect: Effect, call: str) -> bool:
        """Make durable what a take-over must know before the call leaves (rule 8); false if the lane was lost."""
        if self.turn is not turn:
            return False
        number = turn.announce(effect)
        if effect == "once":
            # The row's settlement is this one or a later one.
            return await self._durable_start(turn, start, call)
        return number is None or await self._until_durable(number)

    async def _until_durable(self, number: int) -> bool:
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._durable.append((number, waiter))
        self.crew.dirty(self)
        return await waiter

    # What persons ask for.

    def ask(self, key: str, request: LaneRequest) -> None:
        """Take a request from its cell; it is answered in a settlement (rule 6)."""
        self.requests.take(key, request)
        if request.state == "asked":
            self.wake()

    def all_asked(self) -> None:
        """Every request has been read since the cursor was opened."""
        if self.turn is not None:
            self.requests.all_read()
            self.wake()

    # Settlements.

    def settlement(self, worker: str, *, release: bool = False) -> Settlement | None:
        """What is to be committed now, if anything."""
        if self.turn is None:
            return None
        return self.turn.settlement(worker, self.crew.ports.clock.now(), release=release)

    @property
    def urgent(self) -> bool:
        """Something waits for its next commit."""
        return bool(self._durable) or (self.turn is not None and self.turn.changes.urgent)

    def settled(self, turn: Turn | None, settlement: Settlement, result: SettleResult) -> None:
        """The ledger has answered."""
        if turn is None or self.turn is not turn:
            return
        if isinstance(result, LeaseLost):
            self.lose(result.why)
            return
        turn.committed(settlement.number)
        waiting, self._durable = self._durable, []
        for number, waiter in waiting:
            if number > settlement.number:
                self._durable.append((number, waiter))
            elif not waiter.done():
                waiter.set_result(True)
        if turn.changes.any:
            self.crew.dirty(self)
        if self._has_work(turn):
            self.wake()
        else:
            self._arm(turn)

    # Time.

    def _arm(self, turn: Turn) -> None:
        """One timer for whatever comes next by itself."""
        clock = self.crew.ports.clock
        times = (turn.next_timer(), self._passing.next_at(), self.requests.next_at(clock.now()))
        at = min((at for at in times if at is not None), default=None)
        if at is None:
            self._drop_timer()
        elif self._timer is None or self._timer_at != at:
            self._drop_timer()
            self._timer_at = at
            self._timer = clock.call_at(clock.monotonic() + max(0, at - clock.now()), self._fired)

    def _drop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fired(self) -> None:
        self._timer = None
        self.wake()
