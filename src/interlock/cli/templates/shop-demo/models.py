"""What the shop tells: the payloads of its events."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """One position of an order."""

    sku: str
    count: int


@dataclass(frozen=True)
class OrderPaid:
    """An order that has been paid."""

    order: str
    customer: str
    cents: int
    lines: tuple[Line, ...]
