"""Whatever happens in whatever order: the conservation equation, the order of keys, and that everything drains."""

from __future__ import annotations

from random import Random

import pytest
from tests.unit.delivery.model import Driver, Log, event

from interlock.core.limits import US_PER_HOUR
from interlock.spec.plan import OnDead
from interlock.testing.sim.swarm import limited


def log_of(seed: int, count: int, keys: int, foreign: float) -> Log:
    chance = Random(seed)
    events = [
        event(offset, f"k{chance.randrange(keys)}", "other@1" if chance.random() < foreign else "order@1")
        for offset in range(1, count + 1)
    ]
    return Log(events)


@pytest.mark.parametrize("seed", range(30))
def test_a_turn_keeps_order_and_conservation_through_failures_and_crashes(seed: int) -> None:
    chance = Random(seed)
    log = log_of(seed, chance.choice([5, 60, 400]), chance.choice([1, 3, 40]), chance.choice([0.0, 0.3, 0.9]))
    on_dead = chance.choice([OnDead("skip"), OnDead("block_then_skip", US_PER_HOUR)])
    driver = Driver(log, seed, on_dead, ordered=chance.random() < 0.8)
    driver.bad = chance.choice([0.0, 0.1, 0.5])
    for _ in range(600):
        driver.step()
        if chance.random() < 0.01:
            driver.crash()
    driver.drain()


@pytest.mark.parametrize("seed", range(30))
def test_what_a_person_has_replayed_goes_first_in_its_key_and_the_books_balance(seed: int) -> None:
    chance = Random(seed)
    log = log_of(seed, chance.choice([5, 60, 400]), chance.choice([1, 3, 40]), chance.choice([0.0, 0.3]))
    driver = Driver(log, seed, OnDead("skip"), ordered=chance.random() < 0.8)
    driver.bad, driver.replays = chance.choice([0.0, 0.1, 0.5]), chance.choice([0.1, 0.5])
    for _ in range(600):
        driver.step()
        if chance.random() < 0.01:
            driver.crash()
    driver.drain()
    assert not driver.put_back


@pytest.mark.parametrize("seed", range(6))
def test_a_slow_key_lets_the_window_move_on_and_its_followers_become_one_mark(seed: int) -> None:
    log = log_of(seed, 4_000, 12, 0.0)
    driver = Driver(log, seed, OnDead("skip"))
    driver.slow = frozenset({"k0"})
    for _ in range(16_000):
        driver.step()
        if driver.ledger.cursor.floor > 1_500:
            break
    assert driver.ledger.cursor.floor > 1_500, "one slow key held the floor"
    assert "k0" in driver.ledger.marks
    assert len(driver.ledger.rows) <= 12
    driver.drain()


@pytest.mark.parametrize("seed", range(4))
def test_a_mark_is_served_by_scanning_after_a_crash(seed: int) -> None:
    log = log_of(seed, 3_000, 2, 0.2)
    driver = Driver(log, seed, OnDead("skip"))
    driver.slow = frozenset({"k0"})
    for _ in range(16_000):
        driver.step()
        if driver.ledger.marks:
            break
    assert driver.ledger.marks
    driver.crash()
    driver.drain()
    assert not driver.ledger.marks


@pytest.mark.parametrize("seed", range(30))
def test_marks_and_failures_together_keep_order_and_conservation(seed: int) -> None:
    chance = Random(seed)
    bounds = {
        "WINDOW_OFFSETS": chance.choice([4, 8, 30]),
        "PASSED_OFFSETS_PER_KEY": chance.choice([1, 3, 1_000]),
        "PASSED_OFFSETS_PER_LANE": chance.choice([4, 100_000]),
    }
    with limited(bounds):
        driver = Driver(log_of(seed, 120, chance.choice([2, 3, 8]), chance.choice([0.0, 0.3])), seed, OnDead("skip"))
        driver.bad, driver.replays = chance.choice([0.1, 0.5]), chance.choice([0.0, 0.1])
        for _ in range(800):
            driver.step()
            if chance.random() < 0.01:
                driver.crash()
        driver.drain()
