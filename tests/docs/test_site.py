"""The site of the documentation is built and every link leads somewhere; its picture is of a demo that was played."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_site_is_built_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "docs" / "site" / "build.py", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "site" / "tutorial" / "index.html").exists()


def test_a_broken_link_and_a_font_from_elsewhere_are_found(tmp_path: Path) -> None:
    faults = runpy.run_path(str(ROOT / "docs" / "site" / "build.py"))["faults"]
    (tmp_path / "index.html").write_text(
        '<link href="https://fonts.example/a.css" rel="stylesheet"><a href="there/#one">1</a><a href="gone/">2</a>'
    )
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "index.html").write_text(
        '<h1 id="two">2</h1><a href="https://example.org/">may be followed</a>'
    )
    (tmp_path / "site.css").write_text("@font-face { src: url('//fonts.example/a.woff') }")
    assert [*faults(tmp_path)] == [
        "index.html -> there/#one: no such anchor",
        "index.html -> gone/: no such page",
        "index.html loads https://fonts.example/a.css",
        "site.css loads //fonts.example/a.woff",
    ]


def test_every_page_is_in_the_navigation() -> None:
    site = runpy.run_path(str(ROOT / "docs" / "site" / "build.py"))
    docs = ROOT / "docs"
    named = {page for pages in site["NAV"].values() for each in pages for page in docs.glob(each)}
    assert [str(page.relative_to(docs)) for page in sorted(docs.rglob("*.md")) if page not in named] == []


def test_the_picture_shows_what_was_recorded() -> None:
    picture = runpy.run_path(str(ROOT / "docs" / "site" / "picture.py"))
    drawn = picture["drawn"](picture["RECORDED"].read_text())
    assert picture["PICTURE"].read_text() == drawn, "run `python docs/site/picture.py`"
    assert "http:" not in drawn.replace("http://www.w3.org/2000/svg", "").replace("http://127.0.0.1", "")
