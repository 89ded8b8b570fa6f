"""Which upcasters a subscription's events pass, and what `check` says of upcasters. Running them is delivery's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from inspect import iscoroutinefunction, unwrap

from interlock.spec.findings import Finding, Material
from interlock.spec.plan import EventTypeSpec, UpcastSpec


def leading_to(types: Sequence[EventTypeSpec], declared: Sequence[UpcastSpec]) -> tuple[UpcastSpec, ...]:
    """The upcasters through which older versions become one of these types; the newest version first.

    A version that is among the types itself is not lifted: its function has said that it takes it as it is.
    """
    reached = {type.id for type in types}
    found: list[UpcastSpec] = []
    # Versions only rise, so from the newest down all that an upcaster may lead to has been decided before it.
    for upcast in sorted(declared, key=lambda upcast: upcast.old.version, reverse=True):
        if upcast.into.id in reached and upcast.old.id not in reached and _is_same(upcast) and _rises(upcast):
            found.append(upcast)
            reached.add(upcast.old.id)
    return tuple(found)


def upcasters(material: Material) -> Iterator[Finding]:
    """An upcaster makes of one version a newer one of the same type, at once; of each version only one does."""
    first: dict[str, UpcastSpec] = {}
    for spec in material.upcasts:
        for rule, why, fix in _wrong(spec, first.setdefault(spec.old.id, spec)):
            yield Finding(rule, "error", spec.name, spec.where, why, fix)


def upcast_holes(material: Material) -> Iterator[Finding]:
    """Where some older versions are lifted, one that is not is more likely forgotten than meant."""
    lifted = {(spec.old.stream, spec.old.name) for spec in material.upcasts}
    for spec in material.written():
        named = {(type.stream, type.name): type for type in sorted(spec.types, key=lambda type: type.version)}
        for type in material.types:
            newest = named.get((type.stream, type.name))
            if newest is None or type.version > newest.version or type.id in spec.type_ids:
                continue
            if (type.stream, type.name) in lifted:
                why = (
                    f"it reads {newest.id}, and no chain of upcasters leads there from {type.id}, which it passes over"
                )
                fix = f"Declare the upcaster that is missing between them, or name {type.id} as well."
                yield Finding("spec.upcast-hole", "warning", spec.name, spec.where, why, fix)


def _wrong(spec: UpcastSpec, first: UpcastSpec) -> Iterator[tuple[str, str, str]]:
    """Rule, reason and fix."""
    if not _is_same(spec):
        why = f"{spec.old.id} and {spec.into.id} are not two versions of one event type of one integration"
        yield "spec.upcast-other-type", why, "For another type, use translate: what it makes is an event of its own."
    elif not _rises(spec):
        why = f"it makes version {spec.into.version} of version {spec.old.version}"
        yield "spec.upcast-not-newer", why, "Let it lead from an older version to a newer one."
    if first is not spec:
        why = f"events of {spec.old.id} are lifted at {first.where} already"
        yield "spec.upcast-twice", why, "Leave one of them; chains are made of one upcaster a version."
    if iscoroutinefunction(unwrap(spec.function)):
        why = "it is async, and a payload is read at once"
        yield "spec.upcast-async", why, "Write it with def: a pure function of the payload."


def _is_same(spec: UpcastSpec) -> bool:
    return (spec.old.stream, spec.old.name) == (spec.into.stream, spec.into.name)


def _rises(spec: UpcastSpec) -> bool:
    return spec.old.version < spec.into.version
