"""The persons of a simulated world: what they ask of lanes, begin as jobs, edit, pause and resume."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from interlock.core.controls import Control, encode_control, subscription_control_key, system_control_key
from interlock.core.cursor import CursorId
from interlock.core.event import Draft
from interlock.core.jobs import Job, encode_job, encode_set, job_key, set_key
from interlock.core.limits import US_PER_SECOND
from interlock.core.requests import LaneRequest, Verb, encode_request, request_key
from interlock.journal.memory_disk import MemoryDisk
from interlock.journal.ports import CellWrite
from interlock.testing.sim.auditor import Fact, digest_of
from interlock.testing.sim.history import Asked, History
from interlock.testing.sim.loop import SimLoop
from interlock.testing.sim.machine import Machine
from interlock.testing.sim.ports import SimClock
from interlock.testing.sim.program import STREAM
from interlock.testing.sim.swarm import Swarm


class Means(NamedTuple):
    """What they act by: `write` sends a command to a process, `fault` notes what they did, `later` waits (seconds)."""

    chance: random.Random
    write: Callable[[Callable[[Machine], Awaitable[object]]], None]
    fault: Callable[[str, str], None]
    later: Callable[[float, Callable[[], object]], None]


class Persons:
    """They see what is durable (`disk`), and what they ask for is in the history."""

    def __init__(self, loop: SimLoop, swarm: Swarm, disk: MemoryDisk, history: History, means: Means) -> None:
        self._loop = loop
        self._swarm = swarm
        self._disk = disk
        self._history = history
        self._clock = SimClock(loop)
        self._replay_chance = loop.stream("replays")
        self._edit_chance = loop.stream("edits")
        self._chance, self._write, self._fault, self._later = means
        self._jobs = 0
        self.systems: Sequence[str] = ()

    def operate(self) -> None:
        """One pauses a System or a subscription for a while, or asks something of a straggler."""
        choice = self._chance.random()
        if choice < 0.2:
            self._pause(system_control_key(f"{STREAM}.{self._chance.choice(tuple(self.systems))}"))
        elif choice < 0.3:
            self._pause(subscription_control_key(f"{STREAM}.{self._chance.choice(self._swarm.subscriptions)}"))
        else:
            found = [(id, row) for id, ledger in self._disk.ledgers.items() for row in ledger.rows.values()]
            if found:
                id, row = self._chance.choice(found)
                verbs: tuple[Verb, ...] = ("restore",) if row.state == "discarded" else ("retry", "skip", "discard")
                if id.shard.stream != STREAM:
                    # What waits for its time is nobody's straggler; to be rid of it is not what is simulated.
                    verbs = ("retry",)
                self.ask(id, [row.offset], self._chance.choice(verbs))

    def replay(self) -> None:
        """A person has a few events of one shard delivered again, settled or not: the lane has to tell them apart."""
        chance = self._replay_chance
        # Those of polls and schedules read another log.
        ledgers = self._disk.ledgers.items()
        cursors = sorted(id for id, one in ledgers if id.shard.stream == STREAM and one.held.cursor.types)
        if cursors:
            id = chance.choice(cursors)
            log = self._disk.shard(id.shard)
            keys = [event.draft.key for event in log.events]
            if keys and chance.random() < 0.7:
                # All of one key: this is where order may be broken.
                key = chance.choice(keys)
                offsets = [event.offset for event in log.events if event.draft.key == key]
            else:
                offsets = list(range(1, log.head + 1))
            some = sorted(chance.sample(offsets, min(len(offsets), chance.choice((1, 2, 5, 20)))))
            if some:
                self.ask(id, some, "replay", chance.choice((0, 0, 300_000, 2 * US_PER_SECOND)))

    def edit(self) -> None:
        """A person has another event appended instead of a straggler, or asks for that where it is too late."""
        chance = self._edit_chance
        found = [(id, row) for id, ledger in self._disk.ledgers.items() for row in ledger.rows.values()]
        found = [(id, row) for id, row in found if id.shard.stream == STREAM]
        if not found:
            return
        id, row = chance.choice(found)
        event = self._disk.shard(id.shard).at(row.offset)
        assert event is not None, "the event of a row is kept for as long as the row is"
        if event.claim is not None:
            # Its payload is with the process; what a person sees of it is not simulated.
            return
        fact = msgspec.json.decode(event.draft.data, type=Fact)
        new = f"edit-{self._jobs}"
        data = msgspec.json.encode(Fact(fact.key, fact.serial, "", new))
        draft = replace(event.draft, id=new, data=data, causation=event.id)
        self.ask(id, [row.offset], "edit", draft=draft)

    def begin_job(self) -> None:
        """A person has the dead letters of one shard retried by a job, which its driver releases slice by slice."""
        chance, dead = self._edit_chance, dict[CursorId, list[int]]()
        for id, ledger in self._disk.ledgers.items():
            if found := [row.offset for row in ledger.rows.values() if row.state == "dead"]:
                dead[id] = found
        if dead:
            id = chance.choice(sorted(dead))
            for offset in dead[id]:
                self._note_asked("retry", id, offset)
            self._jobs += 1
            name, now = f"job_{self._jobs:04}", self._clock.now()
            pace_us, stop = chance.choice((0, 300_000, 2 * US_PER_SECOND)), chance.choice((None, 10.0))
            job = Job("retry", "operator", "simulated", now, len(dead[id]), chance.choice((0, 1)), pace_us, stop)
            writes = [
                CellWrite(job_key(name), encode_job(replace(job, paced_at=now))),
                CellWrite(set_key(name), encode_set({id: dead[id]})),
            ]
            self._write(lambda machine: machine.engine.store.append([], writes))

    def _pause(self, key: str) -> None:
        self._fault("operator", f"{key} is paused")
        self.control(key, paused=True)
        self._later(self._chance.uniform(1, 60), lambda: self.control(key, paused=False))

    def control(self, key: str, *, paused: bool) -> None:
        """Pause or resume what the cell is about."""
        value = encode_control(Control(paused=paused, by="operator"))
        self._write(lambda machine: machine.engine.store.put([CellWrite(key, value)]))

    def ask(
        self, id: CursorId, offsets: Sequence[int], verb: Verb, pace_us: int = 0, draft: Draft | None = None
    ) -> None:
        """Ask it of the lane that has the cursor."""
        for offset in offsets:
            self._note_asked(verb, id, offset, draft)
        self._jobs += 1
        now = self._clock.now()
        request = LaneRequest(verb, tuple(offsets), "operator", "simulated", now, pace_us=pace_us, draft=draft)
        write = CellWrite(request_key(id, f"job_{self._jobs:04}"), encode_request(request))
        self._write(lambda machine: machine.engine.store.put([write]))

    def _note_asked(self, verb: Verb, id: CursorId, offset: int, draft: Draft | None = None) -> None:
        self._fault("operator", f"{verb} of offset {offset} of {id.subscription}")
        self._history.add(
            Asked(
                t=self._loop.now_us,
                process="operator",
                verb=verb,
                subscription=id.subscription,
                stream=id.shard.stream,
                shard=id.shard.number,
                offset=offset,
                id=draft.id if draft else "",
                digest=digest_of(draft.data) if draft else "",
            )
        )
