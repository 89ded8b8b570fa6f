"""Identifiers: prefix, then time-ordered lower-case base32, so that they sort by age and a prefix of one is a range.

An event's id is not minted but computed from its place in the log, so it costs no index and no write.
"""

from __future__ import annotations

from base64 import b32hexdecode
from functools import lru_cache
from hashlib import blake2b
from typing import Final, NamedTuple
from zlib import crc32

from interlock.core.errors import InterlockError

_EVENT_CHARS: Final = 24
_MS_BITS: Final = 48
_STREAM_BITS: Final = 16
_SHARD_BITS: Final = 8
_OFFSET_BITS: Final = 48
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuv"
_PAIRS: Final = [high + low for high in _DIGITS for low in _DIGITS]
"""Two digits at a time: half of the time that `base64.b32hexencode` takes, and an id is written for every request."""
_SHIFTS_15_BYTES: Final = tuple(range(110, -1, -10))
_OPENINGS_MAX: Final = 1_024
_SHIFTS_20_BYTES: Final = tuple(range(150, -1, -10))


class EventPlace(NamedTuple):
    """What an event's id says: when it was accepted (ms since the epoch), and where it stands in the log."""

    accepted_ms: int
    stream_hash: int
    shard: int
    offset: int


def shard_of(key: str, shards: int) -> int:
    """The shard of a key. It never changes within a stream's epoch, so the function is part of the file format."""
    return crc32(key.encode("utf-8", "surrogatepass")) % shards


def identity_hash(source: str, id: str) -> int:
    """64 bits of (source, id), signed as SQLite's integers are: what the dedupe index of a stream holds."""
    digest = blake2b(f"{len(source)}:{source}{id}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def stream_hash(stream: str) -> int:
    """16 bits of a stream's name, as they stand in its events' ids."""
    return crc32(stream.encode()) & 0xFFFF


def event_id(accepted_at: int, stream: str, shard: int, offset: int) -> str:
    """The id of the event at (stream, shard, offset) that was accepted at `accepted_at` (µs since the epoch)."""
    opening, packed = _event_id_opening(accepted_at // 1000, stream)
    packed |= shard << _OFFSET_BITS | offset
    high, low = packed >> 30, packed & (1 << 30) - 1
    return (
        f"{opening}{_PAIRS[high >> 20]}{_PAIRS[high >> 10 & 1023]}{_PAIRS[high & 1023]}"
        f"{_PAIRS[low >> 20]}{_PAIRS[low >> 10 & 1023]}{_PAIRS[low & 1023]}"
    )


@lru_cache(_OPENINGS_MAX)
def _event_id_opening(accepted_ms: int, stream: str) -> tuple[str, int]:
    """What the ids of one stream's events of one millisecond share: the first 60 bits as text, and the next 4."""
    packed = accepted_ms << _STREAM_BITS | stream_hash(stream)
    text = "".join([_PAIRS[packed >> shift & 1023] for shift in range(54, -1, -10)])
    return f"evt_{text}", (packed & 15) << _SHARD_BITS + _OFFSET_BITS


def parse_event_id(id: str) -> EventPlace:
    """Read a whole event id.

    Raises:
        InterlockError: `id.malformed`, if it is not one.
    """
    text = id.removeprefix("evt_")
    try:
        if len(text) != _EVENT_CHARS or not id.startswith("evt_"):
            raise ValueError(text)
        packed = int.from_bytes(b32hexdecode(text.upper()), "big")
    except ValueError:
        raise InterlockError(
            "id.malformed",
            f"{id!r} is not an event id",
            "give an id that starts with evt_ and has 24 further characters, or a prefix of one",
        ) from None
    offset = packed & (1 << _OFFSET_BITS) - 1
    packed >>= _OFFSET_BITS
    shard = packed & (1 << _SHARD_BITS) - 1
    packed >>= _SHARD_BITS
    return EventPlace(packed >> _STREAM_BITS, packed & (1 << _STREAM_BITS) - 1, shard, offset)


def event_id_range(prefix: str) -> tuple[int, int]:
    """The first and last accepted ms that a prefix of an event id (with or without `evt_`) can mean."""
    text = prefix.removeprefix("evt_")
    try:
        low = b32hexdecode((text + "0" * (_EVENT_CHARS - len(text))).upper())
        high = b32hexdecode((text + "v" * (_EVENT_CHARS - len(text))).upper())
    except ValueError:
        raise InterlockError(
            "id.malformed", f"{prefix!r} is not a prefix of an event id", "ids hold only digits and the letters a to v"
        ) from None
    shift = 8 * 15 - _MS_BITS
    return int.from_bytes(low, "big") >> shift, int.from_bytes(high, "big") >> shift


def minted_id(prefix: str, now: int, random: bytes) -> str:
    """An id that is not an event's (`att_`, `job_`, ...): `now` in µs, then 8 random bytes from the Random port."""
    packed = (now // 1000) << 72 | int.from_bytes(random[:9].ljust(9, b"\0"), "big")
    return prefix + "".join([_PAIRS[packed >> shift & 1023] for shift in _SHIFTS_15_BYTES])


def minted_at(id: str) -> int | None:
    """When an id that `minted_id` made was minted (µs, to the millisecond); None for any other text."""
    try:
        packed = b32hexdecode(id.rpartition("_")[2].upper())
    except ValueError:
        return None
    return (int.from_bytes(packed, "big") >> 72) * 1000 if len(packed) == 15 else None


def derived_id(*parts: str | int) -> str:
    """A stable id made of what it derives from, so that deriving it again after a crash gives the same event."""
    # Each part with its length, so that no choice of parts can read as another.
    text = "".join([f"{len(str(part))}:{part}" for part in parts])
    packed = int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=20).digest(), "big")
    return "".join([_PAIRS[packed >> shift & 1023] for shift in _SHIFTS_20_BYTES])


def idempotency_key(stream: str, source: str, id: str, subscription: str, system: str, label: str) -> str:
    """The key of one outgoing call: opaque, ASCII, 35 characters, the same over attempts and replays."""
    return "il_" + derived_id(stream, source, id, subscription, system, label)


def fingerprint(*parts: str) -> str:
    """`fp_` and 12 characters: the same for failures with the same cause."""
    return "fp_" + derived_id(*parts)[:12]
