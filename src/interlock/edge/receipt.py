"""What a sender is told once its events are durable, and nothing before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from interlock.core.event import Appended
from interlock.wire.exchange import Exchange, Fields

JSON: Final[Fields] = (("content-type", "application/json"),)
NOTHING: Final = b'{"ids":[],"duplicate":false}'


_encode: Final = msgspec.json.Encoder().encode


def acknowledge(exchange: Exchange, appended: Sequence[Appended]) -> None:
    """202 with the ids; 200 where there was nothing to record.

    `id` is that of the first event, `ids` of all in order; a duplicate's is that of the first time it came. `duplicate`
    says that none of them was new.
    """
    if not appended:
        exchange.respond(200, JSON, NOTHING)
        return
    ids = [one.id for one in appended]
    known = False not in [one.duplicate for one in appended]
    exchange.respond(202, JSON, _encode({"id": ids[0], "ids": ids, "duplicate": known}))
