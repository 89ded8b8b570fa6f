"""What starting costs, as whole processes, beside an interpreter that does nothing."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from bench.measure import Extent, Row, Table, ratios, take_turns

ROUNDS = 15
COMMAND = str(Path(sys.executable).with_name("interlock"))
CONTENDERS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import interlock": [sys.executable, "-c", "import interlock"],
    "interlock --help": [COMMAND, "--help"],
}
TARGETS_MS = {"import interlock": 250.0, "interlock --help": 200.0}


def run(extent: Extent) -> Table:
    """Measure."""
    rounds = max(5, int(ROUNDS * extent.scale))
    for command in CONTENDERS.values():
        _milliseconds(command)
    figures = take_turns({name: lambda own=own: _milliseconds(own) for name, own in CONTENDERS.items()}, rounds)
    nothing = figures["python -c pass"]
    rows = [Row(f"{name} / python -c pass", ratios(figures[name], nothing)) for name in TARGETS_MS]
    rows += [Row(name, [median(figures[name])], target, at_most=True, unit="ms") for name, target in TARGETS_MS.items()]
    return Table("Start-up of whole processes", rows)


def _milliseconds(command: list[str]) -> float:
    begun = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - begun) * 1_000
