"""The client and its whole stack, before a transport that keeps what it gets, and over real connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from interlock.call.breaker import Published, encode
from interlock.call.classify import answered
from interlock.call.effect import CallFailed, Scope
from interlock.core.controls import Control
from interlock.core.errors import InterlockError, SpecError
from interlock.core.handler import Call, Handler
from interlock.core.limits import US_PER_SECOND, WAIT_FOR_A_PERSON_US
from interlock.core.outcome import Answer, Later, Outcome, Reject, Unavailable
from interlock.runtime.clock import SystemClock
from interlock.runtime.ports import SystemNet
from interlock.spec.plan import HttpBinding, Plan, SystemSpec, Where
from interlock.systems.registry import Systems
from interlock.testing.clock import FakeClock

CRM = "shop.crm"
ID = ("shop", "https://shop.example", "order-17")


class Chance:
    """The Random port with one answer."""

    def uniform(self, low: float, high: float) -> float:
        return (low + high) / 2

    def bytes(self, count: int) -> bytes:
        return b"\1" * count


class Vault:
    """The Secrets port over a dict."""

    def __init__(self, **secrets: Sequence[bytes]) -> None:
        self.secrets = secrets

    def active(self, name: str) -> Sequence[bytes]:
        return self.secrets.get(name, ())


class World:
    """The ports, as the runtime hands them in."""

    def __init__(self, clock: Any = None, **secrets: Sequence[bytes]) -> None:
        self.net: Any = SystemNet()
        self.clock = clock or FakeClock()
        self.random = Chance()
        self.secrets = Vault(**secrets)
        self.records: list[tuple[str, dict[str, object]]] = []

    def emit(self, record: str, /, **fields: object) -> None:
        if record != "call.ended":
            self.records.append((record, fields))


def plan(**bindings: HttpBinding) -> Plan:
    names = {f"shop.{name}": binding for name, binding in bindings.items()}
    systems = {name: SystemSpec(name, "shop", "http", Where("shop.py", 1)) for name in names}
    return Plan([], systems, names, {}, [], {}, [], [], "digest")


class Far:
    """Where the transport would be: answers with a status, keeps the calls."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.calls: list[Call] = []

    def __call__(self, _system: str) -> Handler:
        return self._handle

    async def _handle(self, call: Call) -> Outcome:
        self.calls.append(call)
        return answered(call, Answer(self.statuses.pop(0) if self.statuses else 200), 0)


def run(test: Callable[[], Coroutine[None, None, None]]) -> None:
    asyncio.run(test())


def scope(world: World) -> Scope:
    return Scope(identity=ID, subscription="shop.fulfil", deadline=world.clock.monotonic() + 30 * US_PER_SECOND)


def test_a_call_goes_out_with_everything_that_a_call_always_has():
    async def body() -> None:
        world, far = World(crm_token=[b"t0psecret", b"older"]), Far()
        headers = {"Authorization": "Bearer secret:crm_token", "X-Tenant": "7"}
        systems = Systems(plan(crm=HttpBinding("https://crm.example/api", headers=headers)), world, far)
        client = systems.client(CRM, scope(world))
        await client.post("/orders", json={"sku": "a"}, headers={"X-Order": "17"}, params={"dry": "no"})
        (call,) = far.calls
        assert (call.method, call.target, call.body) == ("POST", "/api/orders?dry=no", b'{"sku":"a"}')
        sent = dict(call.headers)
        assert len(sent) == len(call.headers)
        assert sent["idempotency-key"] == f'"{call.key}"'
        assert sent["traceparent"].startswith("00-")
        assert sent["x-request-timeout-ms"] == "15000"
        assert sent["authorization"] == "Bearer t0psecret"
        assert (sent["x-tenant"], sent["x-order"]) == ("7", "17")
        assert (sent["content-type"], sent["user-agent"]) == ("application/json", "interlock")
        await client.get("/orders")
        assert "idempotency-key" not in dict(far.calls[1].headers)
        assert far.calls[1].body == b""

    run(body)


def test_every_method_of_the_client_is_the_method_of_the_request():
    async def body() -> None:
        world, far = World(), Far()
        client = Systems(plan(crm=HttpBinding("http://crm.example")), world, far).client(CRM, scope(world))
        for method in (client.get, client.post, client.put, client.patch, client.delete):
            await method("/x")
        await client.request("QUERY", "/x", body=b"q")
        assert [call.method for call in far.calls] == ["GET", "POST", "PUT", "PATCH", "DELETE", "QUERY"]

    run(body)


@dataclass
class Order:
    sku: str


class Model:
    """Stands for a pydantic model."""

    def model_dump(self, *, mode: str, by_alias: bool) -> dict[str, object]:
        return {"mode": mode, "alias": by_alias}


class Row(msgspec.Struct):
    n: int


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        (Order("a"), b'{"sku":"a"}'),
        (Row(1), b'{"n":1}'),
        ([Model()], b'[{"mode":"json","alias":true}]'),
        (None, b"null"),
    ],
)
def test_payload_models_are_sent_as_json(value: object, sent: bytes):
    async def body() -> None:
        world, far = World(), Far()
        await (
            Systems(plan(crm=HttpBinding("http://crm.example")), world, far)
            .client(CRM, scope(world))
            .post("/x", json=value)
        )
        assert far.calls[0].body == sent

    run(body)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"json": object()}, "call.body-invalid"),
        ({"body": "text"}, "call.body-invalid"),
        ({"json": 1, "body": b"1"}, "call.body-twice"),
        ({"jsn": 1}, "call.option-unknown"),
        ({"headers": {"Idempotency-Key": "mine"}}, "call.header-reserved"),
        ({"headers": {"X-Request-Timeout-Ms": "1"}}, "call.header-reserved"),
        ({"headers": {"traceparent": "x"}}, "call.header-reserved"),
        ({"headers": {"Host": "evil.example"}}, "call.header-reserved"),
        ({"headers": {"Content-Length": "1"}}, "call.header-reserved"),
        ({"headers": {"X-Tenant": "8"}}, "call.header-reserved"),
        ({"headers": {"X": "a\r\nb: c"}}, "call.header-invalid"),
    ],
)
def test_what_must_not_be_sent_is_refused_with_a_remedy_and_nothing_is_sent(options: dict[str, Any], code: str):
    async def body() -> None:
        world, far = World(), Far()
        systems = Systems(plan(crm=HttpBinding("http://crm.example", headers={"X-Tenant": "7"})), world, far)
        with pytest.raises(InterlockError) as refused:
            await systems.client(CRM, scope(world)).post("/x", **options)
        assert refused.value.code == code
        assert refused.value.remedy
        assert far.calls == []

    run(body)


@pytest.mark.parametrize("method", ["", "get", "CONNECT", "TRACE", "GET /\r\n", "PURGE"])
def test_methods_that_are_not_for_calls_are_refused(method: str):
    async def body() -> None:
        world = World()
        client = Systems(plan(crm=HttpBinding("http://crm.example")), world, Far()).client(CRM, scope(world))
        with pytest.raises(InterlockError, match=r"call\.method-invalid"):
            await client.request(method, "/x")

    run(body)


def test_anything_but_a_success_is_raised_with_its_outcome():
    async def body() -> None:
        world = World()
        client = Systems(plan(crm=HttpBinding("http://crm.example")), world, Far(302, 404, 503)).client(
            CRM, scope(world)
        )
        found: list[type] = []
        for _ in range(3):
            with pytest.raises(CallFailed) as failed:
                await client.get("/x")
            found.append(type(failed.value.outcome))
        assert found == [Later, Reject, Later]

    run(body)


def test_a_missing_secret_delays_the_event_and_is_told():
    async def body() -> None:
        world, far = World(), Far()
        systems = Systems(plan(crm=HttpBinding("http://crm.example", headers={"X-Key": "secret:crm"})), world, far)
        for value in ([], [b""], [b"a\r\nb: c"]):
            world.secrets.secrets["crm"] = value
            with pytest.raises(CallFailed) as failed:
                await systems.client(CRM, scope(world)).post("/x")
            assert isinstance(failed.value.outcome, Unavailable)
        assert world.records[0] == ("system.secret-missing", {"system": CRM, "secret": "crm"})
        world.secrets.secrets["crm"] = [b"new"]
        await systems.client(CRM, scope(world)).post("/x")
        assert dict(far.calls[0].headers)["x-key"] == "new"
        assert len(far.calls) == 1

    run(body)


@pytest.mark.parametrize("name", ["Host", "Content-Length", "Idempotency-Key", "X Y", "Traceparent"])
def test_a_binding_cannot_set_what_is_not_its_own(name: str):
    with pytest.raises(SpecError, match=r"system\.header-invalid"):
        Systems(plan(crm=HttpBinding("http://crm.example", headers={name: "x"})), World(), Far())


def test_a_system_without_an_address_and_a_name_without_a_system_are_refused():
    unbound = Plan([], {CRM: SystemSpec(CRM, "shop", "http", Where("shop.py", 1))}, {}, {}, [], {}, [], [], "digest")
    with pytest.raises(SpecError, match=r"system\.unbound"):
        Systems(unbound, World(), Far())
    with pytest.raises(SpecError, match=r"system\.unknown"):
        Systems(plan(crm=HttpBinding("http://crm.example")), World(), Far()).available("shop.erp")


def test_systems_are_apart_one_that_is_down_leaves_the_other_alone():
    async def body() -> None:
        world, far = World(), Far(*[500] * 5)
        systems = Systems(plan(crm=HttpBinding("http://a.example"), erp=HttpBinding("http://b.example")), world, far)
        found: list[tuple[str, bytes]] = []
        systems.on_turn(lambda name, value: found.append((name, value)))
        for number in range(5):
            attempt = Scope(identity=ID, event_id=f"evt_{number}", deadline=world.clock.monotonic() + US_PER_SECOND)
            with pytest.raises(CallFailed):
                await systems.client(CRM, attempt).post("/x")
        assert systems.available(CRM) == 10 * US_PER_SECOND
        assert systems.available("shop.erp") is None
        assert (systems.state(CRM).breaker, systems.state("shop.erp").breaker) == ("open", "closed")
        assert [name for name, _ in found] == [CRM]

        other = Systems(plan(crm=HttpBinding("http://a.example")), World(world.clock), Far())
        world.clock.jump(1)  # the other process hears of it later
        other.adopt(CRM, found[0][1])
        assert other.available(CRM) == 10 * US_PER_SECOND - 1
        other.adopt(CRM, b"not a cell")
        assert other.state(CRM).breaker == "open"

    run(body)


def test_control_state_is_applied_as_a_whole_and_watchers_are_told():
    async def body() -> None:
        world = World()
        systems = Systems(plan(crm=HttpBinding("http://a.example")), world, Far())
        told: list[str] = []
        systems.watch(told.append)
        systems.control(CRM, Control(paused=True))
        assert systems.available(CRM) == WAIT_FOR_A_PERSON_US
        assert told == []
        systems.control(CRM, Control(forced="open"))
        assert systems.state(CRM).breaker == "forced_open"
        assert systems.available(CRM) == WAIT_FOR_A_PERSON_US
        records = len(world.records)
        systems.control(CRM, Control(forced="open"))
        assert len(world.records) == records
        systems.control(CRM, Control())
        assert systems.available(CRM) is None
        assert set(told) == {CRM}

    run(body)


def test_lifting_a_control_leaves_what_the_breaker_found_itself():
    world = World()
    systems = Systems(plan(crm=HttpBinding("http://a.example")), world, Far())
    wall = world.clock.now()
    systems.adopt(CRM, encode(Published("open", 1, wall + US_PER_SECOND, wall + 1)))
    systems.control(CRM, Control())
    assert systems.state(CRM).breaker == "open"


def test_a_system_that_is_bound_anew_keeps_what_a_person_set_and_what_was_found_at_the_same_address():
    world = World()
    here, there = HttpBinding("http://a.example"), HttpBinding("http://b.example")
    slower = HttpBinding("http://a.example", concurrency=2)
    systems = Systems(plan(crm=here, erp=here, hr=here, pos=here), world, Far())
    told: list[str] = []
    systems.watch(told.append)
    wall = world.clock.now()
    for name in (CRM, "shop.erp"):
        systems.adopt(name, encode(Published("open", 1, wall + US_PER_SECOND, wall + 1)))
    systems.pause("shop.hr")
    systems.force("shop.pos", "open")
    told.clear()
    assert systems.rebind(plan(crm=slower, erp=there, hr=there, pos=there).bindings) == [
        CRM,
        "shop.erp",
        "shop.hr",
        "shop.pos",
    ]
    assert (systems.state(CRM).breaker, systems.state(CRM).concurrency) == ("open", 2)
    assert systems.state("shop.erp").breaker == "closed"
    assert systems.state("shop.hr").paused
    assert systems.state("shop.pos").breaker == "forced_open"
    assert set(told) == {CRM, "shop.erp", "shop.hr", "shop.pos"}
    assert systems.rebind(plan(crm=slower, erp=there, hr=there, pos=there).bindings) == []


def test_a_binding_that_cannot_be_used_changes_nothing():
    systems = Systems(
        plan(crm=HttpBinding("http://a.example", concurrency=3), erp=HttpBinding("http://b.example")), World(), Far()
    )
    with pytest.raises(SpecError, match=r"system\.url-invalid"):
        systems.rebind(plan(crm=HttpBinding("http://a.example", concurrency=2), erp=HttpBinding("ftp://b")).bindings)
    assert systems.state(CRM).concurrency == 3


@asynccontextmanager
async def serving(answers: Callable[[bytes], bytes]) -> AsyncIterator[int]:
    """A server on a free port that answers each connection's one request."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            head = await reader.readuntil(b"\r\n\r\n")
            lengths = [
                line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
            ]
            writer.write(answers(head + await reader.readexactly(int(lengths[0]) if lengths else 0)))
            await writer.drain()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await asyncio.gather(*tasks)


def test_over_a_real_connection_the_request_is_what_was_asked_and_the_answer_is_read():
    async def body() -> None:
        got: list[bytes] = []

        def answer(request: bytes) -> bytes:
            got.append(request)
            return b"HTTP/1.1 201 Created\r\nlocation: /orders/17\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"

        world = World(SystemClock(), crm=[b"t0psecret"])
        async with serving(answer) as port:
            bound = HttpBinding(f"http://127.0.0.1:{port}/api", headers={"authorization": "secret:crm"})
            systems = Systems(plan(crm=bound), world)
            found = await systems.client(CRM, scope(world)).post("/orders", json={"sku": "ü"})
            await systems.close()
        assert (found.status, found.header("location"), found.body) == (201, "/orders/17", b"ok")
        assert got[0].startswith(b"POST /api/orders HTTP/1.1\r\n")
        assert b"\r\nauthorization: t0psecret\r\n" in got[0].lower()
        assert got[0].endswith('\r\n\r\n{"sku":"ü"}'.encode())

    run(body)


async def reason(systems: Systems, attempt: Scope) -> str:
    with pytest.raises(CallFailed) as failed:
        await systems.client(CRM, attempt).post("/x")
    outcome = failed.value.outcome
    return outcome.reason if isinstance(outcome, Later) else repr(outcome)


def test_over_a_real_connection_every_failure_is_an_outcome():
    async def body() -> None:
        world = World(SystemClock())
        twice = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok"
        async with serving(lambda _request: twice) as port:
            systems = Systems(plan(crm=HttpBinding(f"http://127.0.0.1:{port}")), world)
            assert await reason(systems, scope(world)) == "malformed"
            withheld = Scope(identity=ID, deadline=world.clock.monotonic() + US_PER_SECOND, may_send=lambda: False)
            assert await reason(systems, withheld) == repr(Unavailable("lease", None, CRM))
            await systems.close()
        systems = Systems(plan(crm=HttpBinding(f"http://127.0.0.1:{port}")), world)
        assert await reason(systems, scope(world)) == "connect"

    run(body)
