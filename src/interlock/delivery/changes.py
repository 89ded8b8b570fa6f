"""What a lane has decided since its last settlement and has not committed yet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypedDict

from msgspec.structs import replace

from interlock.core.cursor import Attempt, Mark, Row, Success
from interlock.core.event import Draft
from interlock.delivery.keys import Line
from interlock.journal.ports import CellWrite


class Changed(TypedDict):
    """The part of a `Settlement` that lists changes."""

    put: Sequence[Row]
    clear: Sequence[int]
    marks: Sequence[Mark]
    successes: Sequence[Success]
    attempts: Sequence[Attempt]
    emit: Sequence[Draft]
    cells: Sequence[CellWrite]
    effects: frozenset[str]


class Changes:
    """Collected until `take`, and remembered as sent until `committed`.

    `any`: there is something to commit. `urgent`: something waits for the commit. `ages_us`: how long ago each event
    that was delivered had been accepted; told, not stored.
    """

    def __init__(self) -> None:
        self._sent_puts: dict[int, Row] = {}
        self._sent_clears: dict[int, None] = {}
        self._sent_successes: Sequence[Success] = ()
        self._sent_attempts: Sequence[Attempt] = ()
        self._begin()

    def _begin(self) -> None:
        self.any = False
        self.urgent = False
        self._puts: dict[int, Row] = {}
        self._clears: dict[int, None] = {}
        self._marks: dict[str, Line] = {}
        self.successes: list[Success] = []
        self.ages_us: list[int] = []
        self._attempts: list[Attempt] = []
        self._emits: list[Draft] = []
        self._cells: list[CellWrite] = []
        self._effects: frozenset[str] = frozenset()

    def put(self, row: Row) -> None:
        """Write a row. A later write of the same row wins."""
        # A write without a memo leaves the stored one; so it must not replace one that carries it.
        if not row.memo and (before := self._puts.get(row.offset)) is not None and before.memo:
            row = replace(row, memo=before.memo)
        self._puts[row.offset] = row
        self._clears.pop(row.offset, None)
        self.any = True

    def pending(self, offset: int) -> Row | None:
        """The row as it is about to be written or as it is being written, or None."""
        return self._puts.get(offset) or (None if offset in self._clears else self._sent_puts.get(offset))

    def clears(self, offset: int) -> bool:
        """The row is about to be taken away, or is being so, and is not written anew."""
        gone = offset in self._clears or offset in self._sent_clears
        return gone and self.pending(offset) is None

    def records(self) -> Iterator[Success | Attempt]:
        """Records of attempts that the ledger may not have yet."""
        yield from self._sent_successes
        yield from self._sent_attempts
        yield from self.successes
        yield from self._attempts

    def clear(self, offset: int) -> None:
        """Take a row away."""
        self._puts.pop(offset, None)
        self._clears[offset] = None
        self.any = True

    def mark(self, line: Line) -> None:
        """The line's mark has changed."""
        self._marks[line.key or ""] = line
        self.any = True

    def attempt(self, attempt: Attempt) -> None:
        """Keep a whole record of an attempt."""
        self._attempts.append(attempt)
        self.any = True

    def emit(self, drafts: Sequence[Draft]) -> None:
        """Drafts that commit with the settlement."""
        self._emits.extend(drafts)
        self.any = True

    def cell(self, write: CellWrite, *, urgent: bool = True) -> None:
        """A cell that is written with the settlement."""
        self._cells.append(write)
        self.any = True
        self.urgent |= urgent

    def effect(self, name: str) -> None:
        """The name of an effect that the cursor has not noted yet. A call waits for it."""
        self._effects |= {name}
        self.any = self.urgent = True

    def take(self) -> Changed:
        """Everything collected, and begin anew."""
        taken = Changed(
            put=tuple(self._puts.values()),
            clear=tuple(self._clears),
            marks=tuple(line.mark for line in self._marks.values()),
            successes=self.successes,
            attempts=self._attempts,
            emit=self._emits,
            cells=self._cells,
            effects=self._effects,
        )
        self._sent_puts, self._sent_clears = self._puts, self._clears
        self._sent_successes, self._sent_attempts = self.successes, self._attempts
        self._begin()
        return taken

    def committed(self) -> None:
        """What was taken last is durable."""
        self._sent_puts, self._sent_clears = {}, {}
        self._sent_successes, self._sent_attempts = (), ()
