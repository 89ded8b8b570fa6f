"""Every command that a page shows is typed, in its order, and what the page says comes of it comes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.docs.reader import ROOT, Reader, bound, blocks, read, steps

PAGES = sorted(
    page
    for page in [ROOT / "README.md", *(each for part in ("docs", "examples", "src") for each in (ROOT / part).rglob("*.md"))]
    if any(not block.why for block in blocks(page.read_text()))
)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_says_can_be_done_and_comes_as_it_says(page: Path, tmp_path: Path) -> None:
    text = page.read_text()
    other = [f"{page.name}:{text.count(chr(10), 0, start) + 1}\n{came}" for (start, _), came in read(page, tmp_path)]
    assert other == [], f"python -m tests.docs.reader {page.relative_to(ROOT)}"
