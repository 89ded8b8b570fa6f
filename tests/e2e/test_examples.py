"""Each small example: it passes `check`, and what it prints is what it says that it prints."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
TOLD = sorted(path.parent.name for path in EXAMPLES.glob("*/expect.txt") if path.parent.name != "github_to_two_systems")


@pytest.mark.parametrize("name", TOLD)
def test_an_example_prints_what_it_says(name: str) -> None:
    done = subprocess.run([sys.executable, EXAMPLES / name / "run.py"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, (EXAMPLES / name / "expect.txt").read_text()), done.stderr


@pytest.mark.parametrize("name", TOLD)
def test_check_finds_nothing_to_say_about_an_example(name: str) -> None:
    command = [Path(sys.executable).parent / "interlock", "check"]
    done = subprocess.run(command, cwd=EXAMPLES / name, capture_output=True, text=True)
    assert (done.returncode, "warning" in done.stdout + done.stderr) == (0, False), done.stdout + done.stderr
