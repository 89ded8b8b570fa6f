"""`python -m tests.bugs [--only NAME] [--jobs 2]`: put each bug in, one at a time; a layer of the tests must notice.

Layers run cheapest first, each on the bugs that are left, and stop at the first failure. Whatever has failed is run
again without any bug, and must pass there. A bug that no layer notices is a missing test: the command then exits with
1. The whole run takes most of an hour; `--missing` runs only the bugs of which nothing is known.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from shutil import copytree
from tempfile import TemporaryDirectory
from typing import NamedTuple

from tests.bugs import table
from tests.bugs.table import ROOT, Bug, Caught

LAYER_SECONDS_MAX = 600
"""Of one layer for one bug. Longer is a failure that nobody waits for, and does not count."""
TEST_SECONDS_MAX = 60
SEEDS, SEEDS_AT_ONCE = 400, 50
LAYERS_MAX = 6
EXAMPLES = sorted(str(folder.relative_to(ROOT)) for folder in (ROOT / "examples").iterdir() if folder.is_dir())
FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+?\.py(?:::.*?)?)(?: - .*)?$", re.MULTILINE)
SEED = re.compile(r"^seed (\d+): ", re.MULTILINE)
IN_SIMULATION = {"call", "core", "delivery", "spec"}


class Layer(NamedTuple):
    """A part of the tests: its name, and the files and folders of it that are run. The simulator has none."""

    name: str
    parts: Sequence[str]


def layers(bug: Bug) -> list[Layer]:
    """In the order of what they cost, where the bug is."""
    files = [Path(edit.file) for edit in bug.edits]
    near = [f"tests/unit/{file.parts[0]}/test_{file.stem}.py" for file in files]
    near += [f"tests/unit/{file.parts[0]}" for file in files]
    units = [folder for folder in (ROOT / "tests" / "unit").iterdir() if folder.name not in ("cli", "telemetry")]
    others = [f"tests/unit/{each.name}" for each in sorted(units) if f"tests/unit/{each.name}" not in near]
    backend = ["tests/contract/test_store_sqlite.py"] if "journal" in {file.parts[0] for file in files} else []
    contract, simulation = Layer("contract", [*backend, "tests/contract"]), Layer("simulation", [])
    engine = {file.parts[0] for file in files} <= IN_SIMULATION
    return [
        Layer("unit", list(dict.fromkeys(near))),
        *([simulation, contract] if engine else [contract, simulation]),
        Layer("fuzz", ["tests/fuzz"]),
        Layer("unit", others),
        Layer("end to end", ["tests/e2e/test_process.py", "tests/e2e/test_backup.py", "tests/e2e/test_torture.py"]),
    ]


@contextmanager
def tree(bug: Bug | None) -> Iterator[Path]:
    """A copy of the source, with the bug in it."""
    with TemporaryDirectory(prefix="interlock-bug-") as folder:
        copy = Path(folder) / "src"
        copytree(ROOT / "src", copy)
        for path, text in table.changed(bug, copy / "interlock").items() if bug else ():
            compile(text, str(path), "exec")
            path.write_text(text)
            for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
                compiled.unlink()
        yield copy


def noticed(bug: Bug, layer: Layer) -> str | None:
    """The test or the seed of a layer that fails with a bug first; None if all pass."""
    with tree(bug) as source:
        if layer.parts:
            failed = _failing_tests(source, layer.parts)
            return failed[0] if failed else None
        for first in range(1, SEEDS, SEEDS_AT_ONCE):
            seed = _failing_seed(source, ["--seeds", str(SEEDS_AT_ONCE), "--first", str(first)])
            if seed is not None:
                return seed
    return None


def false_alarms(found: Sequence[Caught]) -> set[str]:
    """What fails without any bug as well, so that it has noticed none."""
    tests = sorted({each.by for each in found if ".py" in each.by})
    seeds = sorted({each.by for each in found if ".py" not in each.by})
    with tree(None) as source:
        failed = {*_failing_tests(source, tests, all_of_them=True)} if tests else set[str]()
        return failed | {seed for seed in seeds if _failing_seed(source, ["--seed", seed.split()[1]])}


def _failing_tests(source: Path, parts: Sequence[str], *, all_of_them: bool = False) -> list[str]:
    there = [part for part in parts if (ROOT / part.split("::")[0]).exists()]
    options = ["-q", "-p", "no:cacheprovider", "-o", f"timeout={TEST_SECONDS_MAX}"]
    options += ["-o", f"pythonpath={' '.join([str(source), '.', *EXAMPLES])}", *([] if all_of_them else ["-x"])]
    code, told = _run(source, [sys.executable, "-m", "pytest", *options, *there])
    failed = FAILED.findall(told)
    assert code == 0 or failed, f"pytest ended with {code}: {told[-2_000:]}"
    return failed


def _failing_seed(source: Path, which: Sequence[str]) -> str | None:
    code, told = _run(source, [sys.executable, "-m", "interlock.testing.sim", "--jobs", "1", *which])
    found = SEED.search(told)
    assert code == 0 or found, f"the simulator ended with {code}: {told[-2_000:]}"
    return f"seed {found[1]}" if code and found else None


def _run(source: Path, command: Sequence[str]) -> tuple[int, str]:
    environment = {**os.environ, "PYTHONPATH": str(source), "PYTHONHASHSEED": "0"}
    try:
        ended = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=LAYER_SECONDS_MAX
        )
    except subprocess.TimeoutExpired:
        return 0, ""
    return ended.returncode, ended.stdout + ended.stderr


def run(chosen: Sequence[Bug], jobs: int, only: str | None) -> dict[Bug, Caught]:
    """Who notices each bug, of all layers or those of one name; written down as it is found."""
    found: dict[Bug, Caught] = {}
    for place in range(LAYERS_MAX):
        due = [(bug, layers(bug)[place]) for bug in chosen if bug not in found]
        with ThreadPoolExecutor(jobs) as pool:
            asked = {pool.submit(noticed, *one): one for one in due if only in (None, one[1].name)}
            for ended in as_completed(asked):
                (bug, layer), by = asked[ended], ended.result()
                if by is not None:
                    found[bug] = Caught(bug.digest(), layer.name, by)
                    table.note(bug, found[bug])
                    _say(f"{bug.name:<36} {layer.name:<10} {by}")
    return found


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="tests.bugs", description=__doc__)
    parser.add_argument("--only", action="append", metavar="NAME", help="only this bug; may be given again")
    parser.add_argument("--missing", action="store_true", help="only bugs of which nothing is known")
    parser.add_argument("--jobs", type=int, default=2, help="bugs at a time")
    parser.add_argument("--layer", help="only layers of this name")
    parser.add_argument("--table", action="store_true", help="write what is known into the page, and run nothing")
    options = parser.parse_args()
    if options.table:
        table.PAGE.write_text(table.page_with_table(table.PAGE.read_text()))
        return 0
    known = table.caught()
    up_to_date = {bug.name for bug in table.bugs() if bug.name in known and known[bug.name].digest == bug.digest()}
    skipped = up_to_date if options.missing else set[str]()
    chosen = [bug for bug in table.bugs() if bug.name in (options.only or [bug.name]) and bug.name not in skipped]
    found = run(chosen, options.jobs, options.layer)
    alarms = false_alarms(list(found.values()))
    for bug in chosen:
        if bug not in found:
            table.note(bug, None)
            _say(f"{bug.name:<36} NOT NOTICED: {bug.what}")
        elif found[bug].by in alarms:
            table.note(bug, None)
            _say(f"{bug.name:<36} CANNOT BE JUDGED: {found.pop(bug).by} fails without it as well")
    _say(f"{len(chosen)} bugs, {len(found)} noticed")
    return 0 if len(found) == len(chosen) else 1


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
