"""What holds for the events of one key: they are sent in order, by one process at a time, and the newest one stands."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator

from interlock.testing.sim.case import Case, Place, Violation, place_of
from interlock.testing.sim.history import Asked, Called


def order_per_key(case: Case) -> Iterator[Violation]:
    """I4: nothing of a key is sent before everything earlier of it was delivered, or durably dead."""
    queues: dict[tuple[str, str, int, str], list[int]] = defaultdict(list)
    for reads in case.reads.values():
        if reads.ordered:
            for event in case.expected(reads):
                if event.key is not None:
                    queues[reads.name, event.stream, event.shard, event.key].append(event.offset)
    passed: Counter[tuple[str, str, int, str]] = Counter()
    for line in case.lines:
        if not isinstance(line, Called) or line.key is None:
            continue
        queue_name = (line.subscription, line.stream, line.shard, line.key)
        queue = queues.get(queue_name)
        if queue is None:
            continue
        at = bisect_left(queue, line.offset)
        while passed[queue_name] < at:
            earlier = (line.subscription, (line.stream, line.shard, queue[passed[queue_name]]))
            over = min(case.ends.get(earlier, line.t + 1), case.buried.get(earlier, line.t + 1))
            if over > line.t:
                yield Violation("I4", line.t, f"{line.id} was sent before offset {earlier[1][2]} of key {line.key}")
                break
            passed[queue_name] += 1


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


def _is_natural(case: Case, subscription: str) -> bool:
    reads = case.reads.get(subscription)
    return reads is not None and reads.ordered and reads.effect == "natural"
