"""The function of a link, which nobody has to write: an event's payload, mapped, is the body of one call.

It is an ordinary function of a subscription: the engine does not know that it was made.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from interlock.core.outcome import Done, Outcome
from interlock.spec.function import Context, Event, HttpSystem
from interlock.spec.plan import LinkSpec


def link_function(link: LinkSpec, target: HttpSystem) -> Callable[[Event[Any], Context], Awaitable[Outcome | None]]:
    """Call the operation with what `map` gives; an event for which it gives None is filtered."""

    async def call(event: Event[Any], context: Context) -> Outcome | None:
        body = link.map(event.payload)
        if body is None:
            return Done(filtered=True)
        await context.use(target).request(link.method, link.path, json=body)
        return None

    return call
