"""A world: disk, processes, remotes, producers and persons, and everything that goes wrong between them.

It breaks things for a while, mends all of them, and waits until nothing is owed. The checker judges what was seen.
"""

from __future__ import annotations

import asyncio
import contextvars
import errno
import random
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import msgspec

from interlock.core import limits
from interlock.core.controls import (
    decode_control,
    subscription_control_key,
)
from interlock.core.cursor import CursorId
from interlock.core.errors import StoreError
from interlock.core.event import Shard
from interlock.core.limits import US_PER_HOUR, US_PER_MINUTE, US_PER_SECOND
from interlock.core.requests import Verb
from interlock.journal.memory_disk import MemoryDisk
from interlock.journal.ports import Retention
from interlock.testing.sim.auditor import Auditor, Fact
from interlock.testing.sim.case import Violation
from interlock.testing.sim.checker import check
from interlock.testing.sim.client import Posting, Producer
from interlock.testing.sim.folder import Folder
from interlock.testing.sim.history import Fault, Finished, History, Leaked, Quiet, Turned
from interlock.testing.sim.loop import SimLoop, current_process
from interlock.testing.sim.machine import Machine, Parts
from interlock.testing.sim.net import Conditions, Network
from interlock.testing.sim.persons import Means, Persons
from interlock.testing.sim.ports import HUSH, CommitFault, SimClock, SimSecrets
from interlock.testing.sim.program import (
    CALLING,
    PUBLISHED_TYPES,
    STREAM,
    VARIANT,
    Seen,
    program,
    reads_of,
    system_effects,
)
from interlock.testing.sim.racers import RACERS, Racer
from interlock.testing.sim.remotes import CallBody, Mood, Remote
from interlock.testing.sim.serving import HTTP_PORT
from interlock.testing.sim.storage import FileStorage, MemoryStorage, sqlite_options
from interlock.testing.sim.swarm import MOODS, Swarm
from interlock.testing.standing import owed

PRODUCERS = 3
QUIET_MAX_US = 3 * US_PER_HOUR
"""Within this, everything must be settled once nothing is broken any more: beyond every backoff, budget and lease."""
LOOK_US = 5 * US_PER_SECOND
PROMPT_US = 30 * US_PER_SECOND
STEPS_MAX = 1_500_000


class World:
    """See the module."""

    def __init__(self, loop: SimLoop, swarm: Swarm, folder: Path | None = None) -> None:
        self.loop = loop
        self.swarm = swarm
        self.history = History()
        self.chance: random.Random = loop.stream("world")
        self.disk = MemoryDisk(segment_events=swarm.segment_events, proves_deaths=swarm.proofs)
        auditor = Auditor(loop, self.disk, self.history, frozenset({STREAM}))
        self.file = None if folder is None else FileStorage(loop, folder, auditor, sqlite_options(swarm))
        if self.file is not None:
            self.file.vfs.on_failure = self._disk_failed
        self.clock = SimClock(loop)
        self.network = Network(loop, self._conditions)
        self.machines: list[Machine] = []
        self.breaking = True
        self._context = contextvars.copy_context()
        self._commit_chance = loop.stream("commits")
        self._wrong_files: list[str] = []
        self._racing: list[asyncio.Task[None]] = []
        self._narrow = bool(swarm.deploys) and self.chance.random() < 0.5
        self._freezing = False
        self._truce = False
        self._spoils = False
        self._spoil_chance = loop.stream("spoiled")
        self._asked: dict[tuple[CursorId, int], Machine | None] = {}
        self._remotes: dict[str, Remote] = {}
        self._folder = Folder(loop, self.disk, swarm, self._disk_failed)
        means = Means(self.chance, self._write, self._fault, self._later)
        self._persons = Persons(loop, swarm, self.disk, self.history, means)
        self._poison = frozenset(f"k{number}" for number in range(min(swarm.poison, swarm.keys - 1)))
        self._parts = Parts(
            loop,
            self.network,
            self.clock,
            self.file or MemoryStorage(auditor),
            self.history,
            lambda: self._commit_chance.randrange(self.swarm.fsync_us // 2, self.swarm.fsync_us * 2),
            self._commit_fault,
            secrets=SimSecrets(),
            heard=self._heard,
        )

    async def run(self) -> None:
        """Break things, mend them, wait until nothing is owed."""
        await self._listen()
        self._persons.systems = tuple(self._remotes)
        self._start_machine()
        if self.swarm.resets or self.swarm.vanish:
            self._fault("network", "connections are reset or vanish")
        producers = [self.loop.create_task(self._produce(number)) for number in range(PRODUCERS)]
        until = self.loop.now_us + self.swarm.duration_us
        for rate, act in self._nemeses():
            self._again(rate, act, until)
        for number in range(RACERS if self.swarm.races else 0):
            racer = Racer(self.loop, number, self.history, lambda: [one for one in self.machines if one.ready])
            self._racing.append(self.loop.create_task(racer.run(self.swarm.duration_us)))
        if self.swarm.spoiled:
            self.loop.create_task(self._spoil())
        await self.clock.sleep_until(until)
        await self._mend()
        for producer in producers:
            await producer
        await self._drain_out()
        await self._put_in_order()

    def machine(self) -> Machine | None:
        """The process that takes work, if one is up."""
        return next((one for one in reversed(self.machines) if one.ready and one.process.state == "running"), None)

    # Remotes and the network.

    async def _listen(self) -> None:
        for name, effect in system_effects(self.swarm).items():
            remote = Remote(self.loop, name, self.history, effect)
            remote.is_poison = self._is_poison
            remote.on_slow = self._interfere
            if self.swarm.slow_start:
                self._set_mood(remote, "slow")
            self._remotes[name] = remote
            await self.network.host(name).listen(remote.connection, name, HTTP_PORT)

    def _is_poison(self, body: CallBody) -> bool:
        return self.breaking and body.key in self._poison and body.offset % 3 == 0

    def _is_spoiled(self, function: str) -> bool:
        return self._spoils and function == self.swarm.spoiled

    def _conditions(self, host: str, port: int) -> Conditions:
        chance, swarm = self.network.chance, self.swarm
        if not self.breaking:
            return Conditions()
        reset = chance.random() < swarm.resets
        return Conditions(
            latency_us=(100, chance.choice((500, 5_000, 50_000))),
            split=swarm.splits,
            refuse=chance.random() < swarm.vanish / 2,
            vanish=chance.random() < swarm.vanish / 2,
            reset_request_at=chance.randrange(4_000) if reset and chance.random() < 0.5 else None,
            reset_answer_at=chance.randrange(600) if reset and chance.random() < 0.7 else None,
            mute_answer_at=chance.randrange(600) if reset and chance.random() < 0.2 else None,
        )

    def _heard(self, process: str, record: str, fields: Mapping[str, object]) -> None:
        self._look_for_secrets(f"record {record}", repr(fields))
        if record == "breaker.transition":
            remote = str(fields["system"]).removeprefix(f"{STREAM}.")
            self.history.add(Turned(t=self.loop.now_us, process=process, remote=remote, state=str(fields["state"])))

    # Processes.

    def _start_machine(self) -> None:
        seen = Seen(self.loop, self.history, "", self._is_spoiled)
        plan = program(seen, self.swarm, narrow=self._narrow)
        self.machines.append(Machine(self._parts, len(self.machines) + 1, plan, self._restart))

    def _restart(self, machine: Machine) -> None:
        """Whoever supervises processes starts another one."""
        delay = self.chance.choice((1_000, US_PER_SECOND, 5 * US_PER_SECOND))
        # Asked for by the dying process, so it must not belong to it.
        self.loop.call_at_us(self.loop.now_us + delay, self._replace, context=self._context)

    def _replace(self) -> None:
        if all(machine.process.state != "running" for machine in self.machines):
            self._start_machine()

    def _commit_fault(self) -> CommitFault | None:
        draw, swarm = self._commit_chance.random(), self.swarm
        if self._freezing:
            # The commit takes effect in this step, and its answer comes later.
            self._later(0.000_001, self._freeze_if_begun)
        if not self.breaking or self._truce or draw >= swarm.commit_kill + swarm.commit_fail:
            return None
        first = self._commit_chance.random() < 0.5
        if draw < swarm.commit_kill:
            return "killed-before" if first else "killed-after"
        return "failed-before" if first else "failed-after"

    # What goes wrong.

    def _nemeses(self) -> list[tuple[float, Callable[[], None]]]:
        swarm = self.swarm
        return [
            (swarm.kills, self._kill),
            (swarm.stops, self._stall),
            (swarm.drains, self._drain),
            (swarm.zombies, self._zombie),
            (swarm.freezes, self._freeze),
            (swarm.moods, self._change_mood),
            (swarm.operators, self._persons.operate),
            (swarm.retirement, self._retire),
            (swarm.deploys, self._deploy),
            (swarm.replays, self._persons.replay),
            (swarm.power, self._cut_power),
            (swarm.disk, self._fail_disk),
            (swarm.edits, self._persons.edit),
            (swarm.jobs, self._persons.begin_job),
            (swarm.collects, self._collect),
        ]

    def _again(self, rate: float, act: Callable[[], None], until: int) -> None:
        """Do it at random moments, `rate` times a minute on average."""
        if not rate:
            return
        when = self.loop.now_us + int(self.chance.expovariate(rate / US_PER_MINUTE))
        if when < until:
            self.loop.call_at_us(when, self._act, rate, act, until, context=self._context)

    def _act(self, rate: float, act: Callable[[], None], until: int) -> None:
        if self.breaking:
            if not self._truce:
                act()
            self._again(rate, act, until)

    def _kill(self) -> None:
        machine = self.machine()
        if machine is not None and machine.process.fuse is None:
            # Within the next steps of the process, wherever those are.
            machine.process.fuse = self.chance.choice((0, 10, 100, 1_000))

    def _stall(self) -> None:
        machine = self.machine()
        if machine is not None:
            machine.broken("stalled")
            machine.process.stop()
            self._later(self.chance.uniform(0.01, 20), machine.process.resume)

    def _zombie(self) -> None:
        """Stopped beyond its lease while a successor works, it wakes and acts on what it believes; then it is ended."""
        machine = self.machine()
        if machine is not None:
            asleep = self.chance.uniform(1, 150)
            self._fall_asleep(machine, asleep, self.chance.uniform(0, asleep))

    def _freeze(self) -> None:
        """A zombie again, but one that stops between the start of an attempt and the sending of its bytes.

        It does when a `running` row is durable and the process, which waits for that, has not heard of it. Until it is
        ended its successor is left in peace, for that one has to wait out the lease before it can show anything.
        """
        self._freezing = True

    def _freeze_if_begun(self) -> None:
        machine = self.machine()
        begun = any(
            row.state == "running" and row.call is None and row.epoch == ledger.held.cursor.epoch
            for id, ledger in self.disk.ledgers.items()
            if id.subscription in CALLING
            for row in ledger.rows.values()
        )
        if machine is not None and begun and self._freezing and self.breaking:
            self._freezing, self._truce = False, True
            machine.process.on_death.append(self._end_truce)
            self._fall_asleep(machine, self.chance.uniform(62, 80), self.chance.uniform(0, 2))

    def _end_truce(self) -> None:
        self._truce = False

    def _fall_asleep(self, machine: Machine, asleep: float, replaced_after: float) -> None:
        machine.broken("turned into a zombie")
        machine.process.stop()
        self._later(replaced_after, self._replace)
        self._later(asleep, machine.process.resume)
        self._later(asleep + self.chance.choice((0.001, 0.1, 3)), machine.process.kill)

    def _drain(self) -> None:
        machine = self.machine()
        if machine is not None:
            machine.drain()

    def _deploy(self) -> None:
        machine = self.machine()
        if machine is not None:
            self._narrow = not self._narrow
            machine.broken(f"deploy, {VARIANT} reads {'less' if self._narrow else 'more'}", "deploy")
            if self.chance.random() < 0.5:
                machine.drain()
            else:
                machine.process.kill()

    def _cut_power(self) -> None:
        if self.file is not None:
            self.file.cut_power([machine.process for machine in self.machines])

    def _fail_disk(self) -> None:
        """Every call of it fails, every write does because it is full, or it is so full that intake is refused."""
        file = self.file
        if file is not None:
            kind = self.chance.choice((errno.EIO, errno.ENOSPC, None))
            if kind is None:
                self._disk_failed()
                file.full = True
            else:
                file.fail(kind)
            self._later(self.chance.choice((0.01, 1, 10)), file.mend)

    def _disk_failed(self) -> None:
        process = current_process()
        name = process.name if process else "world"
        self.history.add(Fault(t=self.loop.now_us, process=name, scope="store", what="the disk fails or is full"))

    def _change_mood(self) -> None:
        remote = self._remotes[self.chance.choice(tuple(self._remotes))]
        self._set_mood(remote, self.chance.choice(MOODS))

    def _set_mood(self, remote: Remote, mood: Mood) -> None:
        remote.mood = mood
        self._fault("remote", f"{remote.name} is {mood}")
        self._later(self.chance.choice((2, 20, 90)) * self.swarm.outage, lambda: setattr(remote, "mood", "well"))

    def _retire(self) -> None:
        age_us = self.chance.choice((0, 5 * US_PER_SECOND))
        self._write(lambda machine: machine.engine.store.retire(STREAM, Retention(age_us, self.swarm.keep_bytes)))

    def _collect(self) -> None:
        self._write(lambda machine: machine.engine.store.collect())

    def _interfere(self, body: CallBody, took_us: int) -> None:
        """A call is at a slow System, and whatever happens to its event or its process happens at this moment."""
        self._meddle(body, took_us)
        if self.breaking and self.swarm.cuts and self.chance.random() < self.swarm.cuts:
            self._later(self.chance.uniform(0, 1), self._cut)

    def _cut(self) -> None:
        machine = self.machine()
        if machine is not None:
            machine.process.kill()

    def _meddle(self, body: CallBody, took_us: int) -> None:
        """A person asks for something while the event is at a slow System: rule 6 is about this moment."""
        if self.breaking and self.swarm.operators and self.chance.random() < 0.3:
            id = CursorId(body.subscription, Shard(body.stream, body.shard))
            verbs: tuple[Verb, ...] = ("retry", "skip", "discard")
            verb = self.chance.choice(verbs)
            self._later(took_us / 2 / US_PER_SECOND, lambda: self._persons.ask(id, [body.offset], verb))

    async def _spoil(self) -> None:
        """A bad deploy goes out, and whoever hears of the pause resumes it, sometimes before the deploy is mended."""
        chance, key = self._spoil_chance, subscription_control_key(f"{STREAM}.{self.swarm.spoiled}")
        await self.clock.sleep_until(self.loop.now_us + int(chance.uniform(0, 0.3) * self.swarm.duration_us))
        self._spoils = True
        self._fault("operator", f"{self.swarm.spoiled} rejects everything")
        while self.breaking:
            await self.clock.sleep_until(self.loop.now_us + int(chance.choice((2, 10, 100)) * US_PER_SECOND))
            cell = self.disk.cells.get(key)
            if self.breaking and cell is not None and decode_control(cell.value).by == "interlock":
                self._spoils = self._spoils and chance.random() < 0.5
                self._persons.control(key, paused=False)

    def _write(self, act: Callable[[Machine], Awaitable[object]]) -> None:
        machine = self.machine()
        if machine is not None:
            machine.process.spawn(_attempt(act, machine), name="operator")

    # The end.

    async def _mend(self) -> None:
        """From here on nothing is broken."""
        self.breaking = self._spoils = self._folder.breaking = False
        if self.file is not None:
            self.file.mend()
        for remote in self._remotes.values():
            remote.mood = "well"
        for machine in self.machines:
            machine.process.fuse = None
            if machine.process.state == "stopped":
                machine.process.kill()
        self._replace()
        until = self.loop.now_us + QUIET_MAX_US
        while self.machine() is None:
            assert self.loop.now_us < until, "no process comes up"
            await self.clock.sleep_until(self.loop.now_us + US_PER_SECOND)
        if self.swarm.retirement:
            self._write(lambda machine: machine.engine.store.retire(STREAM, Retention(QUIET_MAX_US, 1 << 40)))
        self._resume_all()
        self.history.add(Quiet(t=self.loop.now_us, process="world"))

    def _resume_all(self) -> None:
        for key, cell in list(self.disk.cells.items()):
            if key.startswith("control/") and decode_control(cell.value).paused:
                self._persons.control(key, paused=False)

    async def _drain_out(self) -> None:
        """Wait until nothing is owed; whatever is held is retried by a person, once in the life of a process.

        What Interlock itself has paused is resumed: a deploy that reads less leaves stragglers that it cannot decode.
        """
        until = self.loop.now_us + QUIET_MAX_US
        while self.loop.now_us < until and self.loop.steps < STEPS_MAX:
            if not any(owed(self.disk)):
                break
            # What the guard has paused waits for a person, too.
            self._resume_all()
            for id, ledger in self.disk.ledgers.items():
                for row in list(ledger.rows.values()):
                    # What was asked of a process that died may be lost with it.
                    if row.state == "held" and self._asked.get((id, row.offset)) is not self.machine():
                        self._asked[id, row.offset] = self.machine()
                        self._persons.ask(id, [row.offset], "discard" if row.reason == "crashed" else "retry")
            await self.clock.sleep_until(self.loop.now_us + LOOK_US)
        self._look_for_secrets("the store", repr(self.disk))
        if self.file is not None:
            self._look_for_secrets("its file", repr(self.file.vfs.kept()))
        self._look_for_secrets("the trace", repr(self.loop.timeline))
        self._look_for_secrets("the history", repr(self.history.lines))
        pending = tuple(str(one) for one in owed(self.disk))
        self.history.add(Finished(t=self.loop.now_us, process="world", pending=pending))

    async def _put_in_order(self) -> None:
        """A day passes, and what nothing claims is collected once."""
        if not self.swarm.collects:
            return
        for racing in self._racing:
            # What is appended in a race and refused leaves a file.
            await racing
        await self.clock.sleep_until(self.loop.now_us + limits.BODY_ORPHAN_US)
        machine = self.machine()
        if machine is not None:
            await machine.process.spawn(machine.engine.store.collect(), name="collect")
        self._wrong_files = list(self._folder.faults())

    # Producers.

    async def _produce(self, number: int) -> None:
        chance = self.loop.stream(f"producer/{number}")
        producer = Producer(
            self.loop, self.network.host(f"producer-{number}"), f"producer-{number}", self.history, self._target
        )
        count = self.swarm.events // PRODUCERS
        pause = self.swarm.duration_us / max(1, count)
        last: Posting | None = None
        for serial in range(count):
            if chance.random() >= self.swarm.burst:
                await self.clock.sleep_until(self.loop.now_us + int(chance.uniform(0, 2) * pause))
            if last is not None and chance.random() < 0.1:
                await producer.post(last)
            last = self._posting(chance, f"e{number}-{serial}", serial)
            await producer.post(last)

    def _posting(self, chance: random.Random, id: str, serial: int) -> Posting:
        type = chance.choice(PUBLISHED_TYPES)
        key = f"k{min(chance.randrange(self.swarm.keys), chance.randrange(self.swarm.keys))}"
        body = msgspec.json.encode(Fact(key, serial, origin=id))
        return Posting(STREAM, f"{type}@1", id, None if type == "ticked" else key, body)

    def _target(self) -> tuple[str, int] | None:
        machine = self.machine()
        return machine.address if machine is not None else None

    def _later(self, seconds: float, act: Callable[[], object]) -> None:
        self.loop.call_at_us(self.loop.now_us + int(seconds * US_PER_SECOND), act, context=self._context)

    def _look_for_secrets(self, where: str, text: str) -> None:
        if HUSH in text:
            self.history.add(Leaked(t=self.loop.now_us, process="world", where=where))

    def _fault(self, scope: str, what: str) -> None:
        assert scope in ("network", "remote", "operator")
        self.history.add(Fault(t=self.loop.now_us, process="world", scope=scope, what=what))

    def judge(self) -> list[Violation]:
        """What the checker says of the history."""
        prompt = None if self.swarm.moods or self.swarm.resets or self.swarm.vanish else PROMPT_US
        schedules = {f"{STREAM}.chime": self.swarm.chimes == "catch up"} if self.swarm.chimes else {}
        return check(self.history.lines, reads_of(self.swarm, self._poison, prompt), schedules)

    def bugs(self) -> list[str]:
        """Exceptions that nobody expected."""
        touched = [f"{name} was used at {where}" for name, where in self.loop.touched]
        told = [bug for machine in self.machines for bug in machine.bugs]
        return [*self.loop.errors, *touched, *self._wrong_files, *told]


async def _attempt(act: Callable[[Machine], Awaitable[object]], machine: Machine) -> None:
    """What a person's command does: it is sent, and may fail."""
    try:
        await act(machine)
    except StoreError:
        machine.broken("a command failed", "store")
