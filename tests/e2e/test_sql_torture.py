"""A short torture of real processes and a real PostgreSQL, and the proof that its checker can fail."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.contract import postgresql
from tests.e2e.sql_torture import SqlTorture

pytestmark = pytest.mark.services


@pytest.mark.timeout(240)
def test_each_row_is_in_the_database_once_whenever_the_process_is_killed(tmp_path: Path) -> None:
    with postgresql.database() as url:
        verdict = SqlTorture(tmp_path, url, None).deliver(events=600, kills=2, rate=300, seed=11)
    assert verdict.problems == []
    assert (verdict.acknowledged, verdict.rows) == (600, 600)


@pytest.mark.timeout(240)
def test_the_checker_notices_rows_that_came_twice_without_the_inbox(tmp_path: Path) -> None:
    def came_twice(seed: int) -> bool:
        with postgresql.database() as url:
            folder = tmp_path / str(seed)
            folder.mkdir()
            verdict = SqlTorture(folder, url, "no-inbox").deliver(events=900, kills=3, rate=300, seed=seed)
        return any("times in the table" in problem for problem in verdict.problems)

    # Three kills seldom all miss the moment between a row and its settlement; so many never do.
    assert any(came_twice(seed) for seed in range(11, 17))
