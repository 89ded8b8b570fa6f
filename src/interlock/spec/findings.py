"""What `check` finds, and what its rules look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import msgspec

from interlock.spec.bindings import Bindings
from interlock.spec.plan import (
    EventTypeSpec,
    IntegrationSpec,
    PollSpec,
    ScheduleSpec,
    SubscriptionSpec,
    SystemSpec,
    UpcastSpec,
    WebhookSpec,
    Where,
)


class Finding(NamedTuple):
    """A problem, told so that the reader can act on it.

    `rule` is a dotted slug as error codes are; an `error` keeps `run` from starting, a `warning` does not.
    """

    rule: str
    severity: Literal["error", "warning"]
    subject: str
    where: Where
    why: str
    fix: str

    def __str__(self) -> str:
        return f"{self.where}: {self.severity}: {self.subject}: {self.why} ({self.rule}). {self.fix}"


class Known(msgspec.Struct, frozen=True):
    """What a store remembers of the plans that it ran: names, and the digest of each event type's shape by its id.

    `first_names`: of subscriptions whose calls are keyed under another name than theirs, because they were renamed.
    """

    subscriptions: frozenset[str] = frozenset()
    streams: frozenset[str] = frozenset()
    systems: frozenset[str] = frozenset()
    types: Mapping[str, str] = msgspec.field(default_factory=dict[str, str])
    first_names: Mapping[str, str] = msgspec.field(default_factory=dict[str, str])


class Material(msgspec.Struct, frozen=True):
    """Everything that a rule may look at. `sources` are the texts of code and configuration, by file."""

    integrations: Sequence[IntegrationSpec]
    systems: Sequence[SystemSpec]
    types: Sequence[EventTypeSpec]
    upcasts: Sequence[UpcastSpec]
    webhooks: Sequence[WebhookSpec]
    subscriptions: Sequence[SubscriptionSpec]
    polls: Sequence[PollSpec]
    schedules: Sequence[ScheduleSpec]
    streams: Mapping[str, Where]
    bindings: Bindings
    known: Known
    sources: Mapping[str, str]

    def written(self) -> Sequence[SubscriptionSpec]:
        """Subscriptions and translations: those that somebody wrote."""
        return [subscription for subscription in self.subscriptions if subscription.is_written]
