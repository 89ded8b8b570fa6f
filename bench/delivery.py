"""Delivery in hard cases: many deep keys, many blocked ones, one hot key, recovery, and a log that grows.

Each figure is a ratio to a plain case of the same run. What one bad key or System costs the others is `isolation`'s.
"""

from __future__ import annotations

import uvloop

from bench.cases import drained, even, rate
from bench.growth import growth
from bench.halted import blocked_heads, halted_key
from bench.measure import Extent, Row, Table, progress, ratios, take_turns
from bench.recovery import FEW, recovered

ROUNDS = 3
EVENTS = 20_000
KEYS = 200
DEEP = 1_000
HEADS = 10_000
BACKLOG = 100_000
BACKLOG_FULL = 1_000_000
OTHERS_KEEP = 0.90
NO_CLIFF = 0.5
FLAT = 1.3


def run(extent: Extent) -> Table:
    """Measure."""
    backlog = extent.backlog or (BACKLOG_FULL if extent.full else int(BACKLOG * extent.scale))
    count = int(EVENTS * extent.scale)
    heads = uvloop.run(blocked_heads(int(HEADS * extent.scale)))
    halted = uvloop.run(halted_key(backlog))
    rows = [
        _deep(KEYS * max(1, int(DEEP * extent.scale))),
        _hot(count),
        Row(f"beside {int(HEADS * extent.scale):,} blocked heads", heads.kept, OTHERS_KEEP),
        Row(f"beside one halted key with {backlog:,} events", halted.kept, OTHERS_KEEP),
    ]
    recovery, notes = _recovery(backlog)
    costs, told = uvloop.run(growth(full=extent.full))
    rows += recovery
    rows += [
        Row(f"CPU an event in a log of {size:,} / a young one", [ratio], FLAT, at_most=True)
        for size, ratio in costs.items()
    ]
    return Table("Delivery: hard cases / a plain one of the same run", rows, [*halted.notes, *notes, *told])


def _deep(count: int) -> Row:
    progress(f"{KEYS} deep keys")
    figures = take_turns(
        {
            "deep": lambda: uvloop.run(drained(even(count, KEYS))),
            "even": lambda: uvloop.run(drained(even(count))),
        },
        ROUNDS,
    )
    return Row(
        f"{KEYS} keys, {count // KEYS:,} deep, drained / even keys", ratios(figures["deep"], figures["even"]), NO_CLIFF
    )


def _hot(count: int) -> Row:
    progress("one hot key")
    figures = take_turns(
        {"hot": lambda: uvloop.run(rate(even(count, 1))), "even": lambda: uvloop.run(rate(even(count)))}, ROUNDS
    )
    return Row("one hot key takes everything / even keys", ratios(figures["hot"], figures["even"]))


def _recovery(backlog: int) -> tuple[list[Row], list[str]]:
    progress("recovery")
    many, few = recovered(backlog)
    pairs = list(zip(many, few, strict=True))
    rows = [
        Row(f"process start to the first of {backlog:,} / of {FEW:,}", [m.first / f.first for m, f in pairs]),
        Row("process start to full rate", [m.full / f.full for m, f in pairs], FLAT, at_most=True),
        Row("its full rate", [m.rate / f.rate for m, f in pairs]),
        Row("its memory at most", [m.peak_mb / f.peak_mb for m, f in pairs], FLAT, at_most=True),
    ]
    best = min(many, key=lambda one: one.full)
    return rows, [
        f"recovery, {backlog:,} waiting: the first event {best.first:.2f} s after the process began,",
        f"full rate ({best.rate:,.0f}/s) after {best.full:.2f} s; {best.peak_mb:.0f} MB at most",
    ]
