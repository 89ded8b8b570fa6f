"""A plain `def` function on its way through a thread. Nothing can end it there: its attempt lasts as long as it does.

What has not begun can still be called off; then nothing was tried, and nothing counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from interlock.core.ports import Offload


class Plain:
    """One run. `func` is the user's function: threads tell functions apart by it."""

    __slots__ = ("_context", "_event", "_fate", "func")

    def __init__(self, func: Callable[..., Any], event: object, context: object) -> None:
        self.func = func
        self._event = event
        self._context = context
        self._fate: dict[str, str] = {}

    def __call__(self) -> Any:  # What the user's function returns.
        """On the thread."""
        # `setdefault` is one step for both threads: whoever comes first decides.
        if self._fate.setdefault("is", "begun") == "begun":
            return self.func(self._event, self._context)
        return None

    @property
    def called_off(self) -> bool:
        """It never began, and never will."""
        return self._fate.get("is") == "called off"

    async def run(self, offload: Offload) -> Any:
        """Run it, and give what it returns. Cancelled while it runs it waits for its end; cancelled twice it leaves."""
        future = asyncio.ensure_future(offload.run(self))
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            if self._fate.setdefault("is", "called off") == "begun" and not future.done():
                await asyncio.wait([future])
            if future.done() and not future.cancelled():
                future.exception()
            raise
