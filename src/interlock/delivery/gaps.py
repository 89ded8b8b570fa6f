"""What the receiver of a key has not been given: events that died or were discarded, and of which nobody has told.

Pure. The rows in the ledger are the truth: a death is durable before the key's next event starts (rule 1). A lane only
remembers which keys to ask about, so that an event of another key costs a look at a set.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from interlock.core import limits
from interlock.core.cursor import Row
from interlock.delivery.start import Start


class Gaps:
    """Of one lane: the keys that may miss something. Beyond `limits.GAP_KEYS_MAX` that is every key.

    Args:
        keys: those that the ledger has untold rows of.
    """

    __slots__ = ("_everywhere", "_keys")

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = dict.fromkeys(keys)
        self._everywhere = len(self._keys) > limits.GAP_KEYS_MAX

    def may_be(self, key: str | None) -> bool:
        """Whether the ledger has to be asked what the key misses; None is an event without order."""
        return key is not None and (self._everywhere or key in self._keys)

    def opens(self, key: str) -> None:
        """Something of the key has died or was discarded."""
        if not self._everywhere:
            self._keys[key] = None
            self._everywhere = len(self._keys) > limits.GAP_KEYS_MAX

    def closes(self, key: str) -> None:
        """Until it opens again the key misses nothing that is untold."""
        self._keys.pop(key, None)


def noted(start: Start | None, row: Row) -> None:
    """A row of the key is put while an event of it runs that may tell of it."""
    if start is not None and start.missing is not None and (row.offset in start.missing or not start.looked_back):
        start.missing[row.offset] = row


def told(start: Start) -> Sequence[Row]:
    """The rows of what the event has told its receiver is missing, marked so. In the state that they are in by now."""
    if not start.missing:
        return ()
    return [replace(row, told=start.offset, memo=b"") for row in start.missing.values()]
