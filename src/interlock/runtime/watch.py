"""Whether the files of a project have changed: looked at a few times a second, told once they have come to rest."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from interlock.core.limits import WATCH_EVERY_US, WATCHED_FILES_MAX
from interlock.core.ports import Clock, Offload

Seen = Mapping[Path, tuple[int, int]]
"""Each watched file with its time of change (ns) and its size."""
_NOT_OURS: Final = frozenset({"__pycache__", "node_modules", "site-packages", "venv"})


def look(folder: Path) -> Seen:
    """What a process of this project is made of: its Python files and `interlock*.toml`, without its tests."""
    found: dict[Path, tuple[int, int]] = {}
    waiting = [str(folder)]
    while waiting:
        below = waiting.pop()
        # By name, so that of too many files it is always the same ones that are watched.
        for entry in sorted(_entries(below), key=lambda entry: entry.name):
            if entry.name.startswith(".") or entry.name in _NOT_OURS:
                continue
            try:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                elif _is_part(entry.name, at_top=below == str(folder)):
                    stat = entry.stat()
                    found[Path(entry.path)] = (stat.st_mtime_ns, stat.st_size)
            except OSError:
                continue  # It went between the two looks; its absence is what is seen.
            if len(found) >= WATCHED_FILES_MAX:
                return found
    return found


def _entries(folder: str) -> Sequence[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return ()


def _is_part(name: str, *, at_top: bool) -> bool:
    if name.endswith(".py"):
        return not name.startswith("test_") and name != "conftest.py"
    return at_top and name.startswith("interlock") and name.endswith(".toml")


def first_broken(paths: Sequence[Path]) -> SyntaxError | None:
    """The first of these files that is not Python; a file that cannot be read is not judged."""
    for path in paths:
        if path.suffix != ".py":
            continue
        try:
            compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
        except SyntaxError as error:
            return error
        except (OSError, ValueError):
            continue
    return None


def differences(before: Seen, after: Seen) -> Sequence[Path]:
    """Files that changed, came or went."""
    return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))


class Watch:
    """One project's files since `seen`."""

    def __init__(self, folder: Path, clock: Clock, offload: Offload) -> None:
        self._folder = folder
        self._clock = clock
        self._offload = offload
        self._seen = look(folder)

    async def changed(self) -> Sequence[Path]:
        """Wait until files have changed and come to rest: an editor writes several, and some twice."""
        while True:
            await self._pause()
            now = await self._offload.run(partial(look, self._folder))
            if now == self._seen:
                continue
            while True:
                await self._pause()
                rested = await self._offload.run(partial(look, self._folder))
                if rested == now:
                    break
                now = rested
            paths, self._seen = differences(self._seen, now), now
            if paths:
                return paths

    async def broken(self, paths: Sequence[Path]) -> SyntaxError | None:
        """The first of these files that is not Python."""
        return await self._offload.run(partial(first_broken, paths))

    async def _pause(self) -> None:
        await self._clock.sleep_until(self._clock.monotonic() + WATCH_EVERY_US)
