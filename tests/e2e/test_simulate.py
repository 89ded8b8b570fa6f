"""`interlock simulate` as its user calls it: on what is broken on purpose, on the examples, and with its exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BROKEN = ROOT / "examples" / "broken_on_purpose"
SOUND = [
    ROOT / "examples" / "github_to_two_systems",
    ROOT / "src" / "interlock" / "cli" / "demo" / "project",
    ROOT / "src" / "interlock" / "cli" / "templates" / "shop-demo",
]


def interlock(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).parent / "interlock", "-C", folder, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=170)


@pytest.mark.timeout(180)
def test_each_defect_of_what_is_broken_on_purpose_is_found_with_a_run_that_shows_it() -> None:
    done = interlock(BROKEN, "simulate", "--seeds", "14", "-o", "json")
    rows = {(row["rule"].removeprefix("simulate."), row["subject"]): row for row in json.loads(done.stdout)}
    assert done.returncode == 1
    assert rows.keys() >= {
        ("effect-twice", "payments.books"),
        ("order-lost", "payments.set_balance"),
        ("swallowed-error", "payments.tell_customer"),
        ("effect-missing", "payments.bank"),
        ("invariant", "what_is_booked_is_what_was_paid"),
    }, done.stderr
    twice = rows["effect-twice", "payments.books"]
    assert sum("POST /entries takes effect" in line for line in twice["timeline"]) == 2
    assert any("! fault" in line for line in twice["timeline"])
    assert twice["repeat"] == f"interlock simulate --seed {twice['seed']}"


def test_a_seed_is_told_again_word_for_word() -> None:
    told = [interlock(BROKEN, "simulate", "--seed", "3") for _ in range(2)]
    assert told[0].stdout == told[1].stdout
    assert "error[simulate." in told[0].stdout
    assert "repeat: interlock simulate --seed 3" in told[0].stdout


@pytest.mark.timeout(180)
@pytest.mark.parametrize("folder", SOUND, ids=lambda folder: folder.name)
def test_nothing_is_found_in_what_is_sound(folder: Path) -> None:
    done = interlock(folder, "simulate", "--seeds", "12")
    assert (done.returncode, done.stdout) == (0, ""), done.stdout
    assert "no rule was broken" in done.stderr
    assert "12 seeds in" in done.stderr


def test_a_story_is_told_and_one_that_is_not_understood_says_what_is() -> None:
    told = interlock(SOUND[1], "simulate", "--story", "erp 503 for 2m")
    assert told.returncode == 0, told.stderr
    assert "shop.erp: breaker OPEN" in told.stdout
    refused = interlock(SOUND[1], "simulate", "--story", "erp broken")
    assert refused.returncode == 1
    assert "error[simulate.story-unknown]" in refused.stderr


def test_a_module_that_is_not_there_and_faults_that_are_none_are_refused() -> None:
    missing = interlock(BROKEN, "simulate", "nothing", "--seeds", "1")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "error[simulate.no-module]" in missing.stderr
    unknown = interlock(BROKEN, "simulate", "--faults", "meteors")
    assert unknown.returncode == 2
    assert "crashes, disk" in unknown.stderr
