"""Small things that people read and type: times, spans, tables, errors, answers of the process."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.cli.client import Client, Reply, Unreachable, decode
from interlock.cli.say import block, plain
from interlock.cli.show import clock, show_table, span
from interlock.cli.times import instant
from interlock.control.address import Address, announce, announced, withdraw
from interlock.control.shapes import Doctor
from interlock.core.errors import InterlockError

NOON = 1_767_268_800_000_000
"""2026-01-01T12:00:00Z."""
HOUR = 3_600_000_000


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2h", NOON - 2 * HOUR),
        ("1h30m", NOON - HOUR - HOUR // 2),
        ("today", NOON - 12 * HOUR),
        ("today 09:00", NOON - 3 * HOUR),
        ("2026-01-01", NOON - 12 * HOUR),
        ("2026-01-01T11:00", NOON - HOUR),
        ("2026-01-01T12:00:00+01:00", NOON - HOUR),
        ("2026-01-01T12:00:00Z", NOON),
        ("tomorrow", None),
        ("2h!", None),
        ("", None),
    ],
)
def test_times_are_what_people_mean_and_utc(text: str, at: int | None) -> None:
    assert instant(text, NOON) == at


@given(st.text(max_size=40))
def test_no_text_makes_reading_a_time_fail(text: str) -> None:
    assert instant(text, NOON) is None or isinstance(instant(text, NOON), int)


@pytest.mark.parametrize(
    ("us", "shown"),
    [(0, "0 ms"), (999, "1 ms"), (40, "0.04 ms"), (84_000, "84 ms"), (2_500_000, "2.5 s"), (3 * HOUR, "3 h")],
)
def test_spans_are_shown_in_their_largest_unit(us: int, shown: str) -> None:
    assert span(us) == shown


def test_an_instant_is_shown_to_the_millisecond() -> None:
    assert clock(NOON + 1_500) == "2026-01-01 12:00:00.001"
    assert clock(None) == "-"


def test_text_from_outside_cannot_drive_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "a\x1b]0;owned\x07\r\n\x9b31m\u202e"
    assert plain(hostile).isprintable()
    show_table(("x",), [(hostile,)], "")
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\x9b" not in out
    assert "owned" in out


def test_an_empty_table_says_so_on_standard_error_and_leaves_data_empty(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(("x",), [], "nothing here")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "nothing here\n")


def test_an_error_shows_three_lines_of_source_and_survives_a_missing_file(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("one\ntwo\nthree\nfour\n")
    text = block("error", "a.b", "it broke", "mend it", f"{file}:3")
    assert [line.strip() for line in text.splitlines()[2:5]] == ["2 | two", "3 | three", "4 | four"]
    for where in (f"{tmp_path}/none.py:3", f"{file}:99", f"{file}:x", "nowhere", f"{tmp_path}:1", f"{file}:0"):
        assert "  fix: mend it" in block("error", "a.b", "it broke", "mend it", where)


@pytest.mark.parametrize(
    "body",
    [
        b'{"type":"x","title":"t","status":400,"detail":"d","code":"a.b","remedy":"r"}',
        b'{"detail":"d","code":"a.b","remedy":"r","docs":"x","errors":[{"message":"m"},{"message":"m","pointer":"/p"}]}',
    ],
)
def test_problems_of_either_port_become_errors(body: bytes) -> None:
    with pytest.raises(InterlockError) as raised:
        decode(Reply(400, {}, body), Doctor)
    assert (raised.value.code, raised.value.remedy) == ("a.b", "r")
    assert raised.value.message == ("d (m; /p: m)" if b"errors" in body else "d")


@pytest.mark.parametrize("reply", [Reply(502, {}, b"<html>"), Reply(200, {}, b"{}"), Reply(200, {}, b"\xff")])
def test_an_answer_of_somebody_else_is_not_believed(reply: Reply) -> None:
    with pytest.raises(InterlockError) as raised:
        decode(reply, Doctor)
    assert raised.value.code == "cli.answer-unreadable"


def test_nobody_at_the_address_is_unreachable() -> None:
    with pytest.raises(Unreachable):
        Client("http://127.0.0.1:1", "ilt_x").send("GET", "/healthz")


def test_the_address_of_a_process_is_announced_whole_and_withdrawn_only_by_itself(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    assert announced(folder) is None
    announce(folder, Address("http://127.0.0.1:8081", "http://127.0.0.1:8080", 7))
    assert announced(folder) == Address("http://127.0.0.1:8081", "http://127.0.0.1:8080", 7)
    withdraw(folder, 8)
    assert announced(folder) is not None
    withdraw(folder, 7)
    assert announced(folder) is None
    (folder / "process.json").write_bytes(b"{")
    assert announced(folder) is None
