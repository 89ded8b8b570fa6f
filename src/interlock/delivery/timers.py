"""When the rows of a lane are due, and which of them a pause has stopped. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush


class Timers:
    """Due times with offsets, the next one first. One that does not hold any more is the caller's to recognise."""

    __slots__ = ("_heap", "_stopped")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int]] = []
        self._stopped: list[tuple[int, int]] = []

    def add(self, due_at: int, offset: int) -> None:
        """A row is due then."""
        heappush(self._heap, (due_at, offset))

    def take(self, now: int) -> Iterator[tuple[int, int]]:
        """What is due, also what becomes so on the way."""
        while self._heap and self._heap[0][0] <= now:
            yield heappop(self._heap)

    def stop(self, due_at: int, offset: int) -> None:
        """Set one aside that was taken, until `thaw`."""
        self._stopped.append((due_at, offset))

    def thaw(self) -> None:
        """A pause has ended: what it may have stopped is taken again."""
        for due_at, offset in self._stopped:
            self.add(due_at, offset)
        self._stopped = []

    @property
    def next_at(self) -> int | None:
        """When the next one is due."""
        return self._heap[0][0] if self._heap else None
