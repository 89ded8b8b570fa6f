"""The integration that runs in simulation: every effect, order and `on_dead`, written as a user would write it.

Its functions note when they begin; what they send says what it is about, so that the receiver can tell.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from interlock.core import limits
from interlock.core.event import Draft
from interlock.core.event import Event as StoredEvent
from interlock.core.handler import Effect
from interlock.core.limits import US_PER_MINUTE, US_PER_SECOND
from interlock.core.outcome import Answer, Outcome, Reject
from interlock.spec.bindings import Bindings, StreamBinding
from interlock.spec.check import build_plan
from interlock.spec.declare import EventType, Integration, ScheduleFunction, SubscribeOptions
from interlock.spec.delay import waiting_room
from interlock.spec.function import CallOptions, Client, Context, Event, HttpSystem
from interlock.spec.plan import HttpBinding, OnDead, Plan, RetryPolicy
from interlock.spec.retry import block_then_skip
from interlock.spec.span import instant, microseconds
from interlock.testing.sim.auditor import Fact, digest_of
from interlock.testing.sim.history import SPOILED, Began, History, Reads
from interlock.testing.sim.loop import SimLoop, current_process
from interlock.testing.sim.remotes import CREDENTIAL_FIELD, HAPPENED, CallBody
from interlock.testing.sim.serving import HTTP_PORT
from interlock.testing.sim.swarm import Swarm

Function = Callable[[Event[Any], Context], Awaitable[Outcome | None]]

STREAM = "sim"
CONCURRENCY = 8
"""How many calls of one process a System takes at once."""
RETRY = RetryPolicy(base_us=US_PER_SECOND, cap_us=30 * US_PER_SECOND, age_max_us=5 * US_PER_MINUTE)


class Shape(NamedTuple):
    """One subscription: what it reads, what it calls, and what it says about failure."""

    types: tuple[str, ...]
    systems: tuple[str, ...]
    effect: Effect
    on_dead: Literal["skip", "halt"] | OnDead
    ordered: bool = True
    newer: bool = False


class Seen(NamedTuple):
    """What functions are handed by the world: where they note what they do, and how they are bad.

    `bomb`: the event that kills their process. `spoils(name)`: whether the function of this name rejects everything.
    """

    loop: SimLoop
    history: History
    bomb: str
    spoils: Callable[[str], bool]


SHAPES: dict[str, Shape] = {
    "book": Shape(("opened", "moved"), ("ledger",), "keyed", block_then_skip(timedelta(seconds=60))),
    "mirror": Shape(("moved",), ("crm",), "natural", "halt"),
    "notify": Shape(("opened",), ("chat", "mail"), "keyed", "skip"),
    "charge": Shape(("opened", "moved"), ("bank",), "once", block_then_skip(timedelta(seconds=90))),
    "index": Shape(("opened", "ticked"), ("search",), "keyed", "skip", ordered=False),
    "canonize": Shape(("moved",), (), "keyed", "skip"),
    "onward": Shape(("canonical",), ("erp",), "keyed", "halt"),
    "remind": Shape(("opened",), (), "keyed", "skip"),
    "recall": Shape(("reminded",), ("mail",), "keyed", "skip"),
    "latest": Shape(("moved",), ("search",), "keyed", "skip", newer=True),
    "ring": Shape(("chimed",), ("chat",), "keyed", "skip"),
    "scatter": Shape(("opened",), (), "keyed", "skip"),
    "in_order": Shape(("numbered",), (), "keyed", "skip"),
    "settle": Shape(("opened", "moved"), ("clearing",), "probe", "skip"),
}
VARIANT = "book"
"""The subscription whose types a deploy changes: with its second type, and without."""
LATER_SHAPES = frozenset({"settle"})
"""Subscriptions whose Systems are there only where they are: what a seed draws from all Systems keeps its meaning."""
CALLING = frozenset(f"{STREAM}.{name}" for name, shape in SHAPES.items() if shape.systems)
"""Subscriptions whose functions call a System."""
WAITING = frozenset({"remind", "scatter", "in_order"})
"""Subscriptions of which something comes later than it could."""
REMINDER_DELAY = timedelta(seconds=40)
"""How long after it was emitted what `remind` emits is due."""
NUMBERS = 4
"""How many numbered events `scatter` makes of one; some never come, and others twice."""
GAP_AFTER = timedelta(seconds=20)
"""How long `in_order` waits for a number."""
CHIME = timedelta(seconds=5)
"""Between two times of the schedule."""
BOMB = "e0-3"
"""The event that kills the process that runs it, whenever it is run (rule 12)."""
PUBLISHED_TYPES = ("opened", "moved", "ticked")


def system_effects(swarm: Swarm) -> dict[str, Effect]:
    """The Systems of a run, and how what they get is made safe to repeat."""
    shapes = [shape for name, shape in SHAPES.items() if name not in LATER_SHAPES or name in swarm.subscriptions]
    return {system: shape.effect for shape in shapes for system in shape.systems}


def program(seen: Seen, swarm: Swarm, *, narrow: bool) -> Plan:
    """The plan; `narrow` leaves out the second type of `VARIANT`."""
    sim = Integration(STREAM, owner="simulator", purpose="Every promise is kept under every fault")
    effects = system_effects(swarm)
    systems = {name: sim.http(name, honours_keys=effect == "keyed") for name, effect in effects.items()}
    types: dict[str, EventType[Fact]] = {
        name: sim.event(name, Fact, key=lambda fact: fact.key) for name in ("opened", "canonical")
    }
    types["moved"] = sim.event("moved", Fact, key=lambda fact: fact.key, tenant=lambda fact: fact.key[-1])
    types["ticked"] = sim.event("ticked", Fact)
    if "remind" in swarm.subscriptions:
        types["reminded"] = sim.event("reminded", Fact, key=lambda fact: fact.key, delayed=True)
    if "in_order" in swarm.subscriptions:
        types["numbered"] = sim.event("numbered", Fact, key=lambda fact: fact.key, delayed=True)
        types["ordered"] = sim.event("in_order", Fact, key=lambda fact: fact.key)
    if swarm.chimes:
        types["chimed"] = sim.event("chimed", Fact, key=lambda fact: fact.key)
        sim.schedule(every=CHIME, missed=swarm.chimes)(_chiming(types["chimed"]))
    for name in swarm.subscriptions:
        shape = SHAPES[name]
        reads = shape.types[:1] if narrow and name == VARIANT else shape.types
        if name == "canonize":
            sim.translate(types["moved"], into=types["canonical"], on_dead="skip", retry=RETRY)(canonize)
            continue
        if name == "in_order":
            options = SubscribeOptions(on_dead="skip", retry=RETRY, start="beginning")
            sim.resequence(
                types["numbered"],
                into=types["ordered"],
                by="serial",
                gap_after=GAP_AFTER,
                first=1,
                map=put_in_order,
                **options,
            )
            continue
        calls = [(label, systems[label]) for label in shape.systems]
        bomb = BOMB if swarm.bombs and name == bombed(swarm) else ""
        function = _function(seen._replace(bomb=bomb), name, calls, shape.effect)
        if name == "remind":
            function = _reminding(function, types["reminded"])
        if name == "scatter":
            function = _scattering(function, types["numbered"])
        options = SubscribeOptions(
            order="key" if shape.ordered else "none", retry=RETRY, on_dead=shape.on_dead, start="beginning"
        )
        if shape.newer:
            options["if_newer_than"] = "serial"
        sim.subscribe(*[types[type] for type in reads], **options)(function)
    streams = (STREAM, waiting_room(STREAM)) if {"reminded", "numbered"} & types.keys() else (STREAM,)
    bindings = Bindings(
        systems={
            f"{STREAM}.{name}": HttpBinding(
                url=f"http://{name}:{HTTP_PORT}",
                concurrency=CONCURRENCY,
                headers={CREDENTIAL_FIELD: f"secret:{name}"} if swarm.secrets else {},
            )
            for name in effects
        },
        streams={name: StreamBinding(shards=swarm.shards) for name in streams},
    )
    return build_plan([sim], bindings)


def canonize(fact: Fact) -> Fact | None:
    """Raw to canonical; it remembers where it came from."""
    return Fact(fact.key, fact.serial, f"{STREAM}.canonize", fact.origin)


def put_in_order(fact: Fact) -> Fact | None:
    """What has a number, in its turn."""
    return Fact(fact.key, fact.serial, f"{STREAM}.in_order", f"{fact.key}-1" if fact.serial == 1 else fact.origin)


def reads_of(swarm: Swarm, ailing: frozenset[str], prompt_us: int | None) -> list[Reads]:
    """What the checker has to know. `ailing`: keys that some remote does not accept."""
    found: list[Reads] = []
    for name in swarm.subscriptions:
        shape = SHAPES[name]
        ages = [RETRY.age_max_us]
        if isinstance(shape.on_dead, OnDead) and shape.on_dead.after_us is not None:
            ages.append(shape.on_dead.after_us)
        found.append(
            Reads(
                name=f"{STREAM}.{name}",
                stream=STREAM,
                ordered=shape.ordered,
                effect=shape.effect,
                labels=shape.systems,
                backoff_us=RETRY.base_us // 2,
                age_max_us=min(ages),
                attempts_max=RETRY.attempts_max,
                prompt_us=prompt_us if shape.effect != "once" and not shape.newer and name not in WAITING else None,
                delay_us=microseconds(REMINDER_DELAY) if name == "remind" else 0,
                ailing=ailing,
                newer=shape.newer,
                waits_us=microseconds(GAP_AFTER) if name == "in_order" else 0,
                calls_max=CONCURRENCY,
                window_max=swarm.limits.get("WINDOW_OFFSETS", limits.WINDOW_OFFSETS),
                running_max=swarm.limits.get("RUNNING_MAX", limits.RUNNING_MAX),
            )
        )
    return found


def bombed(swarm: Swarm) -> str:
    """The subscription whose function the bomb kills."""
    return next(name for name in swarm.subscriptions if name not in ("canonize", "in_order"))


def _chiming(chimed: EventType[Fact]) -> ScheduleFunction:
    async def chime(due: datetime, _: Context) -> Iterable[Draft]:
        serial = instant(due) // microseconds(CHIME)
        id = f"chime-{serial}"
        return [chimed.draft(Fact("chime", serial, f"{STREAM}.chime", id), id=id)]

    return chime


def _reminding(function: Function, reminded: EventType[Fact]) -> Function:
    async def remind(event: Event[Any], context: Context) -> Outcome | None:
        if outcome := await function(event, context):
            return outcome
        fact, id = event.payload, event.stored.draft.id
        reminder = Fact(fact.key, fact.serial, f"{STREAM}.remind", id)
        context.emit(reminded.draft(reminder, id=f"{id}-reminder", due=REMINDER_DELAY))
        return None

    return remind


def _scattering(function: Function, numbered: EventType[Fact]) -> Function:
    async def scatter(event: Event[Any], context: Context) -> Outcome | None:
        if outcome := await function(event, context):
            return outcome
        id = event.stored.draft.id
        chance = random.Random(id)
        for number in range(1, NUMBERS + 1):
            # The first stands for all: it says of which event they are made.
            times = 1 if number == 1 else chance.choice((0, 1, 1, 1, 1, 2))
            for time in range(times):
                numbered_id = f"{id}-{number}" + "-again" * time
                via, origin = ("scatter", id) if number == 1 else ("scattered", numbered_id)
                due = timedelta(seconds=chance.choice((0, 0, 2, 15, 60)))
                context.emit(numbered.draft(Fact(id, number, f"{STREAM}.{via}", origin), id=numbered_id, due=due))
        return None

    return scatter


def _function(seen: Seen, name: str, calls: list[tuple[str, HttpSystem]], effect: Effect) -> Function:
    method = "PUT" if effect == "natural" else "POST"

    async def function(event: Event[Any], context: Context) -> Outcome | None:
        process, stored = current_process(), event.stored
        seen.history.add(
            Began(
                t=seen.loop.now_us,
                process=process.name if process else "",
                subscription=f"{STREAM}.{name}",
                stream=stored.shard.stream,
                shard=stored.shard.number,
                offset=stored.offset,
                id=stored.draft.id,
                key=stored.draft.key,
            )
        )
        if stored.draft.id == seen.bomb and process is not None:
            process.kill()
            await seen.loop.create_future()
        if seen.spoils(name):
            return Reject(SPOILED)
        for label, system in calls:
            body = CallBody(
                f"{STREAM}.{name}",
                stored.shard.stream,
                stored.shard.number,
                stored.offset,
                stored.draft.id,
                stored.draft.key,
                label,
                digest_of(stored.draft.data),
            )
            client, options = context.use(system), CallOptions(json=body, effect=effect)
            if effect == "probe":
                options["probe"] = _probe(client, f"/{name}", stored)
            await client.request(method, f"/{name}", **options)
        return None

    function.__name__ = function.__qualname__ = name
    return function


def _probe(client: Client, path: str, event: StoredEvent) -> Callable[[], Awaitable[Answer | None]]:
    """Asks for the event by where it stands: an id may come again once retention has forgotten it."""
    reference = f"{event.shard.stream}/{event.shard.number}/{event.offset}/{event.draft.id}"

    async def probe() -> Answer | None:
        answer = await client.get(f"{path}/{reference}")
        return answer if answer.json() == {"status": HAPPENED} else None

    return probe
