"""Numbers as people read them."""

from __future__ import annotations


def many(count: int, noun: str, plural: str | None = None) -> str:
    """So many of something: `1 event`, `1,200 events`."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
