"""All lanes of one worker: its lease, the opening of cursors, and the commits that settlements share.

Deciding who works where is left to whoever calls `start`: on one process, it works on everything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol

from interlock.core import limits
from interlock.core.controls import SUBSCRIPTION_CONTROL_PREFIX, decode_control
from interlock.core.cursor import CursorId
from interlock.core.errors import StoreError
from interlock.core.event import Event, Shard
from interlock.core.ids import minted_id
from interlock.core.ports import Timer
from interlock.core.requests import decode_request, request_prefix
from interlock.delivery.attempt import Ports, Run
from interlock.delivery.guard import Cause, Guard, Trip
from interlock.delivery.lane import Crew, Lane
from interlock.delivery.loading import Stores
from interlock.delivery.tail import Tails
from interlock.delivery.turn import Turn
from interlock.journal.ports import CURSOR_MOVED, Assign, Lease, LeaseLost, Settlement, Store
from interlock.spec.plan import Plan

REQUEST_PREFIX: Final = "request/"
REOPEN_PAUSE_US: Final = 500 * limits.US_PER_MS
"""Between losing a lane and opening it again: a store that fails is not asked without a pause."""
END_PATIENCE_US: Final = limits.US_PER_SECOND
"""What a cancelled attempt has to end, when the process does."""
STALLED_LOOKS: Final = 3
"""A second apart: what is seen so often with nothing done in between is no step that has yet to come."""
NEVER: Final = 1 << 62
NOT_RENAMED: Final[Mapping[str, str]] = MappingProxyType({})


class Gates(Protocol):
    """The Systems, as lanes ask for them."""

    def available(self, name: str, event: str, /) -> int | None:
        """None if work for the event ("" for none) may start now, else how long to wait (µs)."""
        ...

    def release(self, name: str, event: str, /) -> None:
        """The work for the event has ended."""
        ...

    def is_down(self, name: str, /) -> bool:
        """Whether what fails there now says something about the System rather than about the event."""
        ...

    def is_paused(self, name: str, /) -> bool:
        """Whether nothing is sent to it until somebody resumes it."""
        ...

    def pause(self, name: str, /) -> None:
        """Send it nothing from this moment on."""
        ...


class LaneState(NamedTuple):
    """What an operator sees of a lane."""

    subscription: str
    shard: Shard
    open: bool
    floor: int
    running: int
    waiting: int
    stragglers: int
    behind: int
    gated_until: int
    paused: bool


class Fleet:
    """Every lane of this worker.

    Args:
        plan: what to run.
        store: journal, ledger and cells.
        ports: what attempts need of the world.
        gates: whether work for a System may start.
        first_names: under which name the calls of renamed subscriptions are keyed.
    """

    def __init__(
        self, plan: Plan, store: Store, ports: Ports, gates: Gates, first_names: Mapping[str, str] = NOT_RENAMED
    ) -> None:
        self._store = store
        self._ports = ports
        self._clock = ports.clock
        self._tails = Tails()
        self._worker = ""
        self._lease_until = 0
        self._leasing = asyncio.Lock()
        self._lanes: dict[CursorId, Lane] = {}
        self._by_shard: dict[Shard, list[Lane]] = {}
        self._plan = plan
        self._dirty: dict[Lane, None] = {}
        self._committing = False
        self._kick_timer: Timer | None = None
        self._next_commit = 0
        self._running: dict[Run, asyncio.Task[Any]] = {}
        self._sweep_at = NEVER
        self._sweep_timer: Timer | None = None
        self._tasks: dict[asyncio.Task[Any], None] = {}
        self._stopping = False
        self._closed = False
        self._known: dict[CursorId, None] = {}
        self._acted_on: dict[str, int] = {}
        self._gates = gates
        self._trips: list[Callable[[Trip], None]] = []
        self._crew = Crew(
            journal=store,
            ledger=store,
            stores=Stores(store, store, store),
            ports=ports,
            tails=self._tails,
            plan=plan.digest,
            first_names=first_names,
            available=gates.available,
            release=gates.release,
            is_down=gates.is_down,
            is_paused=gates.is_paused,
            guard=Guard(),
            trips=self._trips_by,
            dirty=self._settle,
            lost=self._lost,
            lease_until=lambda: self._lease_until,
            began=self._watch_deadline,
            over=self._run_ended,
            alone=asyncio.Lock(),
        )

    # Life.

    async def start(self) -> None:
        """Take the lease and open every cursor of the plan.

        Raises:
            StoreError: if the store does not let it.
        """
        for spec in self._plan.subscriptions.values():
            info = await self._store.make_stream(spec.stream, self._shards_of(spec.stream))
            for number in range(info.shards):
                shard = Shard(spec.stream, number)
                lane = Lane(CursorId(spec.name, shard), spec, self._crew)
                self._lanes[lane.id] = lane
                self._by_shard.setdefault(shard, []).append(lane)
        await self._take_lease()
        await self._read_controls()
        await self._open(list(self._lanes.values()))
        for cell in await self._store.list(REQUEST_PREFIX, limits.REQUESTS_READ_MAX):
            self._take_request(cell.key, cell.value)
        for lane in self._lanes.values():
            lane.all_asked()
        self._spawn(self._renewing())

    def _shards_of(self, stream: str) -> int:
        return next((spec.shards for spec in self._plan.streams if spec.name == stream), limits.SHARDS_DEFAULT)

    async def stop(self, grace_us: int) -> None:
        """Drain: start nothing more, let what runs end within the grace, commit, give cursors and lease back.

        Where a call was cut off that is not harmless to repeat, the next process waits until the lease has passed.
        """
        self._stopping = True
        for lane in self._lanes.values():
            lane.stop()
        await self._until_idle(self._clock.monotonic() + grace_us)
        for _ in range(2):
            # A plain function in its thread cannot be ended: the second time its attempt lets go of it.
            for lane in self._lanes.values():
                lane.cancel()
            await self._until_idle(self._clock.monotonic() + END_PATIENCE_US)
        for lane in self._lanes.values():
            await lane.ended()
        self._closed = True
        while self._committing:
            await self._clock.sleep_until(self._clock.monotonic() + limits.US_PER_MS)
        await self._commit(release=True)
        for task in list(self._tasks):
            task.cancel()
        if all(lane.turn is not None and not lane.turn.cut for lane in self._lanes.values()):
            await self._store.release(self._worker)

    async def _until_idle(self, until: int) -> None:
        clock = self._clock
        while not all(lane.idle for lane in self._lanes.values()) and clock.monotonic() < until:
            await clock.sleep_until(min(until, clock.monotonic() + 20 * limits.US_PER_MS))

    def abandon(self) -> None:
        """Let go of everything at once, without a word to the store: what a dying process does."""
        self._stopping = self._closed = True
        for lane in self._lanes.values():
            lane.lose("abandoned")
        for task in list(self._tasks):
            task.cancel()
        for timer in (self._kick_timer, self._sweep_timer):
            if timer is not None:
                timer.cancel()

    def lanes(self) -> Sequence[Lane]:
        """Every lane of this worker."""
        return list(self._lanes.values())

    def states(self) -> Sequence[LaneState]:
        """Every lane as it is now."""
        return [_state(lane) for lane in self._lanes.values()]

    @property
    def lease_until(self) -> int:
        """Monotonic µs until which this worker may start attempts."""
        return self._lease_until

    @property
    def lease(self) -> Lease:
        """The worker's lease, as cursors are opened with it."""
        left_us = self._lease_until - self._clock.monotonic()
        return Lease(self._worker, self._clock.now() + left_us)

    @property
    def worker(self) -> str:
        """The worker's name, as leases and cursors have it."""
        return self._worker

    # Wakeup: what the store and the Systems tell.

    def appended(self, shard: Shard, events: Sequence[Event]) -> None:
        """Events of a shard became durable."""
        before = events[0].offset - 1
        self._tails.extend(shard, events)
        for lane in self._by_shard.get(shard, ()):
            lane.appended(events, before)

    def changed(self, cells: Iterable[str]) -> None:
        """Cells have changed: requests and control state concern lanes."""
        for key in cells:
            if key.startswith((REQUEST_PREFIX, SUBSCRIPTION_CONTROL_PREFIX)):
                self._spawn(self._take_cell(key))

    def on_trip(self, callback: Callable[[Trip], None]) -> None:
        """Call back when the guard has stopped a subscription or a System. It is paused here already."""
        self._trips.append(callback)

    def _trips_by(self, cursor: CursorId, offset: int, cause: Cause) -> bool:
        """Whether the guard stops something because of an event that would die; it is paused here then."""
        trip = self._crew.guard.bad(cursor, offset, cause)
        if trip is None:
            return False
        if trip.kind == "system":
            self._gates.pause(trip.subject)
        else:
            for lane in self._lanes.values():
                if lane.id.subscription == trip.subject:
                    lane.pause(True)
        self._ports.emit(
            "guard.tripped",
            kind=trip.kind,
            subject=trip.subject,
            error=trip.cause.error,
            fingerprint=trip.cause.fingerprint,
            events=trip.events,
            of=trip.of,
        )
        for callback in self._trips:
            callback(trip)
        return True

    def acted_on(self, cell: str) -> int:
        """The version of a subscription's control cell that the lanes act on; 0 before the first."""
        return self._acted_on.get(cell, 0)

    def system_changed(self, system: str) -> None:
        """A System may have become available, or is not any more."""
        for lane in self._lanes.values():
            if system in lane.systems:
                lane.opened_up()

    async def _take_cell(self, key: str) -> None:
        found = await self._store.get([key])
        if key.startswith(REQUEST_PREFIX):
            if key in found:
                self._take_request(key, found[key].value)
            return
        cell = found.get(key)
        version = cell.version if cell else 0
        if 0 < version < self._acted_on.get(key, 0):
            # Two reads of one cell may end in the other order.
            return
        paused = cell is not None and decode_control(cell.value).paused
        for lane in self._lanes.values():
            if SUBSCRIPTION_CONTROL_PREFIX + lane.id.subscription == key:
                lane.pause(paused)
        self._acted_on[key] = version

    def _take_request(self, key: str, value: bytes) -> None:
        subscription, stream, number = key.removeprefix(REQUEST_PREFIX).rsplit("/", 3)[:3]
        if number.isdecimal():
            lane = self._lanes.get(CursorId(subscription, Shard(stream, int(number))))
            if lane is not None:
                lane.ask(key, decode_request(value))

    async def _read_controls(self) -> None:
        for cell in await self._store.list(SUBSCRIPTION_CONTROL_PREFIX):
            await self._take_cell(cell.key)

    # The lease.

    async def _take_lease(self) -> None:
        self._worker = minted_id("wrk_", self._clock.now(), self._ports.random.bytes(9))
        sent = self._clock.monotonic()
        lease = await self._store.renew(self._worker, limits.LEASE_TTL_US)
        if isinstance(lease, LeaseLost):
            raise StoreError(
                "store.lease-refused", f"the store refuses the lease: {lease.why}", "see who else uses this store"
            )
        self._lease_until = sent + limits.LEASE_TTL_US

    async def _have_lease(self) -> None:
        """Take a new lease if the present one has ended: one for all lanes that find that out.

        A lane that has not found it out holds its cursor for the former worker, and could settle nothing any more.
        """
        async with self._leasing:
            if self._lease_until <= self._clock.monotonic():
                await self._take_lease()
                for lane in self._lanes.values():
                    lane.lose("the lease has ended")

    async def _renewing(self) -> None:
        while not self._stopping:
            await self._clock.sleep_until(self._clock.monotonic() + limits.LEASE_RENEWAL_US)
            await self._tell_stalled()
            # Rule 2: the lease lasts from the sending of its renewal, whatever the answer takes.
            sent = self._clock.monotonic()
            try:
                lease = await self._store.renew(self._worker, limits.LEASE_TTL_US)
            except StoreError as error:
                self._ports.emit("lease.renewal-failed", worker=self._worker, code=error.code)
                continue
            if isinstance(lease, LeaseLost):
                self._ports.emit("lease.lost", worker=self._worker, why=lease.why)
                self._lease_until = 0
                for lane in self._lanes.values():
                    lane.lose("the lease has ended")
                if not self._lanes:
                    await self._take_lease_for_sources()
                continue
            self._lease_until = sent + limits.LEASE_TTL_US
            for lane in self._lanes.values():
                lane.wake()

    async def _tell_stalled(self) -> None:
        """Tell of lanes that do not do what they could. The renewal wakes all: no loss of a wake-up lasts longer."""
        stalled = {lane: lane.stalled for lane in self._lanes.values() if lane.stalled is not None}
        for _ in range(STALLED_LOOKS if stalled else 0):
            await self._clock.sleep_until(self._clock.monotonic() + limits.US_PER_SECOND)
            stalled = {lane: number for lane, number in stalled.items() if lane.stalled == number}
        for lane in stalled:
            self._ports.emit("lane.stalled", subscription=lane.id.subscription, shard=lane.id.shard.number)

    async def _take_lease_for_sources(self) -> None:
        """Lanes take a new lease when they open anew. Without any, polls and schedules would wait for one for ever."""
        try:
            await self._take_lease()
        except StoreError as error:
            self._ports.emit("lease.renewal-failed", worker=self._worker, code=error.code)

    async def _open(self, lanes: Sequence[Lane]) -> None:
        """Open cursors under the present lease."""
        specs = {lane.id: lane.spec for lane in lanes}
        assigns = [Assign(id, spec.start, spec.type_ids) for id, spec in specs.items()]
        worker = self._worker
        lease = await self._store.renew(worker, limits.LEASE_TTL_US)
        opened = lease if isinstance(lease, LeaseLost) else await self._store.open(lease, assigns)
        if isinstance(opened, LeaseLost):
            if worker == self._worker:
                self._lease_until = 0
            await self._have_lease()
            for lane in lanes:
                self._lost(lane, opened.why)
            return
        if worker != self._worker:
            for lane in lanes:
                self._lost(lane, "the lease has ended")
            return
        for lane, cursor in zip(lanes, opened, strict=True):
            first = lane.id not in self._known
            self._known[lane.id] = None
            lane.open(cursor, crashed=first and cursor.cursor.unclean > 1)

    def _lost(self, lane: Lane, why: str) -> None:
        self._dirty.pop(lane, None)
        if not self._stopping:
            self._ports.emit("lane.lost", subscription=lane.id.subscription, shard=lane.id.shard.number, why=why)
            self._spawn(self._reopen(lane, was_taken=why == CURSOR_MOVED))

    async def _reopen(self, lane: Lane, *, was_taken: bool) -> None:
        """Rule 10: a lane is opened again only when its old attempts have ended."""
        await lane.ended()
        pause_us = REOPEN_PAUSE_US
        if was_taken:
            # Another worker has the cursor. Taking it back at once would be answered in kind, and neither would work.
            pause_us = int(limits.LEASE_TTL_US * self._ports.random.uniform(2.0, 4.0))
        while not self._stopping:
            await self._clock.sleep_until(self._clock.monotonic() + pause_us)
            try:
                await self._have_lease()
                await self._open([lane])
                # What was applied and not committed went with the memory; its cell still asks.
                for cell in await self._store.list(request_prefix(lane.id)):
                    self._take_request(cell.key, cell.value)
                lane.all_asked()
                return
            except StoreError as error:
                self._ports.emit("lane.reopening-failed", subscription=lane.id.subscription, code=error.code)

    # Shared commits.

    def _settle(self, lane: Lane) -> None:
        """A lane has something to commit: at once if something waits for it, else with what comes soon."""
        urgent = lane.urgent
        if lane in self._dirty and not urgent:
            return
        self._dirty[lane] = None
        self._plan_commit(urgent=urgent)

    def _plan_commit(self, *, urgent: bool) -> None:
        if self._committing:
            return
        wait = 0 if urgent else self._next_commit - self._clock.monotonic()
        if wait <= 0:
            self._kick()
        elif self._kick_timer is None:
            self._kick_timer = self._clock.call_at(self._next_commit, self._kick)

    def _kick(self) -> None:
        if self._kick_timer is not None:
            self._kick_timer.cancel()
            self._kick_timer = None
        if not self._committing and self._dirty and not self._closed:
            self._committing = True
            self._spawn(self._commit())

    async def _commit(self, *, release: bool = False) -> None:
        """One commit for the settlements of all lanes that are ready."""
        batch: list[tuple[Lane, Turn | None, Settlement]] = []
        for lane in list(self._lanes.values()) if release else list(self._dirty):
            settlement = lane.settlement(self._worker, release=release)
            if settlement is not None:
                batch.append((lane, lane.turn, settlement))
        self._dirty.clear()
        try:
            results = await self._store.commit([settlement for _, _, settlement in batch]) if batch else ()
        except StoreError as error:
            # Rule 9: it may have happened. It is never sent again; the ledger tells when the lanes open anew.
            self._ports.emit("settlement.in-doubt", lanes=len(batch), code=error.code)
            for lane, turn, _ in batch:
                if lane.turn is turn:
                    lane.lose("its settlement is in doubt")
            results = ()
        finally:
            self._committing = False
        self._next_commit = self._clock.monotonic() + limits.SETTLE_PAUSE_US
        for (lane, turn, settlement), result in zip(batch, results, strict=False):
            lane.settled(turn, settlement, result)
        self._tell(batch, len(results))
        if self._dirty and not release:
            self._plan_commit(urgent=any(lane.urgent for lane in self._dirty))

    def _tell(self, batch: Sequence[tuple[Lane, Turn | None, Settlement]], results: int) -> None:
        if results:
            for lane, turn, settlement in batch:
                if turn is not None and turn.ages_us:
                    self._ports.emit("events.delivered", subscription=lane.id.subscription, ages_us=turn.ages_us)
                self._ports.emit(
                    "settlement.committed",
                    subscription=lane.id.subscription,
                    shard=lane.id.shard.number,
                    number=settlement.number,
                    successes=len(settlement.successes),
                    attempts=len(settlement.attempts),
                    dead=sum(row.state == "dead" for row in settlement.put),
                )

    # Deadlines: one timer for all attempts, not one each.

    def _watch_deadline(self, run: Run, task: asyncio.Task[Any]) -> None:
        self._running[run] = task
        if run.work.deadline < self._sweep_at:
            self._sweep_again_at(run.work.deadline)

    def _run_ended(self, run: Run) -> None:
        del self._running[run]

    def _sweep(self) -> None:
        now = self._clock.monotonic()
        for run, task in self._running.items():
            if run.work.deadline <= now and not run.expired:
                run.expired = True
                task.cancel()
        self._sweep_again_at(min((run.work.deadline for run in self._running if not run.expired), default=NEVER))

    def _sweep_again_at(self, at: int) -> None:
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
        self._sweep_at = at
        self._sweep_timer = None if at == NEVER else self._clock.call_at(at, self._sweep)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks[task] = None
        task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._ports.emit("fleet.failed", error=repr(error))


def _state(lane: Lane) -> LaneState:
    turn = lane.turn
    id = lane.id
    if turn is None:
        return LaneState(id.subscription, id.shard, False, 0, 0, 0, 0, 0, 0, lane.paused)
    behind = sum(line.count for line in turn.marks)
    return LaneState(
        id.subscription,
        id.shard,
        True,
        turn.floor,
        len(turn.running),
        len(turn.window),
        len(turn.rows),
        behind,
        turn.gated_until,
        lane.paused,
    )
