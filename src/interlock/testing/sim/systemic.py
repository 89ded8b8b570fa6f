"""I19: of a fault that takes everything few events end before their subscription is paused, and none while it is."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from interlock.core.controls import SUBSCRIPTION_CONTROL_PREFIX
from interlock.core.limits import GUARD_EVENTS, US_PER_SECOND
from interlock.testing.sim.case import Case, Violation
from interlock.testing.sim.history import Accounted, Asked, Controlled, Fault

_UNDER_WAY_US = 5 * US_PER_SECOND
"""How long after the pause a death may become durable that was decided before it: longer than any commit takes."""


def stopped_in_time(case: Case) -> Iterator[Violation]:
    """Not more than the guard looks back on, until a person resumes. A process that dies forgets what it has seen."""
    known: dict[str, set[tuple[int, int]]] = defaultdict(set)
    ended: Counter[tuple[str, str]] = Counter()
    for line in case.lines:
        match line:
            case Controlled(paused=False):
                name = line.subject.removeprefix(SUBSCRIPTION_CONTROL_PREFIX)
                for key in [key for key in ended if key[0] == name]:
                    del ended[key]
            case Accounted() if line.spoiled:
                found = {(line.shard, offset) for offset in line.spoiled} - known[line.subscription]
                known[line.subscription] |= found
                ended[line.subscription, line.process] += len(found)
                count = ended[line.subscription, line.process]
                if found and count > GUARD_EVENTS:
                    yield Violation("I19", line.t, f"{count} events of {line.subscription} ended by one fault")
            case _:
                pass


def nothing_dies_while_stopped(case: Case) -> Iterator[Violation]:
    """What is held for a while outlives a pause, and so does what was under way."""
    if any(isinstance(line, Fault) and line.scope in ("process", "store") for line in case.lines):
        return
    stopped: dict[str, int] = {}
    asked: set[tuple[str, int, int]] = set()
    dead: dict[tuple[str, int], set[int]] = defaultdict(set)
    for line in case.lines:
        match line:
            case Controlled(paused=True):
                stopped.setdefault(line.subject.removeprefix(SUBSCRIPTION_CONTROL_PREFIX), line.t)
            case Controlled():
                stopped.pop(line.subject.removeprefix(SUBSCRIPTION_CONTROL_PREFIX), None)
            case Asked():
                asked.add((line.subscription, line.shard, line.offset))
            case Accounted():
                now = set(line.spoiled) & set(line.dead_rows)
                new = now - dead[line.subscription, line.shard]
                dead[line.subscription, line.shard] |= now
                since = stopped.get(line.subscription, line.t)
                for offset in new if line.t > since + _UNDER_WAY_US else ():
                    if (line.subscription, line.shard, offset) not in asked:
                        yield Violation(
                            "I19", line.t, f"offset {offset} of {line.subscription} died while it is paused"
                        )
            case _:
                pass
