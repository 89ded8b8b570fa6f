"""What configuration binds to the declarations: addresses, limits, shards, names of secrets. The runtime reads it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from interlock.core import limits
from interlock.spec.declare import Integration
from interlock.spec.plan import HttpBinding, Where


class StreamBinding(msgspec.Struct, frozen=True):
    """How many shards a stream gets when it is made, and how much of it is kept; whichever bound is met first rules."""

    shards: int = limits.SHARDS_DEFAULT
    keep_us: int = limits.RETENTION_AGE_US
    keep_bytes: int = limits.RETENTION_BYTES


class Bindings(msgspec.Struct, frozen=True):
    """All bindings of one installation.

    Attributes:
        systems: by the System's name, `payments.ledger`.
        streams: by the stream's name; those that are not here have the defaults.
        secrets: names that have a source; None where nobody has looked (a test without configuration).
        places: where each binding is written, by `systems.NAME` or `streams.NAME`.
    """

    systems: Mapping[str, HttpBinding] = msgspec.field(default_factory=dict[str, HttpBinding])
    streams: Mapping[str, StreamBinding] = msgspec.field(default_factory=dict[str, StreamBinding])
    secrets: frozenset[str] | None = None
    places: Mapping[str, Where] = msgspec.field(default_factory=dict[str, Where])

    def place(self, name: str) -> Where:
        """Where a binding is written."""
        return self.places.get(name, Where("interlock.toml", 1))


def nowhere(integrations: Iterable[Integration]) -> Bindings:
    """Bindings for tests: every System at an address that cannot exist (RFC 6761 `.invalid`)."""
    places = {"http": "http://{}.invalid", "sql": "sqlite:///{}.invalid"}
    systems = [system for integration in integrations for system in integration.systems]
    return Bindings(
        systems={system.name: HttpBinding(url=places[system.kind].format(system.name)) for system in systems}
    )
