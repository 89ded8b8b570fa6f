"""Looks on while users' functions run: when they begin and end, which of their calls failed, which ended well.

It changes nothing of what they do. Calls carry a field on the simulated wire that says which event they are for.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import wraps
from typing import Any, Final, NamedTuple, Protocol, Unpack

import msgspec

from interlock.call.effect import CallFailed
from interlock.core.event import Draft
from interlock.core.event import Event as StoredEvent
from interlock.core.handler import SAFE_METHODS, Call, Effect, Handler
from interlock.core.outcome import Answer, Done, Outcome
from interlock.core.ports import Clock, Net
from interlock.spec.function import CallOptions, Client, Context, Event, Gap, HttpSystem
from interlock.spec.plan import Plan, SubscriptionSpec
from interlock.systems.http import http_transport
from interlock.systems.registry import Transport
from interlock.testing.sim.serving import HTTP_PORT
from interlock.wire.outgoing import Origin, PoolLimits
from interlock.wire.pool import Pool

TAG: Final = "interlock-simulated"
"""The header field of a simulated call: `event;subscription;label;effect`."""


class Tag(NamedTuple):
    """Which call of which event a request is. `event` is "" for calls of polls and schedules."""

    event: str
    subscription: str
    label: str
    effect: Effect

    @classmethod
    def read(cls, headers: Mapping[str, str]) -> Tag:
        """The tag of a request."""
        event, subscription, label, effect = headers[TAG].split(";")
        return cls(event, subscription, label, effect)  # pyright: ignore[reportArgumentType]  # as `tagged` wrote it


class Ending(NamedTuple):
    """How a call looked to the function that made it. `outcome` is Done where it was answered 2xx."""

    tag: Tag
    system: str
    method: str
    path: str
    outcome: Outcome


class Watcher(Protocol):
    """Who is told."""

    def began(self, subscription: str, event: StoredEvent, attempt: int) -> None: ...
    def call_ended(self, ending: Ending) -> None: ...
    def ended(self, subscription: str, event: StoredEvent, outcome: Outcome | None, failed: list[Ending]) -> None:
        """The function has ended; `outcome` is None if it raised. `failed`: those of its calls that did."""
        ...


def watched(plan: Plan, watcher: Watcher) -> Plan:
    """The plan with every subscription's function watched."""
    subscriptions = {
        name: msgspec.structs.replace(spec, function=_watched(spec, watcher)) if spec.kind == "subscribe" else spec
        for name, spec in plan.subscriptions.items()
    }
    return msgspec.structs.replace(plan, subscriptions=subscriptions)


def tagged(clock: Clock, connections_max: Callable[[str], int]) -> Callable[[Net], Transport]:
    """The production transport over the simulated network, each call with its tag."""

    def over(net: Net) -> Transport:
        def transport(system: str) -> Handler:
            pool = Pool(
                Origin(system, HTTP_PORT, None), net, clock, PoolLimits(connections_max=connections_max(system))
            )
            send = http_transport(pool, clock)

            async def handle(call: Call) -> Outcome:
                tag = f"{call.event};{call.subscription};{call.label};{call.effect}"
                return await send(msgspec.structs.replace(call, headers=((TAG, tag), *call.headers)))

            return handle

        return transport

    return over


def _watched(spec: SubscriptionSpec, watcher: Watcher) -> Callable[..., Any]:
    function = spec.function
    if not inspect.iscoroutinefunction(inspect.unwrap(function)):

        @wraps(function)
        def plain(event: Event[Any], context: Context) -> Outcome | None:
            watcher.began(spec.name, event.stored, context.attempt)
            outcome: Outcome | None = None
            try:
                outcome = _outcome(function(event, context))
            finally:
                watcher.ended(spec.name, event.stored, outcome, [])
            return outcome

        return plain

    @wraps(function)
    async def run(event: Event[Any], context: Context) -> Outcome | None:
        seen = _Context(context, spec.name, event.stored, watcher)
        watcher.began(spec.name, event.stored, context.attempt)
        outcome: Outcome | None = None
        try:
            outcome = _outcome(await function(event, seen))
        finally:
            watcher.ended(spec.name, event.stored, outcome, seen.failed)
        return outcome

    return run


def _outcome(given: Outcome | None) -> Outcome:
    return Done() if given is None else given


class _Context:
    """The attempt's own context, with its calls watched."""

    def __init__(self, context: Context, subscription: str, event: StoredEvent, watcher: Watcher) -> None:
        self.failed: list[Ending] = []
        self._context = context
        self._subscription = subscription
        self._event = event
        self._watcher = watcher
        self._ordinals: dict[str, int] = {}

    @property
    def attempt(self) -> int:
        return self._context.attempt

    @property
    def deadline(self) -> datetime:
        return self._context.deadline

    @property
    def gap(self) -> Gap | None:
        return self._context.gap

    def use(self, system: HttpSystem) -> Client:
        return _Client(self, system.name, self._context.use(system))

    def emit(self, draft: Draft) -> None:
        self._context.emit(draft)

    def log(self, message: str, /, **fields: object) -> None:
        self._context.log(message, **fields)

    def tag(self, system: str, method: str, options: CallOptions) -> Tag:
        """As the production code names a call: what was given, or its ordinal among those without a name."""
        label = options.get("call", "")
        if not label and method not in SAFE_METHODS:
            ordinal = self._ordinals[system] = self._ordinals.get(system, 0) + 1
            label = f"#{ordinal}"
        return Tag(self._event.id, self._subscription, label, options.get("effect", "keyed"))

    def note(self, ending: Ending) -> None:
        if not isinstance(ending.outcome, Done):
            self.failed.append(ending)
        self._watcher.call_ended(ending)


class _Client:
    def __init__(self, context: _Context, system: str, client: Client) -> None:
        self._context = context
        self._system = system
        self._client = client

    async def request(self, method: str, path: str, **options: Unpack[CallOptions]) -> Answer:
        tag = self._context.tag(self._system, method, options)
        try:
            answer = await self._client.request(method, path, **options)
        except CallFailed as failed:
            self._context.note(Ending(tag, self._system, method, path, failed.outcome))
            raise
        self._context.note(Ending(tag, self._system, method, path, Done(answer)))
        return answer

    async def get(self, path: str, **options: Unpack[CallOptions]) -> Answer:
        return await self.request("GET", path, **options)

    async def post(self, path: str, **options: Unpack[CallOptions]) -> Answer:
        return await self.request("POST", path, **options)

    async def put(self, path: str, **options: Unpack[CallOptions]) -> Answer:
        return await self.request("PUT", path, **options)

    async def patch(self, path: str, **options: Unpack[CallOptions]) -> Answer:
        return await self.request("PATCH", path, **options)

    async def delete(self, path: str, **options: Unpack[CallOptions]) -> Answer:
        return await self.request("DELETE", path, **options)
