"""The house style as a test: sizes, names, docstrings, broad excepts, words. What a linter knows is left to ruff.

Each rule lists its offenders. An exception stands in a list below with its reason and its date; one that is no longer
needed fails as well.
"""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULE_LINES_MAX = 600
FUNCTION_LINES_MAX = 70
PARAMETERS_MAX = 6

PARAMETERS_ALLOWED: dict[str, str] = {}
"""`file:function` -> why it needs more than six parameters, and since when."""

BROAD_EXCEPT_ALLOWED = {
    "src/interlock/delivery/attempt.py": "the handler shell: whatever a user's function raises becomes an Outcome",
    "src/interlock/runtime/ports.py": "a thread of Offload: the error is handed to whoever awaits",
    "src/interlock/runtime/supervise.py": "the supervisor: a crashed duty is reported and started again",
    "src/interlock/cli/main.py": "the command line: what nobody expected is told without a traceback",
    "src/interlock/runtime/load.py": "what a module raises while it is imported is a finding at its line",
    "src/interlock/wire/connection.py": "the connection shell: a bug in an application answers 500 and is reported",
    "src/interlock/call/usercode.py": "the shell of all other functions of users: what they raise is a value",
    "src/interlock/testing/sim/ports.py": "a simulated thread of Offload, as the real one",
    "src/interlock/testing/simulate/peers.py": "a function that stands for a System: what it raises is told as that",
    "src/interlock/testing/sim/loop.py": "coroutines of a world that has ended are closed, whatever they do then",
}
FILE_ACCESS_ALLOWED = {
    "src/interlock/runtime/": "the settings, and where secrets and certificates come from",
    "src/interlock/testing/": "the simulated disk and fixtures",
    "src/interlock/cli/": "arguments that name files",
    "src/interlock/control/address.py": "where a running process can be reached, told to the command line",
    "src/interlock/journal/sqlite/": "the store's own file and lock",
    "src/interlock/security/tokens.py": "the token file, whose mode matters from its first byte",
}
LOOP_ACCESS_ALLOWED = {
    "src/interlock/runtime/clock.py": "the ports",
    "src/interlock/runtime/ports.py": "the ports",
    "src/interlock/runtime/serve.py": "servers on sockets that were bound before, so that a busy port is said",
    "src/interlock/testing/": "the simulated loop",
}
BANNED_MODULES = {"utils", "util", "helpers", "helper", "common", "manager", "base", "data", "info", "misc", "stuff"}
BANNED_CLASS_ENDS = ("Manager", "Helper", "Utils", "Util", "Impl")
BANNED_WORDS = {"dlq", "destination", "destinations", "flow", "flows"}
FILE_CALLS = {"read_text", "read_bytes", "write_text", "write_bytes"}
LOOP_CALLS = {
    "call_later",
    "run_in_executor",
    "create_connection",
    "create_server",
    "create_datagram_endpoint",
    "getaddrinfo",
}


def tracked(*patterns: str) -> list[Path]:
    """Files that git tracks or would track, by pattern."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / line for line in listed.splitlines() if (ROOT / line).is_file()]


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


SOURCE = tracked("src/**.py")
TESTS = tracked("tests/**.py")
CODE = SOURCE + TESTS + tracked("bench/**.py", "examples/**.py")
TREES = {path: ast.parse(path.read_text(), str(path)) for path in CODE}
TEXTS = tracked("*.md", "*.py", "*.toml", "*.txt", "*.yml", "*.sql", "Makefile", ".ci/run", ".importlinter")
Function = ast.FunctionDef | ast.AsyncFunctionDef


def nodes(paths: list[Path], *kinds: type[ast.AST]) -> Iterator[tuple[Path, ast.AST]]:
    for path in paths:
        for node in ast.walk(TREES[path]):
            if isinstance(node, kinds):
                yield path, node


def functions(paths: list[Path]) -> Iterator[tuple[Path, Function]]:
    for path, node in nodes(paths, ast.FunctionDef, ast.AsyncFunctionDef):
        assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        yield path, node


def at(path: Path, node: ast.AST, what: str) -> str:
    return f"{name(path)}:{getattr(node, 'lineno', 1)} {what}"


def outside(path: Path, allowed: dict[str, str]) -> bool:
    return not any(name(path).startswith(prefix) for prefix in allowed)


def lines_matching(paths: list[Path], pattern: str, unless: str = r"(?!)") -> list[str]:
    """`file:line text` of what matches; the two tests that spell the patterns out are left out."""
    wanted, spared = re.compile(pattern), re.compile(unless)
    return [
        f"{name(path)}:{number} {line.strip()[:100]}"
        for path in paths
        if path.name not in ("test_tidy.py", "test_house.py")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if wanted.search(line) and not spared.search(line)
    ]


def test_no_module_is_longer_than_600_lines():
    lengths = {name(path): len(path.read_text().splitlines()) for path in CODE if path not in TESTS}
    assert {path: length for path, length in lengths.items() if length > MODULE_LINES_MAX} == {}


def test_no_function_is_longer_than_70_lines():
    long = [
        at(path, node, f"{node.name}: {length}")
        for path, node in functions([path for path in CODE if path not in TESTS])
        if node.end_lineno and (length := node.end_lineno - node.lineno + 1) > FUNCTION_LINES_MAX
    ]
    assert long == []


def test_no_function_has_more_than_six_parameters_without_a_reason():
    found: dict[str, int] = {}
    for path, node in functions(SOURCE):
        names = [each.arg for each in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]]
        count = len([each for each in names if each not in ("self", "cls")])
        if count > PARAMETERS_MAX:
            found[f"{name(path)}:{node.name}"] = count
    assert {each: count for each, count in found.items() if each not in PARAMETERS_ALLOWED} == {}
    assert [each for each in PARAMETERS_ALLOWED if each not in found] == []


def test_no_module_and_no_class_has_a_name_that_says_nothing():
    modules = [name(path) for path in CODE if path.stem in BANNED_MODULES or path.parent.name in BANNED_MODULES]
    classes = [
        at(path, node, node.name)
        for path, node in nodes(SOURCE, ast.ClassDef)
        if isinstance(node, ast.ClassDef) and node.name.endswith(BANNED_CLASS_ENDS)
    ]
    assert modules + classes == []


def test_every_module_opens_with_one_to_five_lines_of_what_it_owns():
    docs = {name(path): ast.get_docstring(TREES[path]) for path in CODE if TREES[path].body}
    assert [path for path, doc in docs.items() if not doc or len(doc.splitlines()) > 5] == []


def test_every_public_class_and_function_has_a_docstring():
    missing = [
        at(path, node, node.name)
        for path in SOURCE
        for node in TREES[path].body
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        # The tests of a project's template say in their names what they are about, as all tests do.
        and not node.name.startswith(("_", "test_"))
        and not ast.get_docstring(node)
        and not any(isinstance(each, ast.Name) and each.id == "overload" for each in node.decorator_list)
    ]
    assert missing == []


def is_broad(handler: ast.ExceptHandler) -> bool:
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(
        kind is None or (isinstance(kind, ast.Name) and kind.id in ("Exception", "BaseException")) for kind in kinds
    )


def reraises(handler: ast.ExceptHandler) -> bool:
    """Whether the last thing it does is a bare `raise`: it cleans up and swallows nothing."""
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def test_broad_excepts_stand_only_in_the_shells():
    broad = [
        at(path, node, "")
        for path, node in nodes(SOURCE, ast.ExceptHandler)
        if isinstance(node, ast.ExceptHandler)
        and is_broad(node)
        and not reraises(node)
        and outside(path, BROAD_EXCEPT_ALLOWED)
    ]
    assert broad == []


def calls(paths: list[Path], methods: set[str]) -> Iterator[tuple[Path, ast.Call]]:
    for path, node in nodes(paths, ast.Call):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in methods:
            yield path, node


def test_files_are_opened_only_where_they_belong():
    direct = [at(path, node, "") for path, node in calls(SOURCE, FILE_CALLS) if outside(path, FILE_ACCESS_ALLOWED)]
    opened = [
        at(path, node, "open()")
        for path, node in nodes(SOURCE, ast.Call)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("open", "os.open", "io.open")
        and outside(path, FILE_ACCESS_ALLOWED)
    ]
    assert direct + opened == []


def test_the_loop_is_asked_for_timers_sockets_and_threads_only_by_the_ports():
    asked = [at(path, node, "") for path, node in calls(SOURCE, LOOP_CALLS) if outside(path, LOOP_ACCESS_ALLOWED)]
    asked += [
        at(path, node, ast.unparse(node.func))
        for path, node in calls(SOURCE, {"call_at", "time"})
        if re.search(r"\bloop\b|_loop\(\)", ast.unparse(node.func)) and outside(path, LOOP_ACCESS_ALLOWED)
    ]
    assert asked == []


def words(identifier: str) -> list[str]:
    """The parts of a snake_case or CamelCase name, in lower case."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", identifier).lower().strip("_").split("_")


def test_names_use_our_nouns():
    defined: list[tuple[Path, ast.AST, str]] = []
    for path, node in nodes(SOURCE, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef, ast.arg, ast.Name):
        if isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Store):
                defined.append((path, node, node.id))
        else:
            defined.append((path, node, getattr(node, "name", None) or getattr(node, "arg", "")))
    foreign = [
        at(path, node, identifier)
        for path, node, identifier in defined
        # Flow control is what TCP calls it.
        if BANNED_WORDS & set(words(re.sub(r"(?i)flow_?control", "", identifier)))
    ]
    assert foreign == []


def test_texts_use_our_nouns():
    prose = [path for path in TEXTS if path.suffix == ".md"] + SOURCE
    assert lines_matching(prose, r"(?i)\bdlqs?\b|\bdestinations?\b|\b(a|an|the|each|every|our|this) flows?\b") == []


def test_nothing_claims_to_deliver_exactly_once():
    # The term may be quoted to say what we do not promise, or bounded to one store, where a commit makes it true.
    told = r"[\"“]exactly once[\"”]|exactly once within (the|one) store"
    assert lines_matching(TEXTS, r"(?i)\bexactly[- ]once\b", unless=told) == []


def test_no_file_names_a_place_on_somebodys_machine():
    assert lines_matching(TEXTS, r"(?<![\w.:/}])/(?:work|root|home|Users|opt|mnt)/\w") == []


def test_no_file_holds_a_note_to_do_later():
    assert lines_matching(TEXTS, r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b") == []


def test_comments_have_no_banners():
    assert lines_matching(CODE, r"^\s*#\s*[-=#*~]{4,}|^\s*#.*[-=#*~]{6,}\s*$") == []


def test_every_ignored_finding_names_its_rule_and_its_reason():
    ignore = re.compile(r"#\s*(?:type: ignore|pyright: ?ignore|noqa)")
    explained = re.compile(
        r"#\s*(?:(?:type: |pyright: ?)ignore\[[\w, -]+\]|noqa: [A-Z]+\d+(?:, ?[A-Z]+\d+)*)[\s(#:–-]+\w{2,}"
    )
    silent: list[str] = []
    for path in SOURCE:
        above = ""
        for number, line in enumerate(path.read_text().splitlines(), 1):
            # The reason stands on the line, or in a comment right above it. A loop of our own reaches into asyncio's.
            if "testing/sim" in name(path) and "noqa: SLF001" in line:
                continue
            if ignore.search(line) and not explained.search(line) and not above.lstrip().startswith("#"):
                silent.append(f"{name(path)}:{number} {line.strip()[:100]}")
            above = line
    assert silent == []


def test_every_test_name_is_a_sentence_about_behaviour():
    short = [
        at(path, node, node.name)
        for path, node in functions([*TESTS, *tracked("examples/**.py")])
        if node.name.startswith("test_") and path.name.startswith("test_") and len(node.name.split("_")) < 4
    ]
    assert short == []


def test_tests_patch_nothing_and_never_sleep_on_the_wall_clock():
    patched = [
        at(path, node, node.arg)
        for path, node in nodes(TESTS, ast.arg)
        if isinstance(node, ast.arg) and node.arg in ("monkeypatch", "mocker")
    ]
    wall = [
        at(path, node, ast.unparse(node))
        for path, node in calls(TESTS, {"sleep"})
        # A real process in real time is what e2e is; a bare yield to the loop is no sleep.
        if "e2e" not in path.parts
        and ast.unparse(node.func) in ("time.sleep", "asyncio.sleep")
        and ast.unparse(node.args[0]) != "0"
    ]
    mocks = [
        at(path, node, "mock")
        for path, node in nodes(TESTS, ast.Import, ast.ImportFrom)
        if path.name != "test_house.py" and re.search(r"\bmock\b|\bfreezegun\b|\btime_machine\b", ast.unparse(node))
    ]
    assert patched + wall + mocks == []


def test_init_files_only_re_export():
    acting = [
        at(path, node, type(node).__name__)
        for path in SOURCE
        if path.name == "__init__.py"
        for node in TREES[path].body
        if not isinstance(node, ast.Import | ast.ImportFrom)
        and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        and not (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in ("__all__", "__version__"))
    ]
    assert acting == []


def test_the_public_vocabulary_has_at_most_forty_names():
    tree = TREES[ROOT / "src" / "interlock" / "__init__.py"]
    names = [alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert len([each for each in names if each != "annotations"]) <= 40


def test_pages_and_rules_that_code_cites_exist():
    design = ROOT / "docs" / "design.md"
    rules = set(re.findall(r"^(\d+)\. \*\*", design.read_text(), re.MULTILINE)) if design.exists() else set()
    cited = [
        (path, number, page, rule)
        for path in SOURCE + TESTS
        if path.name != "test_house.py"
        for number, line in enumerate(path.read_text().splitlines(), 1)
        for page, rule in re.findall(r"(\bdocs/[\w/-]+\.md)|\brules? (\d+)\b", line)
    ]
    missing = [
        f"{name(path)}:{number} {page or f'rule {rule}'}"
        for path, number, page, rule in cited
        if not ((ROOT / page).exists() if page else rule in rules)
    ]
    assert missing == []


DECISIONS = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.stem)
def test_every_decision_record_is_one_page_with_its_five_parts(path: Path):
    text = path.read_text()
    for part in ("Context", "Options", "Choice", "Consequences", "How we would notice that it is wrong"):
        assert f"\n## {part}\n" in text
    assert len(text.splitlines()) <= 70


def test_decision_records_are_numbered_without_gaps():
    assert [int(path.stem[:4]) for path in DECISIONS] == list(range(1, len(DECISIONS) + 1))
