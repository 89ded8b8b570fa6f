"""I10 and I11: what is under way at a System: nothing while its breaker is open, one probe, and never too much at once.

The breaker is one process's own, and so is the bound. A call is under way at least from its arrival until its answer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from interlock.core.limits import US_PER_SECOND
from interlock.testing.sim.case import Case, Place, Violation, place_of
from interlock.testing.sim.history import Began, Called, Fault, Probed, Turned
from interlock.testing.sim.order import LATE_US

LEAVING_US = 5 * US_PER_SECOND
"""How long a call takes at most that was let through before: to be announced durably, to be connected, to arrive."""
Way = tuple[str, str]
"""A remote, and the process that calls it."""


def nothing_while_open(case: Case) -> Iterator[Violation]:
    """I10: what a process begins while its breaker is open does not arrive, and in half-open no two calls at once.

    What had been let through when it turned may arrive a little later; later still if the process was disturbed.
    """
    turned: dict[Way, Turned] = {}
    begun: dict[tuple[str, Place, str], int] = {}
    probing_until: dict[Way, int] = {}
    disturbed: set[str] = set()
    for line in case.lines:
        match line:
            case Fault(scope="process" | "store"):
                disturbed.add(line.process)
            case Turned():
                turned[line.remote, line.process] = line
                probing_until.pop((line.remote, line.process), None)
            case Began():
                begun[line.subscription, place_of(line), line.process] = line.t
            case Called() | Probed():
                way = (line.process, line.sender)
                breaker = turned.get(way)
                if breaker is None or breaker.state not in ("open", "forced_open", "half_open"):
                    continue
                began_at = begun.get((line.subscription, place_of(line), line.sender), 0)
                waited = line.t > breaker.t + LEAVING_US and line.sender not in disturbed
                if breaker.state != "half_open":
                    if began_at > breaker.t or waited:
                        yield Violation("I10", line.t, f"{line.id} came to {line.process} while its breaker was open")
                elif line.sender not in disturbed and (began_at > breaker.t or waited):
                    if line.t < probing_until.get(way, 0):
                        yield Violation("I10", line.t, f"{line.id} came to {line.process} beside another probe")
                    probing_until[way] = line.until
            case _:
                pass


def not_too_much_at_once(case: Case) -> Iterator[Violation]:
    """I11: no process has more calls under way at a remote than it may.

    One that was disturbed may have given up calls that the remote still works on, and whoever gives up at a deadline
    does so a little before the remote knows.
    """
    under_way: dict[Way, list[int]] = defaultdict(list)
    disturbed: set[str] = set()
    for line in case.lines:
        match line:
            case Fault(scope="process" | "store"):
                disturbed.add(line.process)
            case Called() | Probed() if line.subscription in case.reads and line.sender not in disturbed:
                most, way = case.reads[line.subscription].calls_max, (line.process, line.sender)
                under_way[way] = [until for until in under_way[way] if until > line.t + LATE_US] + [line.until]
                count = len(under_way[way])
                if most is not None and count > most:
                    yield Violation("I11", line.t, f"{count} calls of {line.sender} are under way at {line.process}")
            case _:
                pass
