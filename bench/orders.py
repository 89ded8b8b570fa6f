"""What the benchmarks run on: an integration of one event type with a payload of about 500 bytes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from interlock.core.event import Draft
from interlock.spec.bindings import Bindings
from interlock.spec.check import planned
from interlock.spec.declare import EventType, Integration
from interlock.spec.plan import HttpBinding, Plan

KEYS = 5_000
TOKEN = "benchmark-token-of-no-value"
_NOTE = "Leave it with the neighbours at number 12 if nobody answers, and never at the door when it rains. " * 3


class Order(msgspec.Struct):
    """An order; `id` is the key."""

    id: str
    customer: str
    cents: int
    currency: str
    paid: bool
    note: str
    lines: list[str]


class Shop(NamedTuple):
    """An integration and what it declares."""

    integration: Integration
    order: EventType[Order]

    def draft(self, number: int, key: str | None = None) -> Draft:
        """The draft of one order."""
        return self.order.draft(payload(key or f"order-{number % KEYS:04}"), id=f"{number:012}")


def payload(key: str) -> Order:
    return Order(key, "customer-000042", 1_250, "EUR", True, _NOTE, ["sku-1001 x 2", "sku-1002 x 1", "sku-1003 x 7"])


def shop() -> Shop:
    """A new integration without subscriptions."""
    integration = Integration("shop", owner="benchmarks", purpose="measure what the machine can do")
    return Shop(integration, integration.event("order", Order, key=lambda order: order.id))


def subscribed(
    own: Shop, name: str, function: Callable[[Any, Any], Awaitable[Any]] | Callable[[Any, Any], Any], **how: Any
) -> None:
    """Subscribe a function under a name; benchmarks make several of one."""
    function.__name__ = function.__qualname__ = name
    own.integration.subscribe(own.order, **how)(function)


def plan(own: Shop, systems: Mapping[str, HttpBinding] | None = None) -> Plan:
    """The plan, with the addresses of its Systems."""
    return planned([own.integration], Bindings(systems=systems or {}))
