"""One run: the production engine with the user's functions, simulated Systems, and a script of what goes wrong.

It plays the script, mends everything, and waits until nothing is due by itself. What was seen goes to `judge`.
"""

from __future__ import annotations

import contextvars
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from interlock.core.controls import (
    Control,
    decode_control,
    encode_control,
    subscription_control_key,
    system_control_key,
)
from interlock.core.errors import StoreError
from interlock.core.event import Draft
from interlock.core.event import Event as StoredEvent
from interlock.core.ids import minted_id
from interlock.core.limits import US_PER_HOUR, US_PER_SECOND
from interlock.core.outcome import Done, Outcome
from interlock.core.requests import LaneRequest, encode_request, request_key
from interlock.journal.memory_disk import MemoryDisk
from interlock.journal.ports import CellWrite
from interlock.testing.sim.auditor import Auditor, Lineage
from interlock.testing.sim.client import Posting, Producer, Reply
from interlock.testing.sim.history import Began, Called, Ended, Finished, History, Quiet
from interlock.testing.sim.loop import START_US, SimLoop, current_process
from interlock.testing.sim.machine import Machine, Parts
from interlock.testing.sim.net import Conditions, Network
from interlock.testing.sim.ports import CommitFault, SimClock
from interlock.testing.sim.serving import HTTP_PORT
from interlock.testing.sim.storage import MemoryStorage
from interlock.testing.simulate import script as acts
from interlock.testing.simulate.peers import SimSystem, Took
from interlock.testing.simulate.script import Arriving, Script
from interlock.testing.simulate.subject import Subject, postings
from interlock.testing.simulate.tale import Moment, Tale
from interlock.testing.simulate.tell import answer_told, outcome_told, record_told
from interlock.testing.simulate.watch import Ending, tagged, watched
from interlock.testing.standing import owed

FSYNC_US: Final = (500, 5_000)
SETTLES_WITHIN_US: Final = 30 * US_PER_HOUR
"""When everything is well again, what is due by itself is settled within this: beyond every default wait."""
LOOK_US: Final = 5 * US_PER_SECOND
STEPS_MAX: Final = 400_000
CLIENT: Final = "outside"


class World:
    """One run of a subject. What it collects is what `judge` and the teller of the timeline look at.

    Attributes:
        history: as the checker of the simulator takes it.
        tale: for people.
        took: every request of every System.
        calls: how each call ended for the function that made it.
        swallowed: attempts that ended Done although a call of theirs may have failed for the moment.
        acknowledged: the ids of all events whose sender was told that they are durable.
        events: those that functions have seen, by id.
        refusals: what arrived and was refused.
        raised: exceptions of `@sim.answers` functions, by System.
    """

    def __init__(self, loop: SimLoop, of: Subject, play: Script) -> None:
        self.loop = loop
        self.of = of
        self.play = play
        self.history = History()
        self.tale = Tale()
        self.took: list[Took] = []
        self.calls: list[Ending] = []
        self.swallowed: list[tuple[str, StoredEvent, Ending]] = []
        self.refusals: list[tuple[str, Reply]] = []
        self.raised: dict[str, Exception] = {}
        self.acknowledged: list[str] = []
        self.events: dict[str, StoredEvent] = {}
        self.disk = MemoryDisk()
        self.clock = SimClock(loop)
        self.network = Network(loop, self._conditions)
        self.systems = {name: self._system(name) for name in of.plan.systems}
        self.machines: list[Machine] = []
        self._plan = watched(of.plan, self)
        self._context = contextvars.copy_context()
        self._chance = loop.stream("world")
        self._fsync = loop.stream("fsync")
        self._commits: deque[CommitFault] = deque()
        self._cuts: dict[str, int] = {}
        self._post = postings(of, loop.seed, self.clock.now)
        streams = frozenset(stream.name for stream in of.plan.streams)
        self._parts = Parts(
            loop,
            self.network,
            self.clock,
            MemoryStorage(Auditor(loop, self.disk, self.history, streams, self._lineage)),
            self.history,
            lambda: self._fsync.randrange(*FSYNC_US),
            lambda: self._commits.popleft() if self._commits else None,
            transport=tagged(self.clock, lambda name: of.plan.bindings[name].concurrency),
            heard=self._heard,
        )

    async def run(self) -> None:
        """Play the script to its end, and wait until nothing is due."""
        for system in self.systems.values():
            await self.network.host(system.name).listen(system.connection, system.name, HTTP_PORT)
        self._start_machine()
        for act in self.play.acts:
            self._at(START_US + act.at, lambda act=act: self._do(act))
        senders = [self.loop.create_task(self._send(one)) for one in self.play.arrivals]
        await self.clock.sleep_until(START_US + self.play.lasts_us)
        await self._mend()
        for sender in senders:
            await sender
        await self._settle()

    def dead(self, subscription: str) -> list[StoredEvent]:
        """The dead letters of a subscription."""
        ledgers = [(id, ledger) for id, ledger in self.disk.ledgers.items() if id.subscription == subscription]
        rows = [(id.shard, row) for id, ledger in ledgers for row in ledger.rows.values() if row.state == "dead"]
        found = [event for shard, row in rows if (event := self.disk.shard(shard).at(row.offset)) is not None]
        return [self.disk.bodies.whole(event) for event in found]

    def logged(self) -> list[StoredEvent]:
        """Everything in the log, shard by shard."""
        logs = [log for stream in self.disk.streams.values() for log in stream.shards]
        return [self.disk.bodies.whole(event) for log in logs for event in log.events]

    # Watching (`Watcher`).

    def began(self, subscription: str, event: StoredEvent, attempt: int) -> None:
        self.events[event.id] = event
        shard, draft = event.shard, event.draft
        self.history.add(
            Began(
                t=self.loop.now_us,
                process=_process(),
                subscription=subscription,
                stream=shard.stream,
                shard=shard.number,
                offset=event.offset,
                id=draft.id,
                key=draft.key,
            )
        )
        self._tell(subscription, f"attempt {attempt} begins", event.id)

    def call_ended(self, ending: Ending) -> None:
        self.calls.append(ending)
        if not isinstance(ending.outcome, Done):
            self._tell(ending.tag.subscription, f"its call {outcome_told(ending)}", ending.tag.event)

    def ended(self, subscription: str, event: StoredEvent, outcome: Outcome | None, failed: list[Ending]) -> None:
        if not isinstance(outcome, Done):
            return
        self._tell(subscription, "is done", event.id)
        shard = event.shard
        self.history.add(
            Ended(
                t=self.loop.now_us,
                process=_process(),
                subscription=subscription,
                stream=shard.stream,
                shard=shard.number,
                offset=event.offset,
            )
        )
        self.swallowed += [(subscription, event, ending) for ending in failed]

    def _heard(self, process: str, record: str, fields: Mapping[str, object]) -> None:
        said = record_told(record, fields)
        if said is not None:
            who, text = said
            self._tell(who or process, text, str(fields.get("event", "")))

    def _tell(self, who: str, text: str, event: str = "", subscription: str = "", *, is_fault: bool = False) -> None:
        subscription = who if who in self.of.plan.subscriptions else subscription
        self.tale.moments.append(Moment(self.loop.now_us - START_US, who, text, event, subscription, is_fault))

    def _lineage(self, draft: Draft) -> Lineage:
        return Lineage(draft.causation or "")

    # Systems and the network.

    def _system(self, name: str) -> SimSystem:
        spec = self.of.plan.systems[name]
        return SimSystem(
            self.loop,
            name,
            honours_keys=spec.honours_keys is not False,
            answers=self.of.simulation.systems.get(name),
            took=self._take,
            raised=self._raised,
        )

    def _raised(self, system: str, error: Exception) -> None:
        self.raised.setdefault(system, error)

    def _take(self, took: Took) -> None:
        self.took.append(took)
        tag = took.tag
        event = self.events.get(tag.event)
        self._tell(took.system, answer_told(took), tag.event, tag.subscription)
        if event is None:
            return
        self.history.add(
            Called(
                t=took.t,
                process=took.system,
                subscription=tag.subscription,
                stream=event.shard.stream,
                shard=event.shard.number,
                offset=event.offset,
                id=event.draft.id,
                label=tag.label,
                status=took.reaction.status if took.reaction.ending == "answer" else 0,
                fresh=took.fresh,
                key=event.draft.key,
                token=took.request.key,
                sender=took.sender,
            )
        )

    def _conditions(self, host: str, port: int) -> Conditions:
        cut = self._cuts.pop("" if host not in self.systems else host, None)
        return Conditions(reset_answer_at=cut)

    # Processes.

    def machine(self) -> Machine | None:
        """The process that takes work, if one is up."""
        return next((one for one in reversed(self.machines) if one.ready and one.process.state == "running"), None)

    def _start_machine(self) -> None:
        machine = Machine(self._parts, len(self.machines) + 1, self._plan, self._restart)
        self.machines.append(machine)
        self._tell(machine.name, "starts")

    def _restart(self, machine: Machine) -> None:
        self._tell(machine.name, "is gone")
        self._at(self.loop.now_us + self._chance.choice((1_000, US_PER_SECOND, 5 * US_PER_SECOND)), self._replace)

    def _replace(self) -> None:
        if all(machine.process.state != "running" for machine in self.machines):
            self._start_machine()

    # Faults.

    def _do(self, act: acts.Act) -> None:
        self._tell("fault", acts.told(act), is_fault=True)
        machine = self.machine()
        match act:
            case acts.Commit(how=how):
                self._commits.append(how)
            case acts.Answered(system=system, how=how):
                self.systems[system].treat_next(how)
            case acts.Outage(system=system, how=how, lasts_us=lasts):
                self.systems[system].ail(how)
                self._at(self.loop.now_us + lasts, lambda: self.systems[system].ail(""))
            case acts.Cut(host=host, answer_byte=at):
                self._cuts[host] = at
                self.network.cut(host or (machine.name if machine else ""))
            case acts.Jump(by_us=by):
                self.clock.jump(by)
            case acts.Pause(what=what, name=name, lasts_us=lasts):
                key = system_control_key(name) if what == "system" else subscription_control_key(name)
                self._control(key, paused=True)
                self._at(self.loop.now_us + lasts, lambda: self._control(key, paused=False))
            case acts.Retried(subscription=name):
                self._retry_dead(name)
            case acts.Kill(steps=steps) if machine is not None:
                machine.process.fuse = steps
            case acts.Restart() if machine is not None:
                machine.drain()
            case acts.Stall(asleep_us=asleep, replaced_after_us=replaced) if machine is not None:
                self._stall(machine, asleep, replaced)
            case _:
                pass  # There is no process to break just then.

    def _stall(self, machine: Machine, asleep_us: int, replaced_after_us: int | None) -> None:
        machine.process.stop()
        self._at(self.loop.now_us + asleep_us, machine.process.resume)
        if replaced_after_us is not None:
            self._at(self.loop.now_us + replaced_after_us, self._replace)
            self._at(self.loop.now_us + asleep_us + US_PER_SECOND, machine.process.kill)

    def _control(self, key: str, *, paused: bool) -> None:
        self._write([CellWrite(key, encode_control(Control(paused=paused, by="operator")))])

    def _retry_dead(self, subscription: str) -> None:
        for id, ledger in self.disk.ledgers.items():
            offsets = tuple(sorted(row.offset for row in ledger.rows.values() if row.state == "dead"))
            if id.subscription == subscription and offsets:
                job = minted_id("job_", self.clock.now(), self._chance.randbytes(9))
                request = LaneRequest("retry", offsets, "operator", "simulated", self.clock.now())
                self._write([CellWrite(request_key(id, job), encode_request(request))])

    def _write(self, writes: Sequence[CellWrite]) -> None:
        machine = self.machine()
        if machine is not None:
            machine.process.spawn(_put(machine, writes), name="operator")

    # The outside.

    async def _send(self, arriving: Arriving) -> None:
        await self.clock.sleep_until(START_US + arriving.at)
        posting = self._post(arriving.source, arriving.serial)
        name = f"{arriving.source} #{arriving.serial}"
        self._tell(CLIENT, f"sends {name}")
        producer = Producer(self.loop, self.network.host(CLIENT), CLIENT, self.history, self._address)
        reply = await producer.post(posting)
        if reply.kind == "fail":
            self.refusals.append((name, reply))
            self._tell(CLIENT, f"{name} is refused: {reply.status}")
            return
        self._acknowledged(posting, name, reply)

    def _acknowledged(self, posting: Posting, name: str, reply: Reply) -> None:
        told = msgspec.json.decode(reply.body, type=_Receipt)
        for place, id in enumerate(told.ids):
            self.tale.names.setdefault(id, name if place == 0 else f"{name}.{place + 1}")
        again = ", which was known" if told.duplicate else ""
        self._tell(CLIENT, f"{name} is acknowledged with {reply.status}{again}")
        self.acknowledged += told.ids

    def _address(self) -> tuple[str, int] | None:
        machine = self.machine()
        return machine.address if machine is not None else None

    # The end.

    async def _mend(self) -> None:
        self._commits.clear()
        self._cuts.clear()
        for system in self.systems.values():
            system.mend()
        for machine in self.machines:
            machine.process.fuse = None
            if machine.process.state == "stopped":
                machine.process.kill()
        self._replace()
        while self.machine() is None:
            await self.clock.sleep_until(self.loop.now_us + US_PER_SECOND)
        self._resume_all()
        self.history.add(Quiet(t=self.loop.now_us, process="world"))
        self._tell("world", "nothing is broken any more")

    async def _settle(self) -> None:
        until = self.loop.now_us + SETTLES_WITHIN_US
        while self.loop.now_us < until and self.loop.steps < STEPS_MAX:
            if not any(one.by_itself for one in owed(self.disk)):
                break
            # What the guard has paused waits for a person, and here is one.
            self._resume_all()
            await self.clock.sleep_until(self.loop.now_us + LOOK_US)
        pending = tuple(str(one) for one in owed(self.disk) if one.by_itself)
        self.history.add(Finished(t=self.loop.now_us, process="world", pending=pending))

    def _resume_all(self) -> None:
        for key, cell in list(self.disk.cells.items()):
            if key.startswith("control/") and decode_control(cell.value).paused:
                self._control(key, paused=False)

    def _at(self, when: int, act: Callable[[], object]) -> None:
        self.loop.call_at_us(when, act, context=self._context)


class _Receipt(msgspec.Struct):
    ids: list[str] = []
    duplicate: bool = False


def _process() -> str:
    process = current_process()
    return process.name if process else ""


async def _put(machine: Machine, writes: Sequence[CellWrite]) -> None:
    try:
        await machine.engine.store.put(writes)
    except StoreError:
        return  # A command may fail as everything else does.
