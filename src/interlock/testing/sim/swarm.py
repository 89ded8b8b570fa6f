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
from interlock.spec.schedule import Missed
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
    """One seed's configuration. Rates are means per virtual minute; probabilities are per commit, connection or call.

    `outage`: how much longer than usual a System stays in a mood. `proofs`: the store knows of a killed process that it
    is dead. `cuts`: a process is killed while a slow call of it is under way. `slow_start`: the Systems are slow from
    the first call on. `freezes`: a process falls asleep beyond its lease when it has begun an attempt. `chimes`: what a
    schedule does about the times that it misses; None for no schedule. `replays`: a person has settled events delivered
    again. `spoiled`: the subscription whose function rejects everything for a while, or "". `on_file`: the store is the
    SQLite one, on a simulated disk, where `power` is cut and where the `disk` fails or is full for a while.
    `secrets`: calls carry a credential, which Systems that refuse them say back. `races`: clients race for registers.
    `edits`: a person has another event appended instead of a straggler. `jobs`: a person has all dead letters of a
    shard retried slice by slice. `file_fail`, `power_cuts`: for each step with the file of a large payload.
    `collects`: how often files that nothing claims are collected. `keep_bytes`: the bound of the stream, at which
    intake is refused while somebody lags.
    """

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
    outage: int
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
    proofs: bool = False
    cuts: float = 0.0
    slow_start: bool = False
    freezes: float = 0.0
    chimes: Missed | None = None
    replays: float = 0.0
    spoiled: str = ""
    on_file: bool = False
    power: float = 0.0
    disk: float = 0.0
    secrets: bool = False
    races: bool = False
    edits: float = 0.0
    jobs: float = 0.0
    keep_bytes: int = 1 << 40
    file_fail: float = 0.0
    power_cuts: float = 0.0
    collects: float = 0.0


def draw(seed: int) -> Swarm:
    """The configuration of a seed."""
    swarm = _stormy(random.Random(f"{seed}/swarm"))
    # What was added later draws from a stream of its own, so that older seeds still mean what they meant.
    chance = random.Random(f"{seed}/swarm/2")
    kind = chance.random()
    if 0.15 <= kind < 0.4:
        swarm = _calm(swarm, chance)
    else:
        swarm = msgspec.structs.replace(swarm, bombs=int(kind < 0.15))
        swarm = _taken_over(swarm, random.Random(f"{seed}/swarm/3"))
    swarm = _replayed(_timed(swarm, random.Random(f"{seed}/swarm/4")), random.Random(f"{seed}/swarm/5"))
    swarm = _spoiled(swarm, random.Random(f"{seed}/swarm/6"))
    swarm = _late(swarm, random.Random(f"{seed}/swarm/7"))
    swarm = _edited(_settling(swarm, random.Random(f"{seed}/swarm/8")), random.Random(f"{seed}/swarm/edits"))
    swarm = _numbered(swarm, random.Random(f"{seed}/swarm/numbers"))
    # One seed in ten each, and none of those that are kept because they once failed.
    kind = (seed + seed // 10) % 10
    swarm = msgspec.structs.replace(swarm, secrets=kind in (3, 8), races=kind in (3, 8))
    if kind == 3:
        return _on_file(swarm, random.Random(f"{seed}/file"))
    return _bounded(_large(swarm, random.Random(f"{seed}/swarm/9")), random.Random(f"{seed}/swarm/10"))


def _timed(swarm: Swarm, chance: random.Random) -> Swarm:
    """What waits for its time: delayed events, and a schedule."""
    more = ("recall", "remind") if chance.random() < 0.25 else ()
    chimes: Missed | None = chance.choice(("run once", "skip", "catch up")) if chance.random() < 0.2 else None
    more += ("ring",) if chimes else ()
    return msgspec.structs.replace(swarm, subscriptions=tuple(sorted((*swarm.subscriptions, *more))), chimes=chimes)


def _replayed(swarm: Swarm, chance: random.Random) -> Swarm:
    """In a third of all runs persons have settled events delivered again, many of them in the larger part of those."""
    if chance.random() >= 0.35:
        return swarm
    return msgspec.structs.replace(swarm, replays=chance.choice((2.0, 10.0, 30.0)))


def _spoiled(swarm: Swarm, chance: random.Random) -> Swarm:
    """A bad deploy: a function rejects everything, and comes to see enough keys and events for that to be told."""
    written = [name for name in swarm.subscriptions if name in ("book", "mirror", "notify", "charge", "index")]
    if not written or chance.random() >= 0.2:
        return swarm
    if chance.random() < 0.5:
        swarm = _calm(swarm, chance)
    return msgspec.structs.replace(
        swarm,
        spoiled=chance.choice(written),
        keys=40,
        events=150,
        duration_us=chance.choice((60, 240)) * US_PER_SECOND,
    )


def _late(swarm: Swarm, chance: random.Random) -> Swarm:
    """Whether what is late is filtered, and how many keys with dead letters or newest events a lane remembers."""
    bounds = {"GAP_KEYS_MAX": chance.choice((0, 1, 100_000)), "NEWEST_KEYS_MAX": chance.choice((1, 3, 10_000))}
    more = ("latest",) if chance.random() < 0.4 else ()
    subscriptions = tuple(sorted((*swarm.subscriptions, *more)))
    return msgspec.structs.replace(swarm, subscriptions=subscriptions, limits={**swarm.limits, **bounds})


def _settling(swarm: Swarm, chance: random.Random) -> Swarm:
    """A System that does not honour keys and can be asked what it has done."""
    if chance.random() >= 0.25:
        return swarm
    return msgspec.structs.replace(swarm, subscriptions=tuple(sorted((*swarm.subscriptions, "settle"))))


def _numbered(swarm: Swarm, chance: random.Random) -> Swarm:
    """Numbered events that come out of order, and how many keys a lane remembers that puts them in order."""
    if chance.random() >= 0.25:
        return swarm
    subscriptions = tuple(sorted((*swarm.subscriptions, "scatter", "in_order")))
    bounds = {"SEQUENCE_KEYS_MAX": chance.choice((1, 3, 10_000))}
    return msgspec.structs.replace(swarm, subscriptions=subscriptions, limits={**swarm.limits, **bounds})


def _on_file(swarm: Swarm, chance: random.Random) -> Swarm:
    """The SQLite store, its disk, and the bounds that a short run meets."""
    bounds = {
        "CHECKPOINT_PAGES": chance.choice((20, 100, 4_000)),
        "DEDUPE_WINDOW_EVENTS": chance.choice((4, 30, 50_000)),
    }
    troubled = chance.random() < 0.8
    return msgspec.structs.replace(
        swarm,
        on_file=True,
        power=chance.choice((0.0, 1.0, 5.0)) if troubled else 0.0,
        disk=chance.choice((0.0, 1.0, 5.0)) if troubled else 0.0,
        commit_kill=max(swarm.commit_kill, chance.choice((0.0, 0.02))) if troubled else swarm.commit_kill,
        commit_fail=max(swarm.commit_fail, chance.choice((0.0, 0.02))) if troubled else swarm.commit_fail,
        # Segments that are made and retired between two openings of the file.
        retirement=chance.choice((swarm.retirement, 10.0)),
        segment_events=chance.choice((swarm.segment_events, 5)),
        limits={**swarm.limits, **bounds},
    )


def _edited(swarm: Swarm, chance: random.Random) -> Swarm:
    """In a third of all runs persons mend payloads or retry in slices, and something goes wrong that they can mend."""
    if chance.random() >= 0.3:
        return swarm
    return msgspec.structs.replace(
        swarm,
        edits=chance.choice((0.0, 2.0, 10.0, 30.0)),
        jobs=chance.choice((0.0, 2.0, 10.0)),
        poison=max(1, swarm.poison),
    )


def _large(swarm: Swarm, chance: random.Random) -> Swarm:
    """Some or all payloads are in files, and the disk that these are on may fail or lose its power."""
    if chance.random() >= 0.35:
        return swarm
    bounds = {"BODY_INLINE_BYTES_MAX": chance.choice((0, 50, 60)), "BODY_ORPHAN_US": 2 * US_PER_SECOND}
    calm = not (swarm.kills or swarm.commit_kill or swarm.commit_fail)
    return msgspec.structs.replace(
        swarm,
        limits={**swarm.limits, **bounds},
        file_fail=0.0 if calm else chance.choice((0.0, 0.01, 0.05)),
        power_cuts=0.0 if calm else chance.choice((0.0, 0.01, 0.03)),
        collects=chance.choice((2.0, 10.0, 60.0)),
    )


def _bounded(swarm: Swarm, chance: random.Random) -> Swarm:
    """Retention by size: what is read goes early, and a subscription that lags has intake refused."""
    if not swarm.retirement or chance.random() >= 0.5:
        return swarm
    return msgspec.structs.replace(swarm, keep_bytes=chance.choice((1_000, 4_000)))


def _calm(swarm: Swarm, chance: random.Random) -> Swarm:
    """No process is touched: only Systems fail, for long, so that what is promised without excuses is seen."""
    return msgspec.structs.replace(
        swarm,
        kills=0.0,
        stops=0.0,
        drains=0.0,
        zombies=0.0,
        commit_kill=0.0,
        commit_fail=0.0,
        deploys=0.0,
        moods=chance.choice((0.0, 3.0, 10.0)),
        outage=chance.choice((1, 3)),
        duration_us=240 * US_PER_SECOND,
    )


def _taken_over(swarm: Swarm, chance: random.Random) -> Swarm:
    """What a process leaves behind at its successor: calls under way at its death, or what it does when it wakes."""
    kind = chance.random()
    if kind < 0.1:
        # The first call of all must find everything in place: it is slow, and its process does not see its end.
        return msgspec.structs.replace(
            swarm,
            subscriptions=tuple(sorted({*swarm.subscriptions, "mirror"})),
            proofs=True,
            cuts=chance.choice((0.1, 0.3)),
            commit_kill=chance.choice((0.02, 0.2)),
            slow_start=True,
            drains=chance.choice((swarm.drains, 5.0)),
            moods=chance.choice((swarm.moods, 6.0)),
        )
    if kind < 0.2:
        return msgspec.structs.replace(
            swarm,
            proofs=True,
            freezes=chance.uniform(1, 3),
            # Slow enough that one who wakes is not told at once that its lease has ended.
            fsync_us=300_000,
            kills=chance.uniform(4, 8),
            duration_us=240 * US_PER_SECOND,
        )
    if kind < 0.27:
        # Drained again and again while calls that are not harmless to repeat take longer than the drain waits.
        return msgspec.structs.replace(
            swarm,
            subscriptions=tuple(sorted({*swarm.subscriptions, "mirror"})),
            proofs=True,
            slow_start=True,
            drains=chance.uniform(4, 10),
            kills=0.0,
            stops=0.0,
            zombies=0.0,
            moods=10.0,
            duration_us=240 * US_PER_SECOND,
        )
    return msgspec.structs.replace(swarm, proofs=kind < 0.6)


def _stormy(chance: random.Random) -> Swarm:

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
        outage=1,
        splits=sometimes(0.5, 0.05, 1.0),
        resets=sometimes(0.4, 0.02, 0.3),
        vanish=sometimes(0.2, 0.02, 0.2),
        poison=chance.choice((0, 0, 1, 2)),
        bombs=0,
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
