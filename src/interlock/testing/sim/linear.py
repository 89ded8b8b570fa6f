"""I20: is there an order in which racing operations on one register, done one by one, would have been answered so?

The search of Wing and Gong (1993) with the memory of Lowe (2017): states that were come to by the same operations are
looked at once. What was never answered may have happened at any time after it was asked for, or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from interlock.testing.sim.case import NEVER, Case, Violation
from interlock.testing.sim.history import Tried

S = TypeVar("S", bound=Hashable)


class Operation(NamedTuple):
    """`ask` is what was asked for; `answer` is None, and `returned` is never, where nobody knows what came of it."""

    called: int
    returned: int
    ask: Tried
    answer: Tried | None


class Cell(NamedTuple):
    """A register that is written by comparing versions."""

    version: int = 0
    value: str = ""


class Identity(NamedTuple):
    """A register that the first one to write it fills; `offset` 0 while nobody has been told it."""

    payload: str | None = None
    offset: int = 0


def linearizable(operations: Sequence[Operation], start: S, step: Callable[[S, Tried, Tried | None], S | None]) -> bool:
    """Whether an order exists. `step` gives what an operation with this answer makes of a state, None if it cannot."""
    waiting = sorted(operations, key=lambda one: (one.called, one.returned))
    answered = sum(1 << place for place, one in enumerate(waiting) if one.answer is not None)
    known: set[tuple[int, S]] = set()
    ahead: list[tuple[int, S]] = [(0, start)]
    while ahead:
        done, state = found = ahead.pop()
        if done & answered == answered:
            return True
        if found in known:
            continue
        known.add(found)
        left = [(place, one) for place, one in enumerate(waiting) if not done >> place & 1]
        # What was called after another had returned comes after it.
        bound = min(one.returned for _, one in left)
        for place, one in left:
            if one.called <= bound and (after := step(state, one.ask, one.answer)) is not None:
                ahead.append((done | 1 << place, after))
    return False


def cell_step(cell: Cell, ask: Tried, answer: Tried | None) -> Cell | None:
    """Reading, and writing what is at an expected version."""
    if ask.what == "read":
        return cell if answer is None or (answer.number, answer.value) == cell else None
    if ask.expected != cell.version:
        # It is told what is there instead.
        refused = answer is None or (answer.refused and (answer.number, answer.value) == cell)
        return cell if refused else None
    written = Cell(cell.version + 1, ask.value)
    return written if answer is None or (not answer.refused and answer.number == written.version) else None


def identity_step(identity: Identity, ask: Tried, answer: Tried | None) -> Identity | None:
    """Appending under one identity: the first is told its offset, all others the same, and whether it was the same."""
    if identity.payload is None:
        if answer is None:
            return Identity(ask.value)
        return None if answer.known or answer.refused else Identity(ask.value, answer.number)
    if answer is None:
        return identity
    same = identity.payload == ask.value
    if not answer.known or answer.refused == same or identity.offset not in (0, answer.number):
        return None
    return Identity(identity.payload, answer.number)


def registers_are_linearizable(case: Case) -> Iterator[Violation]:
    """I20: of each cell and of each identity that clients raced for."""
    subjects: dict[str, dict[int, Operation]] = {}
    for line in case.lines:
        if not isinstance(line, Tried):
            continue
        of_subject = subjects.setdefault(line.subject, {})
        match line.kind:
            case "invoke":
                of_subject[line.serial] = Operation(line.t, NEVER, line, None)
            case "ok":
                of_subject[line.serial] = of_subject[line.serial]._replace(returned=line.t, answer=line)
            case "fail":
                del of_subject[line.serial]
            case "info":
                pass
    for subject, by_serial in subjects.items():
        operations = list(by_serial.values())
        if any(one.ask.what == "append" for one in operations):
            kept = linearizable(operations, Identity(), identity_step)
        else:
            kept = linearizable(operations, Cell(), cell_step)
        if not kept:
            last, count = max(one.called for one in operations), len(operations)
            yield Violation("I20", last, f"no order of {count} operations on {subject} explains their answers")
