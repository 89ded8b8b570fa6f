"""Migrations go forward only, and only from what this version knows."""

from __future__ import annotations

import pytest

from interlock.core.errors import StoreError
from interlock.journal.migrate import parse_migrations, pending

FILES = {"002_second.sql": "B", "001_first.sql": "A", "__init__.py": ""}


def test_migrations_are_taken_in_the_order_of_their_numbers() -> None:
    assert [(each.number, each.name, each.sql) for each in parse_migrations(FILES)] == [
        (1, "first", "A"),
        (2, "second", "B"),
    ]
    with pytest.raises(ValueError, match="without a gap"):
        parse_migrations({"001_a.sql": "", "003_c.sql": ""})


def test_only_what_was_not_applied_is_pending() -> None:
    known = parse_migrations(FILES)
    assert pending(known, {}) == known
    assert pending(known, {1: known[0].checksum}) == known[1:]
    assert pending(known, {each.number: each.checksum for each in known}) == []


def test_a_newer_and_a_changed_schema_are_refused() -> None:
    known = parse_migrations(FILES)
    with pytest.raises(StoreError) as newer:
        pending(known, {3: "x"})
    assert newer.value.code == "store.schema-newer"
    with pytest.raises(StoreError) as changed:
        pending(known, {1: "another checksum"})
    assert changed.value.code == "store.schema-changed"
