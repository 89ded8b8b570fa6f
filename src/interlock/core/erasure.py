"""An erasure under way, as a cell: what is to be erased, and the part of it that is being erased.

A part is written down before anything of it is erased, so that whoever finds the cell after a crash does it again.
"""

from __future__ import annotations

from typing import Final

import msgspec

ERASURE_PREFIX: Final = "erasure/"


class Erasure(msgspec.Struct, frozen=True, omit_defaults=True):
    """Either `key`, in all of `streams`, or one event.

    Attributes:
        at: when it was asked for (µs).
        of: events that were found then.
        key: gone when it has ended.
        streams: where the key is looked for.
        event: stream, shard and offset.
        part: how many parts there have been; each asks the lanes under a name of its own.
        shard: stream and number of the part under way.
        offsets: the part under way; empty between two.
        erased: events of the parts that are done.
        ended_at: when nothing was left.
    """

    at: int
    of: int
    key: str | None = None
    streams: tuple[str, ...] = ()
    event: tuple[str, int, int] | None = None
    part: int = 0
    shard: tuple[str, int] = ("", 0)
    offsets: tuple[int, ...] = ()
    erased: int = 0
    ended_at: int | None = None


def erasure_key(job: str) -> str:
    """The key of an erasure's cell."""
    return ERASURE_PREFIX + job


def encode_erasure(erasure: Erasure) -> bytes:
    """The value of its cell."""
    return msgspec.json.encode(erasure)


decode_erasure = msgspec.json.Decoder(Erasure).decode
