"""Dead letters: the few causes behind them, the letters of one cause, and what a person does to them.

A command's selector becomes a frozen set of offsets, and the lanes are asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Final

import msgspec

from interlock.control import shapes
from interlock.control.audit import Who
from interlock.control.commands import Asked, Commands
from interlock.control.problem import Refused
from interlock.control.queries import Reading, bounded, candidates, one_event
from interlock.core import limits
from interlock.core.cursor import CursorId, RowState
from interlock.core.event import Event, Shard
from interlock.core.requests import Verb
from interlock.journal.ports import Journal, Retired
from interlock.journal.views import RowLine, RowsQuery, Views

EVENTS_MAX: Final = 10 * limits.REQUEST_OFFSETS_MAX
"""Events that one command takes: what a person decides at once, and still one short commit."""
SHOWN_MAX: Final = 100
"""Ids in the answer: enough to follow a few, not a list of everything."""
FINGERPRINT_CHARS: Final = 15

ACTS_ON: Final[Mapping[Verb, frozenset[RowState]]] = {
    "retry": frozenset({"dead", "held", "due"}),
    "skip": frozenset({"held", "due"}),
    "discard": frozenset({"dead", "held"}),
    "restore": frozenset({"discarded"}),
}
"""The states that a verb makes sense for. What has changed since is answered by the lane."""
_LISTED: Final = frozenset[RowState]({"dead", "held", "discarded"})


async def causes(reading: Reading, asked: shapes.DeadAsked) -> shapes.DeadGroups:
    """Causes, the latest first."""
    groups = [
        group
        for group in await _groups(reading, discarded=asked.discarded)
        if asked.subscription in (None, group.subscription) and asked.system in (None, group.system)
    ]
    return shapes.DeadGroups(groups[: bounded(asked.limit)], sum(group.count for group in groups))


async def letters(reading: Reading, asked: shapes.DeadShow) -> shapes.DeadLetters:
    """The dead letters of one cause, discarded ones too.

    Raises:
        Refused: `dead.unknown`, `dead.ambiguous`.
    """
    limit = bounded(asked.limit)
    fingerprint = await _whole(reading, asked.fingerprint)
    rows = await reading.views.rows(RowsQuery(states=_LISTED, fingerprint=fingerprint, limit=limit + 1))
    if not rows:
        raise await _unknown(reading, asked.fingerprint)
    events = await _events_of(reading.journal, rows[:limit])
    return shapes.DeadLetters([_letter(line, events) for line in rows[:limit]], len(rows) > limit)


async def command(
    reading: Reading, commands: Commands, verb: Verb, who: Who, asked: shapes.DeadCommand
) -> shapes.DeadAnswer:
    """Select, and unless it is a dry run, ask the lanes.

    Raises:
        Refused: `dead.unselected`, `dead.unknown`, `dead.ambiguous`, `event.unknown`, `event.ambiguous`.
    """
    rows = await _selected(reading, verb, asked)
    taken = rows[:EVENTS_MAX]
    chosen: dict[CursorId, list[int]] = {}
    for line in taken:
        chosen.setdefault(line.cursor, []).append(line.row.offset)
    shown = [event.id for event in (await _events_of(reading.journal, taken[:SHOWN_MAX])).values()]
    more = len(rows) > EVENTS_MAX
    if asked.dry_run or not taken:
        return shapes.DeadAnswer(None, len(taken), 0, {}, shown, more)
    wait_us = max(0, min(asked.wait_us, limits.COMMAND_WAIT_US_MAX))
    done: Asked = await commands.ask(verb, chosen, who, keep_memo=asked.keep_memo, wait_us=wait_us)
    return shapes.DeadAnswer(done.job, done.of, done.applied, {**done.answers}, shown, more)


async def _selected(reading: Reading, verb: Verb, asked: shapes.DeadCommand) -> Sequence[RowLine]:
    """The rows that the members select and the verb can act on; one over `EVENTS_MAX` says that there are others."""
    states = ACTS_ON[verb]
    if asked.event is not None:
        return [line for line in await _of_event(reading.views, asked.event) if _fits(line, states, asked)]
    if asked.fingerprint is None and asked.subscription is None:
        raise Refused(
            400,
            "dead.unselected",
            "nothing says which dead letters are meant",
            "give a fingerprint, an event or a subscription",
        )
    fingerprint = None if asked.fingerprint is None else await _whole(reading, asked.fingerprint)
    # What is `due` goes on by itself: only a person who names the event means it.
    query = RowsQuery(asked.subscription, states - {"due"}, fingerprint, limit=EVENTS_MAX + 1)
    rows = await reading.views.rows(query)
    if fingerprint is not None and not rows:
        raise await _unknown(reading, fingerprint)
    return rows


async def _of_event(views: Views, id: str) -> list[RowLine]:
    passages = await views.timeline(await one_event(views, id))
    return [RowLine(passage.cursor, passage.row) for passage in passages if passage.row is not None]


def _fits(line: RowLine, states: frozenset[RowState], asked: shapes.DeadCommand) -> bool:
    return (
        line.row.state in states
        and asked.subscription in (None, line.cursor.subscription)
        and (asked.fingerprint is None or (line.row.fingerprint or "").startswith(asked.fingerprint))
    )


async def _whole(reading: Reading, prefix: str) -> str:
    """The one fingerprint that begins so."""
    if len(prefix) >= FINGERPRINT_CHARS:
        return prefix
    found = {fingerprint for fingerprint in await _fingerprints(reading) if fingerprint.startswith(prefix)}
    if not found:
        raise await _unknown(reading, prefix)
    if len(found) > 1:
        told = f"several fingerprints begin so: {candidates(sorted(found))}"
        raise Refused(409, "dead.ambiguous", told, "give more of its characters")
    return found.pop()


async def _fingerprints(reading: Reading) -> set[str]:
    groups = [*await _groups(reading, discarded=False), *await _groups(reading, discarded=True)]
    return {group.fingerprint for group in groups} - {""}


async def _unknown(reading: Reading, asked: str) -> Refused:
    near = get_close_matches(asked[: 2 * FINGERPRINT_CHARS], sorted(await _fingerprints(reading)), 1)
    remedy = f"did you mean {near[0]}?" if near else "see `interlock dead ls`"
    return Refused(404, "dead.unknown", "no dead letter that fits has such a fingerprint", remedy)


async def _groups(reading: Reading, *, discarded: bool) -> list[shapes.DeadGroup]:
    """Groups of what was discarded; or of what is dead, and of what is held with them."""
    if discarded:
        merged = await _grouped(reading, "discarded")
    else:
        merged = {
            (group.fingerprint, group.subscription): shapes.DeadGroup(
                group.fingerprint,
                group.subscription,
                group.system,
                group.error or group.reason or "",
                group.status,
                group.count,
                0,
                group.first_at,
                group.last_at,
                group.sample.id if group.sample else None,
            )
            for group in await reading.views.dead_groups()
        }
        for key, held in (await _grouped(reading, "held")).items():
            merged[key] = _with(merged[key], held) if key in merged else held
    return sorted(merged.values(), key=lambda group: (-group.last_at, group.fingerprint, group.subscription))


async def _grouped(reading: Reading, state: RowState) -> dict[tuple[str, str], shapes.DeadGroup]:
    """Groups of rows that are few by their nature: each held one blocks a key, each discarded one a person chose."""
    rows = await reading.views.rows(RowsQuery(states=frozenset({state}), limit=EVENTS_MAX))
    gathered: dict[tuple[str, str], list[RowLine]] = {}
    for line in rows:
        gathered.setdefault((line.row.fingerprint or "", line.cursor.subscription), []).append(line)
    samples = await _events_of(reading.journal, [lines[-1] for lines in gathered.values()])
    return {key: _group(key, lines, samples.get(_place(lines[-1]))) for key, lines in gathered.items()}


def _group(key: tuple[str, str], lines: Sequence[RowLine], sample: Event | None) -> shapes.DeadGroup:
    row = lines[-1].row
    ats = [line.row.died_at or line.row.first_failed_at or 0 for line in lines]
    held = sum(line.row.state == "held" for line in lines)
    error = row.error or row.reason or ""
    id = sample.id if sample else None
    return shapes.DeadGroup(*key, row.system, error, row.status, len(lines), held, min(ats), max(ats), id)


def _with(dead: shapes.DeadGroup, held: shapes.DeadGroup) -> shapes.DeadGroup:
    return msgspec.structs.replace(
        dead,
        count=dead.count + held.count,
        held=held.held,
        first_at=min(dead.first_at, held.first_at),
        last_at=max(dead.last_at, held.last_at),
    )


Place = tuple[Shard, int]


async def _events_of(journal: Journal, lines: Sequence[RowLine]) -> dict[Place, Event]:
    """The events of rows, in the rows' order; those that were retired without being kept are left out."""
    by_shard: dict[Shard, set[int]] = {}
    for shard, offset in map(_place, lines):
        by_shard.setdefault(shard, set()).add(offset)
    found: dict[Place, Event] = {}
    for shard, offsets in by_shard.items():
        for event in await _fetched(journal, shard, sorted(offsets)):
            found[shard, event.offset] = event
    return {place: found[place] for place in map(_place, lines) if place in found}


async def _fetched(journal: Journal, shard: Shard, offsets: Sequence[int]) -> Sequence[Event]:
    while offsets:
        try:
            return await journal.fetch(shard, offsets)
        except Retired as retired:
            offsets = [offset for offset in offsets if offset != retired.offset]
    return ()


def _place(line: RowLine) -> Place:
    return line.cursor.shard, line.row.offset


def _letter(line: RowLine, events: Mapping[Place, Event]) -> shapes.DeadLetter:
    row, shard = line.row, line.cursor.shard
    event = events.get(_place(line))
    return shapes.DeadLetter(
        event.id if event else None,
        line.cursor.subscription,
        shard.stream,
        shard.number,
        row.offset,
        row.type,
        row.key,
        row.state,
        row.reason,
        row.error,
        row.status,
        row.system,
        row.fingerprint,
        row.attempts_total,
        row.first_failed_at,
        row.died_at,
        row.replays,
    )
