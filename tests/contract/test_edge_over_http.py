"""The data plane behind its own server, over a loopback socket, into a store: what a sender sees, and what is kept."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from tests.unit.edge.plane import GITHUB_SECRET, NOW_SECONDS, PSP_SECRET, TOKEN, Bound, cloud_event, shop

from interlock.core.event import Draft, Shard
from interlock.edge.app import DataPlane
from interlock.edge.problem import rendered
from interlock.journal.memory import MemoryDisk, MemoryStore
from interlock.runtime.clock import SystemClock
from interlock.runtime.ports import SystemNet
from interlock.security.access import bearers
from interlock.security.signatures import verifier
from interlock.spec.plan import Plan
from interlock.testing.clock import FakeClock
from interlock.wire.server import Server

PUSH = b'{"ref":"refs/heads/main","repository":{"full_name":"octo/hello"}}'
PAYLOAD = b'{"account":"a-1","amount":5}'
CLOSE = ("connection", "close")
BEARER = ("authorization", f"Bearer {TOKEN}")


class Answer(NamedTuple):
    status: int
    fields: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Reading(asyncio.Protocol):
    """A client that writes one request, closes its side, and keeps what comes until the server closes."""

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.received = b""
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        transport.write(self.request)
        if transport.can_write_eof():
            transport.write_eof()

    def data_received(self, data: bytes) -> None:
        self.received += data

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


class Deaf:
    """A Wakeup that nobody listens to."""

    def appended(self, shard: Shard, events: object) -> None: ...
    def changed(self, cells: object) -> None: ...


class Site:
    """The plane on a port. `events_max` is the room of its store."""

    def __init__(self, port: int, store: MemoryStore, plan: Plan) -> None:
        self.port = port
        self.store = store
        self.plan = plan

    async def raw(self, request: bytes) -> Answer | None:
        """The answer to these bytes; None if the server closed without one."""
        reading = Reading(request)
        await SystemNet().connect(lambda: reading, "127.0.0.1", self.port)
        await reading.done
        head, _, body = reading.received.partition(b"\r\n\r\n")
        if not head:
            return None
        status, *lines = head.decode("latin-1").split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines)
        return Answer(int(status.split(" ")[1]), fields, body)

    async def send(self, target: str, headers: Sequence[tuple[str, str]], body: bytes) -> Answer:
        answer = await self.raw(request(target, headers, body))
        assert answer is not None
        return answer

    async def drafts(self) -> list[Draft]:
        found = []
        for stream in self.plan.streams:
            for number in range(stream.shards):
                batch = await self.store.read(Shard(stream.name, number), 0, 1000)
                found += [event.draft for event in batch.events]
        return found


def request(target: str, headers: Sequence[tuple[str, str]], body: bytes) -> bytes:
    fields = [("host", "127.0.0.1"), ("content-length", str(len(body))), CLOSE, *headers]
    lines = [f"POST {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields), "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def at_a_site(test: Callable[[Site], Awaitable[None]], events_max: int | None = None) -> None:
    async def run() -> None:
        clock, plan, secrets = FakeClock(), shop(), Bound()
        store = MemoryStore(clock, Deaf(), emit=unheard, disk=MemoryDisk(events_max=events_max))
        for stream in plan.streams:
            await store.make_stream(stream.name, stream.shards)
        plane = DataPlane(
            plan,
            store,
            lambda webhook: verifier(webhook.verify, secrets, clock),
            bearers(lambda: [TOKEN]),
            clock,
            unheard,
        )
        system = SystemClock()
        server = Server(plane, clock=system, emit=unheard, refuse=rendered)
        listening = await server.listen(SystemNet(), "127.0.0.1", 0)
        try:
            await test(Site(listening.port, store, plan))
        finally:
            await server.drain(system.monotonic() + 1_000_000)
            await store.close()

    asyncio.run(run())


def unheard(record: str, /, **fields: object) -> None: ...


def github_signed(body: bytes, event: str = "push", delivery: str = "d-1") -> list[tuple[str, str]]:
    signature = "sha256=" + hmac.new(GITHUB_SECRET, body, hashlib.sha256).hexdigest()
    return [
        ("Content-Type", "application/json"),
        ("X-GitHub-Event", event),
        ("X-GitHub-Delivery", delivery),
        ("X-Hub-Signature-256", signature),
    ]


def test_a_delivery_of_github_is_recorded_once_however_often_it_is_sent():
    async def test(site: Site) -> None:
        first = await site.send("/hooks/github", github_signed(PUSH), PUSH)
        again = await site.send("/hooks/github", github_signed(PUSH), PUSH)
        assert (first.status, again.status) == (202, 202)
        assert first.json["id"].startswith("evt_")
        assert again.json == {**first.json, "duplicate": True}
        assert [draft.id for draft in await site.drafts()] == ["d-1"]

    at_a_site(test)


def test_a_ping_of_github_is_answered_and_not_recorded():
    async def test(site: Site) -> None:
        answer = await site.send("/hooks/github", github_signed(b"{}", event="ping"), b"{}")
        assert (answer.status, answer.json) == (200, {"ok": True})
        assert await site.drafts() == []

    at_a_site(test)


def test_a_flipped_byte_is_refused_with_a_problem_and_an_unreadable_body_is_kept():
    async def test(site: Site) -> None:
        flipped = await site.send("/hooks/github", github_signed(PUSH), PUSH.replace(b"main", b"maim"))
        assert (flipped.status, flipped.json["code"]) == (401, "webhook.signature-refused")
        assert flipped.fields["content-type"] == "application/problem+json"
        assert await site.drafts() == []
        kept = await site.send("/hooks/github", github_signed(b"\xff not json"), b"\xff not json")
        assert kept.status == 202
        [draft] = await site.drafts()
        assert (draft.stream, draft.data) == ("shop.from_github.inbox", b"\xff not json")

    at_a_site(test)


def test_a_standard_webhook_becomes_all_its_events():
    async def test(site: Site) -> None:
        body = b'{"entries":[{"id":"1","account":"a","amount":1},{"id":"2","account":"b","amount":2}]}'
        signed = b"m-1.%d." % NOW_SECONDS + body
        signature = base64.b64encode(hmac.digest(base64.b64decode(PSP_SECRET[6:]), signed, "sha256")).decode()
        headers = [("Webhook-Id", "m-1"), ("Webhook-Timestamp", str(NOW_SECONDS))]
        answer = await site.send("/hooks/psp", [*headers, ("Webhook-Signature", f"v1,{signature}")], body)
        assert (answer.status, len(answer.json["ids"])) == (202, 2)
        assert {draft.key for draft in await site.drafts()} == {"a", "b"}

    at_a_site(test)


def test_events_come_in_all_three_modes_and_in_both_forms_of_a_field():
    async def test(site: Site) -> None:
        fields = [("ce-specversion", "1.0"), ("ce-source", "/till"), ("ce-type", "payment.settled@1"), BEARER]
        for id, subject in (("encoded", "Euro%20%E2%82%AC"), ("raw", "Euro €".encode().decode("latin-1"))):
            sent = [*fields, ("ce-id", id), ("ce-subject", subject), ("Content-Type", "application/json")]
            assert (await site.send("/events", sent, PAYLOAD)).status == 202
        structured = ("content-type", "Application/CloudEvents+JSON; charset=utf-8")
        one = json.dumps(cloud_event(id="structured", subject="Euro €")).encode()
        assert (await site.send("/events", [BEARER, structured], one)).status == 202
        batch = json.dumps([cloud_event(id=f"batch-{n}", subject="Euro €") for n in range(3)]).encode()
        batched = ("content-type", "application/cloudevents-batch+json")
        assert len((await site.send("/events", [BEARER, batched], batch)).json["ids"]) == 3
        assert (await site.send("/events", [BEARER, batched], b"[]")).status == 200
        drafts = await site.drafts()
        assert {draft.id for draft in drafts} == {"encoded", "raw", "structured", "batch-0", "batch-1", "batch-2"}
        assert {draft.subject for draft in drafts} == {"Euro €"}

    at_a_site(test)


def test_of_two_batches_that_disagree_one_is_recorded_whole_and_the_other_not_at_all():
    async def test(site: Site) -> None:
        batched = ("content-type", "application/cloudevents-batch+json")
        bodies = [
            json.dumps([cloud_event(id=f"{name}-{n}") for n in range(3)] + [cloud_event(data=data)]).encode()
            for name, data in (("a", {"account": "a-1", "amount": 1}), ("b", {"account": "a-1", "amount": 2}))
        ]
        answers = await asyncio.gather(*(site.send("/events", [BEARER, batched], body) for body in bodies))
        assert sorted(answer.status for answer in answers) == [202, 409]
        taken, refused = sorted(answers, key=lambda answer: answer.status)
        assert refused.json["instance"] == taken.json["ids"][3]
        assert [fault["pointer"] for fault in refused.json["errors"]] == ["/3/id"]
        recorded = "ab"[answers.index(taken)]
        expected = {f"{recorded}-{n}" for n in range(3)} | {"e-1"}
        assert {draft.id for draft in await site.drafts()} == expected

    at_a_site(test)


def test_a_store_without_room_is_507_with_the_time_to_come_back():
    async def test(site: Site) -> None:
        answer = await site.send("/hooks/github", github_signed(PUSH), PUSH)
        assert (answer.status, answer.json["code"]) == (507, "store.full")
        assert answer.fields["retry-after"] == "30"
        assert await site.drafts() == []

    at_a_site(test, events_max=0)


def test_what_the_server_refuses_is_a_problem_like_any_other():
    async def test(site: Site) -> None:
        for status, sent in (
            (413, request("/events", [BEARER], b"x" * 1_048_577)),
            (431, request("/events", [("x", "y" * 40_000)], b"")),
            (400, b"POST /events HTTP/1.1\r\nhost: a\r\ncontent-length: +1\r\n\r\nx"),
            (401, request("/events", [], PAYLOAD)),
            (404, request("/event", [], b"")),
        ):
            answer = await site.raw(sent)
            assert answer is not None
            assert (answer.status, answer.json["status"]) == (status, status)
            assert answer.fields["content-type"] == "application/problem+json"
            assert answer.json["remedy"]

    at_a_site(test)


def test_any_octet_of_a_signed_request_may_be_another_without_a_5xx_or_another_event():
    whole = request("/hooks/github", github_signed(PUSH), PUSH)

    async def test(site: Site) -> None:
        for at in range(len(whole)):
            for octet in (0x00, 0x0A, 0x20, 0x30, 0xFF, whole[at] ^ 0x20):
                answer = await site.raw(whole[:at] + bytes([octet]) + whole[at + 1 :])
                assert answer is None or answer.status < 500
        for draft in await site.drafts():
            assert draft.data == b'{"repository":"octo/hello","ref":"refs/heads/main"}' or draft.data == PUSH

    at_a_site(test)
