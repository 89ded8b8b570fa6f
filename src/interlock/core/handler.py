"""The one composition for everything that goes out: `Handler` and `Layer`.

A handler answers with an `Outcome` and never raises across a layer (cancellation excepted).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal, Protocol

import msgspec

from interlock.core.outcome import Outcome

Effect = Literal["keyed", "natural", "probe", "once"]

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "QUERY"})
"""RFC 9110 9.2.1 and RFC 10008: a call with one of these has no effect that could be repeated."""


class Session(Protocol):
    """An open transaction of a System, for what is done inside it."""

    async def execute(self, statement: str, values: Sequence[object], /) -> int:
        """How many rows a statement changed."""
        ...

    async def fetch(self, statement: str, values: Sequence[object], /) -> Sequence[tuple[Any, ...]]:
        """The rows that a statement gives."""
        ...


Within = Callable[[Session], Awaitable[bytes]]
"""What is done inside a transaction. It gives what is kept with the receipt; whatever it raises rolls back."""


class Call(msgspec.Struct, frozen=True):
    """One request to one System, on its way out.

    Attributes:
        system: the System's name, as `payments.ledger`.
        method: the HTTP method, in upper case.
        target: path and query, absolute on the System (`/entries?x=1`).
        headers: names in lower case. Layers add by `msgspec.structs.replace`.
        body: the whole body.
        effect: how repeating it is made safe.
        key: the idempotency key; empty where there is none (gateway, safe methods).
        label: the call's name within its attempt: given, or its ordinal to that System.
        deadline: monotonic µs by which an answer is needed.
        event: `evt_...` of the event that it is for, or "".
        subscription: the subscription that makes it, or "".
        attempt: `att_...`, or "".
        traceparent: W3C trace context to send on, or "".
        before_send: awaited when the call is about to be sent; False means: the lease is gone, do not send (rule 8).
        may_send: asked in the same step as the bytes are written (rule 2); False: do not send, the lease ends.
        within: for a System with transactions, what is done inside the one that this call is.
    """

    system: str
    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    effect: Effect = "keyed"
    key: str = ""
    label: str = ""
    deadline: int = 0
    event: str = ""
    subscription: str = ""
    attempt: str = ""
    traceparent: str = ""
    before_send: Callable[[], Awaitable[bool]] | None = None
    may_send: Callable[[], bool] | None = None
    within: Within | None = None


Handler = Callable[[Call], Awaitable[Outcome]]
Layer = Callable[[Handler], Handler]


def stack(layers: list[Layer], innermost: Handler) -> Handler:
    """Wrap `innermost` so that the first layer is the outermost."""
    handler = innermost
    for layer in reversed(layers):
        handler = layer(handler)
    return handler
