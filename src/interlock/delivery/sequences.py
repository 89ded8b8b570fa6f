"""What a lane's resequencer knows of its keys: which number is next, and what waits. Pure, but for the loading.

It is one cell a key, and one for each event that waits, with the draft that it will be: the event itself is settled,
so retention does not know it. All are written in the settlement of the event that changed them, with what is emitted.
Only the lane that holds the cursor writes them, so its memory is the truth until that is dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from interlock.core import limits
from interlock.core.cursor import CursorId
from interlock.core.event import Draft, Event
from interlock.core.ids import derived_id
from interlock.journal.ports import Cells, CellWrite, Retired
from interlock.spec.delay import delay
from interlock.spec.patterns import resequence as pattern
from interlock.spec.patterns.resequence import SKIPPED_EXTENSION, Held, Look, Resequencing
from interlock.spec.span import moment

_sequences = msgspec.json.Decoder(pattern.Sequence)
_drafts = msgspec.msgpack.Decoder(Draft)
_looks = msgspec.json.Decoder(Look)
_NOTHING_TO_SAY: Final = b""


class Known(NamedTuple):
    """What is known of a key: where it is, and the encoded drafts of what waits, by offset."""

    sequence: pattern.Sequence = pattern.Sequence()
    drafts: Mapping[int, bytes] = {}


class Resequenced(NamedTuple):
    """What one event did to its key: what is known now, what is emitted, and what is to be said of it."""

    known: Known
    emits: Sequence[Draft]
    fate: pattern.Fate
    skipped: int


def take(known: Known, event: Event, number: int, draft: Draft | None, by: str, how: Resequencing) -> Resequenced:
    """An event has come that makes a draft, or None if its number is all that it says. `by`: whose looks it sends."""
    data = _NOTHING_TO_SAY if draft is None else msgspec.msgpack.encode(draft)
    came = Held(number, event.offset, event.accepted_at, len(data))
    step = pattern.resequence(known.sequence, came, None, event.accepted_at, how)
    return _after(step, {**known.drafts, event.offset: data}, event, by)


def look(known: Known, event: Event, by: str, how: Resequencing) -> Resequenced:
    """A look has come, of this resequencer or another one that reads the key: only the time is new."""
    said = _looks.decode(event.draft.data)
    step = pattern.resequence(known.sequence, None, said.at if said.of == by else None, event.accepted_at, how)
    return _after(step, known.drafts, event, by)


def _after(step: pattern.Step, drafts: Mapping[int, bytes], event: Event, by: str) -> Resequenced:
    emits: list[Draft] = []
    for released in step.released:
        data = drafts[released.held.offset]
        if data != _NOTHING_TO_SAY:
            draft = _drafts.decode(data)
            if released.skipped:
                extensions = (*draft.extensions, (SKIPPED_EXTENSION, released.text))
                draft = msgspec.structs.replace(draft, extensions=extensions)
            emits.append(draft)
    if step.look_at is not None:
        emits.append(_looking(event, by, step.look_at))
    left = {held.offset: drafts[held.offset] for held in step.sequence.held}
    return Resequenced(Known(step.sequence, left), emits, step.fate, sum(it.skipped for it in step.released))


def _looking(event: Event, by: str, at: int) -> Draft:
    draft = event.draft
    look = Draft(
        stream=draft.stream,
        type=pattern.look_type(draft.stream),
        source=draft.source,
        id=derived_id(draft.stream, draft.source, draft.id, by, "look"),
        data=msgspec.json.encode(Look(draft.key or "", by, at)),
        key=draft.key,
    )
    return delay(look, moment(at))


class SequencesByKey:
    """Of one lane. What is not committed is kept; of the rest, what `limits` allows.

    Args:
        cursor: with the subscription's first name: cells keep their keys when it is renamed.
        covers: whether the cursor has accounted for an offset.
        asked: False where the subscription is no resequencer: then nothing needs to be known.
    """

    __slots__ = ("_asked", "_bytes", "_changed", "_covers", "_place", "_sent", "_shard", "_stored")

    def __init__(self, cursor: CursorId, covers: Callable[[int], bool], *, asked: bool = True) -> None:
        self._asked = asked
        self._place = f"{cursor.subscription}/{cursor.shard.stream}/{cursor.shard.number}/"
        self._shard = cursor.shard
        self._covers = covers
        self._changed: dict[str, Known] = {}
        self._sent: dict[str, Known] = {}
        self._stored: dict[str, Known] = {}
        self._bytes = 0

    def knows(self, key: str | None) -> bool:
        """Whether the store need not be asked."""
        return not self._asked or key is None or key in self._changed or key in self._sent or key in self._stored

    def of(self, key: str | None) -> Known | None:
        """What is known of a key; None where nothing needs to be."""
        if not self._asked or key is None:
            return None
        return self._changed.get(key) or self._sent.get(key) or self._stored.get(key)

    async def load(self, key: str, cells: Cells, is_current: Callable[[], bool]) -> None:
        """Ask the store. What a subscription left that was retired says what this cursor never had.

        Raises:
            Retired: what waits is not there: another process has released it, so the cursor is lost.
        """
        name = self._key_cell(key)
        found = await cells.get([name])
        sequence = _sequences.decode(found[name].value) if name in found else pattern.Sequence()
        if not self._covers(sequence.offset):
            sequence = pattern.Sequence()
        names = {held.offset: self._held_cell(held.offset) for held in sequence.held}
        waiting = await cells.get(list(names.values()))
        if not is_current():
            return
        for offset, name in names.items():
            if name not in waiting:
                raise Retired(self._shard, offset)
        self._store(key, Known(sequence, {offset: waiting[name].value for offset, name in names.items()}))
        self._forget()

    def changed(self, key: str | None, before: Known | None, after: Known) -> None:
        """An event of the key is done. `before`: what was known when it began; others may have taken its place."""
        if key is None or before is None or after == before:
            return
        if self.of(key) is None:
            self._store(key, before)
        self._changed[key] = after

    def take(self, now: int) -> Iterator[CellWrite]:
        """The cells for the settlement that is being made."""
        self._sent, self._changed = self._changed, {}
        for key, known in self._sent.items():
            before = self._stored[key].drafts
            for offset in sorted(before.keys() - known.drafts.keys()):
                yield CellWrite(self._held_cell(offset), None)
            for offset in sorted(known.drafts.keys() - before.keys()):
                yield CellWrite(self._held_cell(offset), known.drafts[offset])
            expires_at = None if known.drafts else now + limits.SEQUENCE_KEPT_US
            yield CellWrite(self._key_cell(key), msgspec.json.encode(known.sequence), expires_at=expires_at)

    def committed(self) -> None:
        """What was taken last is durable."""
        for key, known in self._sent.items():
            self._store(key, known)
        self._sent = {}
        self._forget()

    def _store(self, key: str, known: Known) -> None:
        self._bytes += _size(known) - _size(self._stored.pop(key, Known()))
        self._stored[key] = known

    def _forget(self) -> None:
        """Those that nothing has come for in the longest time, as far as that is too much; never the last one."""
        over = len(self._stored) > limits.SEQUENCE_KEYS_MAX or self._bytes > limits.SEQUENCE_MEMORY_BYTES
        for key in list(self._stored)[:-1] if over else ():
            if len(self._stored) <= limits.SEQUENCE_KEYS_MAX and self._bytes <= limits.SEQUENCE_MEMORY_BYTES:
                break
            if key not in self._changed:
                self._bytes -= _size(self._stored.pop(key))

    def _key_cell(self, key: str) -> str:
        return f"sequence/{self._place}{key}"

    def _held_cell(self, offset: int) -> str:
        return f"sequence-held/{self._place}{offset}"


def _size(known: Known) -> int:
    return sum(held.bytes for held in known.sequence.held)
