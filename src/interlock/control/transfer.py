"""Dead letters as lines of a file, and back: from an installation that is broken to one that is mended.

A line is an envelope with a version; members that a reader does not know are passed over, so that files of later
versions can be read. What comes in is the same fact: stream, source and id are those that it had, so dedupe and
idempotency keys hold, and what the log knows already is left as it is.
"""

from __future__ import annotations

import asyncio
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from interlock.control import shapes
from interlock.control.acts import acts_on
from interlock.control.audit import Who
from interlock.control.commands import Commands
from interlock.control.dead_shapes import DeadExport, DeadImport, DeadImported
from interlock.control.letter import full
from interlock.control.problem import Refused
from interlock.control.queries import Reading
from interlock.control.selection import events_of, place_of, read, selected
from interlock.core import limits
from interlock.core.cursor import CursorId, RowState
from interlock.core.event import Appended, Draft, Event, Shard
from interlock.core.words import many
from interlock.journal.ports import IdentityConflict
from interlock.journal.views import RowLine
from interlock.spec.jsontext import PayloadError
from interlock.spec.plan import Plan
from interlock.spec.problem import Fault

KIND: Final = "interlock.dead-letter"
VERSION: Final = 1
LETTERS_MAX: Final = 1_000
"""Letters of one import: they are one commit."""
IMPORT_BYTES_MAX: Final = 16 * 1024 * 1024
PAGE_BYTES: Final = 4 * 1024 * 1024
"""An answer with letters ends when it is so long."""
_FAULTS_MAX: Final = 20
_OPEN: Final = frozenset[RowState]({"dead", "held"})
"""What was discarded or edited is not to be delivered elsewhere either."""


class Envelope(msgspec.Struct, frozen=True):
    """A line of the file: the fact as it was accepted, and the letter about it for people and other tools."""

    kind: str
    version: int
    stream: str
    type: str
    source: str
    id: str
    data: str | None = None
    data_base64: str | None = None
    key: str | None = None
    time: str | None = None
    subject: str | None = None
    datacontenttype: str = "application/json"
    dataschema: str | None = None
    extensions: Mapping[str, str] = {}
    headers: Sequence[tuple[str, str]] = ()
    causation: str | None = None
    traceparent: str | None = None
    letter: Any = None  # Any: read by people; an import looks at none of it.


_envelope = msgspec.json.Decoder(Envelope)


async def export(reading: Reading, asked: shapes.DeadPage) -> DeadExport:
    """A page of the letters that fit, in full; with their payloads, without what is secret in headers and excerpts.

    Raises:
        Refused: as `letter.letters`; `dead.after-malformed`.
    """
    selection = (await read(reading, asked))._replace(after=_place(asked.after))
    limit = shapes.PAGE_MAX
    rows = await selected(reading, selection, _OPEN, limit + 1)
    events = await events_of(reading.journal, rows[:limit])
    lines: list[msgspec.Raw] = []
    size, last = 0, None
    for line in rows[:limit]:
        if size > PAGE_BYTES:
            break
        last = line
        event = events.get(place_of(line))
        if event is None:
            continue
        lines.append(msgspec.Raw(await _line(reading, line, event)))
        size += len(lines[-1])
    is_end = last is None or (last is rows[-1] and len(rows) <= limit)
    return DeadExport(lines, None if is_end or last is None else _token(last))


async def take_in(reading: Reading, commands: Commands, who: Who, asked: DeadImport) -> DeadImported:
    """Look at every line, then append all of them in one commit, or none.

    Raises:
        Refused: `dead.import-invalid` with each line that is wrong; `dead.import-conflict`, `dead.import-too-large`.
    """
    plan = reading.plan
    if plan is None:
        raise Refused(503, "control.read-only", "no process runs whose plan could read them", "start `interlock run`")
    if len(asked.lines) > LETTERS_MAX:
        raise Refused(
            413,
            "dead.import-too-large",
            f"the file has {len(asked.lines)} letters, and {LETTERS_MAX} are the most that are one commit",
            f"split it: split -l {LETTERS_MAX} FILE",
        )
    drafts = _drafts(plan, asked.lines)
    readers = sorted(
        name
        for name, spec in plan.subscriptions.items()
        if any(spec.stream == draft.stream and draft.type in spec.type_ids for draft in drafts)
    )
    if asked.dry_run or not drafts:
        return DeadImported(len(drafts), [], [], readers)
    answer = await _appended(reading, drafts)
    if isinstance(answer, IdentityConflict):
        raise Refused(
            409,
            "dead.import-conflict",
            f"{len(answer.known)} letters have the identity of an event with another payload; nothing was appended",
            "leave those lines out, or edit the letters where they are",
            errors=[Fault(f"line {at + 1}: {_known_as(place)}") for at, place in sorted(answer.known.items())],
        )
    new = [each.id for each in answer if not each.duplicate]
    old = [each.id for each in answer if each.duplicate]
    told = {"appended": new, "known": old}
    await commands.record("dead.import", drafts[0].stream, who, None, told)
    return DeadImported(len(drafts), new, old, readers)


async def _line(reading: Reading, line: RowLine, event: Event) -> bytes:
    passages = await reading.views.timeline(event)
    passage = next(each for each in passages if each.cursor == line.cursor)
    letter = await full(reading, passage, event, await acts_on(reading, event))
    detail, draft = letter.detail, event.draft
    assert detail is not None, "a letter in full has its detail"
    # The payload stands once, as the fact has it.
    told = msgspec.structs.replace(letter, detail=msgspec.structs.replace(detail, payload=None, payload_base64=None))
    return msgspec.json.encode(
        Envelope(
            KIND,
            VERSION,
            draft.stream,
            draft.type,
            draft.source,
            draft.id,
            detail.payload,
            detail.payload_base64,
            draft.key,
            draft.time,
            draft.subject,
            draft.datacontenttype,
            draft.dataschema,
            dict(draft.extensions),
            detail.headers,
            draft.causation,
            draft.traceparent,
            told,
        )
    )


def _drafts(plan: Plan, lines: Sequence[str]) -> list[Draft]:
    drafts: list[Draft] = []
    faults: list[Fault] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        found = _draft(plan, line)
        if isinstance(found, str):
            faults.append(Fault(f"line {number}: {found}"))
        else:
            drafts.append(found)
    if faults:
        raise Refused(
            422,
            "dead.import-invalid",
            f"{many(len(faults), 'line')} cannot be taken in, so none was",
            "mend or leave out those lines, or deploy what reads them, and import the file again",
            errors=faults[:_FAULTS_MAX],
        )
    return drafts


def _draft(plan: Plan, line: str) -> Draft | str:
    """The fact of a line, or what is wrong with it."""
    try:
        letter = _envelope.decode(line)
        data = b64decode(letter.data_base64, validate=True) if letter.data_base64 else (letter.data or "").encode()
    except (msgspec.DecodeError, RecursionError, Base64Error, ValueError) as error:
        return f"it is no line that `dead export` wrote: {error}"
    if letter.data is None and letter.data_base64 is None:
        return "its payload was lost before it was exported"
    if letter.kind != KIND:
        return f"it is no dead letter but {letter.kind[:64]!r}"
    if letter.stream not in {stream.name for stream in plan.streams}:
        return f"this installation has no stream {letter.stream[:64]!r}"
    readers = [spec for spec in plan.subscriptions.values() if spec.stream == letter.stream]
    types = {type.id: (type, spec) for spec in readers for type in spec.reads}
    if letter.type not in types:
        return f"no subscription of stream {letter.stream!r} reads the type {letter.type[:64]!r}"
    type, spec = types[letter.type]
    key = letter.key
    if spec.is_written:
        try:
            payload = type.decode(data)
            key = None if type.key is None else type.key(payload)
        except PayloadError as error:
            return f"its payload is no {letter.type}: {error.message}"
    if len(data) > limits.EVENT_BYTES_MAX or not 0 < len(letter.id) <= limits.ID_CHARS_MAX:
        return "its payload or its id is longer than an event's may be"
    return Draft(
        letter.stream,
        letter.type,
        letter.source,
        letter.id,
        data,
        key,
        letter.time,
        letter.subject,
        letter.datacontenttype,
        letter.dataschema,
        tuple(letter.extensions.items()),
        tuple(letter.headers),
        letter.causation,
        letter.traceparent,
    )


async def _appended(reading: Reading, drafts: Sequence[Draft]) -> Sequence[Appended] | IdentityConflict:
    done: asyncio.Future[Sequence[Appended] | IdentityConflict] = asyncio.get_running_loop().create_future()

    def told(answer: Sequence[Appended] | IdentityConflict | Exception) -> None:
        if done.done():
            return
        if isinstance(answer, Exception):
            done.set_exception(answer)
        else:
            done.set_result(answer)

    reading.journal.submit_whole(drafts, told)
    return await done


def _known_as(place: Appended | None) -> str:
    return "an earlier line has its identity" if place is None else f"the log has its identity as {place.id}"


def _token(line: RowLine) -> str:
    cursor, row = line
    return f"{row.offset}/{cursor.shard.number}/{cursor.shard.stream}/{cursor.subscription}"


def _place(token: str | None) -> tuple[CursorId, int] | None:
    if token is None:
        return None
    offset, _, rest = token.partition("/")
    shard, _, rest = rest.partition("/")
    stream, _, subscription = rest.partition("/")
    if not (offset.isdecimal() and shard.isdecimal() and stream and subscription):
        raise Refused(400, "dead.after-malformed", "this is no place in a list of letters", "give the next of a page")
    return CursorId(subscription, Shard(stream, int(shard))), int(offset)
