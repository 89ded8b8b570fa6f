"""The engine compiled is the engine: the same seed takes the same steps in what ships and in the source."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMPILED = Path(__file__).parents[2] / "build" / "compiled"
SEEDS = 12
PROGRAM = f"""
import gc
from interlock.delivery import turn
from interlock.testing.sim.guard import sealed
from interlock.testing.sim.run import simulate
print(turn.__file__.rpartition(".")[2])
with sealed():
    for seed in range(1, {SEEDS} + 1):
        gc.collect()
        verdict = simulate(seed)
        print(verdict.trace, verdict.steps)
"""


def traces(package: Path) -> list[str]:
    """How the engine was loaded, then each seed's trace and steps."""
    environment = {**os.environ, "PYTHONPATH": str(package), "PYTHONHASHSEED": "0"}
    told = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
    return told.stdout.splitlines()


@pytest.mark.skipif(not (COMPILED / "interlock").is_dir(), reason="nothing is compiled here: make compiled")
def test_a_seed_takes_the_same_steps_compiled_as_in_the_source() -> None:
    source, compiled = traces(COMPILED.parents[1] / "src"), traces(COMPILED)
    assert (source[0], compiled[0]) == ("py", "so")
    assert compiled[1:] == source[1:]
