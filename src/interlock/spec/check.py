"""`check`: all that is wrong with declarations and their bindings, at once; and `build_plan`, which accepts the rest.

Pure: whoever has read the files hands their text in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from inspect import unwrap
from types import CodeType
from typing import Any, cast

import msgspec

from interlock.core.errors import SpecError
from interlock.spec.bindings import Bindings, StreamBinding
from interlock.spec.declare import Integration
from interlock.spec.findings import Finding, Known, Material
from interlock.spec.plan import Plan, StreamSpec, Where
from interlock.spec.rules import RULES
from interlock.spec.upcast import leading_to
from interlock.spec.uses import systems_used

_INBOX_SHARDS = 1
_NOT_DIGESTED = frozenset({"where", "places", "decode", "encode", "model", "sources", "known"})
"""Places move with every line above them, the shape's digest stands for the codec, and a store is not the plan's."""


def check(
    integrations: Sequence[Integration],
    bindings: Bindings,
    *,
    known: Known | None = None,
    sources: Mapping[str, str] | None = None,
) -> list[Finding]:
    """Findings, errors first, in the order of file and line.

    `known` is what the store remembers; without it nothing is said about shapes and names that have changed.
    """
    return _found(_gather(integrations, bindings, known or Known(), sources or {}))


def build_plan(
    integrations: Sequence[Integration],
    bindings: Bindings,
    *,
    known: Known | None = None,
    sources: Mapping[str, str] | None = None,
) -> Plan:
    """The plan, if `check` finds no error.

    Raises:
        SpecError: `spec.check-failed`, with every error; `fields["findings"]` holds them.
    """
    material = _gather(integrations, bindings, known or Known(), sources or {})
    errors = [finding for finding in _found(material) if finding.severity == "error"]
    if errors:
        told = "\n".join(f"  {finding}" for finding in errors)
        raise SpecError(
            "spec.check-failed",
            f"The declarations cannot be run:\n{told}\n",
            "Mend them; `interlock check` shows each with its source.",
            where=str(errors[0].where),
            fields={"findings": errors},
        )
    return _planned(material)


def planned(integrations: Sequence[Integration], bindings: Bindings) -> Plan:
    """The plan of what has been checked already and found free of errors."""
    return _planned(_gather(integrations, bindings, Known(), {}))


def _planned(material: Material) -> Plan:
    bindings = material.bindings
    digest = blake2b(msgspec.json.encode(_plain(material)), digest_size=8).hexdigest()
    return Plan(
        integrations=tuple(material.integrations),
        systems={system.name: system for system in material.systems},
        bindings=dict(bindings.systems),
        types={type.id: type for type in material.types},
        webhooks=tuple(material.webhooks),
        subscriptions={subscription.name: subscription for subscription in material.subscriptions},
        polls=tuple(material.polls),
        schedules=tuple(material.schedules),
        upcasts=tuple(material.upcasts),
        streams=tuple(_stream(name, bindings, material) for name in material.streams),
        digest=digest,
    )


def _found(material: Material) -> list[Finding]:
    findings = {finding: None for rule in RULES for finding in rule(material)}
    return sorted(findings, key=lambda finding: (finding.severity, finding.where, finding.rule, finding.subject))


def _gather(
    integrations: Sequence[Integration], bindings: Bindings, known: Known, sources: Mapping[str, str]
) -> Material:
    upcasts = [upcast for integration in integrations for upcast in integration.upcasts]
    subscriptions = [
        msgspec.structs.replace(spec, systems=systems_used(spec.function), upcasts=leading_to(spec.types, upcasts))
        for integration in integrations
        for spec in integration.subscriptions
    ]
    streams: dict[str, Where] = {
        integration.name: integration.spec.where
        for integration in integrations
        if integration.types or integration.polls or integration.schedules
    }
    streams |= {webhook.inbox: webhook.where for integration in integrations for webhook in integration.webhooks}
    streams |= {spec.stream: spec.where for spec in subscriptions if spec.kind == "delay"}
    return Material(
        integrations=[integration.spec for integration in integrations],
        systems=[system for integration in integrations for system in integration.systems],
        types=[type for integration in integrations for type in integration.types],
        upcasts=upcasts,
        webhooks=[webhook for integration in integrations for webhook in integration.webhooks],
        subscriptions=subscriptions,
        polls=[poll for integration in integrations for poll in integration.polls],
        schedules=[schedule for integration in integrations for schedule in integration.schedules],
        streams=streams,
        bindings=bindings,
        known=known,
        sources=sources,
    )


def _stream(name: str, bindings: Bindings, material: Material) -> StreamSpec:
    is_inbox = any(webhook.inbox == name for webhook in material.webhooks)
    otherwise = StreamBinding(shards=_INBOX_SHARDS) if is_inbox else StreamBinding()
    binding = bindings.streams.get(name, otherwise)
    return StreamSpec(name, binding.shards, binding.keep_us, binding.keep_bytes)


def _plain(value: Any) -> Any:  # Any: it takes apart records of every kind.
    """A value as JSON can hold it, the same in every process: no places, no addresses, sets sorted."""
    match value:
        case msgspec.Struct():
            names = [name for name in value.__struct_fields__ if name not in _NOT_DIGESTED]
            return [type(value).__name__, {name: _plain(getattr(value, name)) for name in names}]
        case Where():
            return None
        case str() | int() | float() | None:
            return value
        case bytes():
            return value.hex()
        case CodeType():
            return [value.co_name, value.co_code.hex(), list(value.co_names), _plain(value.co_consts)]
        case Mapping():
            pairs = cast("Mapping[str, Any]", value).items()
            return {key: _plain(item) for key, item in sorted(pairs)}
        case frozenset():
            return sorted(repr(_plain(item)) for item in cast("frozenset[Any]", value))
        case tuple() | list():
            return [_plain(item) for item in cast("Sequence[Any]", value)]
        case Callable():
            return _plain(getattr(unwrap(value), "__code__", type(value).__qualname__))
        case _:
            return repr(value)
