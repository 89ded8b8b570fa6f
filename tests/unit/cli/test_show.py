"""How answers look: tables that fit, CSV that computes nothing, times and counts as people say them."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.terminal import at_terminal
from tests.unit.cli.project import Project

from interlock.cli.grid import column_widths, grid, wrapped
from interlock.cli.say import block
from interlock.cli.show import Answer, ago, show_answer, show_csv, show_ids, show_table
from interlock.core.words import many

NOW = 1_767_268_800_000_000
SECOND, HOUR, DAY = 1_000_000, 3_600_000_000, 86_400_000_000
EVENT = "evt_06h1vaehfnuus00000000001"
WORDS = st.text("abc-_.:/", min_size=1, max_size=30)
CELLS = st.lists(WORDS, min_size=1, max_size=6).map(" ".join)
TABLES = st.integers(1, 6).flatmap(
    lambda columns: st.tuples(
        st.lists(CELLS, min_size=columns, max_size=columns),
        st.lists(st.lists(CELLS, min_size=columns, max_size=columns), min_size=1, max_size=4),
    )
)


class Row(msgspec.Struct, frozen=True):
    """A row with one member of each kind."""

    name: str
    count: int
    seen_at: int | None
    is_new: bool
    kinds: dict[str, int]


@given(TABLES, st.integers(20, 200))
def test_no_word_is_cut_and_no_line_is_wider_than_the_terminal_unless_one_word_is(
    table: tuple[list[str], list[list[str]]], width: int
) -> None:
    columns, rows = table
    lines = [line.text for line in grid(columns, rows, width)]
    shown = " ".join(lines).split()
    for row in rows:
        for word in " ".join(cell for cell in row if cell != "-").split():
            assert word in shown
    for line in lines:
        assert len(line) <= width or len(line.split()) == 1


@given(TABLES)
def test_without_a_terminal_each_row_is_one_line(table: tuple[list[str], list[list[str]]]) -> None:
    columns, rows = table
    assert len(list(grid(columns, rows, None))) == 1 + len(rows)


def test_a_wide_table_has_its_head_once_and_a_narrow_one_becomes_paragraphs() -> None:
    rows = [[EVENT, "2026-01-01 12:00:00.000", "order.paid@1", "3"], [EVENT, "-", "order.paid@1", "1,200"]]
    wide = [line.text for line in grid(("id", "accepted", "type", "tries"), rows, 100)]
    assert wide[0].split() == ["ID", "ACCEPTED", "TYPE", "TRIES"]
    assert wide[1].endswith("      3")
    assert wide[2].endswith("  1,200")
    narrow = [line.text for line in grid(("id", "accepted", "type", "tries"), rows, 40)]
    assert narrow[:3] == [EVENT, "  accepted: 2026-01-01 12:00:00.000", "  type: order.paid@1   tries: 3"]
    assert narrow[3:] == [EVENT, "  type: order.paid@1   tries: 1,200"]


def test_what_is_left_of_the_width_goes_to_the_columns_that_want_it() -> None:
    text = "word " * 20
    widths = column_widths([["id", "says"], [EVENT, text.strip()]], 80)
    assert widths is not None
    assert widths[0] == len(EVENT)
    assert sum(widths) + 2 == 80
    assert column_widths([["id"], [EVENT]], 20) is None
    assert wrapped("", 10) == [""]


@pytest.mark.parametrize(
    "hostile",
    ["=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "a\x1b]0;owned\x07", 'quo"te, comma\nline'],
)
def test_csv_from_outside_computes_nothing_and_breaks_no_row(hostile: str, capsys: pytest.CaptureFixture[str]) -> None:
    show_csv(Row, [Row(hostile, 1, NOW, True, {})])
    out = capsys.readouterr().out
    assert "\x1b" not in out
    head, row = csv.reader(io.StringIO(out))
    assert head == ["name", "count", "seen_at", "is_new", "kinds"]
    assert not row[0].startswith(("=", "+", "-", "@", "\t", "\r"))
    assert len(row) == 5


def test_csv_has_numbers_as_numbers_instants_in_iso_and_nested_members_as_json(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show_csv(Row, [Row("a", -5, NOW + 1, False, {"due": 3}), Row("b", 0, None, True, {})])
    _, first, second = csv.reader(io.StringIO(capsys.readouterr().out))
    assert first == ["a", "-5", "2026-01-01T12:00:00.000001Z", "false", '{"due":3}']
    assert second[2] == ""


def test_an_empty_list_has_its_head_in_csv_and_nothing_in_ids(capsys: pytest.CaptureFixture[str]) -> None:
    empty = Answer([], Row, [], [])
    assert show_answer("csv", empty)
    assert show_answer("id", empty)
    assert capsys.readouterr().out == "name,count,seen_at,is_new,kinds\n"
    assert not show_answer("table", empty)


def test_ids_from_outside_stay_on_their_line(capsys: pytest.CaptureFixture[str]) -> None:
    show_ids(["a\nb"])
    assert capsys.readouterr().out == "a\\x0ab\n"


@pytest.mark.parametrize(
    ("at", "told"),
    [
        (None, "-"),
        (NOW, "now"),
        (NOW - 12 * SECOND, "12 s ago"),
        (NOW + 90 * SECOND, "in 1 m"),
        (NOW - 3 * HOUR - HOUR // 2, "3 h ago"),
        (NOW - 2 * DAY, "2 d ago"),
        (NOW - 30 * DAY, "2025-12-02 12:00"),
        (NOW + 30 * DAY, "2026-01-31 12:00"),
    ],
)
def test_an_instant_is_told_from_now_and_as_a_date_if_it_is_far(at: int | None, told: str) -> None:
    assert ago(at, NOW) == told


@pytest.mark.parametrize(
    ("count", "told"), [(0, "0 events"), (1, "1 event"), (2, "2 events"), (12_345, "12,345 events")]
)
def test_what_is_counted_has_its_plural_and_its_separators(count: int, told: str) -> None:
    assert many(count, "event") == told
    assert many(2, "entry", "entries") == "2 entries"


def test_numbers_in_a_table_have_separators(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(("name", "count"), [("a", 1_234_567)], "")
    assert "1,234,567" in capsys.readouterr().out


def test_an_error_at_the_end_of_a_file_shows_three_lines_too_and_its_place_from_here(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("one\ntwo\nthree\nfour\n")
    shown = [line.strip() for line in block("error", "a.b", "it broke", "mend it", f"{file}:4").splitlines()]
    assert shown[2:5] == ["2 | two", "3 | three", "4 | four"]
    before = Path.cwd()
    try:
        os.chdir(tmp_path)
        assert "  --> a.py:1" in block("error", "a.b", "it broke", "mend it", f"{file}:1").splitlines()
    finally:
        os.chdir(before)


def test_colours_are_for_terminals_whose_user_wants_them(project: Project) -> None:
    project.with_history()
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    assert "\x1b[" in at_terminal(project.folder, "doctor", environment=environment).text
    plain = at_terminal(project.folder, "doctor", environment=environment | {"NO_COLOR": "1"}).text
    assert "\x1b[" not in plain
    assert "hint: interlock subscriptions ls" in plain


@pytest.mark.parametrize("width", [60, 80, 120, 200])
@pytest.mark.parametrize("words", ["events ls", "dead ls", "dead show fp_aaaaaaaaaaaa", "subscriptions ls"])
def test_ids_are_whole_and_lines_fit_at_every_width(project: Project, words: str, width: int) -> None:
    project.with_history()
    seen = at_terminal(project.folder, *words.split(), width=width, environment=os.environ | {"NO_COLOR": "1"})
    assert seen.code == 0
    assert all(len(line) <= width for line in seen.text.splitlines())
    ids = project.interlock(*words.split(), "-o", "id").out.split()
    assert ids
    assert [id for id in ids if id not in seen.text.split()] == []


def test_a_locale_without_unicode_shows_ascii_and_never_fails(project: Project) -> None:
    project.with_history()
    environment = os.environ | {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "NO_COLOR": "1"}
    for words in ("events ls", "dead ls", "subscriptions ls", "doctor", "config show"):
        seen = at_terminal(project.folder, *words.split(), environment=environment)
        assert seen.code == 0
        assert seen.text.isascii()


def test_a_question_is_asked_at_a_terminal_only_and_no_is_no_success(project: Project) -> None:
    project.with_history()
    asked = ("retire", "payments.book")
    refused = project.interlock("subscriptions", *asked)
    assert refused.code == 2
    assert "add --yes to agree" in refused.err
    no = at_terminal(project.folder, "subscriptions", *asked, keys="n\n")
    assert no.code == 1
    assert "nothing has been done" in no.text
    assert at_terminal(project.folder, "--no-input", "subscriptions", *asked, keys="y\n").code == 2
