"""One attempt as the turn of its lane sees it: what it starts from, and how it failed. Values without behaviour."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from interlock.core.cursor import Attempt, Row
from interlock.core.event import Event
from interlock.core.outcome import Later, Reject, Unavailable, Unknown
from interlock.delivery.keys import Line
from interlock.spec.function import Gap

Origin = Literal["window", "row", "mark"]


class Start:
    """An attempt that is to run or runs.

    `event` is None where the log has to be asked for it; `row` is its straggler. `missing`: by offset, the rows of what
    its key misses, which its delivery tells of (`gap`); None if nothing is. `looked_back`: the ledger has been asked.
    """

    __slots__ = ("event", "gap", "line", "looked_back", "missing", "offset", "origin", "row", "started_at")

    def __init__(
        self, offset: int, line: Line, origin: Origin, event: Event | None, row: Row | None, started_at: int
    ) -> None:
        self.offset = offset
        self.line = line
        self.origin: Origin = origin
        self.event = event
        self.row = row
        self.started_at = started_at
        self.missing: dict[int, Row] | None = None
        self.looked_back = False
        self.gap: Gap | None = None

    @property
    def is_replay(self) -> bool:
        """Whether the event had been settled before: its delivery says nothing of how fresh events arrive."""
        return self.row is not None and self.row.trigger == "replay"

    def fresh_row(self) -> Row:
        """The row of an event that has none yet."""
        draft = self.event.draft if self.event is not None else None
        return Row(self.offset, draft.key if draft else self.line.key, "due", type=draft.type if draft else "")


class Failed(NamedTuple):
    """An attempt that did not end well.

    `memo` are the results of its finished calls; b"" leaves what is stored. `down`: the System that failed it is held
    to be down. `spares()`: asked when it would be the event's last; true: nothing ends by it, the event is held back.
    """

    outcome: Later | Reject | Unavailable | Unknown
    attempt: Attempt | None
    memo: bytes = b""
    down: bool = False
    spares: Callable[[], bool] | None = None
