"""What one seed does: which subscriptions, how much work, and which faults at which rate (swarm testing).

Each run turns on its own subset, because faults that are always on together hide what one alone would show.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from types import ModuleType

import msgspec

from interlock.core.limits import US_PER_SECOND
from interlock.testing.sim.loop import Schedule
from interlock.testing.sim.remotes import Mood

SUBSCRIPTIONS: tuple[str, ...] = ("book", "mirror", "notify", "charge", "index", "canonize", "onward")
LIMITS: dict[str, tuple[int, ...]] = {
    "WINDOW_OFFSETS": (4, 8, 30, 1_024),
    "RUNNING_MAX": (1, 2, 32),
    "PASSED_OFFSETS_PER_KEY": (1, 3, 1_000),
    "PASSED_OFFSETS_PER_LANE": (4, 100_000),
    "SCAN_EVENTS_PER_TURN": (5, 10_000),
    "FETCH_EVENTS_MAX": (2, 256),
    "READ_SCAN_OFFSETS_MAX": (2, 10_000),
}
"""Bounds of the product that a run may meet, with what a seed chooses from."""
MOODS: tuple[Mood, ...] = ("flapping", "slow", "down", "limiting")


class Swarm(msgspec.Struct, frozen=True):
    """One seed's configuration. Rates are means per virtual minute; probabilities are per commit or connection."""

    schedule: Schedule
    subscriptions: tuple[str, ...]
    shards: int
    keys: int
    events: int
    duration_us: int
    burst: float
    kills: float
    stops: float
    drains: float
    zombies: float
    commit_kill: float
    commit_fail: float
    fsync_us: int
    moods: float
    splits: float
    resets: float
    vanish: float
    poison: int
    bombs: int
    operators: float
    retirement: float
    deploys: float
    segment_events: int
    limits: dict[str, int]


def draw(seed: int) -> Swarm:
    """The configuration of a seed."""
    chance = random.Random(f"{seed}/swarm")

    def sometimes(share: float, low: float, high: float) -> float:
        return chance.uniform(low, high) if chance.random() < share else 0.0

    subscriptions: list[str] = chance.sample(SUBSCRIPTIONS, chance.randint(2, 4))
    if "onward" in subscriptions and "canonize" not in subscriptions:
        subscriptions.append("canonize")
    return Swarm(
        schedule=chance.choice(("fifo", "random", "random", "pct")),
        subscriptions=tuple(sorted(subscriptions)),
        shards=chance.choice((1, 1, 2, 3)),
        keys=chance.choice((1, 3, 8, 20)),
        events=chance.randint(20, 120),
        duration_us=chance.choice((20, 60, 240)) * US_PER_SECOND,
        burst=chance.choice((0.0, 0.5, 0.95)),
        kills=sometimes(0.5, 0.5, 6),
        stops=sometimes(0.3, 0.5, 4),
        drains=sometimes(0.3, 0.5, 3),
        zombies=sometimes(0.3, 0.3, 1.5),
        commit_kill=sometimes(0.4, 0.002, 0.05),
        commit_fail=sometimes(0.3, 0.002, 0.05),
        fsync_us=chance.choice((200, 2_000, 20_000, 300_000)),
        moods=sometimes(0.7, 0.5, 6),
        splits=sometimes(0.5, 0.05, 1.0),
        resets=sometimes(0.4, 0.02, 0.3),
        vanish=sometimes(0.2, 0.02, 0.2),
        poison=chance.choice((0, 0, 1, 2)),
        bombs=chance.choice((0, 0, 0, 0, 0, 1)),
        operators=sometimes(0.5, 1, 8),
        retirement=sometimes(0.3, 1, 6),
        deploys=sometimes(0.3, 0.3, 2),
        segment_events=chance.choice((5, 20, 1_000)),
        limits={name: chance.choice(choices) for name, choices in LIMITS.items()},
    )


@contextmanager
def limited(bounds: Mapping[str, int]) -> Generator[None, None, None]:
    """Within the block the product's bounds are these, wherever a module has its own name for one.

    What happens at a bound of 1,024 must be met by a run of a hundred events.
    """
    replaced: list[tuple[ModuleType, str, int]] = []
    try:
        for module in [found for name, found in sys.modules.items() if name.startswith("interlock.")]:
            for name, bound in bounds.items():
                if name in vars(module):
                    replaced.append((module, name, getattr(module, name)))
                    setattr(module, name, bound)
        yield
    finally:
        for module, name, bound in replaced:
            setattr(module, name, bound)
