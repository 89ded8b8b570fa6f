"""How far long work is: a bar at a terminal once it takes longer than a second, otherwise a line every five seconds."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Final

from interlock.cli.say import say
from interlock.runtime.clock import SystemClock

BAR_AFTER_US: Final = 1_000_000
LINE_EVERY_US: Final = 5_000_000
Advance = Callable[[int], None]
"""So many more are done."""
Now = Callable[[], int]
"""Monotonic µs."""


@contextmanager
def progress(what: str, total: int, *, quiet: bool, now: Now | None = None) -> Generator[Advance]:
    """Tell on standard error how much of `total` is done. Short work, and whoever is to be quiet, says nothing."""
    now = now or SystemClock().monotonic
    if quiet:
        yield lambda _: None
    elif sys.stderr.isatty():
        yield from _bar(what, total, now)
    else:
        yield _lines(what, total, now)


def _lines(what: str, total: int, now: Now) -> Advance:
    done, told_at = 0, now()

    def advance(more: int) -> None:
        nonlocal done, told_at
        done += more
        if now() - told_at >= LINE_EVERY_US:
            told_at = now()
            say(f"{what}: {done:,} of {total:,}")

    return advance


def _bar(what: str, total: int, now: Now) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    counted = TextColumn("{task.completed:,.0f} of {task.total:,.0f}")
    columns = (TextColumn("{task.description}"), BarColumn(), counted, TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    task, begun_at = bar.add_task(what, total=total), now()

    def advance(more: int) -> None:
        bar.advance(task, more)
        if not bar.live.is_started and now() - begun_at >= BAR_AFTER_US:
            bar.start()

    try:
        yield advance
    finally:
        bar.stop()
