"""A dry run with today's code: which events, in what time, and what came of each."""

from __future__ import annotations

from collections import Counter
from typing import Final

from interlock.control import shapes
from interlock.control.dead import ACTS_ON, late_of
from interlock.control.dead_shapes import DeadRehearsal, Rehearsal
from interlock.control.ports import Rehearses
from interlock.control.problem import Refused
from interlock.control.queries import Reading
from interlock.control.selection import events_of, is_empty, place_of, read, selected
from interlock.core import limits
from interlock.core.ports import Clock
from interlock.journal.ports import Ledger

EVENTS_MAX: Final = 50
"""Events of one dry run: enough to see whether the code is mended."""
LASTS_US: Final = 20 * limits.US_PER_SECOND
"""How long it goes on starting functions."""
EACH_US: Final = 5 * limits.US_PER_SECOND
"""What one function may take: it waits for no System."""


async def rehearse(
    reading: Reading, ledger: Ledger, rehearses: Rehearses, clock: Clock, asked: shapes.DeadCommand
) -> DeadRehearsal:
    """Run the functions of the letters that a retry would be about.

    Raises:
        Refused: as `dead.command` for its selection.
    """
    if is_empty(asked):
        raise Refused(400, "dead.unselected", "nothing says which dead letters are meant", "give a fingerprint")
    rows = await selected(reading, await read(reading, asked), ACTS_ON["retry"], limits.JOB_EVENTS_MAX)
    late, _, _ = await late_of(reading, rows)
    events = await events_of(reading.journal, rows[:EVENTS_MAX])
    results: list[Rehearsal] = []
    until = clock.monotonic() + LASTS_US
    for line in rows[:EVENTS_MAX]:
        left_us = until - clock.monotonic()
        event = events.get(place_of(line))
        if left_us <= 0 or event is None:
            continue
        (row,) = await ledger.rows(line.cursor, [line.row.offset]) or [line.row]
        event = await reading.journal.whole(event)
        results.append(await rehearses(line.cursor.subscription, event, row, min(EACH_US, left_us)))
    return DeadRehearsal(len(rows), results, dict(Counter(result.outcome for result in results)), len(late))
