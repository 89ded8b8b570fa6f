"""The example as a reader runs it: what it prints is what it says that it prints, and it leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "github_to_two_systems"


def start(folder: Path) -> subprocess.Popen[str]:
    """The story, with a folder for temporary files of its own."""
    return subprocess.Popen(
        [sys.executable, EXAMPLE / "run.py"],
        env={**os.environ, "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def living_in(folder: Path) -> list[str]:
    """The command lines of processes that work in a folder or below it."""
    found: list[str] = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str((process / "cwd").readlink()).startswith(str(folder)):
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


@pytest.mark.timeout(180)
def test_the_story_ends_well_and_prints_what_the_example_says(tmp_path: Path) -> None:
    with start(tmp_path) as process:
        told, _ = process.communicate()
    assert process.returncode == 0, told
    expected = (EXAMPLE / "expect.txt").read_text().splitlines()
    assert len(told.splitlines()) == len(expected), told
    for line, pattern in zip(told.splitlines(), expected, strict=True):
        assert re.fullmatch(re.escape(pattern.strip()).replace(re.escape("..."), ".+?"), line.strip()), line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="looks for processes in /proc")
def test_ctrl_c_leaves_neither_a_process_nor_a_file_behind(tmp_path: Path) -> None:
    with start(tmp_path) as process:
        assert process.stdout is not None
        while "deliveries" not in process.stdout.readline():
            assert process.poll() is None
        assert len(living_in(tmp_path)) == 3
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        told, _ = process.communicate()
    assert process.returncode == 130
    assert told.strip().endswith("interrupted")
    assert time.monotonic() - began < 5
    assert living_in(tmp_path) == []
    assert list(tmp_path.iterdir()) == []
