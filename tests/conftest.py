"""Settings of the whole suite: Hypothesis without wall-clock deadlines, because tests share their processors.

The same examples are tried each time, so that a run says something about the change that it judges. New ones are looked
for with `make test ARGS=--hypothesis-profile=search`. Loops over every n-th fault try some n; all with
`make test ARGS=--every-n`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("interlock", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("search", settings.get_profile("interlock"), derandomize=False, max_examples=1_000)
settings.load_profile("interlock")

Some = Callable[[int, int], Iterable[int]]
"""The n of a loop over faults from 1 to `last`: about so many of them, the first ones always; or all."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--every-n", action="store_true", help="loops over every n-th fault leave out none")


@pytest.fixture
def some(request: pytest.FixtureRequest) -> Some:
    every = request.config.getoption("--every-n")

    def chosen(last: int, about: int) -> Iterable[int]:
        if every or last <= about:
            return range(1, last + 1)
        first = about // 4
        step = -(-(last - first) // (about - first))
        return [*range(1, first + 1), *range(first + 1, last + 1, step)]

    return chosen
