"""`interlock demo` on real sockets, at eight times its speed: it ends well, leaves nothing, and sees a loss."""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import pytest

PICTURE = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "site" / "picture.py"))
INTERLOCK = Path(sys.executable).parent / "interlock"
SPEED = ("--speed", "8")
FORGETFUL = """
import sys
from pathlib import Path
from interlock.cli.demo.play import Show, play
from interlock.cli.demo.scenes import SYSTEMS
from interlock.cli.demo.systems import System
from interlock.cli.demo.verb import verdict
from interlock.cli.exits import Exit

class Forgetful(System):
    def take(self, entry):
        if len(self.taken) != 100 or getattr(self, "forgot", False):
            super().take(entry)
        else:
            self.forgot = True

systems = [(Forgetful if name == "crm" else System)(name, 7) for name in SYSTEMS]
count = play(Show(Path(sys.argv[1]), 7, 8.0, True), lambda ready: None, lambda line: None, systems)
try:
    verdict(count, asserts=True, headless=True)
except Exit as end:
    sys.exit(end.code)
"""


def started(folder: Path, *command: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        env={**os.environ, "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", [7, 8])
def test_the_whole_story_keeps_every_promise_and_leaves_nothing_behind(tmp_path: Path, seed: int) -> None:
    with started(tmp_path, INTERLOCK, "demo", "--headless", "--assert", *SPEED, "--seed", str(seed)) as process:
        told, _ = process.communicate()
    assert process.returncode == 0, told
    accepted, _, rest = told.splitlines()[-1].removeprefix("  in all").partition(" accepted = ")
    assert int(accepted.replace(",", "")) > 1_000
    assert rest.endswith(" delivered + 3 dead + 0 lost"), told
    assert "breaker OPEN" in told
    assert '"http 422" (one cause)' in told
    assert list(tmp_path.iterdir()) == []
    assert PICTURE["shapes"](PICTURE["RECORDED"].read_text()) - PICTURE["shapes"](told) == set()


@pytest.mark.timeout(180)
def test_a_system_that_forgets_one_fact_makes_it_fail(tmp_path: Path) -> None:
    with started(tmp_path, sys.executable, "-c", FORGETFUL, str(tmp_path / "shop")) as process:
        told, _ = process.communicate()
    assert process.returncode == 1, told
    assert "FAILED: nothing is lost on the way to crm" in told
    assert " 3 dead + 1 lost" in told


@pytest.mark.timeout(120)
def test_ctrl_c_stops_the_shop_counts_and_keeps_what_is_to_be_kept(tmp_path: Path) -> None:
    with started(tmp_path, INTERLOCK, "demo", "--keep", *SPEED) as process:
        assert process.stdout is not None
        while "0:10" not in (line := process.stdout.readline()):
            assert line, process.wait()
        process.send_signal(signal.SIGINT)
        told, _ = process.communicate()
    assert process.returncode == 0, told
    assert told.splitlines()[-1].endswith(" + 0 lost"), told
    (folder,) = tmp_path.iterdir()
    assert {"nordwind.py", "interlock.toml", "interlock.log", ".interlock"} <= {each.name for each in folder.iterdir()}
