"""What a lane collects for its next settlement: of several writes of one row the last, with what the others knew."""

from __future__ import annotations

from interlock.core.cursor import Row
from interlock.delivery.changes import Changes


def test_a_row_that_is_written_again_keeps_the_memo_that_only_the_first_write_carries() -> None:
    changes = Changes()
    changes.put(Row(7, "k", "due", memo=b"memo"))
    changes.put(Row(7, "k", "held"))
    assert changes.take()["put"] == (Row(7, "k", "held", memo=b"memo"),)


def test_a_row_that_is_settled_is_not_written_and_one_that_is_written_is_not_taken_away() -> None:
    changes = Changes()
    changes.put(Row(7, "k", "due"))
    changes.clear(7)
    changes.clear(8)
    changes.put(Row(8, "k", "due"))
    taken = changes.take()
    assert (taken["put"], taken["clear"]) == ((Row(8, "k", "due"),), (7,))
