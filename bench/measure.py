"""How a ratio is made and shown: contenders take turns in short rounds, each round gives one ratio, the median counts.

Absolute figures depend on the machine and on what else it does; they are shown so that a ratio can be judged.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


class Extent(NamedTuple):
    """How much is measured: `scale` lengthens the rounds; `backlog` is how many events pile up, where some do.

    `full` takes `delivery` to the sizes that one promises, not those that one waits for.
    """

    scale: float = 1.0
    backlog: int | None = None
    full: bool = False


class Row(NamedTuple):
    """One line of a table: a ratio, from the lowest to the highest of its rounds, and what it should reach."""

    what: str
    ratios: Sequence[float]
    target: float | None = None
    at_most: bool = False
    note: str = ""
    unit: str = ""

    @property
    def reached(self) -> bool | None:
        """Whether the median is on the right side of the target; None without a target."""
        if self.target is None:
            return None
        return median(self.ratios) <= self.target if self.at_most else median(self.ratios) >= self.target


class Table(NamedTuple):
    """What one program has measured."""

    title: str
    rows: Sequence[Row]
    notes: Sequence[str] = ()


def take_turns(contenders: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """The figure of each contender in each round; who begins changes, so that nobody always comes after another."""
    figures: dict[str, list[float]] = {name: [] for name in contenders}
    names = list(contenders)
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            figures[name].append(contenders[name]())
            progress(f"round {number + 1} of {rounds}: {name} {figures[name][-1]:,.0f}")
    return figures


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Round by round."""
    return [one / other if other else float("inf") for one, other in zip(above, below, strict=True)]


def progress(text: str) -> None:
    """Tell whoever waits, on the error stream: the table is the only output."""
    print(f"  {text}", file=sys.stderr, flush=True)


def show(table: Table) -> None:
    """Print a table."""
    print(f"\n{table.title}")
    width = max(len(row.what) for row in table.rows)
    for row in table.rows:
        low, middle, high = min(row.ratios), median(row.ratios), max(row.ratios)
        spread = f"({low:.3g} to {high:.3g})" if len(row.ratios) > 1 else ""
        target = "" if row.target is None else f"{'at most' if row.at_most else 'at least'} {row.target:g}"
        verdict = {None: "", True: "reached", False: "MISSED"}[row.reached]
        print(f"  {row.what:<{width}}  {middle:>7.3g} {row.unit:<3} {spread:<18} {target:<14} {verdict:<8} {row.note}")
    for note in table.notes:
        print(f"  {note}")


def machine() -> str:
    """What the figures were measured on."""
    return (
        f"{os.cpu_count()} cores, {_model()}, Linux {platform.release()}, Python {platform.python_version()}, "
        f"load {os.getloadavg()[0]:.1f} at the start"
    )


def _model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown processor"
    )


def cpu_seconds(pid: int) -> float:
    """User and system time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


def resident_mb(pid: int | str = "self") -> float:
    """Memory that a process holds, in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def pin(core: int) -> None:
    """Keep this process on one core, if the machine has another for those that it works with."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        os.sched_setaffinity(0, {cores[core % len(cores)]})
