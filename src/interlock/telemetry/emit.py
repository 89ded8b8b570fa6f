"""The Emit port's implementation: one record goes to every sink. What a sink makes of it is the sink's business."""

from __future__ import annotations

from collections.abc import Sequence

from interlock.core.ports import Emit


class Fan:
    """Hands each record to all sinks, in order.

    Sinks keep the port's promise themselves: none blocks and none raises, so neither does this.
    """

    def __init__(self, sinks: Sequence[Emit]) -> None:
        self._sinks = tuple(sinks)

    def __call__(self, record: str, /, **fields: object) -> None:
        for sink in self._sinks:
            sink(record, **fields)
