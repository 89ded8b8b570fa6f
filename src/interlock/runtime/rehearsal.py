"""A dry run of today's code: a function on one event, with a recorder for every System. Nothing leaves, nothing stays.

What the attempt would emit and settle is only told: no lane hears of it, so there is nobody who could commit it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from interlock.control.dead_shapes import Rehearsal, RehearsedCall, RehearsedEmit
from interlock.core.cursor import CursorId, Row
from interlock.core.event import Event
from interlock.core.handler import Effect
from interlock.core.limits import US_PER_SECOND
from interlock.core.outcome import Done, Later, Outcome, Reject, Unknown
from interlock.core.redact import redacted_text
from interlock.delivery.attempt import Ports, Program, Run
from interlock.delivery.newest import Newest, NewestByKey
from interlock.delivery.sequences import Known, SequencesByKey
from interlock.delivery.upcast import decoder_of, decoders_of
from interlock.delivery.work import Ended, Work
from interlock.runtime.compose import Engine
from interlock.spec.jsontext import PayloadError
from interlock.spec.plan import SubscriptionSpec
from interlock.systems.recorder import Recorded, Recorder

_BODY_CHARS_MAX: Final = 2_000


class Rehearse:
    """`control.ports.Rehearses`, in the process whose code it is."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def __call__(self, subscription: str, event: Event, row: Row, within_us: int) -> Rehearsal:
        """See the module."""
        engine, world = self._engine, self._engine.world
        spec = engine.plan.subscriptions.get(subscription)
        if spec is None:
            return _told(event, subscription, Later("unplanned", detail="no such subscription is in the plan"))
        recorder = Recorder(engine.plan, world.clock, world.random, world.secrets)
        ports = Ports(world.clock, world.random, world.offload, _unheard, recorder.client)
        program = Program.of(spec, ports, engine.first_names.get(subscription, subscription))
        until = world.clock.monotonic() + min(within_us, spec.deadline_us)
        newest, known = await self._newest(program, event), await self._known(program, event)
        run = Run(program, Work(event, row, until, _may, _announced, newest=newest, known=known))
        try:
            async with world.clock.deadline(until):
                ended = await run.run()
        except TimeoutError:
            ended = Ended(Later("timeout", detail=f"no end within {within_us / US_PER_SECOND:g} s"), 0, (), b"", ())
        remembered = [
            RehearsedCall(record.system, record.method, record.target, "", "", remembered=True)
            for record in run.scope.calls
            if record.remembered
        ]
        calls = [*remembered, *(_call(recorded) for recorded in recorder.calls)]
        emits = [RehearsedEmit(draft.stream, draft.type, draft.id, draft.key) for draft in ended.emits]
        return _told(event, subscription, ended.outcome, calls, emits, assumed=bool(recorder.calls))

    def payload(self, subscription: str, event: Event) -> bytes | str:
        """What the function is given as JSON, or what a translation makes; as text, why there is nothing."""
        spec = self._engine.plan.subscriptions.get(subscription)
        if spec is None or not spec.is_written:
            return "its function is given the request as it came"
        try:
            return _read(spec, event)
        except PayloadError as error:
            return error.message

    async def _newest(self, program: Program, event: Event) -> Newest | None:
        key = event.draft.key
        if program.newness is None or key is None:
            return None
        newest = NewestByKey(CursorId(program.first_name, event.shard), lambda _: True)
        cell = newest.cell(key)
        found = await self._engine.store.get([cell])
        newest.loaded(key, found[cell].value if cell in found else None)
        return newest.of(key)

    async def _known(self, program: Program, event: Event) -> Known | None:
        key = event.draft.key
        if program.spec.resequencing is None or key is None:
            return None
        sequences = SequencesByKey(CursorId(program.first_name, event.shard), lambda _: True)
        await sequences.load(key, self._engine.store, lambda: True)
        return sequences.of(key)


def _read(spec: SubscriptionSpec, event: Event) -> bytes:
    payload = decoder_of(decoders_of(spec), event.draft.type)(event.draft.data)
    lifted = next((type for type in spec.types if type.id == event.draft.type), None)
    return (lifted or _newest_type(spec, event)).encode(payload)


def _newest_type(spec: SubscriptionSpec, event: Event) -> Any:  # Any: an event type, whatever its payload is.
    """The version that upcasters lift the event to."""
    steps = {upcast.old.id: upcast.into for upcast in spec.upcasts}
    into = steps[event.draft.type]
    while into.id in steps:
        into = steps[into.id]
    return into


def _told(
    event: Event,
    subscription: str,
    outcome: Outcome,
    calls: Sequence[RehearsedCall] = (),
    emits: Sequence[RehearsedEmit] = (),
    *,
    assumed: bool = False,
) -> Rehearsal:
    match outcome:
        case Done():
            kind, error = ("filtered" if outcome.filtered else "delivered"), ""
        case Reject() | Unknown():
            kind, error = "rejected", outcome.reason
        case Later():
            kind, error = "fails", outcome.reason
        case _:
            kind, error = "fails", outcome.scope
    detail = redacted_text(getattr(outcome, "detail", ""))
    return Rehearsal(event.id, subscription, kind, error, detail, calls, emits if not error else (), assumed)


def _call(recorded: Recorded) -> RehearsedCall:
    call, statements = recorded
    body = call.body.decode("utf-8", "replace")
    if statements:
        body = "\n".join(f"{statement}  -- {', '.join(map(repr, values))}" for statement, values in statements)
    return RehearsedCall(
        call.system, call.method, redacted_text(call.target), call.key, redacted_text(body)[:_BODY_CHARS_MAX]
    )


def _unheard(_record: str, /, **_fields: object) -> None:
    """Nobody is told: what a dry run says is its answer."""


def _may() -> bool:
    return True


async def _announced(_effect: Effect, _call: str) -> bool:
    """There is no take-over that would have to know."""
    return True
