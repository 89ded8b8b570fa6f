"""The audit: who changed what, in the stream `_audit`, each event chained to the one before by its hash.

A command's effect (cells) and its audit event are one commit: neither exists without the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final, NamedTuple

import msgspec

from interlock.core.errors import InterlockError
from interlock.core.event import Appended, Draft
from interlock.core.ids import minted_id
from interlock.core.ports import Clock, Random
from interlock.journal.ports import AppendRefused, Cell, Cells, CellWrite, Journal

STREAM: Final = "_audit"
TYPE: Final = "interlock.audit@1"
HEAD_CELL: Final = "audit/head"
GENESIS: Final = "0" * 64
_TRIES_MAX: Final = 10
"""Commands commit one after the other; ten lost races in a row mean that something else is wrong."""


class AuditEntry(msgspec.Struct, frozen=True):
    """One command, as its event's payload keeps it.

    Attributes:
        action: `system.pause`, `dead.retry`, ...
        subject: what it was done to.
        actor: who did it.
        role: by which right.
        reason: why, in the actor's words.
        at: when (µs since the epoch).
        before: the state that it found.
        after: the state that it left.
        previous: SHA-256 of the payload of the audit event before this one, in hex; zeros for the first.
    """

    action: str
    subject: str
    actor: str
    role: str
    reason: str
    at: int
    before: msgspec.Raw
    after: msgspec.Raw
    previous: str


class Change(NamedTuple):
    """What a command is about to commit: cells as read under `expected`, and the states for the audit."""

    before: bytes
    after: bytes
    cells: Sequence[CellWrite] = ()


class Who(NamedTuple):
    """On whose behalf, and why."""

    actor: str
    reason: str
    role: str = "operator"


class _Head(msgspec.Struct, frozen=True):
    hash: str


class Audit:
    """Commits changes with their audit events, one after the other: a race that is lost is run again."""

    def __init__(self, journal: Journal, cells: Cells, clock: Clock, random: Random) -> None:
        self._journal = journal
        self._cells = cells
        self._clock = clock
        self._random = random

    async def commit(
        self,
        action: str,
        subject: str,
        who: Who,
        cells: Sequence[str],
        decide: Callable[[Sequence[Cell | None]], Change],
    ) -> Appended:
        """Read `cells`, let `decide` say what becomes of them, and commit that with the audit event.

        `decide` is called again with what is there whenever somebody else was faster, so it must be pure.

        Raises:
            StoreFull, StoreBusy: nothing was written.
            StoreError: it may or may not have been written.
            InterlockError: `audit.contended`, if others were faster ten times.
        """
        if self._journal.stream(STREAM) is None:
            await self._journal.make_stream(STREAM, 1)
        for _ in range(_TRIES_MAX):
            found = await self._cells.get([HEAD_CELL, *cells])
            change = decide([found.get(key) for key in cells])
            draft, head = self._entry(action, subject, who, change, found.get(HEAD_CELL))
            answer = await self._journal.append([draft], [head, *change.cells])
            if not isinstance(answer, AppendRefused):
                return answer[0]
        raise InterlockError("audit.contended", "other commands were faster ten times in a row", "try again")

    def _entry(self, action: str, subject: str, who: Who, change: Change, head: Cell | None) -> tuple[Draft, CellWrite]:
        now = self._clock.now()
        previous = msgspec.json.decode(head.value, type=_Head).hash if head else GENESIS
        entry = AuditEntry(
            action,
            subject,
            who.actor,
            who.role,
            who.reason,
            now,
            msgspec.Raw(change.before),
            msgspec.Raw(change.after),
            previous,
        )
        payload = msgspec.json.encode(entry)
        id = minted_id("aud_", now, self._random.bytes(9))
        draft = Draft(stream=STREAM, type=TYPE, source="/control", id=id, data=payload)
        chained = msgspec.json.encode(_Head(digest(payload)))
        return draft, CellWrite(HEAD_CELL, chained, expected=head.version if head else 0)


def digest(payload: bytes) -> str:
    """What the next audit event names as its previous one."""
    return sha256(payload).hexdigest()


class Chain:
    """Follows the audit from one event to the next.

    Args:
        whole: whether it begins with the first event ever; where older ones were retired, the first is taken on trust.
    """

    def __init__(self, *, whole: bool = True) -> None:
        self._previous = GENESIS if whole else None

    def holds(self, payload: bytes) -> bool:
        """Whether this event is chained to the one before."""
        try:
            entry = msgspec.json.decode(payload, type=AuditEntry)
        except msgspec.DecodeError:
            return False
        chained = self._previous in (None, entry.previous)
        self._previous = digest(payload)
        return chained
