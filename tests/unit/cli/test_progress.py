"""Progress: a line every five seconds where nobody looks, a bar at a terminal, and silence for what is short."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.terminal import Terminal

from interlock.cli.progress import progress

SLOW = """
from interlock.cli.progress import progress
now = 0
with progress("sent", 4, quiet=False, now=lambda: now) as advance:
    for _ in range(4):
        now += {us}
        advance(1)
"""


def test_long_work_is_told_every_five_seconds_and_short_work_not_at_all(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0
    with progress("sent", 20_000, quiet=False, now=lambda: now) as advance:
        for _ in range(12):
            now += 1_000_000
            advance(1_000)
    assert capsys.readouterr().err.splitlines() == ["sent: 5,000 of 20,000", "sent: 10,000 of 20,000"]
    with progress("sent", 1, quiet=False, now=lambda: now) as advance:
        advance(1)
    assert capsys.readouterr().err == ""


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0
    with progress("sent", 2, quiet=True, now=lambda: now) as advance:
        now += 60_000_000
        advance(1)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("us", "shown"), [(400_000, True), (1_000, False)])
def test_a_terminal_has_a_bar_for_what_takes_longer_than_a_second(tmp_path: Path, us: int, shown: bool) -> None:
    with Terminal([sys.executable, "-c", SLOW.format(us=us)], tmp_path, {}) as terminal:
        seen = terminal.end()
    assert seen.code == 0, seen.text
    assert ("4 of 4" in seen.text) is shown
