"""Did the run keep what was promised, and the user's own rules? Suspicions are looked for without being asked.

A rule that is broken names itself, its subject and the events that it is about, so that a shorter run can be sought
that breaks the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from interlock.core.event import Event as StoredEvent
from interlock.core.handler import SAFE_METHODS
from interlock.core.outcome import Done, Later, Unavailable, Unknown
from interlock.spec.declare import EventType
from interlock.spec.function import HttpSystem
from interlock.spec.plan import Where
from interlock.testing.sim.case import Case, Violation, case_of
from interlock.testing.sim.checker import conservation, the_log
from interlock.testing.sim.history import Reads
from interlock.testing.sim.order import order_per_key
from interlock.testing.simulate.peers import Took
from interlock.testing.simulate.tell import outcome_told
from interlock.testing.simulate.world import World
from interlock.testing.simulation import Effect
from interlock.testing.standing import owed

T = TypeVar("T")


class Broken(NamedTuple):
    """A rule that was broken: by what (a subscription, a System, an invariant), when, and what is to be done.

    `events`, `subscriptions`: what it is about; nothing named is everything. `where`: the declaration to look at.
    """

    rule: str
    subject: str
    message: str
    fix: str
    events: frozenset[str] = frozenset()
    where: Where | None = None
    subscriptions: frozenset[str] = frozenset()

    @property
    def name(self) -> tuple[str, str]:
        """What makes two of them the same."""
        return self.rule, self.subject


def judged(world: World) -> list[Broken]:
    """Everything that is wrong with a run, each rule and subject once."""
    found: dict[tuple[str, str], Broken] = {}
    for rule in RULES:
        for broken in rule(world):
            if (broken.rule.removeprefix("simulate."), broken.subject) not in world.of.simulation.excuses:
                found.setdefault(broken.name, broken)
    return list(found.values())


def promises(world: World) -> Iterator[Broken]:
    """What Interlock promises: the log, the books, order per key, and nothing that was acknowledged is lost."""
    case = case_of(world.history.lines, _reads(world), {})
    for invariant in (the_log, conservation, order_per_key):
        for violation in invariant(case):
            yield _ours(violation)
    durable = {event.id for event in world.logged()}
    for id in world.acknowledged:
        if id not in durable:
            yield _ours(Violation("I6", 0, f"{id} was acknowledged and is not durable"))
    yield from _lost(world, case)


def _lost(world: World, case: Case) -> Iterator[Broken]:
    waiting = {(one.subscription, (one.shard.stream, one.shard.number, one.offset)) for one in owed(world.disk)}
    held = {name for name, _ in waiting}
    for reads in case.reads.values():
        for event in case.expected(reads):
            name = (reads.name, (event.stream, event.shard, event.offset))
            # What waits behind a held event of its key is accounted for by a mark, not by a row.
            if name not in case.ends and name not in case.buried and name not in waiting and reads.name not in held:
                yield _ours(Violation("I1", event.t, f"{event.id} never reached {reads.name} nor its dead letters"))


def settles(world: World) -> Iterator[Broken]:
    """Everything is settled once nothing is broken any more."""
    pending = [one for one in owed(world.disk) if one.by_itself]
    for one in pending:
        yield Broken(
            "simulate.never-settles",
            one.subscription,
            f"{one} long after the last fault",
            "let the function end within its deadline, or give its failures an end (retry=, on_dead=)",
        )


def effect_twice(world: World) -> Iterator[Broken]:
    """A call that was repeated took effect again: at a System that does not honour keys, or by a call without one."""
    first: dict[tuple[str, str, str, str], Took] = {}
    for took in world.took:
        tag, method = took.tag, took.request.method
        if not took.fresh or not tag.event or (tag.effect == "natural" and method in ("PUT", "DELETE")):
            continue
        call = (took.system, tag.event, tag.subscription, tag.label)
        if call in first:
            yield Broken(
                "simulate.effect-twice",
                took.system,
                f"{method} {took.request.target} of {tag.subscription} took effect twice for one event",
                _TWICE[tag.effect],
                frozenset({tag.event}),
                world.of.plan.systems[took.system].where,
                frozenset({tag.subscription}),
            )
        first.setdefault(call, took)


def effect_missing(world: World) -> Iterator[Broken]:
    """A function was told that its call had happened, and it had not: a probe that lies."""
    effects = {(took.system, took.tag) for took in world.took if took.fresh}
    for ending in world.calls:
        is_probed = ending.tag.effect == "probe" and ending.method not in SAFE_METHODS
        if is_probed and isinstance(ending.outcome, Done) and (ending.system, ending.tag) not in effects:
            yield Broken(
                "simulate.effect-missing",
                ending.system,
                f"{outcome_told(ending)} in {ending.tag.subscription}, and it never took effect",
                "let probe= ask for this very call (by a reference that it sent), and give None unless it is there",
                frozenset({ending.tag.event}),
                world.of.plan.systems[ending.system].where,
                frozenset({ending.tag.subscription}),
            )


def swallowed_error(world: World) -> Iterator[Broken]:
    """An attempt ended well although a call of it had failed in a way that may pass: it will not be tried again."""
    for subscription, event, ending in world.swallowed:
        if isinstance(ending.outcome, Later | Unavailable | Unknown):
            yield Broken(
                "simulate.swallowed-error",
                subscription,
                f"{outcome_told(ending)}, and the function ended as if it had not: nothing tries again",
                "let CallFailed pass, or catch it only for answers that are final (error.status == 404)",
                frozenset({event.id}),
                world.of.plan.subscriptions[subscription].where,
                frozenset({subscription}),
            )


def order_lost(world: World) -> Iterator[Broken]:
    """Events that have a key reached a System in another order than they were accepted in, by `order="none"`."""
    newest: dict[tuple[str, str, str, int, str], StoredEvent] = {}
    unordered = {name for name, spec in world.of.plan.subscriptions.items() if spec.order == "none"}
    seen: set[tuple[str, str, str]] = set()
    for took in world.took:
        event = world.events.get(took.tag.event)
        if not took.fresh or event is None or event.draft.key is None or took.tag.subscription not in unordered:
            continue
        call = (took.system, took.tag.subscription, event.id)
        if call in seen:
            continue
        seen.add(call)
        line = (took.system, took.tag.subscription, event.shard.stream, event.shard.number, event.draft.key)
        before = newest.get(line)
        if before is not None and before.offset > event.offset:
            yield Broken(
                "simulate.order-lost",
                took.tag.subscription,
                f"an older event of key {event.draft.key!r} reached {took.system} after a newer one",
                'leave out order="none", so that the events of a key are delivered one at a time, in order',
                frozenset({event.id, before.id}),
                world.of.plan.subscriptions[took.tag.subscription].where,
                frozenset({took.tag.subscription}),
            )
        else:
            newest[line] = event


def refused(world: World) -> Iterator[Broken]:
    """What the simulation sends must be what the real sender sends."""
    for name, reply in world.refusals:
        source = name.partition(" #")[0]
        yield Broken(
            "simulate.arrival-refused",
            source,
            f"{name} was refused with {reply.status}: {reply.body.decode('utf-8', 'replace')[:300]}",
            f"let @sim.arrivals({source!r}) make what its sender really sends",
        )


def answers_raised(world: World) -> Iterator[Broken]:
    """A function that answers for a System raised."""
    for system, error in world.raised.items():
        yield Broken(
            "simulate.answers-raised",
            system,
            f"its @sim.answers function raised {error!r}",
            "let it answer what it gets",
        )


def invariants(world: World) -> Iterator[Broken]:
    """The user's own rules."""
    seen = _Seen(world)
    for name, function in world.of.simulation.invariants.items():
        why = ""
        try:
            kept = function(seen) is not False
        except AssertionError as error:
            kept, why = False, str(error)
        if not kept:
            said = why or (function.__doc__ or "").strip() or "it gave False"
            code = function.__code__
            where = Where(code.co_filename, code.co_firstlineno)
            yield Broken("simulate.invariant", name, said, "make the functions keep it, or mend the rule", where=where)


class _Seen:
    """What invariants look at: `simulation.Seen`."""

    def __init__(self, world: World) -> None:
        self._world = world

    def effects(self, system: HttpSystem) -> Sequence[Effect]:
        return self._world.systems[system.name].effects

    def events(self, type: EventType[T]) -> Sequence[T]:
        return [type.spec.decode(event.draft.data) for event in self._world.logged() if event.draft.type == type.id]

    def dead(self, subscription: str) -> Sequence[Any]:
        types = self._world.of.plan.types
        return [types[event.draft.type].decode(event.draft.data) for event in self._world.dead(subscription)]


RULES: Final[Sequence[Callable[[World], Iterator[Broken]]]] = (
    promises,
    refused,
    answers_raised,
    swallowed_error,
    effect_twice,
    effect_missing,
    order_lost,
    invariants,
    settles,
)
_TWICE: Final = {
    "keyed": "the System does not honour Idempotency-Key (honours_keys=False): use effect='probe' or 'once', or a PUT",
    "natural": "effect='natural' says that repeating is harmless, and it is not: send it keyed, or as a PUT",
    "probe": "probe= said that the call had not happened, and it had: let it ask for this very call",
    "once": "a person had it retried: that is what 'once' leaves to a person",
}


def _ours(violation: Violation) -> Broken:
    return Broken(
        "simulate.promise",
        violation.invariant,
        violation.message,
        "this is a fault of Interlock: report it with this command and your integration",
    )


def _reads(world: World) -> dict[str, Reads]:
    """What the checker has to know of the subscriptions that somebody wrote a function for."""
    return {
        name: Reads(name, spec.types[0].stream, spec.order == "key", "keyed", None)
        for name, spec in world.of.plan.subscriptions.items()
        if spec.kind == "subscribe"
    }
