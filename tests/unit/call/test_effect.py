"""One attempt's calls: keys, names, memo, effects, records."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from interlock.call.effect import CallFailed, CallLabelMissing, Scope
from interlock.call.memo import Finished, decode_memo, encode_memo, entry_bytes_max
from interlock.call.record import Request
from interlock.core.errors import InterlockError
from interlock.core.handler import Call
from interlock.core.ids import idempotency_key
from interlock.core.limits import CALL_RECORDS_MAX, EXCERPT_BYTES_MAX, MEMO_BYTES_MAX
from interlock.core.outcome import Answer, Done, Later, Outcome, Reject, Unavailable, Unknown
from interlock.core.redact import REDACTED
from interlock.testing.clock import FakeClock

SYSTEM = "shop.crm"
IDENTITY = ("shop", "https://shop.example", "order-17")
CREATED = Answer(201, (("location", "/orders/17"),), b'{"id":17}')
POST = Request("POST", "/orders", (), b'{"sku":"a"}')


class Chance:
    """The Random port, counting."""

    def __init__(self) -> None:
        self.count = 0

    def uniform(self, low: float, high: float) -> float:
        return low

    def bytes(self, count: int) -> bytes:
        self.count += 1
        return self.count.to_bytes(count, "big")


class Outlet:
    """A System that answers from a list, and keeps what it was sent."""

    def __init__(self, *outcomes: Outcome, system: str = SYSTEM) -> None:
        self.system = system
        self.clock = FakeClock()
        self.random = Chance()
        self.outcomes = list(outcomes)
        self.calls: list[Call] = []
        self.gate: asyncio.Event | None = None

    async def handler(self, call: Call) -> Outcome:
        if call.before_send is not None and not await call.before_send():
            return Unavailable("lease", None, call.system)
        self.calls.append(call)
        if self.gate is not None:
            await self.gate.wait()
        return self.outcomes.pop(0) if self.outcomes else Done(CREATED)

    def hidden(self) -> Sequence[str]:
        return ("hunter22",)


def scope(memo: bytes = b"", **more: object) -> Scope:
    return Scope(identity=IDENTITY, subscription="shop.fulfil", event_id="evt_1", memo=memo, **more)  # type: ignore[arg-type] - whatever the test adds


def run(test: Callable[[], Coroutine[None, None, None]]) -> None:
    asyncio.run(test())


async def ends(made: Coroutine[None, None, Answer]) -> Outcome:
    with pytest.raises(CallFailed) as failed:
        await made
    return failed.value.outcome


def key(label: str) -> str:
    return idempotency_key(*IDENTITY, "shop.fulfil", SYSTEM, label)


def test_a_call_carries_the_key_of_its_event_subscription_system_and_ordinal():
    async def body() -> None:
        outlet, attempt = Outlet(), scope()
        assert await attempt.send(outlet, POST) == CREATED
        await attempt.send(outlet, POST)
        assert [call.key for call in outlet.calls] == [key("#1"), key("#2")]
        again = scope()
        await again.send(outlet, POST)
        assert outlet.calls[2].key == key("#1")
        assert all(len(call.key) == 35 and call.key.isascii() for call in outlet.calls)

    run(body)


def test_ordinals_are_counted_for_each_system_and_a_name_replaces_them():
    async def body() -> None:
        crm, erp, attempt = Outlet(), Outlet(system="shop.erp"), scope()
        await attempt.send(crm, POST)
        await attempt.send(erp, POST)
        await attempt.send(crm, replace(POST, label="charge"))
        await attempt.send(crm, POST)
        assert [call.label for call in crm.calls] == ["#1", "charge", "#2"]
        assert [call.label for call in erp.calls] == ["#1"]
        assert attempt.systems == {"shop.crm", "shop.erp"}

    run(body)


def test_a_safe_call_has_no_key_and_does_not_move_the_ordinals_of_the_others():
    async def body() -> None:
        outlet, attempt = Outlet(), scope()
        await attempt.send(outlet, Request("GET", "/orders"))
        await attempt.send(outlet, POST)
        assert [(call.key, call.effect) for call in outlet.calls] == [("", "natural"), (key("#1"), "keyed")]
        assert attempt.unsafe_finished == 1

    run(body)


def test_two_calls_without_a_name_at_once_are_refused_and_named_ones_are_not():
    async def body() -> None:
        outlet, attempt = Outlet(), scope()
        outlet.gate = asyncio.Event()
        first = asyncio.ensure_future(attempt.send(outlet, POST))
        named = asyncio.ensure_future(attempt.send(outlet, replace(POST, label="a")))
        read = asyncio.ensure_future(attempt.send(outlet, Request("GET", "/orders")))
        await asyncio.sleep(0)
        with pytest.raises(CallLabelMissing, match=r"call\.label-missing"):
            await attempt.send(outlet, POST)
        outlet.gate.set()
        await asyncio.gather(first, named, read)
        await attempt.send(outlet, POST)

    run(body)


@pytest.mark.parametrize("label", ["", "#1", "a b", "ä", "x" * 65, "a/b", "-a", "a\n"])
def test_a_name_that_could_be_taken_for_something_else_is_refused(label: str):
    async def body() -> None:
        with pytest.raises(InterlockError, match=r"call\.label-invalid"):
            await scope().send(Outlet(), replace(POST, label=label))

    run(body)


def test_a_name_is_used_once_an_attempt_because_the_key_would_be_the_same():
    async def body() -> None:
        attempt, outlet = scope(), Outlet()
        await attempt.send(outlet, replace(POST, label="a"))
        with pytest.raises(InterlockError, match=r"call\.label-twice"):
            await attempt.send(outlet, replace(POST, label="a", body=b"other"))
        assert len(outlet.calls) == 1

    run(body)


def test_finished_calls_are_not_repeated_by_the_next_attempt():
    async def body() -> None:
        first, outlet = scope(), Outlet(Done(CREATED), Later("timeout"))
        await first.send(outlet, POST)
        assert await ends(first.send(outlet, replace(POST, body=b"2"))) == Later("timeout")
        memo = first.encode_memo()
        assert len(decode_memo(memo)) == 1

        second, outlet = scope(memo), Outlet()
        assert await second.send(outlet, POST) == CREATED
        assert outlet.calls == []
        await second.send(outlet, replace(POST, body=b"2"))
        assert [call.key for call in outlet.calls] == [key("#2")]
        assert [record.remembered for record in second.calls] == [True, False]
        assert second.unsafe_finished == 2
        assert len(decode_memo(second.encode_memo())) == 2

    run(body)


def test_a_memo_outlives_attempts_that_never_reach_its_calls():
    async def body() -> None:
        memo = encode_memo([Finished(key("#1"), b"x" * 16, CREATED)])
        idle = scope(memo)
        assert idle.encode_memo() == memo
        other = scope(memo)
        await other.send(Outlet(), replace(POST, label="else"))
        assert decode_memo(other.encode_memo()).keys() == {key("#1"), key("else")}

    run(body)


@pytest.mark.parametrize("change", [{"method": "PUT"}, {"target": "/carts"}, {"body": b"{}"}])
def test_a_call_that_asks_for_something_else_than_before_waits_for_a_person(change: dict[str, object]):
    async def body() -> None:
        first = scope()
        await first.send(Outlet(), POST)
        second, outlet = scope(first.encode_memo()), Outlet()
        outcome = await ends(second.send(outlet, replace(POST, **change)))  # type: ignore[arg-type] - one field each
        assert isinstance(outcome, Unknown)
        assert outcome.reason == "memo-mismatch"
        assert outlet.calls == []
        assert second.encode_memo() == first.encode_memo()

    run(body)


@pytest.mark.parametrize(
    "memo", [b"\xc1", b"junk", encode_memo([Finished("k", b"", CREATED)])[:-1], b"\x93\x01\x02\x03"]
)
def test_a_memo_that_cannot_be_read_waits_for_a_person_and_is_kept(memo: bytes):
    async def body() -> None:
        attempt, outlet = scope(memo), Outlet()
        outcome = await ends(attempt.send(outlet, POST))
        assert isinstance(outcome, Unknown)
        assert outlet.calls == []
        assert attempt.encode_memo() == memo

    run(body)


def test_an_attempt_without_calls_leaves_no_memo():
    async def body() -> None:
        attempt = scope()
        assert attempt.encode_memo() == b""
        await ends(attempt.send(Outlet(Later("timeout")), POST))
        assert attempt.encode_memo() == b""

    run(body)


def test_an_answer_that_the_memo_cannot_hold_is_refused_unless_repeating_is_harmless():
    async def body() -> None:
        large = Answer(200, (), b"x" * MEMO_BYTES_MAX)
        attempt = scope()
        outcome = await ends(attempt.send(Outlet(Done(large)), POST))
        assert isinstance(outcome, Reject)
        assert outcome.reason == "memo-full"
        natural = replace(POST, method="PUT", effect="natural")
        assert await attempt.send(Outlet(Done(large)), natural) == large
        assert await attempt.send(Outlet(Done(large)), Request("GET", "/all")) == large
        assert attempt.encode_memo() == b""

    run(body)


ANSWERS = st.builds(
    Answer,
    st.integers(200, 299),
    st.lists(st.tuples(st.text(max_size=30), st.text(max_size=200)), max_size=20).map(tuple),
    st.binary(max_size=2_000),
)


@given(st.lists(ANSWERS, max_size=10))
def test_an_encoded_memo_is_never_larger_than_what_was_counted(answers: list[Answer]):
    entries = [Finished(key(f"#{number}"), bytes(16), answer) for number, answer in enumerate(answers)]
    memo = encode_memo(entries)
    assert len(memo) <= sum(entry_bytes_max(answer) for answer in answers)
    assert list(decode_memo(memo).values()) == entries


def test_a_call_that_may_happen_once_only_is_recorded_before_it_is_sent():
    async def body() -> None:
        told: list[str] = []
        outlet = Outlet()

        async def announce(effect: str, name: str) -> bool:
            assert outlet.calls == []
            told.append(f"{effect}: {name}")
            return True

        attempt = scope(announce=announce)
        await attempt.send(outlet, replace(POST, effect="once", label="charge"))
        assert told == ["once: shop.crm charge"]
        assert attempt.in_doubt == set()

    run(body)


def test_without_the_lease_a_call_that_has_to_be_announced_is_not_sent():
    async def body() -> None:
        async def announce(_effect: str, _name: str) -> bool:
            return False

        attempt, outlet = scope(announce=announce), Outlet()
        for effect in ("once", "natural"):
            refused = await ends(attempt.send(outlet, replace(POST, effect=effect)))
            assert refused == Unavailable("lease", None, SYSTEM)
        assert outlet.calls == []
        assert attempt.in_doubt == set()

    run(body)


async def granted(_effect: str, _name: str) -> bool:
    return True


def test_a_once_call_with_no_certain_end_stays_in_doubt():
    async def body() -> None:
        once = replace(POST, effect="once")
        attempt = scope(announce=granted)
        assert isinstance(await ends(attempt.send(Outlet(Unknown("timeout")), once)), Unknown)
        assert attempt.in_doubt == {"shop.crm #1"}
        refused = scope(announce=granted)
        await ends(refused.send(Outlet(Later("connect")), once))
        assert refused.in_doubt == set()
        cancelled, outlet = scope(announce=granted), Outlet()
        outlet.gate = asyncio.Event()
        task = asyncio.ensure_future(cancelled.send(outlet, once))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert cancelled.in_doubt == {"shop.crm #1"}

    run(body)


def test_once_outside_a_subscription_is_refused_before_anything_is_sent():
    async def body() -> None:
        outlet = Outlet()
        with pytest.raises(InterlockError, match=r"call\.once-unavailable"):
            await scope().send(outlet, replace(POST, effect="once"))
        assert outlet.calls == []

    run(body)


def probing(*found: Answer | Exception | None) -> tuple[Request, list[int]]:
    asked: list[int] = []
    answers = list(found)

    async def probe() -> Answer | None:
        asked.append(1)
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return replace(POST, effect="probe", probe=probe), asked


def test_after_an_ambiguous_end_the_system_is_asked_whether_it_happened():
    async def body() -> None:
        request, asked = probing(CREATED)
        attempt = scope()
        assert await attempt.send(Outlet(Later("timeout")), request) == CREATED
        assert asked == [1]
        request, asked = probing(None)
        assert await ends(scope().send(Outlet(Later("http 500", status=500)), request)) == Later("http 500", status=500)
        assert asked == [1]

    run(body)


def test_a_plain_refusal_or_a_success_needs_no_probe():
    async def body() -> None:
        for outcome in (
            Done(CREATED),
            Later("http 503", status=503),
            Reject("http 422", status=422),
            Unavailable("limiter"),
        ):
            request, asked = probing()
            attempt = scope()
            if isinstance(outcome, Done):
                await attempt.send(Outlet(outcome), request)
            else:
                assert await ends(attempt.send(Outlet(outcome), request)) == outcome
                assert attempt.encode_memo() == b""
            assert asked == []

    run(body)


def test_a_doubt_that_a_probe_could_not_settle_is_carried_to_the_next_attempt():
    async def body() -> None:
        request, _ = probing(CallFailed(SYSTEM, Later("connect")))
        first = scope()
        assert await ends(first.send(Outlet(Later("timeout")), request)) == Later("connect")
        request, asked = probing(CREATED)
        second, outlet = scope(first.encode_memo()), Outlet()
        assert await second.send(outlet, request) == CREATED
        assert (asked, outlet.calls) == ([1], [])
        request, asked = probing(None)
        third, outlet = scope(first.encode_memo()), Outlet()
        assert await third.send(outlet, request) == CREATED
        assert (asked, len(outlet.calls)) == ([1], 1)

    run(body)


def test_a_probe_call_that_is_cut_off_is_in_doubt_and_after_a_crash_it_is_asked_first():
    async def body() -> None:
        request, asked = probing(None)
        attempt, outlet = scope(), Outlet()
        outlet.gate = asyncio.Event()
        task = asyncio.ensure_future(attempt.send(outlet, request))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert decode_memo(attempt.encode_memo())[key("#1")].answer is None
        await scope(again=True).send(Outlet(), request)
        assert asked == [1]

    run(body)


def test_a_probe_effect_without_a_probe_is_refused():
    async def body() -> None:
        with pytest.raises(InterlockError, match=r"call\.probe-missing"):
            await scope().send(Outlet(), replace(POST, effect="probe"))

    run(body)


def test_other_effects_than_keyed_are_announced_before_they_are_sent():
    async def body() -> None:
        announced: list[str] = []

        async def announce(effect: str, name: str) -> bool:
            announced.append(f"{effect}: {name}")
            return True

        async def probe() -> Answer | None:
            return None

        attempt = scope(announce=announce)
        await attempt.send(Outlet(), replace(POST, method="PUT", effect="natural"))
        await attempt.send(Outlet(), replace(POST, effect="probe", probe=probe, label="p"))
        await attempt.send(Outlet(), Request("GET", "/x", effect="natural"))
        await attempt.send(Outlet(), POST)
        assert announced == ["natural: shop.crm #1", "probe: shop.crm p"]

    run(body)


def test_every_call_of_an_attempt_belongs_to_the_trace_of_its_event():
    async def body() -> None:
        parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        attempt, outlet = scope(traceparent=parent), Outlet()
        assert attempt.trace_id == ""
        await attempt.send(outlet, POST)
        await attempt.send(outlet, Request("GET", "/x"))
        parts = [call.traceparent.split("-") for call in outlet.calls]
        assert {part[1] for part in parts} == {"0af7651916cd43dd8448eb211c80319c"} == {attempt.trace_id}
        assert len({part[2] for part in parts} | {"b7ad6b7169203331"}) == 3

    run(body)


def test_a_replayed_call_says_so_and_keeps_its_key():
    async def body() -> None:
        outlet = Outlet()
        await scope(replay="job_1").send(outlet, POST)
        assert outlet.calls[0].headers == (("interlock-replay", "job_1"),)
        assert outlet.calls[0].key == key("#1")

    run(body)


def test_a_failure_is_recorded_with_excerpts_that_hold_no_secret():
    async def body() -> None:
        echo = Answer(503, (("set-cookie", "a=b"), ("retry-after", "5")), b'{"token":"t0p","you sent":"hunter22"}')
        failed = Later("http 503", status=503, detail="shop.crm answered POST with 503", answer=echo)
        headers = (("authorization", "Bearer abc"), ("x-order", "17"))
        request = Request("POST", "/orders?api_key=s3cr3t&page=2", headers, b'{"password":"p4ss","sku":"a"}')
        attempt = scope()
        await ends(attempt.send(Outlet(failed), request))
        record = attempt.calls[0]
        assert (record.status, record.error, record.method) == (503, "http 503", "POST")
        shown = record.target + record.request + record.response
        for secret in ("abc", "s3cr3t", "p4ss", "t0p", "hunter22", "a=b"):
            assert secret not in shown
        for plain in ("x-order: 17", '"sku":"a"', "page=2", "retry-after: 5", REDACTED):
            assert plain in shown

    run(body)


def test_excerpts_and_records_are_bounded_and_successes_have_no_excerpt():
    async def body() -> None:
        attempt = scope()
        huge = Later("http 500", status=500, answer=Answer(500, (), "ü".encode() * EXCERPT_BYTES_MAX))
        await ends(attempt.send(Outlet(huge), replace(POST, body=b"\xff" * EXCERPT_BYTES_MAX)))
        record = attempt.calls[0]
        assert len(record.request.encode()) <= EXCERPT_BYTES_MAX
        assert len(record.response.encode()) <= EXCERPT_BYTES_MAX
        outlet = Outlet()
        for _ in range(CALL_RECORDS_MAX + 5):
            await attempt.send(outlet, Request("GET", "/x"))
        assert len(attempt.calls) == CALL_RECORDS_MAX
        assert attempt.calls[1].request == attempt.calls[1].response == ""

    run(body)


def test_what_user_code_catches_says_what_happened_without_the_body():
    failed = CallFailed(SYSTEM, Reject("http 422", "detail", 422, Answer(422, (), b"secret")))
    assert (failed.status, failed.answer) == (422, Answer(422, (), b"secret"))
    assert str(failed) == "shop.crm: http 422"
    waiting = CallFailed(SYSTEM, Unavailable("breaker", 5, SYSTEM))
    assert (waiting.status, waiting.answer, str(waiting)) == (None, None, "shop.crm: unavailable: breaker")
