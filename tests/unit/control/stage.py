"""A stage for control: a memory store with a little history, a live process that answers lanes' requests, and ASGI."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec

from interlock.control.api import Ports, control_app
from interlock.control.commands import Commands
from interlock.control.ports import LiveLane, LiveSystem, Reloaded, ReloadRefused
from interlock.control.queries import Reading
from interlock.control.table import Admin
from interlock.control.tail import Recent
from interlock.core.cursor import Attempt, Counters, CursorId, Mark, Row, Success
from interlock.core.event import Draft, Event, Shard
from interlock.core.ids import shard_of
from interlock.core.limits import LEASE_TTL_US, US_PER_MINUTE
from interlock.core.ports import DiskLevel, Room
from interlock.core.requests import Answer, decode_request, encode_request
from interlock.journal.memory import MemoryStore
from interlock.journal.memory_views import MemoryViews
from interlock.journal.ports import Assign, CellWrite, Committed, Lease, LeaseLost, Settlement, Store
from interlock.spec.plan import (
    EventTypeSpec,
    HttpBinding,
    IntegrationSpec,
    Plan,
    PollSpec,
    ScheduleSpec,
    StreamSpec,
    SubscriptionSpec,
    SystemSpec,
    Where,
)
from interlock.testing.clock import FIRST_NOW, FakeClock

T = TypeVar("T")
TOKEN = "ilt_0123456789abcdefghij"
HERE = Where("payments.py", 1)
STREAM = "payments"
BOOK = "payments.book"
LEDGER = "payments.ledger"
FED, NIGHTLY = "payments.fed", "payments.nightly"
CURSOR = CursorId(BOOK, Shard(STREAM, 0))


class Chance:
    """Random that counts."""

    def __init__(self) -> None:
        self._count = 0

    def uniform(self, low: float, high: float) -> float:
        return low

    def bytes(self, count: int) -> bytes:
        self._count += 1
        return self._count.to_bytes(count, "big")


class Records:
    """Emit that remembers."""

    def __init__(self) -> None:
        self.all: list[tuple[str, dict[str, object]]] = []

    def __call__(self, record: str, /, **fields: object) -> None:
        self.all.append((record, fields))

    def names(self) -> list[str]:
        return [name for name, _ in self.all]


class Process:
    """Live and Wakeup: acts on control cells at once unless it is deaf, and answers requests as a lane would."""

    def __init__(self) -> None:
        self.state = {"engine": "ok", "store": "ok", "lease": "ok"}
        self.deaf = False
        self.answer: Answer = "retried"
        self.versions: dict[str, int] = {}
        self.room: tuple[Room, DiskLevel] | None = None
        self.store: MemoryStore | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def systems(self) -> Sequence[LiveSystem]:
        return [LiveSystem(LEDGER, "open", running=1, waiting=2, probe_at=FIRST_NOW)]

    def lanes(self) -> Sequence[LiveLane]:
        return []

    def parts(self) -> Mapping[str, str]:
        return self.state

    def disk(self) -> tuple[Room, DiskLevel] | None:
        return self.room

    def acted_on(self, cell: str) -> int:
        return self.versions.get(cell, 0)

    def appended(self, shard: Shard, events: Sequence[Event]) -> None: ...

    def changed(self, cells: Any) -> None:
        if self.deaf:
            return
        for key in cells:
            if key.startswith("control/"):
                self.versions[key] = self.versions.get(key, 0) + 1
            elif key.startswith("request/"):
                task = asyncio.ensure_future(self._apply(key))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _apply(self, key: str) -> None:
        assert self.store is not None
        cell = (await self.store.get([key]))[key]
        request = decode_request(cell.value)
        if request.state == "asked":
            results = dict.fromkeys(request.offsets, self.answer)
            value = encode_request(msgspec.structs.replace(request, state="applied", results=results))
            await self.store.put([CellWrite(key, value, expected=cell.version)])


class Settings:
    """Reloads: answers what it is told to, and remembers whether it was more than a dry run."""

    def __init__(self) -> None:
        self.answer: Reloaded | ReloadRefused = Reloaded([LEDGER], 1, ["store"], [])
        self.taken_over = 0

    async def __call__(self, *, dry_run: bool = False) -> Reloaded | ReloadRefused:
        self.taken_over += not dry_run and isinstance(self.answer, Reloaded)
        return self.answer


def plan() -> Plan:
    async def book(event: object, context: object) -> None: ...

    async def fed(since: object, context: object) -> None: ...

    settled = EventTypeSpec("settled@1", "settled", 1, STREAM, "payments", dict, dict, bytes, None, "", HERE)
    subscription = SubscriptionSpec(BOOK, "payments", "subscribe", (settled,), STREAM, book, HERE, systems=(LEDGER,))
    return Plan(
        integrations=[IntegrationSpec("payments", "payments-team", "Settlements reach the ledger", HERE)],
        systems={LEDGER: SystemSpec(LEDGER, "payments", "http", HERE)},
        bindings={LEDGER: HttpBinding("https://ledger.example")},
        types={"settled@1": settled},
        webhooks=[],
        subscriptions={BOOK: subscription},
        polls=[PollSpec(FED, "payments", US_PER_MINUTE, fed, STREAM, HERE)],
        streams=[StreamSpec(STREAM, 2)],
        digest="d1",
        schedules=[ScheduleSpec(NIGHTLY, "payments", "0 6 * * *", None, "UTC", "skip", fed, STREAM, HERE)],
    )


class Answered(NamedTuple):
    """What the application answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class Stage:
    """The whole control plane on a memory store."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.process = Process()
        self.records = Records()
        self.store = MemoryStore(self.clock, self.process, emit=self.records)
        self.process.store = self.store
        self.recent = Recent(self.clock)
        self.views = MemoryViews(self.store.disk, self.clock)
        self.chance = Chance()
        self.commands = Commands(self.store, self.store, self.process, self.clock, self.chance, self.records)
        reading = Reading(self.views, self.store, self.store, self.process, plan(), "0.1.0")
        self.reload = Settings()
        self.admin = Admin(reading, self.commands, self.recent, self.clock, self.reload)
        ports = Ports(self.process, lambda _: (b"# EOF\n", "text/plain"), self._access, self.clock, self.records)
        self.app = control_app(self.admin, ports)

    def _access(self, authorization: Sequence[str]) -> str | None:
        return "token[0]" if list(authorization) == [f"Bearer {TOKEN}"] else None

    async def history(self) -> None:
        """See `write_history`."""
        await write_history(self.store, self.clock)

    async def get(self, target: str, **headers: str) -> Answered:
        return await self.call("GET", target, headers=headers)

    async def post(self, target: str, members: object) -> Answered:
        return await self.call(
            "POST", target, body=msgspec.json.encode(members), headers={"content-type": "application/json"}
        )

    async def call(
        self,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        token: str | None = TOKEN,
        host: str | None = "127.0.0.1:8081",
        raw: Sequence[tuple[bytes, bytes]] = (),
    ) -> Answered:
        path, _, query = target.partition("?")
        fields = {**({"host": host} if host is not None else {}), **(headers or {})}
        if token is not None:
            fields["authorization"] = f"Bearer {token}"
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [*((k.lower().encode(), v.encode("latin-1")) for k, v in fields.items()), *raw],
            "client": ("127.0.0.1", 5),
            "server": ("127.0.0.1", 8081),
        }
        sent: list[Any] = []
        inbox = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Any:
            return inbox.pop(0) if inbox else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.drive(self.app(scope, receive, send))
        given = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return Answered(sent[0]["status"], given, b"".join(part.get("body", b"") for part in sent[1:]))

    async def drive(self, work: Awaitable[T]) -> T:
        """Await something, moving the clock on whenever it waits for that."""
        task = asyncio.ensure_future(work)
        for _ in range(2_000):
            await self.clock.settle()
            if task.done():
                break
            await self.clock.advance(50_000)
        return await task


async def write_history(store: Store, clock: FakeClock) -> None:
    """Six events of one shard: 1 delivered, 2 and 3 dead by one cause, 4 held, 5 behind it, 6 not read yet."""
    await store.make_stream(STREAM, 2)
    for n in range(1, 7):
        clock.jump(1_000)
        draft = Draft(
            STREAM,
            "settled@1",
            "/psp",
            f"s{n}",
            b'{"n":%d}' % n,
            key=_key_on(0, n),
            headers=(("cookie", "s3cret"),),
        )
        await store.append([draft])
    lease = await store.renew("w1", LEASE_TTL_US)
    assert isinstance(lease, Lease)
    opened = await store.open(lease, [Assign(CURSOR, "beginning", frozenset({"settled@1"}))])
    assert not isinstance(opened, LeaseLost)
    (done,) = await store.commit([_settlement(opened[0].cursor.epoch, clock.now())])
    assert isinstance(done, Committed)


def _settlement(epoch: int, at: int) -> Settlement:
    dead = Row(
        2,
        "k2",
        "dead",
        since=at,
        attempts=3,
        attempts_total=3,
        reason="exhausted",
        error="http 503",
        status=503,
        system=LEDGER,
        fingerprint="fp_aaaaaaaaaaaa",
        first_failed_at=at,
        died_at=at,
        type="settled@1",
    )
    also = msgspec.structs.replace(dead, offset=3, key="k3")
    held = msgspec.structs.replace(
        dead, offset=4, key="k4", state="held", reason="ambiguous", fingerprint="fp_bbbbbbbbbbbb"
    )
    failed = Attempt("att_1", 2, 1, at, 5_000, "later", "http 503", "said no", 503, LEDGER, "fp_aaaaaaaaaaaa")
    return Settlement(
        CURSOR,
        "w1",
        epoch,
        1,
        floor=5,
        above=0,
        counters=Counters(delivered=1, dead=2),
        put=[dead, also, held],
        marks=[Mark("k4", 5, 5, 1)],
        successes=[Success(1, at, 4_000, 201)],
        attempts=[failed],
    )


def staged(scenario: Callable[[Stage], Awaitable[None]]) -> None:
    """Run a scenario on a stage with its history."""

    async def run() -> None:
        stage = Stage()
        await stage.history()
        stage.records.all.clear()
        await scenario(stage)

    asyncio.run(run())


def _key_on(shard: int, n: int) -> str:
    return next(key for i in range(100) if shard_of(key := f"k{n}" + "." * i, 2) == shard)
