"""Something happens to a process at its n-th step or its n-th commit, for n = 1, 2, 3 and on; the checker judges it.

The world is small and everything else in it works, so that each n is a moment of its own, and all can be tried.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import get_args

import pytest
from tests.conftest import Some

from interlock.core.limits import US_PER_SECOND
from interlock.testing.sim.loop import Process, SimLoop
from interlock.testing.sim.machine import Machine
from interlock.testing.sim.ports import CommitFault
from interlock.testing.sim.swarm import Swarm, limited
from interlock.testing.sim.world import World

SUBSCRIPTIONS = ("book", "canonize", "charge", "mirror", "onward", "recall", "remind")
SMALL = Swarm(
    schedule="fifo",
    subscriptions=SUBSCRIPTIONS,
    shards=1,
    keys=2,
    events=12,
    # Longer than a lease: a process that fell asleep wakes while there is still something that it could break.
    duration_us=100 * US_PER_SECOND,
    burst=1.0,
    kills=0.0,
    stops=0.0,
    drains=0.0,
    zombies=0.0,
    commit_kill=0.0,
    commit_fail=0.0,
    fsync_us=2_000,
    moods=0.0,
    outage=1,
    splits=0.0,
    resets=0.0,
    vanish=0.0,
    poison=1,
    bombs=0,
    operators=0.0,
    retirement=0.0,
    deploys=0.0,
    segment_events=1_000,
    limits={"WINDOW_OFFSETS": 4},
    proofs=True,
)
Interruption = Callable[["Interrupted", Machine], None]


class _Steps(SimLoop):
    """Calls before a step of a process that is watched."""

    def __init__(self) -> None:
        super().__init__(1, "fifo")
        self.watched: dict[str, Callable[[], None]] = {}

    def _may_run(self, process: Process, handle: asyncio.Handle) -> bool:
        if process.state == "running" and process.name in self.watched:
            self.watched[process.name]()
        return super()._may_run(process, handle)


class Interrupted(World):
    """A small world. At step `at` of process number `victim` it is interrupted; one before it dies at step `first`."""

    def __init__(self, interrupt: Interruption, at: int, victim: int = 1, first: int = 0) -> None:
        self.steps = {1: 0, victim: 0}
        self.commits = 0
        self.failing: tuple[int, CommitFault] | None = None
        self._at = {1: (first, killed)} | {victim: (at, interrupt)}
        self._steps_loop = _Steps()
        super().__init__(self._steps_loop, SMALL)

    def _start_machine(self) -> None:
        super()._start_machine()
        machine, number = self.machines[-1], len(self.machines)
        if number in self._at:
            self._steps_loop.watched[machine.name] = lambda: self._step(machine, number)

    def _step(self, machine: Machine, number: int) -> None:
        at, interrupt = self._at[number]
        self.steps[number] += 1
        if self.steps[number] == at:
            interrupt(self, machine)

    def _commit_fault(self) -> CommitFault | None:
        self.commits += 1
        at, fault = self.failing or (0, None)
        return fault if self.breaking and self.commits == at else None

    def judged(self) -> list[str]:
        """What is wrong at the end."""
        try:
            with limited(SMALL.limits):
                self.loop.run_until_complete(self.run())
        finally:
            self.loop.close()
        return [*map(str, self.judge()), *self.bugs()]


def killed(world: Interrupted, machine: Machine) -> None:
    machine.process.kill()


def drained(world: Interrupted, machine: Machine) -> None:
    if machine.ready:
        machine.drain()


def stalled(world: Interrupted, machine: Machine) -> None:
    """It stops for a while, and nobody takes its place."""
    machine.broken("stalled")
    machine.process.stop()
    world._later(15, machine.process.resume)


def asleep(world: Interrupted, machine: Machine) -> None:
    """It stops beyond its lease, another takes its place, and it wakes."""
    world._fall_asleep(machine, 70, 1)


def expired(world: Interrupted, machine: Machine) -> None:
    """All its attempts are over their deadlines."""
    if machine.ready:
        for run, task in list(machine.engine.fleet._running.items()):
            run.expired = True
            task.cancel()


def test_the_world_is_whole_if_nothing_happens() -> None:
    world = Interrupted(killed, 0)
    assert world.judged() == []
    assert world.steps[1] > 300
    kinds = {type(line).__name__ for line in world.history.lines}
    assert {"Published", "Logged", "Began", "Called", "Accounted"} <= kinds
    assert any(line.marks for line in world.history.lines if hasattr(line, "marks"))


@pytest.mark.parametrize("interrupt", [killed, drained, stalled, asleep, expired])
def test_whatever_happens_at_any_step_of_a_process_every_promise_is_kept(interrupt: Interruption, some: Some) -> None:
    calm = Interrupted(killed, 0)
    calm.judged()
    wrong = {n: found for n in some(calm.steps[1], 25) if (found := Interrupted(interrupt, n).judged())}
    assert wrong == {}


def test_a_process_may_die_at_any_step_of_its_recovery_from_a_death(some: Some) -> None:
    for first in (60, 200):
        calm = Interrupted(killed, 0, victim=2, first=first)
        calm.judged()
        wrong = {
            n: found
            for n in some(calm.steps[2], 12)
            if (found := Interrupted(killed, n, victim=2, first=first).judged())
        }
        assert wrong == {}


@pytest.mark.parametrize("fault", get_args(CommitFault))
def test_any_commit_may_be_the_one_that_fails(fault: CommitFault, some: Some) -> None:
    calm = Interrupted(killed, 0)
    calm.judged()
    assert calm.commits > 20
    wrong: dict[int, list[str]] = {}
    for n in some(calm.commits, 12):
        world = Interrupted(killed, 0)
        world.failing = n, fault
        if found := world.judged():
            wrong[n] = found
    assert wrong == {}
