"""A CloudEvent (1.0.2, https://github.com/cloudevents/spec) between its request and the draft that it becomes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

SPECIFIED: Final = frozenset(
    {"specversion", "id", "source", "type", "time", "subject", "dataschema", "datacontenttype"}
)
"""The attributes that the specification names; all others are extensions."""


class CloudEvent(msgspec.Struct, frozen=True, gc=False):
    """One event as it was sent: its attributes as text in their canonical form, and its payload."""

    attributes: Mapping[str, str]
    data: bytes

    def extensions(self) -> tuple[tuple[str, str], ...]:
        """The attributes that the specification does not name, in the order of their names."""
        if self.attributes.keys() <= SPECIFIED:
            return ()
        return tuple(sorted(item for item in self.attributes.items() if item[0] not in SPECIFIED))
