"""Dead letters: the few causes behind them, and what a person does to them.

A command's selector becomes a frozen set of offsets, and the lanes are asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from interlock.control import shapes
from interlock.control.audit import Who
from interlock.control.commands import Commands, Terms
from interlock.control.newer import Newer, newer_delivered
from interlock.control.problem import Refused
from interlock.control.queries import Reading, bounded
from interlock.control.replay import PER_SECOND_MAX
from interlock.control.selection import STATES, Selection, events_of, is_empty, place_of, read, selected
from interlock.core import limits
from interlock.core.cursor import CursorId, RowState
from interlock.core.event import Event
from interlock.core.requests import Verb
from interlock.core.words import many
from interlock.journal.views import RowLine, RowsQuery
from interlock.spec.problem import Fault

EVENTS_MAX: Final = limits.JOB_EVENTS_MAX
"""Events that one command takes."""
SHOWN_MAX: Final = 100
"""Ids in the answer: enough to follow a few, not a list of everything."""

ACTS_ON: Final[Mapping[Verb, frozenset[RowState]]] = {
    "retry": frozenset({"dead", "held", "due"}),
    "skip": frozenset({"held", "due"}),
    "discard": frozenset({"dead", "held"}),
    "restore": frozenset({"discarded"}),
}
"""The states that a verb makes sense for. What has changed since is answered by the lane."""
_BEYOND_GROUPS: Final = ("fingerprint", "event", "key", "since_at", "until_at", "where")
"""Members of a selection that the groups of the store do not tell apart."""


async def causes(reading: Reading, asked: shapes.DeadAsked) -> shapes.DeadGroups:
    """Causes, the latest first.

    Raises:
        Refused: `dead.unknown`, `dead.ambiguous`, `dead.where-malformed`, `event.unknown`, `event.ambiguous`.
    """
    if all(getattr(asked, name) is None for name in _BEYOND_GROUPS):
        groups = [
            group
            for group in await _groups(reading, discarded=asked.discarded)
            if asked.subscription in (None, group.subscription) and asked.system in (None, group.system)
        ]
    else:
        states = frozenset[RowState]({"discarded"} if asked.discarded else {"dead", "held"})
        rows = await selected(reading, await read(reading, asked), states, EVENTS_MAX)
        groups = _sorted(await _grouped(reading, rows))
    return shapes.DeadGroups(groups[: bounded(asked.limit)], sum(group.count for group in groups))


async def command(
    reading: Reading, commands: Commands, verb: Verb, who: Who, asked: shapes.DeadCommand
) -> shapes.DeadAnswer:
    """Select, and unless it is a dry run, ask the lanes.

    Raises:
        Refused: `dead.unselected`, `dead.unknown`, `dead.ambiguous`, `dead.terms`, `dead.newer-delivered`,
            `dead.edited`, `dead.where-malformed`, `event.unknown`, `event.ambiguous`.
    """
    _check(verb, asked)
    selection = await read(reading, asked)
    rows = await selected(reading, selection, ACTS_ON[verb], EVENTS_MAX + 1)
    if asked.fingerprint is not None and not rows and asked.event is None and await _never(reading, selection):
        raise Refused(404, "dead.unknown", "no dead letter that fits has such a fingerprint", "see `interlock dead ls`")
    if verb == "restore":
        rows = _restorable(rows, asked)
    taken, more = rows[:EVENTS_MAX], len(rows) > EVENTS_MAX
    late, newer, is_whole = await late_of(reading, taken if verb == "retry" else ())
    shown = [event.id for event in (await events_of(reading.journal, taken[:SHOWN_MAX])).values()]
    keys = [shapes.NewerOfKey(key, found.events) for (_, key), found in newer.items()][:SHOWN_MAX]
    answer = shapes.DeadAnswer(None, len(taken), 0, {}, shown, more, len(late), None, keys, is_whole)
    if asked.dry_run or not taken:
        return answer
    if (late or not is_whole) and asked.newer is None:
        raise _undecided(late, keys)
    given_up = late if asked.newer == "supersede" else []
    job = await _superseded(commands, who, given_up, asked)
    places = {(line.cursor, line.row.offset) for line in given_up}
    meant = [line for line in taken if (line.cursor, line.row.offset) not in places]
    answer = msgspec.structs.replace(answer, of=len(meant), superseded=len(given_up), superseded_job=job)
    if not meant:
        return answer
    terms = Terms(asked.keep_memo, asked.canary, asked.per_second, asked.stop_percent)
    done = await commands.begin(verb, _by_cursor(meant), who, terms, _wait_us(asked))
    return msgspec.structs.replace(answer, job=done.job, applied=done.applied, answers={**done.answers})


def _check(verb: Verb, asked: shapes.DeadCommand) -> None:
    if is_empty(asked):
        raise Refused(
            400,
            "dead.unselected",
            "nothing says which dead letters are meant",
            "give a fingerprint, an event, a subscription, a key, a time or a condition on the payload",
        )
    terms = (asked.canary, asked.per_second, asked.stop_percent, asked.newer)
    if verb != "retry" and terms != (0, None, None, None):
        raise Refused(400, "dead.terms", f"{verb} settles nothing anew, so there is no pace to keep", "leave them out")
    if asked.canary < 0 or (asked.per_second is not None and not 0 < asked.per_second <= PER_SECOND_MAX):
        raise Refused(
            400, "dead.terms", "this is no number of first events, or no rate", "give --canary 1, --rate 10/s"
        )
    if asked.stop_percent is not None and not 0 <= asked.stop_percent < 100:
        raise Refused(400, "dead.terms", f"{asked.stop_percent:g} is no share in percent", "give 10%")


def _restorable(rows: Sequence[RowLine], asked: shapes.DeadCommand) -> Sequence[RowLine]:
    """Those that were discarded; what was edited is not taken back, because another event stands for it."""
    left = [line for line in rows if line.row.edited is None]
    if rows and not left and asked.event is not None:
        raise Refused(
            409,
            "dead.edited",
            "it was edited, and the event that stands for it is in the log",
            f"see `interlock dead diff {asked.event}`; to undo it, send another event",
        )
    return left


async def _never(reading: Reading, selection: Selection) -> bool:
    """Whether nothing at all that fits has ever been there, in whatever state."""
    return not await selected(reading, selection, STATES | ACTS_ON["skip"], 1)


async def late_of(reading: Reading, rows: Sequence[RowLine]) -> tuple[list[RowLine], Newer, bool]:
    """Those whose keys have had newer events delivered, these by key, and whether all of them were counted.

    Behind what is held or due nothing has been delivered: it blocks its key.
    """
    asked: dict[CursorId, dict[int, str | None]] = {}
    for cursor, row in rows:
        if row.state == "dead":
            asked.setdefault(cursor, {})[row.offset] = row.key
    newer, is_whole = await newer_delivered(reading, asked)
    late = [
        line
        for line in rows
        if line.row.state == "dead"
        and (found := newer.get((line.cursor.subscription, line.row.key or ""))) is not None
        and line.row.key is not None
        and found.last.get(line.cursor.shard, 0) > line.row.offset
    ]
    return late, newer, is_whole


def _undecided(late: Sequence[RowLine], keys: Sequence[shapes.NewerOfKey]) -> Refused:
    told = f"newer events of the keys of {many(len(late), 'dead letter')} were delivered"
    if not late:
        told = "so much came after them that it is not known whether newer events of their keys were delivered"
    return Refused(
        409,
        "dead.newer-delivered",
        told,
        "--send-anyway delivers them after those, --supersede discards them and retries the others",
        errors=[Fault(f"{many(each.events, 'newer event')} of key {each.key}") for each in keys],
    )


async def _superseded(commands: Commands, who: Who, rows: Sequence[RowLine], asked: shapes.DeadCommand) -> str | None:
    """Discard what newer events stand for; the job."""
    if not rows:
        return None
    terms = Terms(action="dead.supersede")
    return (await commands.begin("discard", _by_cursor(rows), who, terms, _wait_us(asked))).job


def _wait_us(asked: shapes.DeadCommand) -> int:
    return max(0, min(asked.wait_us, limits.COMMAND_WAIT_US_MAX))


def _by_cursor(rows: Sequence[RowLine]) -> Mapping[CursorId, Sequence[int]]:
    found: dict[CursorId, list[int]] = {}
    for line in rows:
        found.setdefault(line.cursor, []).append(line.row.offset)
    return found


async def _groups(reading: Reading, *, discarded: bool) -> list[shapes.DeadGroup]:
    """Groups of what was discarded; or of what is dead, and of what is held with them."""
    if discarded:
        merged = await _grouped(reading, await _rows(reading, "discarded"))
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
        for key, held in (await _grouped(reading, await _rows(reading, "held"))).items():
            merged[key] = _with(merged[key], held) if key in merged else held
    return _sorted(merged)


def _sorted(groups: Mapping[tuple[str, str], shapes.DeadGroup]) -> list[shapes.DeadGroup]:
    return sorted(groups.values(), key=lambda group: (-group.last_at, group.fingerprint, group.subscription))


async def _rows(reading: Reading, state: RowState) -> Sequence[RowLine]:
    """Rows that are few by their nature: each held one blocks a key, each discarded one a person chose."""
    return await reading.views.rows(RowsQuery(states=frozenset({state}), limit=EVENTS_MAX))


async def _grouped(reading: Reading, rows: Sequence[RowLine]) -> dict[tuple[str, str], shapes.DeadGroup]:
    gathered: dict[tuple[str, str], list[RowLine]] = {}
    for line in rows:
        gathered.setdefault((line.row.fingerprint or "", line.cursor.subscription), []).append(line)
    samples = await events_of(reading.journal, [lines[-1] for lines in gathered.values()])
    return {key: _group(key, lines, samples.get(place_of(lines[-1]))) for key, lines in gathered.items()}


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
