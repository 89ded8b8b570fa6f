"""One seed from its configuration to its verdict."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from interlock.testing.sim.case import Violation
from interlock.testing.sim.history import History
from interlock.testing.sim.loop import START_US, SimLoop
from interlock.testing.sim.swarm import Swarm, draw, limited
from interlock.testing.sim.world import World


class Verdict(NamedTuple):
    """What came of one seed."""

    seed: int
    swarm: Swarm
    violations: list[Violation]
    bugs: list[str]
    trace: str
    steps: int
    virtual_us: int
    history: History
    timeline: list[tuple[int, str, str]]

    @property
    def failed(self) -> bool:
        return bool(self.violations or self.bugs)


def simulate(seed: int, swarm: Swarm | None = None) -> Verdict:
    """Run one seed to its end and judge it."""
    swarm = swarm or draw(seed)
    with TemporaryDirectory(prefix="interlock-sim-") if swarm.on_file else nullcontext() as folder:
        return _simulated(seed, swarm, None if folder is None else Path(folder))


def _simulated(seed: int, swarm: Swarm, folder: Path | None) -> Verdict:
    loop = SimLoop(seed, swarm.schedule)
    world = World(loop, swarm, folder)
    bugs: list[str] = []
    try:
        with limited(swarm.limits):
            loop.run_until_complete(world.run())
    except AssertionError as error:  # A deadlock, a livelock, a real clock: the run is over, and why is the finding.
        bugs.append(f"{type(error).__name__}: {error}")
    finally:
        loop.close()
        if world.file is not None:
            world.file.close()
    return Verdict(
        seed,
        swarm,
        world.judge(),
        bugs + world.bugs(),
        loop.trace_hash(),
        loop.steps,
        loop.now_us - START_US,
        world.history,
        list(loop.timeline),
    )
