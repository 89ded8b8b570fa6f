"""A short simulation with every test run: seeds that once failed, and some more. `make sim` runs a thousand."""

from __future__ import annotations

from pathlib import Path

import pytest

from interlock.testing.sim.__main__ import run_seed
from interlock.testing.sim.run import simulate

SEEDS = [
    int(line.split()[0])
    for line in (Path(__file__).parent / "seeds.txt").read_text().splitlines()
    if line[:1].isdigit()
]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_seed_that_once_failed_passes(seed: int) -> None:
    result = run_seed(seed)
    assert not result.report, result.report


@pytest.mark.parametrize("seed", range(1_001, 1_201))
def test_a_seed_passes(seed: int) -> None:
    result = run_seed(seed)
    assert not result.report, result.report


def test_a_seed_takes_the_same_steps_each_time() -> None:
    first, second = simulate(3), simulate(3)
    assert (first.trace, first.steps) == (second.trace, second.steps)
    assert first.history.dump() == second.history.dump()
