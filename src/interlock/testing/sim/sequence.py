"""What a resequencer makes of numbered events that come out of order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from interlock.testing.sim.case import Case, Violation
from interlock.testing.sim.history import Finished, Logged, Reads

COMMIT_US = 10_000_000
"""Between the moment of an event's acceptance and that of its commit, at most; what falls between is not judged."""


def in_sequence(case: Case) -> Iterator[Violation]:
    """I21: a key's numbers come in their order, each at most once, and all that came in time."""
    finished = any(isinstance(line, Finished) for line in case.lines)
    for reads in case.reads.values():
        if not reads.waits_us:
            continue
        made: dict[str | None, list[int]] = defaultdict(list)
        for event in case.logged.values():
            if event.via == reads.name:
                if made[event.key] and event.serial <= made[event.key][-1]:
                    yield Violation("I21", event.t, f"{event.key}: {event.serial} follows {made[event.key][-1]}")
                made[event.key].append(event.serial)
        if finished:
            yield from _missing(case, reads, made)


def _missing(case: Case, reads: Reads, made: dict[str | None, list[int]]) -> Iterator[Violation]:
    """What came before those behind it had waited long enough, and was left out."""
    came: dict[str | None, list[Logged]] = defaultdict(list)
    for event in case.expected(reads):
        if event.serial == 0:
            continue
        overtaken = any(
            other.serial > event.serial and event.t >= other.t + reads.waits_us - COMMIT_US for other in came[event.key]
        )
        buried = (reads.name, (event.stream, event.shard, event.offset)) in case.buried
        if event.serial not in made[event.key] and not overtaken and not buried:
            yield Violation("I21", event.t, f"{event.id} came in time and is missing in what {reads.name} made")
        came[event.key].append(event)
