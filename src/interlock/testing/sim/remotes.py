"""Simulated Systems: HTTP peers on the simulated network that fail in every way that peers do, and keep a record.

They honour idempotency keys as a good receiver does.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Literal

import msgspec

from interlock.call.timeout import TIMEOUT_HEADER
from interlock.core.handler import Effect
from interlock.core.ids import parse_event_id
from interlock.core.limits import US_PER_MS, US_PER_SECOND
from interlock.testing.sim.case import Place
from interlock.testing.sim.history import Called, History, Probed
from interlock.testing.sim.loop import SimLoop
from interlock.testing.sim.serving import Arrived, Ending, Reaction, Serving

Mood = Literal["well", "flapping", "slow", "down", "limiting"]


CREDENTIAL_FIELD = "x-pass"
"""The field of a System's credential: its name does not say that it has to be hidden."""
HAPPENED = "done"
"""What a System that is asked says of a call whose effect it has had."""


class CallBody(msgspec.Struct, frozen=True):
    """What the simulated functions send: enough for the receiver to say what it got."""

    subscription: str
    stream: str
    shard: int
    offset: int
    id: str
    key: str | None
    label: str
    digest: str


class Remote:
    """One peer. Its mood changes as the world says; `is_poison` says which bodies it will never accept.

    Args:
        effect: how it treats what it gets: `keyed` and `natural` are harmless to repeat, `once` is not; with `probe`
            it is not either, and says by GET whether it has happened.
    """

    def __init__(self, loop: SimLoop, name: str, history: History, effect: Effect) -> None:
        self.name = name
        self.effect = effect
        self.mood: Mood = "well"
        self.is_poison: Callable[[CallBody], bool] = lambda _body: False
        self.on_slow: Callable[[CallBody, int], None] = lambda _body, _took_us: None
        self.requests = 0
        self._loop = loop
        self._history = history
        self._chance: random.Random = loop.stream(f"remote/{name}")
        self._answers: dict[str, int] = {}
        self._done: set[Place] = set()

    def connection(self) -> asyncio.Protocol:
        """A protocol for one accepted connection."""
        return Serving(self._loop, self)

    def react(self, request: Arrived) -> Reaction:
        """Take a whole request of a host, have its effect, and say how it is answered."""
        self.requests += 1
        if request.method == "GET":
            return self._tell(request)
        body = msgspec.json.decode(request.body, type=CallBody)
        token = request.headers.get("idempotency-key", "")
        reaction = self._reaction(body)
        credential = request.headers.get(CREDENTIAL_FIELD)
        if credential is not None and reaction.status >= 400:
            reaction = msgspec.structs.replace(reaction, body=msgspec.json.encode({"who": credential}))
        if reaction.after_us > US_PER_SECOND:
            self.on_slow(body, reaction.after_us)
        applied = reaction.status < 300 and reaction.ending != "hang"
        known = self.effect == "keyed" and token in self._answers
        if applied and token:
            self._answers[token] = reaction.status
        if applied:
            self._done.add((body.stream, body.shard, body.offset))
        self._history.add(
            Called(
                t=self._loop.now_us,
                process=self.name,
                subscription=body.subscription,
                stream=body.stream,
                shard=body.shard,
                offset=body.offset,
                id=body.id,
                label=body.label,
                status=reaction.status if reaction.ending == "answer" else 0,
                fresh=applied and not known,
                key=body.key,
                token=token,
                digest=body.digest,
                retry_after_us=(reaction.retry_after or 0) * US_PER_SECOND,
                sender=request.sender,
                until=self._until(request, reaction),
                gap=_gap(request.headers.get("interlock-gap")),
            )
        )
        return reaction

    def _tell(self, request: Arrived) -> Reaction:
        """Say whether the call for an event has had its effect: where it says nothing else, in the mood that it is."""
        function, stream, shard, offset, id = request.target[1:].split("/")
        reaction, found = self._moody(), False
        if reaction.status < 300:
            place = (stream, int(shard), int(offset))
            found = place in self._done
            said = msgspec.json.encode({"status": HAPPENED if found else "unknown"})
            reaction = msgspec.structs.replace(reaction, status=200, body=said)
        self._history.add(
            Probed(
                t=self._loop.now_us,
                process=self.name,
                subscription=f"{stream}.{function}",
                stream=stream,
                shard=int(shard),
                offset=int(offset),
                id=id,
                label=self.name,
                status=reaction.status if reaction.ending == "answer" else 0,
                found=found,
                sender=request.sender,
                until=self._until(request, reaction),
            )
        )
        return reaction

    def _until(self, request: Arrived, reaction: Reaction) -> int:
        """Until when a request is under way: until it is answered, or its caller's deadline."""
        given_us = int(request.headers.get(TIMEOUT_HEADER, "0")) * US_PER_MS
        return self._loop.now_us + (given_us if reaction.ending == "hang" else min(reaction.after_us, given_us))

    def _reaction(self, body: CallBody) -> Reaction:
        return Reaction(422) if self.is_poison(body) else self._moody()

    def _moody(self) -> Reaction:
        draw = self._chance.random()
        took = int(self._chance.expovariate(1 / 5_000))
        match self.mood:
            case "well":
                return Reaction(self._chance.choice((200, 201, 204)), after_us=took)
            case "flapping" if draw < 0.35:
                return Reaction(503, after_us=took, retry_after=self._chance.choice((None, None, 1, 7)))
            case "flapping" if draw < 0.45:
                return Reaction(200, "lost", after_us=took)
            case "flapping" if draw < 0.5:
                return Reaction(500, after_us=took)
            case "slow":
                ending: Ending = "hang" if draw < 0.1 else "answer"
                return Reaction(200, ending, after_us=int(self._chance.uniform(0, 20) * US_PER_SECOND))
            case "limiting" if draw < 0.4:
                return Reaction(429, after_us=took, retry_after=self._chance.choice((1, 2, 30)))
            case "down":
                return Reaction(503, after_us=took)
            case _:
                return Reaction(200, after_us=took)


def _gap(field: str | None) -> tuple[int, int, int] | None:
    """How many events are said to be missing, and the offsets of the first and the last of them."""
    if field is None:
        return None
    count, *rest = field.split(";")
    parameters = dict(one.split("=") for one in rest)
    return int(count), parse_event_id(parameters["first"]).offset, parse_event_id(parameters["last"]).offset
