"""The structured log: what a line holds, what never gets into one, and what a blocked reader costs."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.core import redact
from interlock.core.errors import InterlockError
from interlock.telemetry.emit import Fan
from interlock.telemetry.log import Lines, Log, instant, log_line, text_line
from interlock.telemetry.records import RECORDS
from interlock.telemetry.redact import ITEMS_MAX, REDACTED, TEXT_CHARS_MAX, redacted

T = TypeVar("T")
AT = 1_700_000_000_000_001


def line(record: str = "lane.stopped", /, **fields: object) -> dict[str, object]:
    return msgspec.json.decode(log_line(AT, "info", record, fields))


def test_a_line_is_one_json_object_with_the_ids_that_join_it_to_its_event() -> None:
    traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    got = line(event="evt_1", subscription="payments.book", attempt="att_2", traceparent=traceparent)
    assert got == {
        "at": "2023-11-14T22:13:20.000001Z",
        "level": "info",
        "record": "lane.stopped",
        "event": "evt_1",
        "subscription": "payments.book",
        "attempt": "att_2",
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
        "span_id": "00f067aa0ba902b7",
    }


def test_a_line_never_breaks_in_two_whatever_a_field_holds() -> None:
    raw = log_line(AT, "info", "r", {"detail": "a\nb\r\u2028\x00\ud800"})
    assert raw.endswith(b"\n")
    assert raw.count(b"\n") == 1
    msgspec.json.decode(raw)


def test_a_field_cannot_replace_the_records_own_name_level_or_instant() -> None:
    got = line(level="fake", at="fake")
    assert got["level"] == "info"
    assert got["level_"] == "fake"
    assert got["at_"] == "fake"


@pytest.mark.parametrize(
    "name",
    [
        "authorization",
        "Authorization",
        "set-cookie",
        "client_secret",
        "api_key",
        "x-api-key",
        "password",
        "webhook-signature",
    ],
)
def test_a_field_with_a_secrets_name_is_redacted_at_any_depth(name: str) -> None:
    assert line(**{name: "s3cret"})[name] == REDACTED
    assert line(headers={name: "s3cret", "accept": "text/html"})["headers"] == {name: REDACTED, "accept": "text/html"}
    assert line(headers=[(name, "s3cret"), ("accept", "a")])["headers"] == [[name, REDACTED], ["accept", "a"]]


@pytest.mark.parametrize(
    "text",
    [
        "sent Authorization: Bearer abc.s3cret",
        "GET /x?access_token=s3cret&a=1",
        "https://user:s3cret@host/x",
        "whsec_s3cret",
        "ilt_s3cret",
    ],
)
def test_text_that_looks_like_a_credential_is_redacted_under_any_name(text: str) -> None:
    assert "s3cret" not in str(line(detail=text))


def test_payload_models_and_bytes_leave_only_their_types_name() -> None:
    class Card(msgspec.Struct):
        number: str

    @dataclasses.dataclass
    class Person:
        mail: str

    got = line(
        a=Card("4111-s3cret"),
        b=Person("s3cret@example.org"),
        c=b"s3cret",
        d=ValueError("s3cret"),
        e={"f": Card("s3cret")},
    )
    assert "s3cret" not in str(got)
    assert got["a"] == "<Card>"
    assert got["c"] == "<6 bytes>"
    assert got["d"] == "<ValueError>"


def test_our_own_errors_are_logged_with_code_and_message_because_they_hold_no_secret() -> None:
    assert (
        line(error=InterlockError("store.gone", "the store is gone", "bring it back"))["error"]
        == "store.gone: the store is gone"
    )


_json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


@given(st.text(), _json_like)
def test_no_value_makes_the_log_fail(name: str, value: object) -> None:
    msgspec.json.decode(log_line(AT, "info", "r", {name: value}))


def test_what_is_logged_is_bounded_in_length_count_and_depth() -> None:
    assert len(str(redacted("x", "a" * 10_000))) == TEXT_CHARS_MAX
    many = redacted("x", list(range(1_000)))
    assert isinstance(many, list)
    assert len(many) == ITEMS_MAX
    deep: object = "bottom"
    for _ in range(100):
        deep = [deep]
    assert "bottom" not in str(redacted("x", deep))
    assert redacted("x", 10**5_000) == "<int>"


def test_records_under_the_level_are_not_written_and_unknown_ones_are() -> None:
    quiet = next(record.name for record in RECORDS.values() if record.level == "debug")
    written: list[bytes] = []
    log = Log(written.append, lambda: AT, "info")
    log(quiet)
    assert written == []
    log("nobody.registered-this")
    assert len(written) == 1


class Picky:
    """A sink that wants one record."""

    def __init__(self, wanted: str) -> None:
        self.wanted = wanted
        self.seen: list[tuple[str, dict[str, object]]] = []

    def wants(self, record: str) -> bool:
        return record == self.wanted

    def __call__(self, record: str, /, **fields: object) -> None:
        self.seen.append((record, fields))


def test_a_fan_hands_each_record_to_the_sinks_that_want_it() -> None:
    one, two, other = Picky("a.b"), Picky("a.b"), Picky("c.d")
    fan = Fan([one, two, other])
    for x in (1, 2):
        fan("a.b", x=x)
    assert one.seen == two.seen == [("a.b", {"x": 1}), ("a.b", {"x": 2})]
    assert other.seen == []


class Held:
    """An Offload whose work is done when the test says so."""

    def __init__(self) -> None:
        self.work: list[Callable[[], None]] = []

    def run(self, function: Callable[[], T]) -> Awaitable[T]:
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self.work.append(lambda: done.set_result(function()))
        return done


async def _settle() -> None:
    for _ in range(5):
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(ready.set_result, None)
        await ready


def test_lines_wait_for_one_writer_and_go_out_in_order_and_in_one_piece() -> None:
    async def scenario() -> None:
        offload = Held()
        out: list[bytes] = []
        lines = Lines(offload, out.append)
        lines(b"1\n")
        await _settle()
        lines(b"2\n")
        lines(b"3\n")
        assert len(offload.work) == 1
        offload.work.pop()()
        await _settle()
        assert out == [b"1\n2\n3\n"]
        lines(b"4\n")
        await _settle()
        offload.work.pop()()
        await _settle()
        assert out[1:] == [b"4\n"]

    asyncio.run(scenario())


def test_a_blocked_reader_costs_lines_and_not_memory() -> None:
    async def scenario() -> None:
        offload = Held()
        lines = Lines(offload, lambda _: None, lines_max=10)
        for _ in range(25):
            lines(b"x\n")
        await _settle()
        assert lines.dropped == 15
        offload.work.pop()()
        await _settle()

    asyncio.run(scenario())


def test_a_closed_stream_loses_lines_and_nothing_else() -> None:
    def closed(_: bytes) -> None:
        raise ValueError("I/O operation on closed file")

    async def scenario() -> None:
        lines = Lines(Held(), closed)
        lines(b"x\n")
        lines.flush()
        assert lines.dropped == 1

    asyncio.run(scenario())


def test_instants_sort_as_text() -> None:
    assert instant(0) == "1970-01-01T00:00:00.000000Z"
    assert instant(AT) < instant(AT + 1)


_PIECES = [
    "Bearer ",
    "abc",
    '"token": "x"',
    "secret=1",
    "https://u:p@h/",
    "whsec_a",
    "ilt_b",
    " ",
    "=",
    "@",
    '"',
    "é",
    "\u3000x",
]


@given(st.lists(st.sampled_from(_PIECES), max_size=6).map("".join))
def test_the_quick_look_at_text_never_lets_pass_what_a_whole_look_would_redact(text: str) -> None:
    whole = redact._JSON_MEMBER.sub(redact._member, text)
    whole = redact._PARAMETER.sub(redact._parameter, whole)
    whole = redact._SCHEME.sub(rf"\1 {REDACTED}", whole)
    whole = redact._MINTED.sub(REDACTED, whole)
    assert redact.redacted_text(text) == redact._USERINFO.sub(rf"\1{REDACTED}@", whole)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"event": "evt_1", "status": 503}, "event=evt_1 status=503"),
        ({"error": "http 503", "note": ""}, 'error="http 503" note=""'),
        ({"pause_us": 1_234_567, "took_us": 84_000, "short_us": 40}, "pause_us=1.2s took_us=84ms short_us=0.04ms"),
        ({"due_at": AT, "left": None}, f"due_at={instant(AT)[11:23]}"),
        ({"password": "hunter2", "flag": True}, "password=[redacted] flag=true"),
        ({"detail": "a\x1b[31m\nb"}, 'detail="a\\u001b[31m\\nb"'),
    ],
)
def test_the_text_of_a_record_is_a_line_that_people_read(fields: dict[str, object], told: str):
    line = text_line(AT, "warning", "attempt.failed", fields).decode()
    assert line == f"{instant(AT)[11:23]}  warning  attempt.failed    {told}\n"
    assert line[:-1].isprintable()
