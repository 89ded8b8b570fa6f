"""The bugs, what they change, and what is known of who notices them. `python -m tests.bugs` finds that out anew.

A bug was written down before anybody looked for the test that notices it, so that none was made to fit.
"""

from __future__ import annotations

import json
import tomllib
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
SOURCE = ROOT / "src" / "interlock"
RESULTS = FOLDER / "caught.json"
PAGE = ROOT / "docs" / "concepts" / "proof.md"
BEGIN, END = "<!-- bugs: python -m tests.bugs --table -->", "<!-- end of bugs -->"
GROUPS = {
    "plan": "Of every system of this kind",
    "delivery": "Lanes",
    "journal": "Log, ledger and cells",
    "calls": "Calls to Systems",
    "edge": "Webhooks, polls, schedules and requests",
}


class Edit(NamedTuple):
    """In this file of `src/interlock`, this text, which stands there once, becomes that."""

    file: str
    search: str
    replace: str


class Bug(NamedTuple):
    """`what` says what it does, as a person would report it."""

    name: str
    group: str
    what: str
    edits: tuple[Edit, ...]

    def digest(self) -> str:
        """What is known of a bug holds for these edits only."""
        return blake2b(repr(self.edits).encode(), digest_size=6).hexdigest()


class Waits(NamedTuple):
    """A bug that has no place yet: it waits for what the product does not have."""

    what: str
    on: str


class Caught(NamedTuple):
    """The cheapest layer that notices a bug, and the test or the seed in it that did first."""

    digest: str
    layer: str
    by: str


def bugs() -> list[Bug]:
    """Every bug that can be put in."""
    return [
        Bug(each["name"], group, each["what"], tuple(Edit(**edit) for edit in each["edit"]))
        for group in GROUPS
        for each in _read(group).get("bug", [])
    ]


def waiting() -> list[Waits]:
    """The bugs that have no place yet."""
    return [Waits(**each) for group in GROUPS for each in _read(group).get("waits", [])]


def caught() -> dict[str, Caught]:
    """What the last runs found, by bug."""
    text = RESULTS.read_text() if RESULTS.exists() else "{}"
    return {name: Caught(**found) for name, found in json.loads(text).items()}


def note(bug: Bug, found: Caught | None) -> None:
    """Write down who notices a bug; None forgets it. Those that are gone are forgotten as well."""
    known = caught() | {bug.name: found}
    kept = {each.name: one._asdict() for each in bugs() if (one := known.get(each.name)) is not None}
    RESULTS.write_text(json.dumps(kept, indent=2) + "\n")


def changed(bug: Bug, source: Path = SOURCE) -> dict[Path, str]:
    """The files of a bug with it in them."""
    texts: dict[Path, str] = {}
    for edit in bug.edits:
        path = source / edit.file
        text = texts.get(path) or (path.read_text() if path.is_file() else "")
        count = text.count(edit.search)
        if count != 1:
            raise AssertionError(f"{bug.name}: its text stands {count} times in {edit.file}, not once")
        texts[path] = text.replace(edit.search, edit.replace)
    return texts


def table() -> str:
    """What the page says of every bug."""
    found = caught()
    lines = [BEGIN, ""]
    for group, title in GROUPS.items():
        lines += [f"### {title}", "", "| what is wrong | layer | first noticed by |", "|---|---|---|"]
        for bug in bugs():
            if bug.group == group:
                known = found.get(bug.name)
                lines.append(f"| {bug.what} | {known.layer if known else 'none'} | {known.by if known else ''} |")
        lines.append("")
    lines += ["### Not yet possible", "", "| what would be wrong | waits for |", "|---|---|"]
    lines += [f"| {waits.what} | {waits.on} |" for waits in waiting()]
    return "\n".join([*lines, "", END])


def page_with_table(page: str) -> str:
    """The page with the table as it is to be."""
    before, rest = page.split(BEGIN)
    return before + table() + rest.split(END)[1]


def _read(group: str) -> dict[str, list[dict[str, object]]]:
    return tomllib.loads((FOLDER / f"{group}.toml").read_text())
