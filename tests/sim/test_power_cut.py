"""Power cuts: nothing acknowledged is missing, and two ways to lose something are noticed."""

from __future__ import annotations

import pytest
from tests.sim.power import Plant, cut_power

CUTS = 25


def test_a_power_cut_loses_no_acknowledged_event() -> None:
    found = cut_power(CUTS)
    assert found.acknowledged > 1_000
    assert found.missing == 0, str(found)


@pytest.mark.parametrize("plant", ["synchronous-normal", "ack-before-commit"])
def test_the_same_power_cuts_show_a_store_that_answers_before_the_disk_has_it(plant: Plant) -> None:
    found = cut_power(CUTS, plant=plant)
    assert found.missing > 0, str(found)
