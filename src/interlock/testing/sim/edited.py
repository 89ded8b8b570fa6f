"""What a person has edited: the old event is settled and the new one appended in one commit, once and for ever."""

from __future__ import annotations

from collections.abc import Iterator

from interlock.testing.sim.case import Case, CursorName, Violation
from interlock.testing.sim.history import Accounted, Asked, Logged


def edited_in_one_commit(case: Case) -> Iterator[Violation]:
    """I1, I8: no edited event without its successor and no successor without it; what is edited stays so."""
    meant: dict[tuple[str, str], tuple[CursorName, int]] = {}
    appended: dict[tuple[str, str], int] = {}
    edited: dict[CursorName, dict[int, str]] = {}
    for line in case.lines:
        match line:
            case Asked(verb="edit"):
                meant[line.stream, line.id] = (line.subscription, line.stream, line.shard), line.offset
            case Logged() if (line.stream, line.id) in meant:
                appended[line.stream, line.id] = line.t
            case Accounted():
                name = (line.subscription, line.stream, line.shard)
                before, now = edited.get(name, {}), dict(line.edited)
                for offset, id in before.items():
                    if now.get(offset) != id or offset in line.live or offset in line.dead_rows:
                        yield Violation("I8", line.t, f"{name}: offset {offset} was edited and is no longer")
                for offset, id in now.items():
                    if meant.get((line.stream, id)) != (name, offset):
                        yield Violation("I2", line.t, f"{name}: nobody asked for {id} instead of offset {offset}")
                    if offset not in before and appended.get((line.stream, id)) != line.t:
                        yield Violation("I1", line.t, f"{name}: offset {offset} is edited without {id}")
                edited[name] = now
            case _:
                pass
    for (stream, id), t in appended.items():
        name, offset = meant[stream, id]
        if edited.get(name, {}).get(offset) != id:
            yield Violation("I3", t, f"{id} was appended, and {name} does not have offset {offset} as edited")
