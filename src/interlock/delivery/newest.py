"""The newest event that a lane has delivered, by key: what `if_newer_than=` filters late events by. Pure.

It is a cell a key, written in the settlement of the event: what failed, or was not committed, has not been delivered.
Only the lane that holds the cursor writes it, so its memory is the truth until that is dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from interlock.core import limits
from interlock.core.cursor import CursorId
from interlock.journal.ports import CellWrite
from interlock.spec.newness import Kind, Newness


class Newest(msgspec.Struct, frozen=True, array_like=True):
    """The newest delivered event of a key: its offset, and how new it is."""

    kind: Kind
    value: int | str
    offset: int


_decoder = msgspec.json.Decoder(Newest)


def is_late(newness: Newness, offset: int, newest: Newest | None) -> bool:
    """Whether the event is not newer than the newest delivered one of its key.

    That one itself is not late when it comes again, after a crash or because a person wants it. Values of different
    kinds cannot be compared: the declaration has changed, and it starts anew.
    """
    if newest is None or newest.kind != newness.kind:
        return False
    if newness.value == newest.value:
        return offset != newest.offset
    return newness.value < newest.value  # type: ignore[operator]  # They are of one kind.


class NewestByKey:
    """Of one lane. What is not committed is kept; of the rest, `limits.NEWEST_KEYS_MAX`.

    Args:
        cursor: with the subscription's first name: cells keep their keys when it is renamed.
        covers: whether the cursor has accounted for an offset.
        asked: False where the subscription delivers what is late, too: then nothing needs to be known.
    """

    __slots__ = ("_asked", "_covers", "_known", "_pending", "_prefix", "_sent")

    def __init__(self, cursor: CursorId, covers: Callable[[int], bool], *, asked: bool = True) -> None:
        self._asked = asked
        self._prefix = f"newest/{cursor.subscription}/{cursor.shard.stream}/{cursor.shard.number}/"
        self._covers = covers
        self._pending: dict[str, Newest] = {}
        self._sent: dict[str, Newest] = {}
        self._known: dict[str, Newest | None] = {}

    def cell(self, key: str) -> str:
        """The key of the cell for a key of events."""
        return self._prefix + key

    def knows(self, key: str | None) -> bool:
        """Whether the store need not be asked; None is an event without order."""
        return not self._asked or key is None or key in self._pending or key in self._sent or key in self._known

    def of(self, key: str | None) -> Newest | None:
        """The newest delivered event of a key that is known."""
        if key is None:
            return None
        return self._pending.get(key) or self._sent.get(key) or self._known.get(key)

    def loaded(self, key: str, value: bytes | None) -> None:
        """What the cell says. One of a subscription that was retired says what this cursor never delivered."""
        newest = None if value is None else _decoder.decode(value)
        self._remember(key, newest if newest is not None and self._covers(newest.offset) else None)

    def delivered(self, key: str | None, offset: int, newness: Newness) -> None:
        """An event that was not late is done: from now on it is the newest of its key."""
        if key is not None:
            self._pending[key] = Newest(newness.kind, newness.value, offset)

    def take(self, now: int) -> Iterator[CellWrite]:
        """The cells for the settlement that is being made."""
        self._sent, self._pending = self._pending, {}
        expires_at = now + limits.NEWEST_KEPT_US
        for key, newest in self._sent.items():
            yield CellWrite(self.cell(key), msgspec.json.encode(newest), expires_at=expires_at)

    def committed(self) -> None:
        """What was taken last is durable."""
        for key, newest in self._sent.items():
            self._remember(key, newest)
        self._sent = {}

    def _remember(self, key: str, newest: Newest | None) -> None:
        self._known.pop(key, None)
        self._known[key] = newest
        if len(self._known) > limits.NEWEST_KEYS_MAX:
            del self._known[next(iter(self._known))]
