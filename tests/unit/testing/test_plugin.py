"""The pytest plug-in runs coroutine tests, with their fixtures, and tells when they fail."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

TESTS = """
    import asyncio
    import pytest

    @pytest.fixture
    def number():
        return 7

    async def test_with_a_fixture(number):
        await asyncio.sleep(0)
        assert number == 7

    async def test_that_fails():
        assert False

    def test_that_is_plain(number):
        assert number == 7
"""


def test_coroutine_tests_run_with_their_fixtures_and_can_fail(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TESTS)
    result = pytester.runpytest("-p", "interlock.testing.plugin", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=2, failed=1)
