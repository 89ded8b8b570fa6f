"""The Systems of a simulated run: they answer as the user says, fail as the script says, and remember what took effect.

One honours idempotency keys unless its declaration says that it does not.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from interlock.core.handler import SAFE_METHODS
from interlock.core.limits import US_PER_SECOND
from interlock.core.outcome import Answer
from interlock.testing.sim.loop import SimLoop
from interlock.testing.sim.serving import Arrived, Reaction, Serving
from interlock.testing.simulate.script import LATE_US, Answering
from interlock.testing.simulate.watch import TAG, Tag
from interlock.testing.simulation import AnswerFunction, Effect, Request

SLOW_US: Final = 6 * US_PER_SECOND
LIMITED_S: Final = 2


class Took(NamedTuple):
    """A request that a System has dealt with. `fresh`: it changed something; `again`: its key was known."""

    t: int
    system: str
    request: Request
    tag: Tag
    reaction: Reaction
    fresh: bool
    again: bool
    sender: str


class SimSystem:
    """One System. `took` is told of every request; `raised` of an exception in the user's function."""

    def __init__(
        self,
        loop: SimLoop,
        name: str,
        *,
        honours_keys: bool,
        answers: AnswerFunction | None,
        took: Callable[[Took], None],
        raised: Callable[[str, Exception], None],
    ) -> None:
        self.name = name
        self.honours_keys = honours_keys
        self.effects: list[Effect] = []
        self._loop = loop
        self._answers = answers
        self._took = took
        self._raised = raised
        self._state: dict[str, Any] = {}
        self._known: dict[str, Answer] = {}
        self._next: deque[Answering] = deque()
        self._ailment = ""
        self._chance = loop.stream(f"system/{name}")

    def connection(self) -> asyncio.Protocol:
        """A protocol for one accepted connection."""
        return Serving(self._loop, self)

    def treat_next(self, how: Answering) -> None:
        """The next request is treated so."""
        self._next.append(how)

    def ail(self, how: str) -> None:
        """From now on it is `down`, `limiting`, `slow` or `hanging`; "" for well."""
        self._ailment = how

    def mend(self) -> None:
        """Nothing is wrong with it any more."""
        self._next.clear()
        self._ailment = ""

    def react(self, request: Arrived) -> Reaction:
        headers = {name: value for name, value in request.headers.items() if name != TAG}
        asked = Request(request.method, request.target, headers, request.body)
        tag = Tag.read(request.headers)
        reaction, fresh, again = self._treated(asked)
        if fresh:
            self.effects.append(Effect(self.name, asked.method, asked.target, _json(asked.body), asked.key, tag.event))
        self._took(Took(self._loop.now_us, self.name, asked, tag, reaction, fresh, again, request.sender))
        return reaction

    def _treated(self, request: Request) -> tuple[Reaction, bool, bool]:
        """How it is answered, whether it took effect, and whether its key was known."""
        how = self._next.popleft() if self._next else self._ailment
        took_us = int(self._chance.expovariate(1 / 20_000))
        match how:
            case "503" | "500":
                return Reaction(503 if how == "503" else 500, after_us=took_us), False, False
            case "down":
                return Reaction(503, after_us=took_us), False, False
            case "429" | "limiting":
                return Reaction(429, after_us=took_us, retry_after=LIMITED_S), False, False
            case "hang" | "hanging":
                return Reaction(0, "hang"), False, False
            case _:
                pass
        answer, fresh, again = self._answer(request)
        body = answer.body if answer.status != 204 else None
        reaction = Reaction(answer.status, "answer", took_us, None, body, answer.headers)
        if how in ("lost", "garbage"):
            reaction = msgspec.structs.replace(reaction, ending=how)
        elif how in ("late", "slow"):
            reaction = msgspec.structs.replace(reaction, after_us=LATE_US if how == "late" else SLOW_US)
        return reaction, fresh, again

    def _answer(self, request: Request) -> tuple[Answer, bool, bool]:
        known = self._known.get(request.key) if request.key and self.honours_keys else None
        if known is not None:
            return known, False, True
        answer = Answer(200, (("content-type", "application/json"),), b"{}")
        if self._answers is not None:
            try:
                answer = _answer_of(self._answers(request, self._state))
            except Exception as error:  # noqa: BLE001  # the user's function stands for somebody else's System
                self._raised(self.name, error)
                answer = Answer(500)
        fresh = 200 <= answer.status < 300 and request.method not in SAFE_METHODS
        if fresh and request.key:
            self._known[request.key] = answer
        return answer, fresh, False


def _answer_of(given: int | Answer | Mapping[str, Any]) -> Answer:
    if isinstance(given, Answer):
        return given
    if isinstance(given, int):
        return Answer(given, (("content-type", "application/json"),), b"" if given == 204 else b"{}")
    return Answer(200, (("content-type", "application/json"),), msgspec.json.encode(given))


def _json(body: bytes) -> Any:  # Any: whatever was sent.
    try:
        return msgspec.json.decode(body) if body else None
    except msgspec.DecodeError:
        return None
