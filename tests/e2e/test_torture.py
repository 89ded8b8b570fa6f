"""A short torture of real processes, and the proof that its checker can fail."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.e2e.torture import Torture


@pytest.mark.timeout(240)
def test_what_was_answered_202_survives_sigkill_and_takes_effect_once(tmp_path: Path) -> None:
    verdict = Torture(tmp_path, None).run(kills=3, rate=150, seed=11)
    assert verdict.problems == []
    assert verdict.acknowledged > 100


@pytest.mark.timeout(240)
def test_the_checker_notices_an_acknowledgement_before_the_commit(tmp_path: Path) -> None:
    verdict = Torture(tmp_path, "ack-before-commit").run(kills=3, rate=150, seed=11)
    assert any("is not in the log" in problem for problem in verdict.problems)
