"""What happened in a run, for people: one line a moment, by whom and about which events."""

from __future__ import annotations

from collections.abc import Set
from typing import NamedTuple

from interlock.core.limits import US_PER_SECOND


class Moment(NamedTuple):
    """`t` in µs from the start of the run. `event`, `subscription`: what it is about, or ""."""

    t: int
    who: str
    text: str
    event: str = ""
    subscription: str = ""
    is_fault: bool = False


class Tale:
    """Collects moments, in order."""

    def __init__(self) -> None:
        self.moments: list[Moment] = []
        self.names: dict[str, str] = {}
        """What events are called: `order.paid #3` for an id."""

    def about(self, events: Set[str], subscriptions: Set[str]) -> list[str]:
        """Every fault and what concerns these events and subscriptions, a line each; nothing named means all."""
        chosen = [
            one
            for one in self.moments
            if (not events or not one.event or one.event in events)
            and (not subscriptions or not one.subscription or one.subscription in subscriptions)
        ]
        width = max((len(one.who) for one in chosen), default=0)
        return [self._line(one, width) for one in chosen]

    def _line(self, moment: Moment, width: int) -> str:
        mark = "!" if moment.is_fault else " "
        name = self.names.get(moment.event, "")
        text = f"{name}: {moment.text}" if name else moment.text
        return f"{clock(moment.t)} {mark} {moment.who:<{width}}  {text}"


def clock(us: int) -> str:
    """Minutes and seconds from the start, as `  0:03.250`."""
    minutes, rest = divmod(us, 60 * US_PER_SECOND)
    return f"{minutes:>3}:{rest / US_PER_SECOND:06.3f}"
