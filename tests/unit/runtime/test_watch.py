"""What `interlock dev` watches, when it tells of a change, and what it takes for Python."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from interlock.core import limits
from interlock.core.limits import WATCH_EVERY_US
from interlock.runtime.watch import Watch, differences, first_broken, look
from interlock.testing.clock import FakeClock

T = TypeVar("T")


class Inline:
    """Offload without a thread."""

    async def run(self, function: Callable[[], T]) -> T:
        return function()


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in look(folder))


def write(folder: Path, name: str, text: str = "x = 1\n") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_code_and_bindings_are_watched_and_tests_environments_and_hidden_folders_are_not(tmp_path: Path) -> None:
    for name in ("orders.py", "systems/erp.py", "interlock.toml", "interlock.prod.toml"):
        write(tmp_path, name)
    for name in (
        *("test_orders.py", "conftest.py", "tests/test_more.py", "README.md", "deep/interlock.toml"),
        *(".venv/lib/a.py", "venv/a.py", "node_modules/a.py", "site-packages/a.py", "__pycache__/a.py", ".git/a.py"),
    ):
        write(tmp_path, name)
    assert names(tmp_path) == ["interlock.prod.toml", "interlock.toml", "orders.py", "systems/erp.py"]


def test_a_folder_that_is_linked_in_a_circle_is_not_followed(tmp_path: Path) -> None:
    write(tmp_path, "a/b.py")
    (tmp_path / "a" / "again").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "gone.py").symlink_to(tmp_path / "nowhere.py")
    assert names(tmp_path) == ["a/b.py"]


def test_a_folder_that_is_not_there_or_cannot_be_read_holds_nothing(tmp_path: Path) -> None:
    assert names(tmp_path / "none") == []


def test_no_more_files_are_watched_than_the_bound_and_always_the_same(tmp_path: Path) -> None:
    for number in range(limits.WATCHED_FILES_MAX + 10):
        (tmp_path / f"m{number:05}.py").touch()
    found = look(tmp_path)
    assert len(found) == limits.WATCHED_FILES_MAX
    assert found.keys() == look(tmp_path).keys()


def test_what_changed_came_and_went_is_told_in_order(tmp_path: Path) -> None:
    kept, changed, gone = (write(tmp_path, name) for name in ("a.py", "b.py", "c.py"))
    before = look(tmp_path)
    changed.write_text("x = 22\n")
    gone.unlink()
    came = write(tmp_path, "d.py")
    assert differences(before, look(tmp_path)) == [changed, gone, came]
    os.utime(kept, ns=(1, 1))
    assert kept in differences(before, look(tmp_path))


def test_the_first_file_that_is_not_python_is_found_and_what_is_no_code_is_not_judged(tmp_path: Path) -> None:
    good, toml = write(tmp_path, "a.py"), write(tmp_path, "interlock.toml", "no = = toml")
    bad, null = write(tmp_path, "b.py", "x = 1\nthis is no python\n"), write(tmp_path, "c.py", "\0")
    assert first_broken([good, toml, tmp_path / "gone.py"]) is None
    error = first_broken([good, bad])
    assert error is not None
    assert (error.filename, error.lineno) == (str(bad), 2)
    assert first_broken([null]) is None or isinstance(first_broken([null]), SyntaxError)


def watched(tmp_path: Path, scenario: Callable[[Watch, FakeClock], Awaitable[None]]) -> None:
    clock = FakeClock()

    async def run() -> None:
        await scenario(Watch(tmp_path, clock, Inline()), clock)

    asyncio.run(run())


def test_a_change_is_told_once_it_has_come_to_rest(tmp_path: Path) -> None:
    first, second = write(tmp_path, "a.py"), write(tmp_path, "b.py")

    async def scenario(watch: Watch, clock: FakeClock) -> None:
        telling = asyncio.create_task(watch.changed())
        await clock.advance(WATCH_EVERY_US * 3)
        assert not telling.done()
        first.write_text("x = 10\n")
        await clock.advance(WATCH_EVERY_US)
        second.write_text("x = 100\n")  # The editor is not done yet.
        await clock.advance(WATCH_EVERY_US)
        assert not telling.done()
        await clock.advance(WATCH_EVERY_US)
        assert await telling == [first, second]

    watched(tmp_path, scenario)


def test_a_change_that_is_taken_back_before_it_rests_is_none(tmp_path: Path) -> None:
    write(tmp_path, "a.py")

    async def scenario(watch: Watch, clock: FakeClock) -> None:
        telling = asyncio.create_task(watch.changed())
        temporary = write(tmp_path, "a.tmp.py")
        await clock.advance(WATCH_EVERY_US)
        temporary.unlink()
        await clock.advance(WATCH_EVERY_US * 4)
        assert not telling.done()
        telling.cancel()

    watched(tmp_path, scenario)


@pytest.mark.parametrize(("text", "is_broken"), [("def f(:\n", True), ("x = 1\n", False)])
def test_whether_a_change_can_be_read_is_asked_off_the_loop(tmp_path: Path, text: str, is_broken: bool) -> None:
    path = write(tmp_path, "a.py", text)

    async def scenario(watch: Watch, clock: FakeClock) -> None:
        assert (await watch.broken([path]) is not None) is is_broken

    watched(tmp_path, scenario)
