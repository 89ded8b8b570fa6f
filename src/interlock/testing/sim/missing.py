"""What a receiver is told of what it was not given, held against the dead letters that the disk has."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from interlock.testing.sim.case import Case, CursorName, Place, Violation, is_over, place_of
from interlock.testing.sim.history import Accounted, Asked, Began, Called

Attempt = tuple[str, Place, str]
"""Subscription, place of the event, process."""


class Before(NamedTuple):
    """When an attempt began: offsets of its key before it that nobody had told of, and the epoch of the cursor."""

    untold: tuple[int, ...]
    epoch: int


def gaps_are_told(case: Case) -> Iterator[Violation]:
    """I17: the first event of a key delivered after a death tells of it, in each of its calls, and only it does.

    What a person put back meanwhile may be left out: it is on its way. What a process does that has lost its cursor is
    judged elsewhere (I4).
    """
    books: dict[CursorName, Accounted] = {}
    holders: dict[CursorName, str] = {}
    asked: set[tuple[str, Place]] = set()
    attempts: dict[Attempt, Before] = {}
    telling: dict[CursorName, dict[int, tuple[int, int]]] = defaultdict(dict)
    for line in case.lines:
        match line:
            case Asked():
                asked.add((line.subscription, (line.stream, line.shard, line.offset)))
            case Accounted() if line.subscription in case.reads:
                name = (line.subscription, line.stream, line.shard)
                if name not in books or line.epoch > books[name].epoch:
                    holders[name] = line.process
                books[name] = line
                yield from _told_by_now(case, line, telling[name])
            case Began() if line.key is not None:
                name = (line.subscription, line.stream, line.shard)
                attempts[line.subscription, place_of(line), line.process] = _before(case, books.get(name), line)
            case Called(key=str()) if line.subscription in case.reads and case.reads[line.subscription].ordered:
                name = (line.subscription, line.stream, line.shard)
                before = attempts.get((line.subscription, place_of(line), line.sender))
                if holders.get(name) != line.sender or before is None or before.epoch != books[name].epoch:
                    continue
                must = [
                    offset
                    for offset in before.untold
                    if (line.subscription, (line.stream, line.shard, offset)) not in asked
                ]
                yield from _as_the_disk_has_it(line, before.untold, must)
                if line.gap is not None:
                    telling[name][line.offset] = line.gap[1:]
            case _:
                pass


def _before(case: Case, book: Accounted | None, line: Began) -> Before:
    if book is None:
        return Before((), 0)
    untold = [offset for offset in book.untold if offset < line.offset]
    same = [offset for offset in untold if case.logged[line.stream, line.shard, offset].key == line.key]
    return Before(tuple(sorted(same)), book.epoch)


def _as_the_disk_has_it(line: Called, untold: tuple[int, ...], must: list[int]) -> Iterator[Violation]:
    if line.gap is None:
        if must:
            yield Violation("I17", line.t, f"{line.id} says nothing of offsets {must}, which {line.process} never got")
        return
    count, first, last = line.gap
    if not {first, last} <= set(untold) or count > len(untold):
        yield Violation("I17", line.t, f"{line.id} says {line.gap} is missing, and the untold are {untold}")
    elif must and (first > min(must) or last < max(must) or count < len(must)):
        yield Violation("I17", line.t, f"{line.id} says {line.gap} is missing, and does not say all of {must}")


def _told_by_now(case: Case, book: Accounted, telling: dict[int, tuple[int, int]]) -> Iterator[Violation]:
    """Whoever has told of something is settled in the commit that notes so."""
    for offset, (first, last) in list(telling.items()):
        event = case.logged[book.stream, book.shard, offset]
        if not is_over(book, offset, event.key) or offset in book.dead_rows or offset in book.discarded_rows:
            continue
        del telling[offset]
        for missing in book.untold:
            if first <= missing <= last and case.logged[book.stream, book.shard, missing].key == event.key:
                yield Violation("I17", book.t, f"offset {missing} counts as untold after {event.id} has told of it")
