"""One running project for all tests that only look at it or use keys of their own, and fresh ones for the others."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.project import Project


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> Iterator[None]:
    """What the tests start can be interrupted, even where a script runs them in the background.

    A shell lets such a job ignore SIGINT, and whatever the job starts inherits that.
    """
    former = signal.getsignal(signal.SIGINT)
    if former is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project that runs for the whole session. Tests share it, so each uses orders of its own."""
    project = Project(tmp_path_factory.mktemp("shop"))
    try:
        with project.running():
            yield project
    finally:
        project.close()


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """A project that nothing has run in."""
    project = Project(tmp_path)
    try:
        yield project
    finally:
        project.close()
