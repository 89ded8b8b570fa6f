"""What a settlement, an opening or a cell write may do: pure decisions that every backend asks before it writes.

It owns the rules of the ledger that do not depend on how anything is stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from interlock.core.cursor import Attempt, Cursor, Past, Success, TypesFrom
from interlock.core.event import Appended, Claim, Draft, Event, Shard
from interlock.core.ids import identity_hash
from interlock.core.limits import CELL_GRAVE_US, DEDUPE_WINDOW_US, DISCARDED_KEPT_US, US_PER_DAY
from interlock.journal.ports import (
    CURSOR_MOVED,
    Cell,
    CellConflict,
    CellWrite,
    IdentityConflict,
    LeaseLost,
    Settlement,
)


class Held(msgspec.Struct, frozen=True):
    """A cursor and who holds it.

    `worker`: None when nobody does. `former`: the holder before it that did not give it back and whose lease ends last,
    at `former_until`: it may still have calls under way.
    """

    cursor: Cursor
    worker: str | None = None
    former: str | None = None
    former_until: int = 0


class WorkerLease(msgspec.Struct, frozen=True):
    """A worker's lease as recorded; `released` when it was given back."""

    expires_at: int
    released: bool = False

    def valid(self, now: int) -> bool:
        return not self.released and self.expires_at > now


def renewed(lease: WorkerLease | None, now: int, ttl_us: int) -> WorkerLease | LeaseLost:
    """A new lease, or the longer one; one that has ended is not revived, because its cursors may have moved."""
    if lease is not None and not lease.valid(now):
        return LeaseLost("the lease was released" if lease.released else "the lease has expired")
    return WorkerLease(now + ttl_us)


def refusal(settlement: Settlement, held: Held | None, lease: WorkerLease | None, now: int) -> LeaseLost | None:
    """Why a settlement is not to be written, None if it is (rule 9)."""
    if held is None or held.worker != settlement.worker or held.cursor.epoch != settlement.epoch:
        return LeaseLost(CURSOR_MOVED)
    if lease is None or not lease.valid(now):
        return LeaseLost("the worker's lease has ended")
    if settlement.number != held.cursor.number + 1:
        return LeaseLost(f"settlement {settlement.number} does not follow {held.cursor.number}")
    if settlement.floor < held.cursor.floor:
        return LeaseLost(f"the floor would go back from {held.cursor.floor} to {settlement.floor}")
    return None


def event_gone(offset: int) -> LeaseLost:
    """Why a row is not to be written whose event was retired and is not in `kept`: nobody could deliver it any more."""
    return LeaseLost(f"the event at {offset} was retired before its row was put")


def pasts(records: Iterable[Success | Attempt]) -> dict[int, Past]:
    """What records of attempts say, by offset."""
    found: dict[int, Past] = {}
    for record in records:
        found[record.offset] = found.get(record.offset, Past()).then(record)
    return found


def settled(held: Held, settlement: Settlement) -> Held:
    """The cursor after a settlement that was not refused."""
    cursor = held.cursor
    after = msgspec.structs.replace(
        cursor,
        floor=settlement.floor,
        above=settlement.above,
        number=settlement.number,
        counters=settlement.counters,
        token=cursor.token if settlement.token is None else settlement.token,
        unclean=0 if settlement.clean or settlement.release else cursor.unclean,
        effects=cursor.effects | settlement.effects,
    )
    return Held(after, None if settlement.release else held.worker, held.former, held.former_until)


def assigned(held: Held, worker: str, lease: WorkerLease | None, types: frozenset[str] | None) -> Held:
    """The cursor after it was given to `worker`; `lease` is that of the worker that holds it now."""
    cursor = held.cursor
    former, former_until = held.former, held.former_until
    if held.worker != worker and lease is not None and not lease.released and lease.expires_at >= former_until:
        former, former_until = held.worker, lease.expires_at
    after = msgspec.structs.replace(
        cursor,
        epoch=cursor.epoch + 1,
        number=0,
        unclean=cursor.unclean + 1,
        types=types_from(cursor, types),
    )
    return Held(after, worker, former, former_until)


def types_from(cursor: Cursor, types: frozenset[str] | None) -> tuple[TypesFrom, ...]:
    """The history of types: a change holds from the highest accounted offset + 1 (rule 5)."""
    if types is None or (cursor.types and cursor.types[-1].types == types):
        return cursor.types
    first = cursor.floor + cursor.above.bit_length() + 1
    kept = tuple(entry for entry in cursor.types if entry.offset < first)
    if kept and kept[-1].types == types:
        return kept
    return (*kept, TypesFrom(first, types))


def live(cell: Cell | None, now: int) -> Cell | None:
    """The cell if it exists: one that has expired does not."""
    return None if cell is None or (cell.expires_at is not None and cell.expires_at <= now) else cell


def cell_written(write: CellWrite, found: Cell | None, now: int) -> Cell | CellConflict:
    """The record to store, or the conflict. `found` is what is stored, expired or not.

    A deleted cell stays as one that expired with the deletion, so that its version goes on and does not start again.
    """
    there = live(found, now)
    if write.expected is not None and write.expected != (there.version if there else 0):
        return CellConflict(write.key, there)
    version = found.version if found else 0
    if write.value is None:
        return Cell(write.key, version, b"", now)
    return Cell(write.key, version + 1, write.value, write.expires_at)


def cell_forgotten_before(now: int) -> int:
    """Cells that expired at or before this are removed, versions and all."""
    return now - CELL_GRAVE_US


def discarded_before(now: int) -> int:
    """What was discarded before this is forgotten with its part of the log; a dead letter that is open is not."""
    return now - DISCARDED_KEPT_US


def has_reserve(stream: str) -> bool:
    """Whether a stream is our own: what people ask for goes there, and is taken while there is any room at all."""
    return stream.startswith("_")


def first_known_day(now: int) -> int:
    """The first day (since the epoch) whose identities dedupe still knows."""
    return (now - DEDUPE_WINDOW_US) // US_PER_DAY


def known_as(known: Event, draft: Draft) -> Appended:
    """The answer to a draft whose identity an event has."""
    if known.erased_at is not None:
        conflict = False  # What its payload was is not known any more.
    elif known.claim is None:
        conflict = known.draft.data != draft.data
    else:
        conflict = known.claim != Claim.of(draft.data)
    return Appended(known.shard, known.offset, known.accepted_at, duplicate=True, conflict=conflict)


def identity_conflict(drafts: Sequence[Draft], known: Sequence[Event | None]) -> IdentityConflict | None:
    """Why a whole append is not to be written, None if it is. `known`: for each draft the event that has its identity.

    A draft may also disagree with an earlier one of the same append.
    """
    found: dict[int, Appended | None] = {}
    first: dict[tuple[str, str, str], Draft] = {}
    for place, (draft, event) in enumerate(zip(drafts, known, strict=True)):
        if event is not None:
            answer = known_as(event, draft)
            if answer.conflict:
                found[place] = answer
        elif first.setdefault((draft.stream, draft.source, draft.id), draft).data != draft.data:
            found[place] = None
    return IdentityConflict(found) if found else None


def same_identity(known: Event, draft: Draft) -> bool:
    """Whether a draft of the event's stream is the same fact; of an erased one only a hash is left of its identity."""
    if known.erased_at is not None:
        return known.draft.id == identity_text(draft)
    return known.draft.id == draft.id and known.draft.source == draft.source


def identity_text(draft: Draft) -> str:
    """The hash of an identity as it stands in an erased event, so that the fact does not come in again."""
    return str(identity_hash(draft.source, draft.id))


def erased(event: Event, at: int, *, key: str | None) -> Event:
    """What is left of an event in the log. It keeps its key until no lane has it behind a mark of that key."""
    id = event.draft.id if event.erased_at is not None else identity_text(event.draft)
    draft = Draft(event.shard.stream, event.draft.type, "", id, b"", key)
    return Event(event.shard, event.offset, event.accepted_at, draft, erased_at=event.erased_at or at)


def attempt_erased(attempt: Attempt) -> Attempt:
    """The record of an attempt without anything that may quote the event."""
    return msgspec.structs.replace(attempt, error="erased", detail="", request="", response="", why=None)


def newest_suffix(shard: Shard, key: str) -> str:
    """How the keys of the cells end that say which event of a key is the newest (`delivery.newest`)."""
    return f"/{shard.stream}/{shard.number}/{key}"
