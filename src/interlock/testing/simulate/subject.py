"""What is simulated: the plan of the user's integrations, brought together with what their `Simulation` says.

Nothing is run here; what cannot be simulated as it is declared is told at once, with what to write.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any, NamedTuple

import msgspec

from interlock.core.errors import SpecError
from interlock.spec.bindings import Bindings
from interlock.spec.check import build_plan
from interlock.spec.declare import EventType, Integration
from interlock.spec.jsontext import PayloadError
from interlock.spec.model import json_schema
from interlock.spec.plan import EventTypeSpec, HttpBinding, Plan, WebhookSpec
from interlock.spec.signatures import Unverified
from interlock.testing.fakes import FakeSecrets
from interlock.testing.providers import Delivery, signed
from interlock.testing.sim.client import Fields, Posting
from interlock.testing.sim.serving import HTTP_PORT
from interlock.testing.simulate.samples import sample
from interlock.testing.simulate.script import Cast
from interlock.testing.simulation import Arrival, ArrivalFunction, Simulation

TRIES_MAX = 50
"""Payloads that are made up for a type before it is said that none fits its model."""


class Subject(NamedTuple):
    """What is simulated. `unfed`: webhooks that nothing arrives at, because nobody said what."""

    plan: Plan
    simulation: Simulation
    cast: Cast
    unfed: Sequence[str]


def subject(integrations: Sequence[Integration], bindings: Bindings, simulation: Simulation) -> Subject:
    """Bring declarations and simulation together.

    Raises:
        SpecError: `simulate.database`, `simulate.unknown-source`, `simulate.unknown-system`, or what is wrong with the
            declarations.
    """
    _no_databases(integrations)
    systems = {
        system.name: msgspec.structs.replace(
            bindings.systems.get(system.name, HttpBinding(url="")), url=f"http://{system.name}:{HTTP_PORT}"
        )
        for integration in integrations
        for system in integration.systems
    }
    plan = build_plan(integrations, Bindings(systems=systems, streams=bindings.streams))
    webhooks = [f"{webhook.method} {webhook.path}" for webhook in plan.webhooks]
    _named("simulate.unknown-source", simulation.makers, [*webhooks, *plan.types], "@sim.arrivals")
    _named("simulate.unknown-system", simulation.systems, list(plan.systems), "@sim.answers")
    fed = [route for route in webhooks if route in simulation.makers]
    derived = {spec.into.id for spec in plan.subscriptions.values() if spec.into is not None}
    # What webhooks bring need not be made up as well; what is derived comes by itself.
    types = [name for name in plan.types if name in simulation.makers or (not fed and name not in derived)]
    written = [name for name, spec in plan.subscriptions.items() if spec.kind == "subscribe"]
    cast = Cast([*fed, *types], list(plan.systems), written)
    return Subject(plan, simulation, cast, [route for route in webhooks if route not in fed])


def postings(of: Subject, seed: int, now: Callable[[], int]) -> Callable[[str, int], Posting]:
    """For a source and a serial number what is posted: the same for the same seed, whatever else arrives.

    Raises:
        SpecError: `simulate.no-sample`, `simulate.arrival-invalid`.
    """
    webhooks = {f"{webhook.method} {webhook.path}": webhook for webhook in of.plan.webhooks}

    def make(source: str, serial: int) -> Posting:
        chance = Random(f"{seed}/arrival/{serial}")
        maker = of.simulation.makers.get(source)
        if source in webhooks:
            assert maker is not None, "only what has a maker takes part"
            return _hook(webhooks[source], _made(maker, chance), serial, now)
        return _event(of.plan.types[source], maker, chance, serial)

    return make


def _hook(webhook: WebhookSpec, arrival: Arrival, serial: int, now: Callable[[], int]) -> Posting:
    payload = arrival.payload
    body = payload if isinstance(payload, bytes) else msgspec.json.encode(payload)
    id = arrival.id or f"sim-{serial}"
    verify = webhook.verify
    secret = b"" if isinstance(verify, Unverified) else FakeSecrets().active(verify.secret)[0]

    def fields() -> Fields:
        named = {"content-type": "application/json"} | dict(signed(verify, secret, Delivery(id, body, now())))
        if webhook.id_header:
            named.setdefault(webhook.id_header, id)
        return list((named | {name.lower(): text for name, text in arrival.headers.items()}).items())

    return Posting(webhook.stream, "", id, None, body, webhook.path, fields)


def _event(spec: EventTypeSpec, maker: ArrivalFunction | None, chance: Random, serial: int) -> Posting:
    arrival = Arrival(_sampled(spec, chance)) if maker is None else _made(maker, chance)
    id = arrival.id or f"sim-{serial}"
    try:
        draft = EventType[Any](spec).draft(arrival.payload, id=id)
    except PayloadError as error:
        raise SpecError(
            "simulate.arrival-invalid",
            f"what @sim.arrivals makes for {spec.id} does not fit: {error.message}",
            "give a payload of its model",
        ) from error
    return Posting(draft.stream, draft.type, id, draft.key, draft.data)


def _made(maker: ArrivalFunction, chance: Random) -> Arrival:
    made = maker(chance)
    return made if isinstance(made, Arrival) else Arrival(made)


def _sampled(spec: EventTypeSpec, chance: Random) -> Any:  # Any: a payload of the type's model.
    schema = json_schema(spec.model)
    why = ""
    for _ in range(TRIES_MAX):
        try:
            return spec.decode(msgspec.json.encode(sample(schema, chance)))
        except PayloadError as error:
            why = error.message
    raise SpecError(
        "simulate.no-sample",
        f"no payload could be made up for {spec.id}: {why}",
        f"say what arrives: @sim.arrivals({spec.name}) in simulation.py",
    )


def _no_databases(integrations: Sequence[Integration]) -> None:
    for system in (system for integration in integrations for system in integration.systems):
        if system.kind == "sql":
            raise SpecError(
                "simulate.database",
                f"{system.name} is a database, and databases are not simulated",
                "name a module whose integrations have none: interlock simulate MODULE; Lab has a real one for tests",
            )


def _named(code: str, given: Mapping[str, object], known: Sequence[str], where: str) -> None:
    for name in given:
        if name not in known:
            raise SpecError(
                code,
                f"{where} names {name!r}, and there is: {', '.join(known) or 'nothing'}",
                "name one of those, or hand its integration to the simulation",
            )
