"""One key's line in a lane: which offset is its head, and what may start. Pure (docs/design.md, rule 3).

No stored state says that an event waits. The head is computed at each start from rows, mark and window.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque

from interlock.core.cursor import Mark
from interlock.core.event import Event
from interlock.core.limits import PASSED_OFFSETS_PER_KEY


class Line:
    """What a lane knows of one key.

    Attributes:
        key: the key; None for the line of one keyless event.
        window: offsets that were read, are not accounted for and do not run, ascending.
        rows: offsets of live rows, ascending.
        running: the offset whose attempt is under way.
        wall: number of the settlement that must be durable before anything starts (rule 1); 0 for none.
        first, last, count: the mark; `count` 0 means that there is none.
        claimed, passed: the first of the mark's events, in order: as events, then as offsets.
        known_to: no offset of the mark up to here is missing from `claimed` and `passed`.
        queued: whether it stands in the lane's ready queue.
        tenant: on whose behalf its first event is; "" for nobody's, and for stragglers of before the cursor was opened.
    """

    __slots__ = (
        "claimed", "count", "first", "key", "known_to", "last", "passed", "queued", "rows", "running", "tenant",
        "wall", "window",
    )  # fmt: skip

    def __init__(self, key: str | None, tenant: str = "") -> None:
        self.key = key
        self.tenant = tenant
        self.window: deque[int] = deque()
        self.rows: list[int] = []
        self.running: int | None = None
        self.wall = 0
        self.first = self.last = self.count = self.known_to = 0
        self.claimed: deque[Event] | None = None
        self.passed: deque[int] | None = None
        self.queued = False

    @property
    def idle(self) -> bool:
        """Nothing is left of it: the lane may forget the key."""
        return not (self.window or self.rows or self.count or self.wall) and self.running is None

    @property
    def blocked(self) -> bool:
        """A straggler or a mark stands before its new events."""
        return bool(self.rows or self.count)

    @property
    def mark(self) -> Mark:
        """The mark as the ledger keeps it; `count` 0 takes it away."""
        return Mark(self.key or "", self.first, self.last, self.count)

    @property
    def full(self) -> bool:
        """No further offset of the mark can be remembered."""
        return self.passed is not None and len(self.passed) >= PASSED_OFFSETS_PER_KEY

    def head(self) -> int | None:
        """The lowest unsettled offset that does not run, or None."""
        lowest = self.rows[0] if self.rows else None
        if self.window and (lowest is None or self.window[0] < lowest):
            lowest = self.window[0]
        if self.count and (lowest is None or self.first < lowest):
            lowest = self.first
        return lowest

    def add_row(self, offset: int) -> None:
        """Note a live row."""
        at = bisect_left(self.rows, offset)
        if at == len(self.rows) or self.rows[at] != offset:
            insort(self.rows, offset)

    def drop_row(self, offset: int) -> None:
        """Forget a row that has been settled or died."""
        at = bisect_left(self.rows, offset)
        if at < len(self.rows) and self.rows[at] == offset:
            del self.rows[at]

    def fold(self, offset: int, room: bool) -> bool:
        """Count one more follower behind the mark; true if its offset is remembered (only while `room`)."""
        if self.count == 0:
            self.first, self.last, self.known_to = offset, offset - 1, offset - 1
        complete = self.known_to >= self.last
        self.last = offset
        self.count += 1
        if not (complete and room):
            return False
        return self.remember(offset)

    def remember(self, offset: int) -> bool:
        """Remember the next offset of the mark; false when the key's share of memory is used up."""
        if self.passed is None:
            self.passed = deque()
        if self.full:
            return False
        self.passed.append(offset)
        self.known_to = offset
        return True

    def consume(self) -> None:
        """The mark's first event has been settled or has its own row: the mark moves behind it (rule 3)."""
        assert self.claimed, "only a claimed event can have started from the mark"
        self.first = self.claimed.popleft().offset + 1
        self._count_down()

    def drop(self, offset: int) -> bool:
        """One of the mark's events, which does not run, is gone; true if its offset was remembered."""
        passed = self.passed is not None and offset in self.passed
        if self.passed is not None and passed:
            self.passed.remove(offset)
        elif self.claimed:
            self.claimed = deque(event for event in self.claimed if event.offset != offset)
        self._count_down()
        return passed

    def _count_down(self) -> None:
        self.count -= 1
        if self.count == 0:
            self.first = self.last = self.known_to = 0
            self.claimed = self.passed = None
