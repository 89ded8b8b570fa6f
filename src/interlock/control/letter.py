"""Dead letters as lists and one in full: all that the store, its attempts and the audit say of it."""

from __future__ import annotations

import msgspec

from interlock.control import shapes
from interlock.control.acts import Acts, acts_on, successor
from interlock.control.dead_shapes import DeadDetail, LetterAsked, Resolution
from interlock.control.problem import Refused
from interlock.control.queries import Reading, bounded, known, moments, one_event, owner_of, payload_text
from interlock.control.selection import STATES, events_of, place_of, read, selected
from interlock.core.cursor import Row
from interlock.core.event import Event
from interlock.core.ids import idempotency_key
from interlock.core.redact import redacted_headers
from interlock.journal.ports import Retired
from interlock.journal.views import Passage, RowLine


async def letters(reading: Reading, asked: shapes.DeadShow) -> shapes.DeadLetters:
    """Dead letters that fit, discarded ones too.

    Raises:
        Refused: `dead.unknown`, `dead.ambiguous`, `dead.where-malformed`, `event.unknown`, `event.ambiguous`.
    """
    limit = bounded(asked.limit)
    rows = await selected(reading, await read(reading, asked), STATES, limit + 1)
    if not rows and asked.fingerprint is not None:
        raise Refused(404, "dead.unknown", "no dead letter that fits has such a fingerprint", "see `interlock dead ls`")
    events = await events_of(reading.journal, rows[:limit])
    return shapes.DeadLetters(
        [letter_of(line, events.get(place_of(line)), None) for line in rows[:limit]], len(rows) > limit
    )


async def letter(reading: Reading, asked: LetterAsked) -> shapes.DeadLetters:
    """The letters of one event in full: one for each subscription that has it, or had it until a retry settled it.

    Raises:
        Refused: `dead.none`, `event.unknown`, `event.ambiguous`.
    """
    event = await one_event(reading.views, asked.event)
    passages = [
        passage
        for passage in await reading.views.timeline(event)
        if asked.subscription in (None, passage.cursor.subscription) and _was_dead(passage)
    ]
    if not passages:
        raise Refused(
            404,
            "dead.none",
            f"{event.id} is no dead letter of any subscription"
            if asked.subscription is None
            else f"{event.id} is no dead letter of {asked.subscription}",
            f"see `interlock events show {event.id}`",
        )
    acts = await acts_on(reading, event)
    return shapes.DeadLetters([await full(reading, passage, event, acts) for passage in passages])


async def full(reading: Reading, passage: Passage, event: Event, acts: Acts) -> shapes.DeadLetter:
    """One letter with its detail."""
    row = passage.row or _settled_row(passage, event)
    event = await reading.journal.whole(event)
    detail = await _detail(reading, passage, row, event, acts)
    letter = letter_of(RowLine(passage.cursor, row), event, detail)
    return letter if passage.row is not None else msgspec.structs.replace(letter, resolution="replayed")


def letter_of(line: RowLine, event: Event | None, detail: DeadDetail | None) -> shapes.DeadLetter:
    """A letter as a row of a list."""
    row, shard = line.row, line.cursor.shard
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
        _resolution(row),
        detail,
    )


def _resolution(row: Row) -> Resolution:
    if row.state == "discarded":
        return "discarded" if row.edited is None else "edited"
    return "replaying" if row.state in ("due", "running") and row.replays else "open"


def _was_dead(passage: Passage) -> bool:
    """Whether it needs a person, or did until it was retried: what only waits for another attempt does not."""
    if passage.row is not None:
        return passage.row.state in STATES or passage.row.replays > 0
    return any(attempt.trigger != "auto" for attempt in passage.attempts) and any(
        attempt.outcome != "done" for attempt in passage.attempts
    )


def _settled_row(passage: Passage, event: Event) -> Row:
    """What the attempts say of a letter whose row went when a retry settled it."""
    failed = [attempt for attempt in passage.attempts if attempt.outcome != "done"]
    first, last = failed[0], failed[-1]
    jobs = {attempt.job for attempt in passage.attempts} - {None}
    return Row(
        event.offset,
        event.draft.key,
        "due",
        attempts_total=len(passage.attempts) + len(passage.successes),
        error=f"{last.error}: {last.detail}" if last.detail else last.error,
        status=last.status or None,
        system=last.system,
        fingerprint=last.fingerprint,
        first_failed_at=first.started_at,
        replays=len(jobs),
        type=event.draft.type,
    )


async def _detail(reading: Reading, passage: Passage, row: Row, event: Event, acts: Acts) -> DeadDetail:
    draft, name = event.draft, passage.cursor.subscription
    text, encoded = payload_text(draft.data) if event.absent is None else (None, None)
    new = None if row.edited is None else await successor(reading, acts, name, row.edited)
    attempts = [moment for moment in moments(passage) if moment.what == "attempt"]
    spec = reading.plan.subscriptions.get(name) if reading.plan else None
    return DeadDetail(
        plan=passage.attempts[-1].plan if passage.attempts else "",
        owner=owner_of(reading.plan, spec.integration) if reading.plan and spec else "",
        source=draft.source,
        source_id=draft.id,
        first_seen_at=event.accepted_at,
        time=draft.time,
        subject=draft.subject,
        datacontenttype=draft.datacontenttype,
        dataschema=draft.dataschema,
        extensions=dict(draft.extensions),
        headers=redacted_headers(draft.headers),
        payload=text,
        payload_base64=encoded,
        causation=draft.causation,
        traceparent=draft.traceparent,
        idempotency_key=await _key(reading, name, event, row.system),
        due_at=row.due_at if passage.row is not None else None,
        told_by=await _told_by(reading, event, row.told),
        edited_as=new.id if new else None,
        kept_until=None,
        attempts=sorted(attempts, key=lambda moment: moment.at),
        acts=acts.by_subscription.get(name, ()),
        acts_whole=acts.whole,
    )


async def _key(reading: Reading, subscription: str, event: Event, system: str | None) -> str | None:
    if system is None:
        return None
    names = (await known(reading, shapes.Nothing())).first_names
    draft = event.draft
    return idempotency_key(draft.stream, draft.source, draft.id, names.get(subscription, subscription), system, "#1")


async def _told_by(reading: Reading, event: Event, offset: int | None) -> str | None:
    if not offset:
        return None
    try:
        (teller,) = await reading.journal.fetch(event.shard, [offset])
    except Retired:
        return None
    return teller.id
