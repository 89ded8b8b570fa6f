"""What a person asks of a lane, as a cell: retry, skip, discard, restore, edit, replay, erase (rule 6).

Control writes the cell, the lane applies it in its own settlement and rewrites it with one answer for each offset.
Both sides read and write it with this codec, so neither needs the other.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from interlock.core.cursor import CursorId
from interlock.core.errors import InterlockError
from interlock.core.event import Draft

Verb = Literal["retry", "skip", "discard", "restore", "edit", "replay", "erase"]
Answer = Literal[
    "retried", "skipped", "discarded", "restored", "edited", "replayed", "erased", "settled", "not-found", "refused"
]
"""`settled`: the event was settled before the request was applied; `refused`: its state does not allow the verb."""


class LaneRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """One request for at most `limits.REQUEST_OFFSETS_MAX` events of one cursor.

    Attributes:
        verb: `retry` starts a new budget; `skip` makes a live straggler dead; `discard` settles it; `restore`
            takes a discard back; `edit` settles it and appends `draft` instead; `replay` puts a settled event back;
            `erase` lets go of an event whose content is gone from the log, and settles it as filtered.
        offsets: the frozen set that it is about, ascending.
        actor: who asked.
        reason: why; shown in the audit and on the event's timeline.
        at: when it was asked (µs since the epoch).
        keep_memo: whether results of finished calls stay (`retry` only).
        pace_us: the n-th offset, counted from 0, is put back n times this after `at` (`replay` only).
        draft: what is appended instead of the event (`edit` only), until it has been.
        state: `asked` until the lane has answered every offset.
        results: an answer for each offset that is done with.
    """

    verb: Verb
    offsets: tuple[int, ...]
    actor: str
    reason: str
    at: int
    keep_memo: bool = True
    pace_us: int = 0
    draft: Draft | None = None
    state: Literal["asked", "applied"] = "asked"
    results: dict[int, Answer] = msgspec.field(default_factory=dict[int, Answer])


_decoder = msgspec.json.Decoder(LaneRequest)


def request_prefix(cursor: CursorId) -> str:
    """What the keys of all requests to this cursor begin with."""
    return f"request/{cursor.subscription}/{cursor.shard.stream}/{cursor.shard.number}/"


def request_key(cursor: CursorId, job: str) -> str:
    """The key of the cell that holds the part of `job` (`job_...`) which is for this cursor."""
    return request_prefix(cursor) + job


def job_of(key: str) -> str:
    """The job (`job_...`) that a request's cell is a part of."""
    return key.rpartition("/")[2].partition(".")[0]


def encode_request(request: LaneRequest) -> bytes:
    """The value of a request's cell."""
    return msgspec.json.encode(request)


def decode_request(value: bytes) -> LaneRequest:
    """Read a request's cell.

    Raises:
        InterlockError: `request.unreadable`, for a cell that this version did not write.
    """
    try:
        return _decoder.decode(value)
    except msgspec.DecodeError as error:
        raise InterlockError(
            "request.unreadable", f"a request cell cannot be read: {error}", "delete the cell, then ask again"
        ) from None
