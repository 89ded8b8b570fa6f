"""The marks of a lane: which keys wait for the next event of theirs, and what is remembered of the offsets behind.

Pure. What belongs to one key is in its `Line`; fetching and scanning are the lane's; what a settlement says of a mark
is noted by the turn.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from interlock.core import limits
from interlock.core.cursor import Mark
from interlock.core.event import Event
from interlock.delivery.keys import Line


class Marks:
    """Of all keys of one lane.

    Attributes:
        count: keys that have a mark.
        remembered: offsets in memory, of all keys (at most `limits.PASSED_OFFSETS_PER_LANE`).
        claims: by key, the lines that wait for the next event of their mark.
    """

    __slots__ = ("_lines", "claims", "count", "remembered")

    def __init__(self, lines: dict[str | int, Line]) -> None:
        self._lines = lines
        self.count = 0
        self.remembered = 0
        self.claims: dict[str, Line] = {}

    def __iter__(self) -> Iterator[Line]:
        """The lines that have a mark."""
        return (line for line in self._lines.values() if line.count)

    def enter(self, line: Line, mark: Mark) -> None:
        """A mark as the ledger has it: nothing of it is remembered."""
        line.first, line.last, line.count, line.known_to = mark.first, mark.last, mark.count, mark.first - 1
        self.count += 1

    def fold(self, line: Line, offset: int) -> None:
        """Count one more follower behind the key's mark, or make one."""
        self.count += line.count == 0
        self.remembered += line.fold(offset, self.remembered < limits.PASSED_OFFSETS_PER_LANE)

    def consume(self, line: Line) -> None:
        """The mark's first event has been settled or has its own row."""
        line.consume()
        self.count -= line.count == 0

    def drop(self, line: Line, offset: int) -> None:
        """One of the mark's events is gone, wherever it stands behind the key."""
        self.remembered -= line.drop(offset)
        self.count -= line.count == 0

    def claimed(self, line: Line, events: Sequence[Event]) -> None:
        """Events of the mark that were fetched for the offsets at the front of `passed`."""
        assert line.passed is not None, "only remembered offsets are fetched"
        if line.claimed is None:
            line.claimed = deque()
        for event in events:
            assert line.passed.popleft() == event.offset, "events come in the order asked"
            line.claimed.append(event)
        self.remembered -= len(events)

    def scanned(self, events: Sequence[Event], first: int, last: int) -> None:
        """A scan has read `[first, last]`: remember what it found for marked keys, as far as nothing is missing."""
        for event in events:
            line = self._lines.get(event.draft.key or "")
            if line is None or not line.count or not first - 1 <= line.known_to < event.offset <= min(line.last, last):
                continue
            self.remembered += line.remember(event.offset)
        for line in self.claims.values():
            if line.count and line.known_to >= first - 1 and not line.full:
                # Not beyond the mark: what is folded into it later has not been looked for.
                line.known_to = max(line.known_to, min(last, line.last))

    def scan_from(self) -> int | None:
        """The offset from which a scan has to read for the keys of which no next offset is known; None without any."""
        unknown = [line for line in self.claims.values() if line.count and not line.passed]
        for line in unknown:
            assert line.known_to < line.last, f"the mark of {line.key!r} counts events that are not there"
        return min((max(line.known_to + 1, line.first) for line in unknown), default=None)
