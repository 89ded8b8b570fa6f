"""The rules of `check`, one small pure function each. A rule yields what is wrong and is silent otherwise.

How much is an error and how much a warning: what would lose, misorder or leak is an error; what would surprise is a
warning.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from itertools import chain
from urllib.parse import urlsplit

from interlock.core import limits
from interlock.core.redact import is_secret_name
from interlock.spec.answers import answers
from interlock.spec.bounds import Range, bounds, deadline, within
from interlock.spec.database import NoAddress, database_address
from interlock.spec.findings import Finding, Material
from interlock.spec.literal import secret_in, secrets_in_text
from interlock.spec.newness import USABLE, fields_of
from interlock.spec.plan import HttpBinding, ScheduleSpec, SubscriptionSpec, SystemSpec, Where
from interlock.spec.references import secret_name, secret_references
from interlock.spec.schedule import is_zone, why_not_cron
from interlock.spec.senders import senders
from interlock.spec.sequence import sequences
from interlock.spec.span import write_span
from interlock.spec.upcast import upcast_holes, upcasters

Rule = Callable[[Material], Iterator[Finding]]

_SEGMENT = re.compile(r"[a-z][a-z0-9_-]*", re.ASCII)
_DOTTED = re.compile(r"[a-z][a-z0-9_-]*(?:\.[a-z0-9][a-z0-9_-]*)*", re.ASCII)
_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)+/?|/", re.ASCII)

_CHANGING = frozenset({"POST", "PUT", "PATCH", "DELETE"})


def order(material: Material) -> Iterator[Finding]:
    """Order is by the key of the type; without a key there is none, and the subscription says that it knows."""
    for spec in material.written():
        keyless = [type.id for type in spec.reads if type.key is None]
        if spec.order not in {"key", "none"}:
            yield _error(
                "spec.order-unknown", spec, f"order={spec.order!r} means nothing", 'Say order="key" or order="none".'
            )
        elif spec.order == "key" and keyless:
            yield _error(
                "spec.order-needs-key",
                spec,
                f"it asks for order by key, and {', '.join(keyless)} has none",
                'Declare key= on the event type, or say order="none" on the subscription.',
            )
        if not spec.types:
            yield _error("spec.subscription-empty", spec, "it names no event type", "Name the type that it is for.")
        if len({type.stream for type in spec.types}) > 1:
            yield _error(
                "spec.types-of-two-streams",
                spec,
                "its types are of different integrations, between which there is no order",
                "Make one subscription for the types of each integration.",
            )


def newness(material: Material) -> Iterator[Finding]:
    """What is late is told by the payload, for each key: so there is a key, and every payload says how new it is."""
    for spec in material.written():
        said = spec.if_newer_than
        if said is None or spec.kind == "resequence":
            continue
        if spec.order != "key":
            yield _error(
                "spec.newness-without-order",
                spec,
                "if_newer_than= is for each key, and without order two events of a key may be delivered at once",
                'Leave order="none" out, or if_newer_than=.',
            )
        if not isinstance(said, str):
            continue
        for type in spec.types:
            fields = fields_of(type.model)
            if fields is None:
                continue
            if said not in fields:
                why, fix = f"{type.id} has no field {said!r}", "Name one of its fields, or give a function."
                yield _error("spec.newness-unknown", spec, why, _nearest(said, sorted(fields), fix))
            elif fields[said] not in USABLE:
                why = f"{said!r} of {type.id} is no int, str or datetime, so it does not say which event is newer"
                yield _error("spec.newness-unusable", spec, why, "Name another field, or give a function.")


def owner_and_purpose(material: Material) -> Iterator[Finding]:
    """Someone answers for every integration, and it says which need it serves."""
    for spec in material.integrations:
        for what, text in (("owner", spec.owner), ("purpose", spec.purpose)):
            if not text.strip():
                why, fix = f"it has no {what}", f"Say {what}= where the integration is declared."
                yield Finding(f"spec.{what}-missing", "error", spec.name, spec.where, why, fix)


def freshness(material: Material) -> Iterator[Finding]:
    """A subscription says how late is too late; nobody can be told of a bound that does not exist."""
    for spec in material.subscriptions:
        if spec.freshness_us is not None:
            span = Range(limits.US_PER_MS, limits.RETENTION_AGE_US, write_span)
            yield from within("spec.freshness", spec.name, spec.where, "freshness", spec.freshness_us, span)
        elif spec.kind == "subscribe":
            yield _warning(
                "spec.freshness-unsaid",
                spec,
                "it does not say within which time its events should be done, so nobody hears when they are not",
                "Say freshness=timedelta(...), from the purpose of the integration.",
            )


def on_dead(material: Material) -> Iterator[Finding]:
    """What later events do behind one that cannot be delivered is a decision of the business, made where it matters."""
    for spec in material.subscriptions:
        policy = spec.on_dead
        if policy.kind not in {"skip", "halt", "block_then_skip"}:
            yield _error(
                "spec.on-dead-unknown",
                spec,
                f"on_dead={policy.kind!r} means nothing",
                'Say "skip", "halt" or block_then_skip(after).',
            )
        elif policy.kind == "block_then_skip":
            span = Range(limits.US_PER_SECOND, limits.RETENTION_AGE_US, write_span)
            after_us = policy.after_us or 0
            yield from within("spec.on-dead-after", spec.name, spec.where, "block_then_skip(after)", after_us, span)
        if spec.on_dead_stated and spec.order == "none" and policy.kind == "block_then_skip":
            yield _warning(
                "spec.on-dead-without-order",
                spec,
                "without order nothing waits behind an event, so there is nothing to block",
                'Say on_dead="skip" or "halt", or order by key.',
            )
        if spec.kind == "subscribe" and spec.order == "key" and spec.systems and not spec.on_dead_stated:
            default = write_span(limits.BLOCK_THEN_SKIP_US)
            yield _warning(
                "spec.on-dead-unsaid",
                spec,
                f"it changes {', '.join(spec.systems)} in order and does not say what follows an event that cannot be "
                f"delivered; by default its key waits {default} and then goes on without it",
                'Say on_dead="skip", "halt" or block_then_skip(after).',
            )


def literal_secret(material: Material) -> Iterator[Finding]:
    """Code and configuration hold names of secrets, never secrets."""
    remedy = "Put it where [secrets] in interlock.toml points to, use its name here, and replace it: it has been seen."
    for file, text in material.sources.items():
        for line, kind in secrets_in_text(file, text):
            yield Finding("spec.secret-literal", "error", file, Where(file, line), f"this looks like {kind}", remedy)
    for system, binding in material.bindings.systems.items():
        where = material.bindings.place(f"systems.{system}")
        for header, value in binding.headers.items():
            if secret_name(value) is None and (is_secret_name(header) or secret_in(value, name=header)):
                why = f"the header {header} holds its secret"
                yield Finding("spec.secret-literal", "error", system, where, why, f'Write {header} = "secret:NAME".')
        address = database_address(binding.url)
        if isinstance(address, NoAddress) and address.is_secret:
            why, fix = "its url holds a password", 'Write url = "postgresql://user:secret:NAME@host/database".'
            yield Finding("spec.secret-literal", "error", system, where, why, fix)


def durable_names(material: Material) -> Iterator[Finding]:
    """Names live in the store for as long as the events: well-formed, not reserved, and one thing each."""
    for kind, names in _names(material).items():
        seen: dict[str, Where] = {}
        for name, local, where in names:
            pattern = _DOTTED if kind == "event type" else _SEGMENT
            if local.startswith("_"):
                why, fix = f"names that begin with _ are Interlock's own ({kind})", "Choose another name."
                yield Finding("spec.name-reserved", "error", name, where, why, fix)
            elif not pattern.fullmatch(local) or len(name) > limits.NAME_CHARS_MAX:
                why = f"{local!r} is no name for a {kind}"
                fix = f"Use small letters, digits, _ and -, a letter first, at most {limits.NAME_CHARS_MAX} in all."
                yield Finding("spec.name-malformed", "error", name, where, why, fix)
            if name in seen:
                why = f"the {kind} is declared at {seen[name]} already"
                yield Finding("spec.name-twice", "error", name, where, why, "Give one of them another name.")
            seen.setdefault(name, where)


def webhooks(material: Material) -> Iterator[Finding]:
    """A webhook has an address of its own."""
    taken: dict[tuple[str, str], str] = {}
    for spec in material.webhooks:
        if spec.method != "POST" or not _PATH.fullmatch(spec.path):
            why, fix = f"{spec.method} {spec.path} is not an address for it", 'Write it as "POST /hooks/NAME".'
            yield Finding("spec.route-malformed", "error", spec.name, spec.where, why, fix)
        other = taken.setdefault((spec.method, spec.path), spec.name)
        if other != spec.name:
            why, fix = f"{spec.method} {spec.path} is {other}'s address already", "Give one of them another path."
            yield Finding("spec.route-twice", "error", spec.name, spec.where, why, fix)


def links(material: Material) -> Iterator[Finding]:
    """A link changes something at one address: what it is answered goes nowhere."""
    for spec in material.subscriptions:
        if spec.link and not (spec.link.method in _CHANGING and _PATH.fullmatch(spec.link.path)):
            yield _error(
                "spec.operation-malformed",
                spec,
                f"{spec.link.method} {spec.link.path} is no operation for a link",
                'Write it as "POST /orders" (or PUT, PATCH, DELETE); for an address made of the event, use subscribe.',
            )


def schedules(material: Material) -> Iterator[Finding]:
    """A schedule has times, and says what becomes of those that it missed."""
    for spec in material.schedules:
        for rule, why, fix in _wrong_times(spec):
            yield Finding(rule, "error", spec.name, spec.where, why, fix)
        if spec.missed not in {"run once", "skip", "catch up"}:
            why, fix = f"missed={spec.missed!r} means nothing", 'Say missed="run once", "skip" or "catch up".'
            yield Finding("spec.missed-unknown", "error", spec.name, spec.where, why, fix)


def references(material: Material) -> Iterator[Finding]:
    """What configuration binds is declared, and what is declared is bound."""
    bindings = material.bindings
    declared = {system.name: system for system in material.systems}
    for system in material.systems:
        binding = bindings.systems.get(system.name)
        if binding is None:
            why, fix = "it has no address", f'Add [systems."{system.name}"] with url = "..." to interlock.toml.'
            yield Finding("spec.system-unbound", "error", system.name, system.where, why, fix)
        else:
            where = bindings.place(f"systems.{system.name}")
            for rule, why, fix in _wrong_binding(system, binding):
                yield Finding(rule, "error", system.name, where, why, fix)
    for kind, names, known in (
        ("systems", bindings.systems.keys(), declared.keys()),
        ("streams", bindings.streams.keys(), material.streams.keys()),
    ):
        for name in names - known:
            where, fix = bindings.place(f"{kind}.{name}"), _nearest(name, sorted(known), "Remove it, or declare it.")
            yield Finding(
                "spec.binding-unknown", "error", name, where, "it is bound and no integration declares it", fix
            )
    for name, subject, where in secret_references(material.webhooks, bindings):
        if bindings.secrets is not None and name not in bindings.secrets:
            fix = _nearest(
                name, sorted(bindings.secrets), f'Add "{name}" = "env:NAME" under [secrets] in interlock.toml.'
            )
            yield Finding("spec.secret-unknown", "error", subject, where, f"no secret is named {name!r}", fix)


def keyed_effects(material: Material) -> Iterator[Finding]:
    """A repeated call is harmless only if the System says that it honours the key."""
    used = {system for spec in material.subscriptions for system in spec.systems}
    for system in material.systems:
        if system.honours_keys is None and system.name in used:
            why = "calls to it are repeated with the same Idempotency-Key, and nobody has said whether it honours that"
            fix = "Say honours_keys=True or False where it is declared; with False, choose an effect for each call."
            yield Finding("spec.keys-unsaid", "warning", system.name, system.where, why, fix)


def shapes(material: Material) -> Iterator[Finding]:
    """Under one version an event type has one shape, or events in the log could not be read any more."""
    for type in material.types:
        digest = material.known.types.get(type.id)
        if digest is not None and digest != type.schema_digest:
            why = "its model has another shape than the events in the store, under the same version"
            fix = f"Give it version={type.version + 1}, or give the model its shape back."
            yield Finding("spec.shape-changed", "error", type.id, type.where, why, fix)


def gone(material: Material) -> Iterator[Finding]:
    """What the store knows is in the plan, so that a renamed function does not start again or leave events behind."""
    known = material.known
    places = {integration.name: integration.where for integration in material.integrations}
    everywhere = next(iter(places.values()), Where("interlock.toml", 1))
    for kind, names, present in (
        (
            "subscription",
            known.subscriptions,
            {spec.name for spec in chain(material.subscriptions, material.polls, material.schedules)},
        ),
        ("stream", known.streams, set(material.streams)),
        ("system", known.systems, {system.name for system in material.systems}),
    ):
        for name in sorted(names - present):
            if name.startswith("_"):
                continue
            new = get_close_matches(name, sorted(present - names), 1, 0.5)
            back = f"`interlock subscriptions rename {name} {new[0]}`" if new else "give it its name back"
            fix = f"If it goes on, {back}; if it is not needed any more, `interlock subscriptions retire {name}`."
            where = places.get(name.partition(".")[0], everywhere)
            yield Finding(
                "spec.name-gone", "error", name, where, f"the store knows this {kind}, the plan does not", fix
            )


RULES: Sequence[Rule] = (
    deadline,
    order,
    newness,
    sequences,
    owner_and_purpose,
    freshness,
    on_dead,
    literal_secret,
    durable_names,
    bounds,
    webhooks,
    senders,
    links,
    schedules,
    references,
    keyed_effects,
    answers,
    upcasters,
    upcast_holes,
    shapes,
    gone,
)


def _error(rule: str, spec: SubscriptionSpec, why: str, fix: str) -> Finding:
    return Finding(rule, "error", spec.name, spec.where, why, fix)


def _warning(rule: str, spec: SubscriptionSpec, why: str, fix: str) -> Finding:
    return Finding(rule, "warning", spec.name, spec.where, why, fix)


def _wrong_times(spec: ScheduleSpec) -> Iterator[tuple[str, str, str]]:
    """Rule, reason and fix."""
    if (spec.cron is None) == (spec.every_us is None):
        yield "spec.times-unsaid", "it has to say when it runs, once", 'Say cron="0 6 * * *" or every=timedelta(...).'
    why = None if spec.cron is None else why_not_cron(spec.cron)
    if why:
        fix = 'Write minute, hour, day of the month, month, day of the week: "0 6 * * *" is every day at six.'
        yield "spec.cron-malformed", f"cron={spec.cron!r} is never: {why}", fix
    if not is_zone(spec.timezone):
        fix = 'Name one of the IANA database, as "Europe/Berlin"; a slim system may need its tzdata package.'
        yield "spec.timezone-unknown", f"this system knows no time zone {spec.timezone!r}", fix
    elif spec.cron is None and spec.timezone != "UTC":
        yield "spec.times-unsaid", "a span has no time zone", "Say cron=, or leave timezone= out."


def _names(material: Material) -> dict[str, list[tuple[str, str, Where]]]:
    """Of each kind of thing: whole name, the part that its author chose, and place."""
    names: dict[str, list[tuple[str, str, Where]]] = defaultdict(list)
    for integration in material.integrations:
        names["integration"].append((integration.name, integration.name, integration.where))
    for system in material.systems:
        names["system"].append((system.name, system.name.removeprefix(f"{system.integration}."), system.where))
    for type in material.types:
        names["event type"].append((type.id, type.name, type.where))
    for spec in chain(material.webhooks, material.written(), material.polls, material.schedules):
        names["function"].append((spec.name, spec.name.removeprefix(f"{spec.integration}."), spec.where))
    return names


def _wrong_binding(system: SystemSpec, binding: HttpBinding) -> Iterator[tuple[str, str, str]]:
    """Rule, reason and fix."""
    if system.kind == "http":
        if not _is_address(binding.url):
            yield "spec.address-malformed", "its url is no http address", 'Write url = "https://host/path".'
        return
    address = database_address(binding.url)
    if isinstance(address, NoAddress) and not address.is_secret:
        fix = 'Write url = "postgresql://user:secret:NAME@host/database" or "sqlite:///path".'
        yield "spec.address-malformed", f"its url is no address of a database: {address.why}", fix
    if binding.headers:
        yield "spec.setting-idle", "it is a database and has no header fields", "Remove headers."


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return (
            parts.scheme in {"http", "https"}
            and bool(parts.hostname)
            and parts.port != 0
            and parts.username is None
            and not (parts.query or parts.fragment)
        )
    except ValueError:
        return False


def _nearest(name: str, known: Sequence[str], otherwise: str) -> str:
    near = get_close_matches(name, known, 1)
    return f"Did you mean {near[0]!r}? {otherwise}" if near else otherwise
