"""I6, I14, I16: what is durable stays, one process at a time writes it, and no secret is in it or in what is told."""

from __future__ import annotations

from collections.abc import Iterator

from interlock.testing.sim.case import Case, CursorName, Violation
from interlock.testing.sim.history import KILLED, Accounted, Fault, Found, Leaked, Logged, Published, Took


def what_is_durable_stays(case: Case) -> Iterator[Violation]:
    """I6: whoever opens the store finds every event that was ever seen in it, and at its offset."""
    known: dict[tuple[str, int], dict[int, str]] = {}
    for line in case.lines:
        match line:
            case Logged():
                known.setdefault((line.stream, line.shard), {})[line.offset] = line.id
            case Found():
                there = dict(enumerate(line.ids, line.after + 1))
                for offset, id in known.get((line.stream, line.shard), {}).items():
                    if offset > line.after and there.get(offset) != id:
                        yield Violation("I6", line.t, f"{id} was durable at offset {offset} and is gone")
            case _:
                pass


def single_writer(case: Case) -> Iterator[Violation]:
    """I14: an epoch of a cursor is one process's and none comes back; of a store that is taken, one at a time writes.

    Nobody acknowledges what only a later holder has committed.
    """
    epochs: dict[CursorName, tuple[int, str]] = {}
    turns: dict[str, int] = {}
    alive: set[str] = set()
    committed: dict[tuple[str, str], str] = {}
    for line in case.lines:
        match line:
            case Took():
                if alive:
                    yield Violation("I14", line.t, f"{line.process} took the store, which {', '.join(alive)} had open")
                alive = {line.process}
                turns[line.process] = len(turns)
            case Fault(what=what) if what == KILLED:
                alive.discard(line.process)
            case Accounted():
                name = (line.subscription, line.stream, line.shard)
                epoch, holder = epochs.get(name, (0, ""))
                if line.epoch < epoch or (line.epoch == epoch and line.process != holder):
                    yield Violation("I14", line.t, f"{line.process} committed for {name}, which {holder} had taken")
                else:
                    epochs[name] = line.epoch, line.process
                yield from _by_the_holder(line.t, line.process, turns)
            case Logged():
                committed[line.stream, line.id] = line.by
                yield from _by_the_holder(line.t, line.by, turns)
            case Published(kind="ok") if line.server in turns:
                by = committed.get((line.stream, line.id), line.server)
                if turns.get(by, 0) > turns[line.server]:
                    yield Violation("I14", line.t, f"{line.server} acknowledged {line.id}, which {by} committed later")
            case _:
                pass


def _by_the_holder(t: int, process: str, turns: dict[str, int]) -> Iterator[Violation]:
    if turns and turns.get(process) != len(turns) - 1:
        yield Violation("I14", t, f"{process or 'somebody'} committed to a store that it did not hold")


def no_secret_is_told(case: Case) -> Iterator[Violation]:
    """I16: no secret stands in what is kept or told to people. The line says where, and never what."""
    for line in case.lines:
        if isinstance(line, Leaked):
            yield Violation("I16", line.t, f"a secret is in {line.where}")
