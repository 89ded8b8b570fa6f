"""What holds for the events of one key: they are sent in order, by one process at a time, and the newest one stands."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import NamedTuple

from interlock.testing.sim.case import NEVER, Case, CursorName, Place, Violation, place_of, types_at
from interlock.testing.sim.history import KILLED, Accounted, Asked, Began, Called, Fault, Probed

LATE_US = 200_000
"""A caller's deadline is told as what is left of it, and is at most so much older where it arrives."""
LOADING_US = 2_000
"""Between the start of a straggler's attempt and its function's first line its event is read."""
QueueName = tuple[str, str, int, str]
"""Subscription, stream, shard, key."""


class Sent(NamedTuple):
    """What a process has sent for a key: its last call's epoch, and until when the last of them is under way."""

    epoch: int
    until: int


def order_per_key(case: Case) -> Iterator[Violation]:
    """I4: nothing of a key is sent before everything earlier of it was delivered, or durably dead.

    What came to be read only later is excused where rule 5 says so.
    """
    books = _books(case)
    queues: dict[QueueName, list[int]] = defaultdict(list)
    for reads in case.reads.values():
        if reads.ordered:
            for event in case.expected(reads):
                if event.key is not None:
                    queues[reads.name, event.stream, event.shard, event.key].append(event.offset)
    passed: Counter[QueueName] = Counter()
    for line in case.lines:
        if not isinstance(line, Called) or line.key is None:
            continue
        queue_name = (line.subscription, line.stream, line.shard, line.key)
        queue = queues.get(queue_name)
        if queue is None:
            continue
        at = bisect_left(queue, line.offset)
        while passed[queue_name] < at and _is_over(case, line, queue[passed[queue_name]]):
            passed[queue_name] += 1
        for offset in queue[passed[queue_name] : at]:
            if _is_over(case, line, offset) or _joined_later(case, line, offset, books[queue_name[:3]]):
                continue
            yield Violation("I4", line.t, f"{line.id} was sent before offset {offset} of key {line.key}")
            break


def _is_over(case: Case, line: Called, offset: int) -> bool:
    """Whether an event had been delivered or was durably dead when another of its key was sent."""
    event = (line.subscription, (line.stream, line.shard, offset))
    over_at = min(case.ends.get(event, NEVER), case.buried.get(event, NEVER))
    return over_at <= line.t or case.is_late(*event, line.t)


def _books(case: Case) -> dict[CursorName, list[Accounted]]:
    """Of each cursor, what the ledger held whenever other types came to be read."""
    books: dict[CursorName, list[Accounted]] = defaultdict(list)
    for line in case.lines:
        if isinstance(line, Accounted):
            known = books[line.subscription, line.stream, line.shard]
            if not known or known[-1].types != line.types:
                known.append(line)
    return books


def _joined_later(case: Case, line: Called, offset: int, books: Sequence[Accounted]) -> bool:
    """Whether an earlier event came to be read after a later one was sent, of which the ledger knew nothing (rule 5).

    So that one is sent once more, in its place.
    """
    event = case.logged[line.stream, line.shard, offset]
    reading = [event.type in types_at(one, offset) for one in books]
    then = sum(one.t <= line.t for one in books) - 1
    if then < 0 or reading[then] or True not in reading[then:]:
        return False
    joined = books[reading.index(True, then)]
    return line.offset > joined.floor and not joined.above >> (line.offset - joined.floor - 1) & 1


def one_sender_per_key(case: Case) -> Iterator[Violation]:
    """I4: a key has one sender: who takes over waits for what is under way, and is not followed by whoever went before.

    A `keyed` call of a process that was dead by then is excused: repeating it is harmless, whenever it arrives. What
    one process repeats of its own is not judged here.
    """
    epochs: dict[CursorName, dict[str, int]] = defaultdict(dict)
    dead: set[str] = set()
    senders: dict[QueueName, dict[str, Sent]] = defaultdict(dict)
    for line in case.lines:
        match line:
            case Accounted():
                opened = epochs[line.subscription, line.stream, line.shard]
                if line.epoch > max(opened.values(), default=0):
                    opened[line.process] = line.epoch
            case Fault(what=what) if what == KILLED:
                dead.add(line.process)
            case Called(key=str(key)) if _is_ordered(case, line.subscription):
                harmless = dead if case.reads[line.subscription].effect == "keyed" else frozenset[str]()
                epoch = epochs[line.subscription, line.stream, line.shard].get(line.sender, 0)
                sent = senders[line.subscription, line.stream, line.shard, key]
                yield from _in_turn(line, epoch, sent, harmless)
                until = sent[line.sender].until if line.sender in sent else 0
                sent[line.sender] = Sent(epoch, max(line.until, until))
            case _:
                pass


def _in_turn(line: Called, epoch: int, sent: Mapping[str, Sent], harmless: Set[str]) -> Iterator[Violation]:
    """Whether a call under this epoch respects those of other processes."""
    for other, last in sent.items():
        if other == line.sender:
            continue
        left_us = last.until - line.t
        if last.epoch > epoch and line.sender not in harmless:
            yield Violation("I4", line.t, f"{line.id} was sent by {line.sender} after {other}, which had taken over")
        if last.epoch < epoch and left_us > LATE_US and other not in harmless:
            yield Violation("I4", line.t, f"{line.id} was sent {left_us} µs before a call of {other} was over")


class PutBack(NamedTuple):
    """A settled or dead event that has a live row again: from when on its calls count, and since when it is durable.

    `under_way`: the events that had been started by then, if the durable rows tell.
    In between it may have been delivered already: a Done need not be durable.
    """

    anew_from: int
    since: int
    under_way: tuple[int, ...] = ()


def put_back_goes_first(case: Case) -> Iterator[Violation]:
    """I4: what a person has put back comes back because it was asked for, and is over before a later one of its key.

    One that had begun by then may end. That later ones were delivered before it was asked for is what a replay is. What
    a process does that has lost its cursor is judged elsewhere.
    """
    holders: dict[CursorName, tuple[int, str]] = {}
    asked: dict[tuple[str, Place], int] = {}
    succeeded: dict[tuple[str, Place], dict[str, int]] = defaultdict(dict)
    before: dict[CursorName, Accounted] = {}
    back: dict[CursorName, dict[int, PutBack]] = defaultdict(dict)
    begun: dict[tuple[str, Place, str], int] = {}
    for line in case.lines:
        match line:
            case Asked(verb="replay" | "retry" as verb):
                # A retry does not repeat the calls of its event that were finished; a replay makes all of them again.
                asked[line.subscription, (line.stream, line.shard, line.offset)] = line.t if verb == "replay" else 1
            case Accounted() if line.subscription in case.reads:
                name = (line.subscription, line.stream, line.shard)
                mine, last = back[name], before.get(name)
                if line.epoch > holders.get(name, (0, ""))[0]:
                    holders[name] = (line.epoch, line.process)
                for offset in [offset for offset in mine if offset not in line.live]:
                    del mine[offset]
                for offset in () if last is None else _put_back(case, last, line):
                    anew_from = asked.get((line.subscription, (line.stream, line.shard, offset)))
                    mine[offset] = PutBack(anew_from or 0, line.t, line.running)
                    if anew_from is None:
                        yield Violation("I4", line.t, f"offset {offset} of {line.subscription} came back unasked")
                before[name] = line
            case Probed(found=True):
                succeeded[line.subscription, place_of(line)][line.label] = line.t
            case Began():
                begun[line.subscription, place_of(line), line.process] = line.t
            case Called(key=str()) if _is_ordered(case, line.subscription):
                if line.fresh or 200 <= line.status < 300:
                    succeeded[line.subscription, place_of(line)][line.label] = line.t
                began_at = begun.get((line.subscription, place_of(line), line.sender), 0)
                name = (line.subscription, line.stream, line.shard)
                if holders.get(name, (0, ""))[1] != line.sender:
                    continue
                for offset, one in back[name].items():
                    place = (line.stream, line.shard, offset)
                    if (
                        offset >= line.offset
                        or case.logged[place].key != line.key
                        or began_at <= one.since + LOADING_US
                    ):
                        continue
                    if line.offset in one.under_way or case.is_late(line.subscription, place, line.t):
                        continue
                    done = succeeded[line.subscription, place]
                    if any(done.get(label, 0) < one.anew_from for label in case.reads[line.subscription].labels or ()):
                        yield Violation("I4", line.t, f"{line.id} was sent before offset {offset}, which was put back")
            case _:
                pass


def _put_back(case: Case, last: Accounted, line: Accounted) -> Iterator[int]:
    """Offsets that were settled, dead or discarded by the commit before this one and are live by this one."""
    for offset in set(line.live) - set(last.live):
        above = offset - last.floor
        accounted = above <= 0 or bool(last.above >> (above - 1) & 1)
        key = case.logged[line.stream, line.shard, offset].key
        if accounted and not any(name == key and first <= offset <= end for name, first, end, _ in last.marks):
            yield offset


def no_stale_effect(case: Case) -> Iterator[Violation]:
    """I3: in the end the newest event of a key stands where `natural` calls write, unless a person asked for another.

    A crash may repeat what was not committed, in order; what an older process sends afterwards would undo it.
    """
    newest: Counter[tuple[str, str, int, str, str]] = Counter()
    last: dict[tuple[str, str, int, str, str], Called] = {}
    asked: set[tuple[str, Place]] = set()
    for line in case.lines:
        match line:
            case Asked():
                asked.add((line.subscription, (line.stream, line.shard, line.offset)))
            case Called(fresh=True, key=str(key)) if _is_natural(case, line.subscription):
                name = (line.subscription, line.stream, line.shard, key, line.label)
                newest[name], last[name] = max(newest[name], line.offset), line
            case _:
                pass
    for name, line in last.items():
        if line.offset < newest[name] and (line.subscription, place_of(line)) not in asked:
            yield Violation("I3", line.t, f"{line.id} undid offset {newest[name]} of key {line.key}")


def _is_ordered(case: Case, subscription: str) -> bool:
    reads = case.reads.get(subscription)
    return reads is not None and reads.ordered


def _is_natural(case: Case, subscription: str) -> bool:
    reads = case.reads.get(subscription)
    return reads is not None and reads.ordered and reads.effect == "natural"
