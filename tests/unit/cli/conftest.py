"""Fixtures of the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.cli.project import Project


@pytest.fixture
def project(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Project:
    """An empty project."""
    return Project(tmp_path, capsys)
