"""The story as it is told: which line follows from what happened. It hears the process's telemetry and prints nothing.

Each line that tells of a problem names the next command.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal, NamedTuple, cast

from interlock.cli.demo.scenes import STATUS_EVERY_US, SYSTEMS
from interlock.cli.demo.shop import Shop
from interlock.cli.demo.systems import System
from interlock.core.limits import US_PER_SECOND
from interlock.core.ports import Clock

Mark = Literal["*", "~", "!", "x", "="]
"""`*` all is well, `~` is retried, `!` is in trouble, `x` is dead, `=` is counted."""
HINTS: Final[Mapping[Mark, str]] = {
    "~": "interlock tail --errors",
    "!": "interlock systems ls",
    "x": "interlock dead ls",
}
RETRIES_TOLD: Final = 4
"""Failures of one kind before it is told that they are retried."""


class Line(NamedTuple):
    """One line: when it happened, what sort of line it is, who it is about, what is said, and what to type next."""

    at_us: int
    mark: Mark
    who: str
    text: str
    hint: str = ""


class Story:
    """Telemetry in, lines out.

    Args:
        clock: that of the process.
        shop: for what was accepted.
        systems: by their names, for what they took.
        tell: called with each line.

    Attributes:
        began: the monotonic instant of 0:00, once it has begun.
        was_open: whether the breaker of the ERP has opened, and `breakers` how each stands.
    """

    def __init__(self, clock: Clock, shop: Shop, systems: Mapping[str, System], tell: Callable[[Line], None]) -> None:
        self.began = clock.monotonic()
        self.was_open = False
        self.breakers = dict.fromkeys(SYSTEMS, "closed")
        self._clock = clock
        self._shop = shop
        self._systems = systems
        self._tell = tell
        self._failed: Counter[tuple[str, str]] = Counter()
        self._told: set[tuple[str, str]] = set()
        self._deaths: list[tuple[str, str]] = []
        self._dead = 0
        self._shown_at = 0

    def at_us(self) -> int:
        """How far the story is."""
        return self._clock.monotonic() - self.began

    def wants(self, record: str) -> bool:
        """As a sink of telemetry: what becomes a line."""
        return record in ("attempt.failed", "breaker.transition")

    def __call__(self, record: str, /, **fields: object) -> None:
        """As a sink of telemetry."""
        system = str(fields["system"] or "").rpartition(".")[2]
        if system not in self._systems:
            return
        if record == "breaker.transition":
            self._breaker(system, fields)
        elif fields["state"] == "dead":
            self._deaths.append((system, str(fields["error"])))
        else:
            self._failed[system, str(fields["status"] or "timeout")] += 1

    def tick(self, retrying: int) -> None:
        """Once a second: what came together since the last one, and every ten seconds how all stand."""
        # The lines of the gateway, of alerts and of tokens belong here: each from its own records, as these are.
        for (system, kind), count in self._failed.items():
            if count >= RETRIES_TOLD and (system, kind) not in self._told and self.breakers[system] == "closed":
                self._told.add((system, kind))
                self._line("~", system, f"{kind} x{count} -> tried again after growing pauses   retrying {retrying}")
        for system in {system for system, _ in self._deaths}:
            errors = [error for name, error in self._deaths if name == system]
            causes = len(set(errors))
            told = f'"{errors[0]}" ({"one cause" if causes == 1 else f"{causes} causes"})'
            self._line("x", system, f"{len(errors)} dead: {told}")
        self._dead += len(self._deaths)
        self._deaths.clear()
        if self.at_us() >= self._shown_at:
            self._shown_at += STATUS_EVERY_US
            self._status(retrying)

    def _status(self, retrying: int) -> None:
        states = {name: "ok" if state == "closed" else state.upper() for name, state in self.breakers.items()}
        stand = "  ".join(f"{name} {len(each.taken):>5,} {states[name]:<7}" for name, each in self._systems.items())
        count = len(self._shop.accepted)
        self._line("*", "shop", f"{count:>5,} accepted   {stand}  retrying {retrying:>3}   dead {self._dead}")

    def _breaker(self, system: str, fields: Mapping[str, object]) -> None:
        was, state = str(fields["was"]), str(fields["state"]).replace("_", "-")
        self.breakers[system] = state
        waiting = self._waiting(system)
        if state == "open":
            self.was_open |= system == "erp"
            pause_us = cast("int", fields["retry_at"]) - self._clock.now()
            pause = f"next probe in {max(0, round(pause_us / US_PER_SECOND))} s"
            why = f": {fields['failures']} of {fields['calls']} calls failed" if was == "closed" else " again"
            self._line("!", system, f"breaker OPEN{why}; {pause}   waiting {waiting}")
        elif state == "ramping":
            self._line("*", system, f"probes ok -> ramping up; {waiting} go out in order")
        elif state == "closed":
            self._line("*", system, f"breaker CLOSED   waiting {waiting}")

    def _waiting(self, system: str) -> int:
        wanted = sum(fact.kind in SYSTEMS[system] for fact in self._shop.accepted.values())
        return wanted - len(self._systems[system].taken)

    def _line(self, mark: Mark, who: str, text: str) -> None:
        self._tell(Line(self.at_us(), mark, who, text, HINTS.get(mark, "")))


def banner(version: str, seed: int, addresses: Mapping[str, str], store: str) -> Sequence[str]:
    """What stands above the story."""
    rows = {
        # The line of the console belongs above these, that of the gateway below.
        "Webhooks": f"{addresses['data']}/hooks/shop",
        "Control": f"{addresses['control']}/api/v1",
        "Store": store,
    }
    title = f"Interlock {version} demo - shop -> ERP + CRM + warehouse"
    return ["", f"  {title:<66}seed {seed}", *(f"  {name:<9} {what}" for name, what in rows.items())]
