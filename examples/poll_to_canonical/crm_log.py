"""The CRM of the story: a log of changes, two to a page, as its API gives them."""

from __future__ import annotations

import json
from typing import Any

from interlock import Answer

CHANGES: list[dict[str, Any]] = [
    {"id": "k-1", "rev": 1, "fields": {"FNAME": "Ada", "LNAME": "Lovelace", "EMAIL_1": "Ada@Example.com"}},
    {"id": "k-2", "rev": 1, "fields": {"LNAME": "Nobody"}},
    {"id": "k-1", "rev": 2, "fields": {"FNAME": "Ada", "LNAME": "King", "EMAIL_1": "ada@example.com"}},
]


def page(first: int) -> Answer:
    """The page that begins after so many changes."""
    found = CHANGES[first : first + 2]
    last = first + len(found)
    body = {"changes": found, "next": str(last), "more": last < len(CHANGES)}
    return Answer(200, (("content-type", "application/json"),), json.dumps(body).encode())
