"""What the documentation shows is run or parsed, and what the code can say has its heading in the reference."""

from __future__ import annotations

import ast
import asyncio
import importlib.util
import inspect
import json
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from difflib import unified_diff
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest
from msgspec.structs import fields

from interlock.runtime import settings
from interlock.runtime.layers import layered
from interlock.runtime.settings import settings_from
from interlock.spec.check import check
from interlock.telemetry.records import RECORDS

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "interlock"
PAGES = sorted(
    [ROOT / "README.md", *(page for part in ("docs", "examples", "src") for page in (ROOT / part).rglob("*.md"))]
)
PYTHON_PAGES = [page for page in PAGES if "```python" in page.read_text()]
CODE = re.compile(r"[a-z]+(?:-[a-z]+)*\.[a-z0-9]+(?:-[a-z0-9]+)*")
NOT_REFUSING = re.compile(r"(?i)emit|record|import_module|where|getattr|startswith|option|argument|command")


class Block(NamedTuple):
    """A fenced block of a page; `line` is that of its first line of text."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    language, start, lines = None, 0, list[str]()
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if not line.startswith("```"):
            lines.append(line)
        elif language is None:
            language, start, lines = line[3:].strip(), number + 1, []
        else:
            yield Block(page, start, language, "\n".join(lines) + "\n")
            language = None


BLOCKS = [block for page in PAGES for block in blocks(page)]
LANGUAGES = {"python", "toml", "json", "console", "diff", "text", "http"}


def test_every_block_says_its_language():
    assert [f"{block.place} {block.language!r}" for block in BLOCKS if block.language not in LANGUAGES] == []


@pytest.mark.parametrize("page", PYTHON_PAGES, ids=lambda page: page.name)
def test_the_python_of_a_page_runs_from_top_to_bottom(page: Path):
    # As a module that can be found by its name, because declarations look up annotations and sources there.
    module = ModuleType(f"page_{page.stem.replace('-', '_')}")
    sys.modules[module.__name__] = module
    try:
        for block in blocks(page):
            if block.language == "python":
                # Empty lines before it, so that a traceback names the line of the page.
                code = compile("\n" * (block.line - 1) + block.text, str(page), "exec", dont_inherit=True)
                exec(code, module.__dict__)
        for name, function in vars(module).copy().items():
            if name.startswith("test_") and inspect.iscoroutinefunction(function):
                asyncio.run(function())
    finally:
        del sys.modules[module.__name__]


@pytest.mark.parametrize("block", [it for it in BLOCKS if it.language in ("toml", "json")], ids=lambda it: it.place)
def test_configuration_and_json_in_pages_can_be_read(block: Block):
    (tomllib.loads if block.language == "toml" else json.loads)(block.text)


def test_the_first_integration_passes_check_with_the_configuration_beside_it():
    page = ROOT / "docs" / "tutorial" / "first-integration.md"
    module = ModuleType("first_integration")
    sys.modules[module.__name__] = module
    try:
        for block in blocks(page):
            if block.language == "python":
                exec(compile(block.text, str(page), "exec", dont_inherit=True), module.__dict__)
        (text,) = [block.text for block in blocks(page) if block.language == "toml"]
        read = settings_from(ROOT, layered({"interlock.toml": text}, {}, {}))
        found = check([module.payments], read.settings.bindings)
    finally:
        del sys.modules[module.__name__]
    assert [*read.findings, *found] == []


def commands() -> Iterator[tuple[str, list[str]]]:
    """Each `$ command` in a console block: its place and its words."""
    for block in BLOCKS:
        if block.language == "console":
            for number, line in enumerate(block.text.splitlines(), block.line):
                if line.startswith("$ "):
                    yield f"{block.page.relative_to(ROOT)}:{number}", shlex.split(line[2:], comments=True)


def test_every_make_target_that_a_page_shows_exists():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    shown = [(place, words[1]) for place, words in commands() if words[0] == "make"]
    assert shown
    assert [each for each in shown if each[1] not in targets] == []


def unknown_part(words: list[str]) -> str:
    """What of `interlock ...` the command line does not know: a verb or an option; "" if it knows all."""
    import click

    from interlock.cli.main import root

    command: click.Command = root
    context = click.Context(command, info_name="interlock", **root.context_settings)
    for word in words[1:]:
        options = {name for each in command.get_params(context) for name in (*each.opts, *each.secondary_opts)}
        if word.startswith("-"):
            if word.partition("=")[0] not in options:
                return word
        elif isinstance(command, click.Group):
            found = command.get_command(context, word)
            if found is None:
                return word
            command, context = found, click.Context(found, parent=context, info_name=word)
    return ""


@pytest.mark.skipif(
    importlib.util.find_spec("interlock.cli.main") is None, reason="the command line has not been built yet"
)
def test_every_interlock_command_that_a_page_shows_exists():
    unknown = [(place, " ".join(words), unknown_part(words)) for place, words in commands() if words[0] == "interlock"]
    assert [each for each in unknown if each[2]] == []


def test_every_link_between_pages_leads_somewhere():
    broken: list[str] = []
    for page in PAGES:
        prose = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", prose):
            path, _, anchor = target.partition("#")
            if "://" in target:
                continue
            file = (page.parent / path) if path else page
            if not file.exists() or (anchor and anchor not in anchors(file)):
                broken.append(f"{page.relative_to(ROOT)} -> {target}")
    assert broken == []


def anchors(page: Path) -> set[str]:
    """The anchors that a page's headings get: lower case, without punctuation, hyphens for spaces."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    "page",
    ["limits.md", "settings.md", "telemetry.md", "commands.md", "json.md", "../decisions/README.md"],
)
def test_a_page_of_the_reference_says_what_the_code_says(page: str):
    pages = runpy.run_path(str(ROOT / "docs" / "reference" / "build.py"))["PAGES"]
    written = (ROOT / "docs" / "reference" / page).read_text()
    differences = [*unified_diff(written.splitlines(), pages[page]().splitlines(), lineterm="", n=0)]
    assert differences == [], "run `make docs`"


def test_every_bound_has_its_reason():
    bounds = runpy.run_path(str(ROOT / "docs" / "reference" / "build.py"))["bounds"]()
    assert [bound.name for bound in bounds if not bound.reason] == []


def test_every_setting_of_the_process_is_read_by_it():
    sections = (settings.AppSettings, settings.StoreSettings, settings.DataSettings, settings.ControlSettings)
    source = "\n".join(path.read_text() for path in (SOURCE / "runtime").rglob("*.py"))
    keys = {field.name for section in sections for field in fields(section)}
    assert [key for key in sorted(keys) if not re.search(rf"\.{key}\b", source)] == []


def test_every_bound_is_kept_by_something():
    bounds = runpy.run_path(str(ROOT / "docs" / "reference" / "build.py"))["bounds"]()
    told = (SOURCE / "core" / "limits.py").read_text()
    source = "\n".join(path.read_text() for path in SOURCE.rglob("*.py") if path.name != "limits.py")
    unkept = [it.name for it in bounds if not re.search(rf"\b{it.name}\b", source)]
    assert [name for name in unkept if len(re.findall(rf"\b{name}\b", told)) < 2] == []


def error_codes() -> dict[str, str]:
    """The codes that the source refuses with, each with one place: the first code-like argument of any call.

    Names of telemetry records look the same; they are given to `emit` and are left out, as are names of files.
    """
    found: dict[str, str] = {}
    # What stands in a project's template is the user's code.
    for path in sorted(path for path in SOURCE.rglob("*.py") if "templates" not in path.parts):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or NOT_REFUSING.search(called(node)):
                continue
            given = [*node.args, *(each.value for each in node.keywords if each.arg == "code")]
            code = next((text for each in given if CODE.fullmatch(text := constant(each))), None)
            if code is not None and code not in RECORDS and not code.startswith("interlock."):
                found.setdefault(code, f"{path.relative_to(ROOT)}:{node.lineno}")
    return found


def constant(node: ast.expr) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def called(node: ast.Call) -> str:
    function = node.func
    return (
        function.attr if isinstance(function, ast.Attribute) else function.id if isinstance(function, ast.Name) else ""
    )


def documented_codes() -> dict[str, str]:
    """The codes with a heading in the reference, each with the text below it."""
    text = (ROOT / "docs" / "reference" / "errors.md").read_text()
    parts = re.split(r"^### (\S+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_error_code_has_its_heading_in_the_reference():
    documented = documented_codes()
    assert {code: place for code, place in error_codes().items() if code not in documented} == {}


def test_the_reference_names_no_error_that_cannot_happen():
    # A code may be chosen from a table, or put together as f"spec.{what}-missing": it still stands somewhere.
    source = "\n".join(path.read_text() for path in SOURCE.rglob("*.py"))
    composed = [
        re.sub(r"\\{[^}]*\\}", "[a-z-]+", re.escape(each)) for each in re.findall(r'f"([a-z]+\.[^"]*)"', source)
    ]
    assert [
        code
        for code in documented_codes()
        if f'"{code}"' not in source and not any(re.fullmatch(each, code) for each in composed)
    ] == []


def test_every_error_says_what_happened_why_and_what_to_do():
    silent = {
        code: part for code, body in documented_codes().items() for part in ("**Why.**", "**Do.**") if part not in body
    }
    assert silent == {}


def test_make_demo_is_the_demo():
    command = ["make", "--dry-run", "--no-print-directory", "demo", "ARGS=--headless --assert --speed 8"]
    lines = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    assert lines[-1] == ".venv/bin/interlock demo --headless --assert --speed 8"


def test_the_tutorial_takes_less_than_ten_commands():
    page = ROOT / "docs" / "tutorial" / "README.md"
    typed = [line for block in blocks(page) for line in block.text.splitlines() if line.startswith("$ ")]
    assert len(typed) == 9
    assert "nine commands" in page.read_text()
