"""The walls of the house bite: each import contract and each lint ban catches a violation planted in a copy."""

from __future__ import annotations

import ast
import configparser
import importlib.metadata
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "interlock"
TOOLS = Path(sys.executable).parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
BANS = PROJECT["tool"]["ruff"]["lint"]["flake8-tidy-imports"]["banned-api"]


class Plant(NamedTuple):
    """A line that breaks `contract` when `module` holds it."""

    contract: str
    module: str
    line: str


PLANTS = [
    Plant("floors", "core.event", "import interlock.spec.plan"),
    Plant("floors", "wire.exchange", "import interlock.edge"),
    Plant("floors", "edge", "import interlock.delivery"),
    Plant("floors", "security", "import interlock.telemetry"),
    Plant("floors", "journal.ports", "import interlock.wire"),
    Plant("floors", "runtime", "import interlock.governance"),
    Plant("floors", "testing", "import interlock.governance"),
    Plant("floors", "control", "import interlock.cli"),
    Plant("floors", "lobby.desk", "import msgspec"),
    Plant("pure-floors", "core.ids", "import time"),
    Plant("pure-floors", "core.outcome", "import asyncio"),
    Plant("pure-floors", "spec.plan", "import logging"),
    Plant("pure-floors", "spec.plan", "import os.path"),
    Plant("pure-decisions", "delivery.turn", "import asyncio"),
    Plant("pure-decisions", "delivery.schedule", "from random import uniform"),
    Plant("pure-decisions", "delivery.keys", "import time"),
    Plant("pure-decisions", "call.breaker", "import time"),
    Plant("backends", "journal.memory", "import interlock.journal.sqlite"),
    Plant("backends", "journal.sqlite", "import interlock.journal.memory"),
    Plant("backends", "journal.ports", "import interlock.journal.memory"),
    Plant("connectors", "systems", "import interlock.journal.ports"),
    Plant("planes", "edge", "import starlette"),
    Plant("planes", "wire.exchange", "import http.client"),
    Plant("homes-of-settings", "edge", "import configparser"),
    Plant("homes-of-settings", "spec.plan", "import tomllib"),
    Plant("home-of-sqlite", "control", "import apsw"),
    Plant("home-of-sqlite", "delivery", "import sqlite3"),
    Plant("home-of-sqlite", "systems.http", "import apsw"),
    Plant("home-of-the-terminal", "runtime", "import click"),
    Plant("vocabulary", "core.event", "import interlock"),
    Plant("cycles", "core.event", "import interlock.core.cursor"),
    Plant("cycles", "core.errors", "import interlock.core.ids"),
]


def plant(tree: Path, module: str, line: str) -> None:
    """Add a line to a module of the copied package, which is made if it does not exist."""
    path = tree / "src" / "interlock" / Path(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if not path.parent.is_dir():
        path.parent.mkdir()
        (path.parent / "__init__.py").touch()
    with path.open("a") as file:
        file.write(f"\n{line}\n")


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A copy of the package with its contracts, to plant in."""
    shutil.copytree(SOURCE, tmp_path / "src" / "interlock", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".importlinter", tmp_path)
    for backend in ("memory", "sqlite"):
        if not any((tmp_path / "src" / "interlock" / "journal").glob(f"{backend}*")):
            plant(tmp_path, f"journal.{backend}", "")
    return tmp_path


def lint_imports(tree: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run import-linter on a tree, which goes before any installed copy of the package."""
    return subprocess.run(
        [TOOLS / "lint-imports", "--no-cache", "--no-logo", *options],
        cwd=tree,
        env={"PYTHONPATH": str(tree / "src"), "COLUMNS": "300"},
        capture_output=True,
        text=True,
    )


def test_the_house_as_it_stands_keeps_every_contract(house: Path):
    result = lint_imports(house)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("planted", PLANTS, ids=lambda it: f"{it.contract}-{it.module}-{it.line.split()[1]}")
def test_a_planted_import_breaks_its_contract(house: Path, planted: Plant):
    plant(house, planted.module, planted.line)
    result = lint_imports(house, "--contract", planted.contract)
    assert result.returncode == 1, result.stdout
    assert " BROKEN" in result.stdout, result.stdout
    assert f"interlock.{planted.module.partition('.')[0]}" in result.stdout


def test_every_contract_has_a_planted_violation():
    config = configparser.ConfigParser()
    config.read(ROOT / ".importlinter")
    contracts = {name.removeprefix("importlinter:contract:") for name in config.sections()} - {"importlinter"}
    assert contracts == {planted.contract for planted in PLANTS}


def ruff_findings(code: str, path: str) -> dict[int, set[str]]:
    """What ruff finds in `code` if it stood at `path`: line -> rules."""
    result = subprocess.run(
        [TOOLS / "ruff", "check", "--no-cache", "--output-format=json", f"--stdin-filename={path}", "-"],
        cwd=ROOT,
        input=code,
        capture_output=True,
        text=True,
    )
    found: dict[int, set[str]] = {}
    for finding in json.loads(result.stdout):
        found.setdefault(finding["location"]["row"], set()).add(finding["code"])
    return found


def use_of(banned: str) -> str:
    """One line of code that uses a banned name."""
    module, _, rest = banned.rpartition(".")
    if importlib.util.find_spec(banned.partition(".")[0]) and not module:
        return f"import {banned}"
    if module == "datetime.datetime" or module == "datetime.date":
        return f"import datetime; {banned}"
    return f"from {module} import {rest}"


def test_every_banned_name_is_caught_in_an_ordinary_module():
    lines = [use_of(banned) for banned in BANS]
    found = ruff_findings("\n".join(lines) + "\n", "src/interlock/delivery/planted.py")
    assert [line for row, line in enumerate(lines, 1) if "TID251" not in found.get(row, ())] == []


@pytest.mark.parametrize(
    "path", ["runtime/compose.py", "edge/server.py", "cli/main.py", "testing/lab.py", "core/ids.py"]
)
def test_only_implementations_of_ports_may_use_a_clock(path: str):
    assert "TID251" in ruff_findings("import time\n", f"src/interlock/{path}")[1]
    assert 1 not in ruff_findings("import time\n\ntime.time()\n", "src/interlock/runtime/ports.py")


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        ("BLE001", "try:\n    x = 1\nexcept Exception:\n    x = 2\n"),
        ("T201", "print(1)\n"),
        ("FIX001", "# FIXME: later\n"),
        ("ERA001", "# x = f(1)\n"),
        ("PGH003", "x: int = ''  # type: ignore\n"),
        ("TID252", "from . import sibling\n"),
        ("DTZ006", "import datetime\n\ndatetime.datetime.fromtimestamp(0)\n"),
        ("PLC0415", "def f() -> None:\n    import json\n\n    json.dumps(1)\n"),
        ("S311", "import random\n\nrandom.uniform(0, 1)\n"),
        ("ASYNC210", "import urllib.request\n\n\nasync def f() -> None:\n    urllib.request.urlopen('http://x')\n"),
    ],
    ids=lambda it: it if it.isalnum() else "",
)
def test_a_planted_slip_is_found_by_its_lint_rule(rule: str, code: str):
    found = ruff_findings(code, "src/interlock/delivery/planted.py")
    assert rule in set().union(*found.values())


def imported_roots(path: Path) -> set[str]:
    """The top-level names that a module imports."""
    roots: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            roots |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            roots.add(node.module.partition(".")[0])
    return roots


def third_party(folder: Path) -> set[str]:
    """The distributions that a part of the package imports, normalised as their names on the index."""
    # The modules of a project import each other by the names that they have in its folder.
    modules = [path for path in folder.rglob("*.py") if not {"templates", "project"} & set(path.parts)]
    roots = set().union(*(imported_roots(path) for path in modules)) - sys.stdlib_module_names
    homes = importlib.metadata.packages_distributions()
    return {re.sub(r"[-_.]+", "-", homes[root][0]).lower() for root in roots - {"interlock"}}


def test_the_core_floor_imports_msgspec_and_nothing_else_of_others():
    assert third_party(SOURCE / "core") <= {"msgspec"}


def test_what_is_imported_is_declared_and_what_is_declared_is_imported():
    declared = {re.split(r"[<>=!~ \[]", entry)[0] for entry in PROJECT["project"]["dependencies"]}
    assert third_party(SOURCE) == declared


def test_every_dependency_has_a_lower_and_an_upper_bound():
    extras = PROJECT["project"]["optional-dependencies"].values()
    entries = PROJECT["project"]["dependencies"] + [entry for extra in extras for entry in extra]
    assert [entry for entry in entries if not re.fullmatch(r"[a-z0-9-]+(\[[a-z]+\])?>=[\d.]+,<[\d.]+", entry)] == []


def test_every_dependency_is_under_a_licence_that_asks_for_nothing_but_its_notice():
    allowed = re.compile(r"(?:MIT|BSD(?:-[23]-Clause)?|Apache-2\.0|OSI Approved|License|::| |AND|OR)+")
    told = {
        entry: importlib.metadata.metadata(re.split(r"[<>=]", entry)[0]) for entry in PROJECT["project"]["dependencies"]
    }
    licences = {
        entry: meta.get("License-Expression")
        or meta.get("License")
        or " ".join(each for each in meta.get_all("Classifier", []) if each.startswith("License"))
        for entry, meta in told.items()
    }
    assert {entry: licence for entry, licence in licences.items() if not allowed.fullmatch(licence)} == {}


SLIPS = {
    "test_no_module_is_longer_than_600_lines": ("edge/long.py", "x = 1\n" * 601),
    "test_no_function_is_longer_than_70_lines": ("edge/tall.py", "def f():\n" + "    x = 1\n" * 70),
    "test_no_function_has_more_than_six_parameters_without_a_reason": (
        "edge/wide.py",
        "def f(a, b, c, d, e, *, g, h): ...",
    ),
    "test_no_module_and_no_class_has_a_name_that_says_nothing": ("edge/utils.py", "class LaneManager: ..."),
    "test_every_module_opens_with_one_to_five_lines_of_what_it_owns": ("edge/mute.py", "x = 1"),
    "test_every_public_class_and_function_has_a_docstring": ("edge/silent.py", "def f(): ..."),
    "test_broad_excepts_stand_only_in_the_shells": (
        "edge/deaf.py",
        "try:\n    f()\nexcept (OSError, Exception):\n    x = 1",
    ),
    "test_files_are_opened_only_where_they_belong": ("edge/disk.py", "x = open('y')"),
    "test_the_loop_is_asked_for_timers_sockets_and_threads_only_by_the_ports": (
        "edge/late.py",
        "loop.call_later(1, f)",
    ),
    "test_names_use_our_nouns": ("edge/nouns.py", "order_flow = 1"),
    "test_texts_use_our_nouns": ("edge/prose.py", "# It goes to the DLQ."),
    "test_nothing_claims_to_deliver_exactly_once": ("edge/boast.py", "# Delivered exactly once."),
    "test_no_file_names_a_place_on_somebodys_machine": ("edge/place.py", "x = '/home/me/x'"),
    "test_no_file_holds_a_note_to_do_later": ("edge/later.py", "# FIXME"),
    "test_comments_have_no_banners": ("edge/banner.py", "# " + "-" * 20),
    "test_every_ignored_finding_names_its_rule_and_its_reason": ("edge/quiet.py", "x = 1  # noqa: F401"),
    "test_every_test_name_is_a_sentence_about_behaviour": ("../../tests/test_short.py", "def test_it_works(): ..."),
    "test_tests_patch_nothing_and_never_sleep_on_the_wall_clock": ("../../tests/test_nap.py", "time.sleep(1)"),
    "test_init_files_only_re_export": ("edge/room/__init__.py", "x = f()"),
    "test_the_public_vocabulary_has_at_most_forty_names": (
        "__init__.py",
        "from interlock.core.event import (" + ", ".join(f"n{i}" for i in range(41)) + ")",
    ),
    "test_pages_and_rules_that_code_cites_exist": ("edge/cites.py", "# See docs/nowhere.md, rule 99."),
    "test_every_decision_record_is_one_page_with_its_five_parts[0001-a]": ("../../docs/decisions/0001-a.md", "# A"),
    "test_decision_records_are_numbered_without_gaps": ("../../docs/decisions/0003-c.md", "# C"),
}


def test_every_rule_of_style_finds_its_planted_slip(tmp_path: Path):
    (tmp_path / "tests").mkdir()
    shutil.copy(ROOT / "tests" / "test_tidy.py", tmp_path / "tests")
    for place, code in SLIPS.values():
        path = tmp_path / "src" / "interlock" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code + "\n")
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-rA",
        "-p",
        "no:cacheprovider",
        "-o",
        "addopts=",
        "tests/test_tidy.py",
    ]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    passed = set(re.findall(r"^PASSED \S+::(\S+)", result.stdout, re.MULTILINE))
    failed = set(re.findall(r"^FAILED \S+::(\S+)", result.stdout, re.MULTILINE))
    assert passed == set()
    assert failed >= set(SLIPS), result.stdout


def test_importing_the_vocabulary_starts_no_server_and_no_terminal():
    heavy = ["aiohttp", "apsw", "click", "cryptography", "pydantic", "rich", "starlette", "uvicorn", "uvloop"]
    code = f"import sys, interlock; print(sorted(set({heavy}) & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
