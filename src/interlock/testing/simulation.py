"""What users write for `interlock simulate`: what arrives, how Systems answer, and the rules that must hold.

None of it is needed to begin: without it events are made up from their models, and every System answers 200.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

import msgspec

from interlock.core.outcome import Answer
from interlock.spec.declare import EventType
from interlock.spec.function import HttpSystem

T = TypeVar("T")

Suspicion = Literal["swallowed-error", "effect-twice", "effect-missing", "order-lost"]
"""What is looked for without being asked; each has its page in the guide."""


class Arrival(NamedTuple):
    """One thing that arrives, with what a bare payload does not say: further header fields, and its sender's id."""

    payload: Any  # Any: JSON or bytes for a webhook, a payload of its model for an event.
    headers: Mapping[str, str] = {}
    id: str | None = None


class Request(NamedTuple):
    """A request as a simulated System gets it; names of fields in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:  # Any: whatever the function under simulation sent.
        """The body as JSON; None if there is none."""
        return msgspec.json.decode(self.body) if self.body else None

    @property
    def key(self) -> str:
        """Its idempotency key; "" if it has none."""
        return self.headers.get("idempotency-key", "")


class Effect(NamedTuple):
    """A call that changed something at a System. `event`: the `evt_` id of the event that it was made for."""

    system: str
    method: str
    target: str
    json: Any  # Any: what was sent.
    key: str
    event: str


class Seen(Protocol):
    """What was seen of a run when everything was settled: what invariants look at."""

    def effects(self, system: HttpSystem) -> Sequence[Effect]:
        """What took effect at a System, in order. A call that is repeated with a key that it honours is there once."""
        ...

    def events(self, type: EventType[T]) -> Sequence[T]:
        """The payloads of a type in the log, shard by shard in the order of the log."""
        ...

    def dead(self, subscription: str) -> Sequence[Any]:
        """The payloads of a subscription's dead letters; it is named `integration.function`."""
        ...


ArrivalFunction = Callable[[Random], Any]
AnswerFunction = Callable[[Request, dict[str, Any]], "int | Answer | Mapping[str, Any]"]
InvariantFunction = Callable[[Seen], "bool | None"]


class Simulation:
    """What a simulation of the project's integrations has to know. `interlock simulate` finds it in `simulation.py`."""

    def __init__(self) -> None:
        self.makers: dict[str, ArrivalFunction] = {}
        self.systems: dict[str, AnswerFunction] = {}
        self.invariants: dict[str, InvariantFunction] = {}
        self.excuses: dict[tuple[str, str], str] = {}

    def arrivals(self, what: EventType[Any] | str) -> Callable[[ArrivalFunction], ArrivalFunction]:
        """A function that makes up what arrives: at a webhook (`"POST /hooks/shop"`), or as an event of a type.

        It is given all the chance that it may use, and gives a payload, or an `Arrival` to say more.
        """

        def declare(function: ArrivalFunction) -> ArrivalFunction:
            self.makers[what if isinstance(what, str) else what.id] = function
            return function

        return declare

    def answers(self, system: HttpSystem) -> Callable[[AnswerFunction], AnswerFunction]:
        """How a System answers while nothing is wrong with it: a status, a JSON object, or an `Answer`.

        `state` is its own for one run, as its database would be: it outlives crashes. A request that is repeated with a
        key that the System honours is answered as before, without asking. What is not 2xx has had no effect.
        """

        def declare(function: AnswerFunction) -> AnswerFunction:
            self.systems[system.name] = function
            return function

        return declare

    def invariant(self, function: InvariantFunction) -> InvariantFunction:
        """A rule of your own, asked at the end of every run: it must neither raise `AssertionError` nor give False."""
        self.invariants[function.__name__] = function
        return function

    def excuse(self, rule: Suspicion, subject: str, *, because: str) -> None:
        """Do not look for this at a subscription or System. The reason is shown with every run."""
        self.excuses[rule, subject] = because
