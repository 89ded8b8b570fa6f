"""Every command that a page shows is typed, in its order, and what the page says comes of it comes."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.e2e.reader import ROOT, blocks, bound, read, write

PAGES = sorted(
    page
    for page in [
        ROOT / "README.md",
        *(each for part in ("docs", "examples", "src") for each in (ROOT / part).rglob("*.md")),
    ]
    if any(not block.why for block in blocks(page.read_text()))
)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_says_can_be_done_and_comes_as_it_says(page: Path, tmp_path: Path) -> None:
    text = page.read_text()
    other = [f"{page.name}:{text.count(chr(10), 0, start) + 1}\n{came}" for (start, _), came in read(page, tmp_path)]
    assert other == [], f"python -m tests.e2e.reader {page.relative_to(ROOT)}"


def test_the_reader_finds_every_block_of_commands() -> None:
    every = [page for part in ("docs", "examples", "src") for page in (ROOT / part).rglob("*.md")]
    texts = {page: page.read_text() for page in [ROOT / "README.md", *every]}
    shown = {page: text.count("```console") for page, text in texts.items()}
    found = {
        page: sum(text[: block.span[0]].endswith("```console\n") for block in blocks(text))
        for page, text in texts.items()
    }
    assert shown == found


def page(folder: Path, text: str) -> Path:
    written = folder / "page.md"
    written.write_text(text)
    return written


@pytest.mark.parametrize(
    ("expected", "came", "is_it"),
    [
        ("accepted 1", "accepted 1", True),
        ("accepted 1", "accepted 2", False),
        ("evt_1   due in 1.8 s", "evt_06h1vb9k  due in 900 ms", True),
        ("at 2026-11-28 01:19:53.729 on 127.0.0.1:9101", "at 2027-01-02 23:00:00.001 on 127.0.0.1:40123", True),
        ("0 dead letters", "1 dead letters", False),
    ],
)
def test_ids_times_addresses_and_spaces_may_differ_and_nothing_else(expected: str, came: str, is_it: bool) -> None:
    assert bound(expected, came, {}) == is_it


def test_an_id_of_the_page_stands_for_the_one_that_came(tmp_path: Path) -> None:
    text = "```console\n$ echo evt_06h1\nevt_1\n$ echo again evt_1\nagain evt_1\n```\n"
    assert [*read(page(tmp_path, text), tmp_path)] == []


def test_another_line_or_one_too_many_is_told_and_can_be_written_into_the_page(tmp_path: Path) -> None:
    told = page(tmp_path, "```console\n$ echo evt_06h1 is well\nevt_1 is ill\n$ printf '1\\n2\\n3\\n'\n1\n...\n```\n")
    assert [came for _, came in read(told, tmp_path)] == [
        "$ echo evt_06h1 is well\nevt_1 is well\n$ printf '1\\n2\\n3\\n'\n1\n...\n"
    ]
    write(told)
    assert [*read(told, tmp_path)] == []
    assert [*read(page(tmp_path, "```console\n$ printf '1\\n2\\n'\n1\n```\n"), tmp_path)] != []


def test_a_command_that_fails_fails_the_page_unless_the_page_says_so(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="`exit 3` ended with 3"):
        [*read(page(tmp_path, "```console\n$ exit 3\n```\n"), tmp_path)]
    assert [*read(page(tmp_path, "```console\n$ (exit 3)   # exit code 3\n```\n"), tmp_path)] == []


def test_what_is_not_run_says_why(tmp_path: Path) -> None:
    text = "<!-- not run: it is far too long -->\n\n```console\n$ exit 3\n```\n"
    assert [*read(page(tmp_path, text), tmp_path)] == []
    assert [block.why for block in blocks(text)] == ["it is far too long"]
    assert [block.why for block in blocks(text.replace(": it is far too long", ":"))] == [""]
