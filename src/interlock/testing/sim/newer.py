"""What a subscription delivers that asks for newer events only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from interlock.testing.sim.case import NEVER, Case, CursorName, Place, Violation, is_over, place_of
from interlock.testing.sim.history import Accounted, Began


def nothing_late(case: Case) -> Iterator[Violation]:
    """I18: no event is begun that is not newer than one of its key that was delivered, durably, before.

    That what was left out was late is I1. What a process begins that has lost its cursor is judged by what it sends.
    """
    books: dict[CursorName, Accounted] = {}
    holders: dict[CursorName, str] = {}
    by_key: dict[tuple[str, int, str | None], list[Place]] = defaultdict(list)
    for place, event in case.logged.items():
        by_key[event.stream, event.shard, event.key].append(place)
    for line in case.lines:
        match line:
            case Accounted() if line.subscription in case.reads and case.reads[line.subscription].newer:
                name = (line.subscription, line.stream, line.shard)
                if name not in books or line.epoch > books[name].epoch:
                    holders[name] = line.process
                books[name] = line
            case Began() if (line.subscription, line.stream, line.shard) in books:
                name = (line.subscription, line.stream, line.shard)
                if holders[name] != line.process:
                    continue
                serial = case.logged[place_of(line)].serial
                for place in by_key[line.stream, line.shard, line.key]:
                    other = case.logged[place]
                    is_newer = place != place_of(line) and other.serial >= serial
                    if is_newer and _delivered(case, books[name], place, line.t):
                        yield Violation("I18", line.t, f"{line.id} was begun, and {other.id}, newer, was delivered")
            case _:
                pass


def _delivered(case: Case, book: Accounted, place: Place, t: int) -> bool:
    """Whether all its calls had their effect, and the ledger has it as settled by that."""
    offset = place[2]
    had_effect = case.ends.get((book.subscription, place), NEVER) <= t
    is_dead = offset in book.dead_rows or offset in book.discarded_rows
    return had_effect and not is_dead and is_over(book, offset, case.logged[place].key)
