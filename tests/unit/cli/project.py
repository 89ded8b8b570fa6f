"""A project in a folder, and the command line called on it in this process."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.unit.control.stage import BOOK, write_history

from interlock.cli.main import run
from interlock.cli.offline import Silence
from interlock.journal.sqlite.store import SqliteStore
from interlock.runtime.ports import ThreadOffload
from interlock.spec.deploy import KNOWN_CELL
from interlock.testing.clock import FakeClock

TOML = '[store]\nurl = "sqlite:///state/log.db"\n'


class Said(NamedTuple):
    """What one call came to."""

    code: int
    out: str
    err: str


class Project:
    """A folder with an interlock.toml, and what `interlock -C` says there."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capsys = capsys
        (folder / "interlock.toml").write_text(TOML)

    def interlock(self, *arguments: str) -> Said:
        self._capsys.readouterr()
        code = run(["-C", str(self.folder), *arguments])
        captured = self._capsys.readouterr()
        return Said(code, captured.out, captured.err)

    def with_history(self) -> Project:
        """Its store has the six events of `write_history`, as a stopped process left them."""
        asyncio.run(self._write())
        return self

    async def _write(self) -> None:
        (self.folder / "state").mkdir()
        clock, thread = FakeClock(), ThreadOffload("store")
        store = await SqliteStore.open_file(self.folder / "state" / "log.db", clock, Silence(), thread, Silence())
        await write_history(store, clock)
        await store.release("w1")
        await store.close()
        thread.close()


def run_in(folder: Path, *arguments: str, given: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """A Python program in a project of its own: nothing of this process' settings or modules."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "INTERLOCK"))}
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=folder,
        env=own | environment,
        input=given,
        capture_output=True,
        text=True,
        timeout=60,
    )


__all__ = ["BOOK", "KNOWN_CELL", "Project", "Said", "run_in"]
