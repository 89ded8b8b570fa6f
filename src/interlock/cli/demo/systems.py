"""The other sides: how ERP, CRM and warehouse answer, as pure functions, and the HTTP server that each of them is.

They know nothing of Interlock. All honour idempotency keys, as good receivers do, and keep what they took, in order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from interlock.cli.demo.chance import chance
from interlock.cli.demo.scenes import OUTAGE_FROM_US, OUTAGE_TO_US
from interlock.core.limits import US_PER_SECOND
from interlock.core.ports import Clock

ERP_REFUSES: Final = 0.15
ERP_HANGS: Final = 0.01
HANG_US: Final = 6 * US_PER_SECOND
CRM_CALLS_PER_SECOND: Final = 10


class Entry(NamedTuple):
    """What a System is asked to write down."""

    type: str
    order: str
    sku: str = ""


class Call(NamedTuple):
    """A call that reaches a System: of which fact, how often it came before, and when, in µs of the story."""

    entry: Entry
    tries: int
    at_us: int
    in_second: int


class Answer(NamedTuple):
    """What it answers. `hang_us`: it takes the entry, and the answer comes so much later."""

    status: int
    error: str = ""
    retry_after: int = 0
    hang_us: int = 0


Decide = Callable[[int, Call], Answer]


def erp(seed: int, call: Call) -> Answer:
    """Ailing: 15 % are refused, some answers hang. Then it is down, and well again after that."""
    if OUTAGE_FROM_US <= call.at_us < OUTAGE_TO_US:
        return Answer(503, "down")
    if call.at_us >= OUTAGE_TO_US:
        return Answer(201)
    roll = chance(seed, "erp", call.entry, call.tries)
    if roll < ERP_REFUSES:
        return Answer(503, "busy", retry_after=1 + int(roll / ERP_REFUSES * 3))
    return Answer(201, hang_us=HANG_US if roll < ERP_REFUSES + ERP_HANGS else 0)


def crm(_: int, call: Call) -> Answer:
    """Takes so many calls a second."""
    return Answer(201) if call.in_second <= CRM_CALLS_PER_SECOND else Answer(429, "too many calls", retry_after=1)


def warehouse(_: int, call: Call) -> Answer:
    """Knows no SKU that begins with S-9."""
    return Answer(422, f"unknown sku {call.entry.sku}") if call.entry.sku.startswith("S-9") else Answer(201)


DECIDE: Final[Mapping[str, Decide]] = {"erp": erp, "crm": crm, "warehouse": warehouse}


class System:
    """One System's books.

    Attributes:
        taken: what took effect, in order.
        answers: how often it answered what.
        repeated: calls whose key it knew: they were answered as before and did nothing.
    """

    def __init__(self, name: str, seed: int) -> None:
        self.name = name
        self.taken: list[Entry] = []
        self.answers: Counter[int] = Counter()
        self.repeated = 0
        self._seed = seed
        self._keys: set[str] = set()
        self._tries: Counter[str] = Counter()
        self._calls: Counter[int] = Counter()

    def receive(self, key: str, entry: Entry, at_us: int) -> Answer:
        """Decide about a call, and write it down."""
        second = at_us // US_PER_SECOND
        self._calls[second] += 1
        call = Call(entry, self._tries[key], at_us, self._calls[second])
        self._tries[key] += 1
        answer = DECIDE[self.name](self._seed, call)
        if answer.status == 201:
            if key in self._keys:
                self.repeated += 1
                answer = Answer(200)
            else:
                self._keys.add(key)
                self.take(entry)
        self.answers[answer.status] += 1
        return answer

    def take(self, entry: Entry) -> None:
        """The effect."""
        self.taken.append(entry)

    def app(self, clock: Clock, began: int) -> Starlette:
        """Its HTTP, on the clock of the story."""

        async def post(request: Request) -> JSONResponse:
            body = await request.json()
            entry = Entry(body["type"], body["order"], body.get("sku", ""))
            answer = self.receive(request.headers["idempotency-key"], entry, clock.monotonic() - began)
            if answer.hang_us:
                await clock.sleep_until(clock.monotonic() + answer.hang_us)
            headers = {"retry-after": str(answer.retry_after)} if answer.retry_after else {}
            return JSONResponse({"error": answer.error} if answer.error else {}, answer.status, headers)

        return Starlette(routes=[Route("/{path:path}", post, methods=["POST"])])
