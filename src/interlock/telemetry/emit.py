"""The Emit port's implementation: one record goes to every sink that wants it. What it makes of it is its business."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

_ROUTES_MAX: Final = 1_000
"""Names of records are written in code, so there are few; a bound all the same."""


class Sink(Protocol):
    """An `Emit` that says which records concern it. It neither blocks nor raises."""

    def wants(self, record: str) -> bool:
        """Asked once for each name."""
        ...

    def __call__(self, record: str, /, **fields: object) -> None: ...


class Fan:
    """Hands each record to the sinks that want it, in order."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = tuple(sinks)
        self._routes: dict[str, tuple[Sink, ...]] = {}

    def __call__(self, record: str, /, **fields: object) -> None:
        route = self._routes.get(record)
        if route is None:
            route = self._route(record)
        for sink in route:
            sink(record, **fields)

    def _route(self, record: str) -> tuple[Sink, ...]:
        route = tuple(sink for sink in self._sinks if sink.wants(record))
        if len(self._routes) < _ROUTES_MAX:
            self._routes[record] = route
        return route
