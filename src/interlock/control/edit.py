"""A dead letter with another payload: what that would do, and the request for it. And how two payloads differ.

The new event has an id of its own and names the old one as its cause; it stands at the end of the log.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from interlock.control.acts import acts_on, successor
from interlock.control.audit import Who
from interlock.control.commands import Commands, Terms
from interlock.control.dead_shapes import DeadDiff, DeadEdit, DeadEdited, LetterAsked, PayloadChange
from interlock.control.ports import Rehearses
from interlock.control.problem import Refused
from interlock.control.queries import Reading, one_event, payload_text
from interlock.core import limits
from interlock.core.cursor import RowState
from interlock.core.event import Draft, Event
from interlock.core.pointer import MISSING, changes
from interlock.journal.ports import Retired
from interlock.journal.views import Passage, RowLine
from interlock.spec.jsontext import PayloadError
from interlock.spec.plan import EventTypeSpec
from interlock.spec.problem import fault_of

_EDITABLE: Final = frozenset[RowState]({"dead", "held", "due"})
_CHANGES_MAX: Final = 100
_SCANNED_MAX: Final = 10_000
_READ: Final = 1_000


async def edit(reading: Reading, commands: Commands, who: Who, asked: DeadEdit) -> DeadEdited:
    """Look at an edit, and unless it is a dry run, ask the lanes that have the letter.

    Raises:
        Refused: `dead.reason-missing`, `dead.edit-refused`, `dead.edit-invalid`, `dead.edit-same`, `dead.none`,
            `event.unknown`, `event.ambiguous`.
    """
    if not asked.reason.strip():
        raise Refused(400, "dead.reason-missing", "an edit needs a reason", "say why: --reason ...")
    event = await reading.journal.whole(await one_event(reading.views, asked.event))
    passages = await reading.views.timeline(event)
    lines = [
        RowLine(passage.cursor, passage.row)
        for passage in passages
        if passage.row is not None
        and passage.row.state in _EDITABLE
        and asked.subscription in (None, passage.cursor.subscription)
    ]
    if not lines:
        remedy = f"see `interlock dead show {event.id}`"
        raise Refused(409, "dead.none", f"{event.id} is no dead letter that could be edited", remedy)
    draft = _draft(event, _type_of(reading, event), asked.payload, commands.new_id("edit_"))
    behind, is_whole = await _behind(reading, event)
    answer = DeadEdited(
        None,
        event.id,
        None,
        draft.key,
        [line.cursor.subscription for line in lines],
        _readers(reading, event, passages),
        [passage.cursor.subscription for passage in passages if passage.state == "settled"],
        behind,
        is_whole,
        _changes(event.draft.data, draft.data),
        {},
    )
    if asked.dry_run:
        return answer
    chosen = {line.cursor: [event.offset] for line in lines}
    wait_us = max(0, min(asked.wait_us, limits.COMMAND_WAIT_US_MAX))
    done = await commands.begin("edit", chosen, who, Terms(draft=draft), wait_us)
    new = await _appended(reading, event, [line.cursor.subscription for line in lines], draft.id)
    return replace(answer, job=done.job, new=new, answers={**done.answers})


async def diff(reading: Reading, rehearses: Rehearses | None, asked: LetterAsked) -> DeadDiff:
    """The payload of a letter beside that of the event that stands for it, or beside what today's code reads in it.

    Raises:
        Refused: `dead.none`, `control.read-only`, `event.unknown`, `event.ambiguous`.
    """
    event = await reading.journal.whole(await one_event(reading.views, asked.event))
    passages = [
        passage
        for passage in await reading.views.timeline(event)
        if asked.subscription in (None, passage.cursor.subscription) and passage.row is not None
    ]
    if not passages:
        remedy = f"see `interlock events show {event.id}`"
        raise Refused(404, "dead.none", f"{event.id} is no dead letter", remedy)
    # Of several the edited one says most.
    passage = next((each for each in passages if each.row is not None and each.row.edited), passages[0])
    name, edited = passage.cursor.subscription, passage.row.edited if passage.row else None
    before = payload_text(event.draft.data)[0] or ""
    if edited is not None:
        new = await successor(reading, await acts_on(reading, event), name, edited)
        if new is None:
            return DeadDiff(event.id, name, "edited", None, before, None, (), "its event is not in the log any more")
        new = await reading.journal.whole(new)
        after = payload_text(new.draft.data)[0]
        return DeadDiff(event.id, name, "edited", new.id, before, after, _changes(event.draft.data, new.draft.data))
    if rehearses is None:
        raise Refused(
            503, "control.read-only", "no process runs whose code could read the payload", "start `interlock run`"
        )
    made = rehearses.payload(name, event)
    if isinstance(made, str):
        return DeadDiff(event.id, name, "current", None, before, None, (), made)
    after = payload_text(made)[0]
    return DeadDiff(event.id, name, "current", None, before, after, _changes(event.draft.data, made))


def _type_of(reading: Reading, event: Event) -> EventTypeSpec:
    plan = reading.plan
    types = {} if plan is None else {upcast.old.id: upcast.old for upcast in plan.upcasts} | dict(plan.types)
    found = types.get(event.draft.type)
    if found is None:
        raise Refused(
            409,
            "dead.edit-refused",
            f"{event.draft.type} is no event type of the plan: it is a request as it came, or waits for its time",
            "mend the function that reads it and retry, or discard it",
        )
    return found


def _draft(event: Event, type: EventTypeSpec, payload: str, id: str) -> Draft:
    """The event that stands for the old one: of its type, in its stream, in its trace, caused by it."""
    try:
        data = msgspec.json.format(payload.encode(), indent=-1)
        decoded = type.decode(data)
        key = None if type.key is None else type.key(decoded)
    except PayloadError as error:
        raise _misfit(event, error.message, [fault_of(error)]) from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise _misfit(event, f"it is not JSON: {error}", []) from None
    if len(data) > limits.EVENT_BYTES_MAX:
        raise _misfit(event, f"it is over {limits.EVENT_BYTES_MAX} bytes", [])
    draft = replace(event.draft, id=id, data=data, key=key, causation=event.id)
    if not list(changes(_json(event.draft.data), _json(data))):
        raise Refused(400, "dead.edit-same", "the payload is the one that it had", "to try it again, use `dead retry`")
    return draft


def _misfit(event: Event, why: str, errors: Sequence[Any]) -> Refused:
    told = f"the payload is no {event.draft.type}: {why}"
    return Refused(422, "dead.edit-invalid", told, "give what the model of its type asks for", errors=errors)


def _readers(reading: Reading, event: Event, passages: Sequence[Passage]) -> list[str]:
    """Who is given the new event: all that read the type now."""
    plan = reading.plan
    if plan is None:
        return [passage.cursor.subscription for passage in passages if passage.state != "not-read"]
    return [
        name
        for name, spec in plan.subscriptions.items()
        if spec.stream == event.draft.stream and event.draft.type in spec.type_ids
    ]


async def _behind(reading: Reading, event: Event) -> tuple[int, bool]:
    """How many events of its key are in the log after it, and whether all were counted."""
    key, count, left, at = event.draft.key, 0, _SCANNED_MAX, event.offset
    while key is not None and at < reading.journal.bounds(event.shard)[1]:
        if left <= 0:
            return count, False
        at = max(at, reading.journal.bounds(event.shard)[0] - 1)
        try:
            batch = await reading.journal.read(event.shard, at, min(_READ, left))
        except Retired:
            continue
        count += sum(each.draft.key == key for each in batch.events)
        at, left = batch.upto, left - max(1, len(batch.events))
    return count, True


async def _appended(reading: Reading, event: Event, subscriptions: Sequence[str], id: str) -> str | None:
    acts = await acts_on(reading, event)
    for name in subscriptions:
        if (new := await successor(reading, acts, name, id)) is not None:
            return new.id
    return None


def _changes(before: bytes, after: bytes) -> list[PayloadChange]:
    found = list(changes(_json(before), _json(after)))[:_CHANGES_MAX]
    return [PayloadChange(change.pointer, _text(change.before), _text(change.after)) for change in found]


def _json(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError):
        return MISSING


def _text(value: Any) -> str | None:
    return None if value is MISSING else msgspec.json.encode(value).decode()
