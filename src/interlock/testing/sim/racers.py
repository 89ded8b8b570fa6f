"""Clients that race for the same cells and the same identities, through whichever process takes them, zombies too."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence

import msgspec

from interlock.core.errors import StoreError
from interlock.core.event import Draft
from interlock.core.limits import US_PER_SECOND
from interlock.journal.ports import AppendRefused, CellConflict, CellWrite
from interlock.testing.sim.history import History, Tried
from interlock.testing.sim.loop import SimLoop
from interlock.testing.sim.machine import Machine
from interlock.testing.sim.ports import SimClock

RACERS = 3
STREAM = "races"
SUBJECTS = 4
"""Cells, and as many identities: few, so that they are raced for, and each seldom enough to be searched quickly."""
TRIES = 24
PATIENCE_US = 5 * US_PER_SECOND


class Racer:
    """One client. It reads a cell, writes at the version that it knows, or hands in an event that others do, too."""

    def __init__(self, loop: SimLoop, number: int, history: History, machines: Callable[[], Sequence[Machine]]) -> None:
        self._name = f"racer-{number}"
        self._loop = loop
        self._clock = SimClock(loop)
        self._history = history
        self._machines = machines
        self._chance: random.Random = loop.stream(self._name)
        self._known: dict[str, int] = {}
        self._serial = number

    async def run(self, duration_us: int) -> None:
        """Try so often within this time."""
        for _ in range(TRIES):
            await self._clock.sleep_until(self._loop.now_us + int(self._chance.uniform(0, 2) * duration_us / TRIES))
            machines = self._machines()
            if machines:
                await self._race(self._chance.choice(machines))

    async def _race(self, machine: Machine) -> None:
        ask = self._ask()
        self._history.add(ask)
        answered: asyncio.Future[Tried] = self._loop.create_future()
        machine.process.spawn(self._try(machine, ask, answered), name=self._name)
        try:
            async with self._clock.deadline(self._loop.now_us + PATIENCE_US):
                answer = await answered
        except TimeoutError:
            answer = msgspec.structs.replace(ask, kind="info", t=self._loop.now_us)
        if answer.kind == "ok" and ask.what != "append":
            self._known[ask.subject] = answer.number
        self._history.add(answer)

    def _ask(self) -> Tried:
        self._serial += RACERS
        number, value = self._chance.randrange(SUBJECTS), f"{self._name}/{self._serial}"
        ask = Tried(
            t=self._loop.now_us, process=self._name, kind="invoke", serial=self._serial, subject="", what="read"
        )
        kind = self._chance.random()
        if kind < 0.5:
            payload = self._chance.choice(("a", "a", "b"))
            return msgspec.structs.replace(ask, subject=f"identity/{number}", what="append", value=payload)
        subject = f"race/{number}"
        if kind < 0.65:
            return msgspec.structs.replace(ask, subject=subject)
        expected = self._known.get(subject, 0)
        return msgspec.structs.replace(ask, subject=subject, what="write", value=value, expected=expected)

    async def _try(self, machine: Machine, ask: Tried, answered: asyncio.Future[Tried]) -> None:
        try:
            answer = await self._answer(machine, ask)
        except StoreError as error:
            # Every other refusal says that nothing was written.
            answer = msgspec.structs.replace(ask, kind="info" if error.code == "store.in-doubt" else "fail")
        if not answered.done():
            answered.set_result(msgspec.structs.replace(answer, t=self._loop.now_us))

    async def _answer(self, machine: Machine, ask: Tried) -> Tried:
        store, told = machine.engine.store, msgspec.structs.replace(ask, kind="ok", value="")
        if ask.what == "append":
            await store.make_stream(STREAM, 1)
            draft = Draft(STREAM, "raced@1", "racers", ask.subject, ask.value.encode(), key="k")
            appended = await store.append([draft])
            assert not isinstance(appended, AppendRefused), "no cell rides along"
            [place] = appended
            return msgspec.structs.replace(told, number=place.offset, known=place.duplicate, refused=place.conflict)
        if ask.what == "read":
            found = (await store.get([ask.subject])).get(ask.subject)
            return told if found is None else _at(told, found.version, found.value)
        [written] = await store.put([CellWrite(ask.subject, ask.value.encode(), ask.expected)])
        if not isinstance(written, CellConflict):
            return _at(told, written.version, b"")
        told = msgspec.structs.replace(told, refused=True)
        return told if written.found is None else _at(told, written.found.version, written.found.value)


def _at(told: Tried, version: int, value: bytes) -> Tried:
    return msgspec.structs.replace(told, number=version, value=value.decode())
