"""Builds the site of the documentation (`make site`), in `build/` or the folder that is given.

It fails if a link leads nowhere, or a page loads something from elsewhere. The pages are those of `docs/`, as they can
be read in the repository as well. What they refer to outside it (examples, changes) is put beside them first, so
that every link of theirs leads to a page.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
NAV = {
    "Home": ("README.md",),
    "Tutorial": ("tutorial/README.md", "tutorial/demo.md", "tutorial/first-integration.md"),
    "How-to": (
        "how-to/README.md",
        "how-to/receive-a-signed-webhook.md",
        "how-to/call-a-system-that-limits-you.md",
        "how-to/poll-an-api.md",
        "how-to/run-on-a-schedule.md",
        "how-to/deliver-later.md",
        "how-to/route-and-fan-out.md",
        "how-to/test-with-lab.md",
        "how-to/simulate.md",
        "how-to/dead-letters.md",
        "how-to/deploy-a-change.md",
        "how-to/operate.md",
        "how-to/*.md",
    ),
    "How-to/Examples": ("examples/*/README.md",),
    "Reference": ("reference/README.md", "reference/*.md", "glossary.md", "CHANGELOG.md"),
    "Concepts": (
        "concepts/README.md",
        "concepts/promise.md",
        "concepts/ordering.md",
        "concepts/idempotency.md",
        "concepts/failure.md",
        "concepts/proof.md",
        "concepts/found.md",
        "concepts/*.md",
        "design.md",
        "performance.md",
    ),
    "Concepts/Decisions": ("decisions/README.md", "decisions/*.md"),
}
"""Each tab and the groups in it, and their pages in order; a pattern stands for those that are not named."""
NOT_PAGES = ("*.py", "__pycache__", "site")
LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(\))")
LOADING = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href", "use": "href"}


def main() -> None:
    """Stage, build, check.

    Raises:
        SystemExit: 1, with what is wrong.
    """
    build = Path(sys.argv[1]).resolve() if sys.argv[1:] else ROOT / "build"
    build.mkdir(exist_ok=True)
    staged, site = build / "pages", build / "site"
    stage(staged)
    (build / "zensical.toml").write_text(configuration(staged))
    told = subprocess.run(
        [
            Path(sys.executable).with_name("zensical"),
            "build",
            "--clean",
            "--strict",
            "--config-file",
            build / "zensical.toml",
        ],
        env={**os.environ, "NO_COLOR": "1"},
        check=False,
        capture_output=True,
        text=True,
    )
    if told.returncode:
        sys.exit(told.stdout + told.stderr)
    if wrong := [*faults(site)]:
        sys.exit("\n".join(wrong))
    print(f"{site}: {sum(1 for _ in site.rglob('*.html'))} pages")


def stage(staged: Path) -> None:
    """Put every page and picture into one folder, with links that hold there."""
    shutil.rmtree(staged, ignore_errors=True)
    shutil.copytree(DOCS, staged, ignore=shutil.ignore_patterns(*NOT_PAGES))
    shutil.copy(DOCS / "site" / "site.css", staged)
    shutil.copy(ROOT / "CHANGELOG.md", staged)
    for page in sorted((ROOT / "examples").glob("*/README.md")):
        shutil.copytree(
            page.parent, staged / "examples" / page.parent.name, ignore=shutil.ignore_patterns("__pycache__")
        )
    for page in staged.rglob("*.md"):
        page.write_text(LINK.sub(partial(relinked, page=page, staged=staged), page.read_text()))


def relinked(link: re.Match[str], page: Path, staged: Path) -> str:
    """A link of a staged page: as it was, if what it leads to is staged at the same place from there."""
    before, path, anchor, after = (part or "" for part in link.groups())
    if "://" in path:
        return link[0]
    place = page.relative_to(staged)
    source = (ROOT if place.parts[0] in ("examples", "CHANGELOG.md") else DOCS) / place
    target = (source.parent / path).resolve()
    inside = target.relative_to(DOCS if target.is_relative_to(DOCS) else ROOT)
    found = staged / inside
    if found.is_dir():
        found /= "README.md"
    return before + os.path.relpath(found, page.parent) + anchor + after


def configuration(staged: Path) -> str:
    """The site's configuration with its navigation and its folders."""
    text = (DOCS / "site" / "zensical.toml").read_text()
    tabs: dict[str, list[str]] = {}
    for name in NAV:
        tab, _, group = name.partition("/")
        pages = ", ".join(entries(name, staged))
        tabs.setdefault(tab, []).append(f'{{ "{group}" = [{pages}] }}' if group else pages)
    nav = ", ".join(f'{{ "{tab}" = [{", ".join(parts)}] }}' for tab, parts in tabs.items())
    added = f'[project]\ndocs_dir = "pages"\nsite_dir = "site"\nnav = [{nav}]\n'
    return text.replace("[project]\n", added, 1)


def entries(name: str, staged: Path) -> Iterator[str]:
    """The pages of a tab or group, each as TOML."""
    for pattern in NAV[name]:
        found = sorted(str(page.relative_to(staged)) for page in staged.glob(pattern))
        yield from (f'"{page}"' for page in found if page == pattern or page not in NAV[name])


class Page(NamedTuple):
    """What a built page links to, what it loads, and which anchors it has."""

    links: list[str]
    loads: list[str]
    anchors: set[str]


class Reader(HTMLParser):
    """Fills a `Page`."""

    def __init__(self) -> None:
        super().__init__()
        self.page = Page([], [], set())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """One element."""
        given: dict[str, Any] = dict(attrs)
        self.page.anchors.add(given.get("id") or "")
        if tag == "a" and given.get("href"):
            self.page.links.append(given["href"])
        elif loaded := given.get(LOADING.get(tag, "")):
            self.page.loads.append(loaded)


def faults(site: Path) -> Iterator[str]:
    """Links that lead nowhere, and what would be loaded from elsewhere."""
    pages = {file: read(file) for file in sorted(site.rglob("*.html"))}
    for file, page in pages.items():
        place = file.relative_to(site)
        for each in [*page.links, *page.loads]:
            parts = urlsplit(each)
            if parts.scheme or parts.netloc:
                if each in page.loads:
                    yield f"{place} loads {each}"
                continue
            target = linked(site, file, unquote(parts.path))
            if target.is_dir():
                target /= "index.html"
            if not target.exists():
                yield f"{place} -> {each}: no such page"
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                yield f"{place} -> {each}: no such anchor"
    for style in site.rglob("*.css"):
        for each in re.findall(r"url\(\s*[\"']?(https?:[^)\"']*|//[^)\"']*)", style.read_text()):
            yield f"{style.relative_to(site)} loads {each}"


def linked(site: Path, file: Path, path: str) -> Path:
    """The file that a link leads to; one from the root is of the page that is shown where there is none."""
    if not path:
        return file
    return Path(os.path.normpath(site / path.lstrip("/") if path.startswith("/") else file.parent / path))


def read(file: Path) -> Page:
    reader = Reader()
    reader.feed(file.read_text())
    return reader.page


if __name__ == "__main__":
    main()
