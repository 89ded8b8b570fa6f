"""The memo of an attempt: what its calls with an effect came to, so that the next one does not repeat them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2b

import msgspec

from interlock.core.outcome import Answer

_ENTRY_BYTES = 128
_FIELD_BYTES = 16


class Finished(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One call: its idempotency key, its request's fingerprint, its answer; None while nobody knows it (`probe`)."""

    key: str
    request: bytes
    answer: Answer | None


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Finished])


def request_fingerprint(method: str, target: str, body: bytes) -> bytes:
    """16 bytes that two requests share only if they ask for the same."""
    return blake2b(f"{method} {target}\n".encode("utf-8", "surrogatepass") + body, digest_size=16).digest()


def encode_memo(entries: Iterable[Finished]) -> bytes:
    """The memo as it is stored; b"" for none."""
    listed = list(entries)
    return _encoder.encode(listed) if listed else b""


def decode_memo(memo: bytes) -> Mapping[str, Finished]:
    """The entries by key.

    Raises:
        msgspec.DecodeError: if this version did not write it.
    """
    return {entry.key: entry for entry in _decoder.decode(memo)} if memo else {}


def entry_bytes_max(answer: Answer) -> int:
    """An upper bound of what one entry with this answer takes in an encoded memo."""
    fields = sum(4 * (len(name) + len(value)) + _FIELD_BYTES for name, value in answer.headers)
    return _ENTRY_BYTES + len(answer.body) + fields
