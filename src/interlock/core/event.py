"""The two forms of a fact: a `Draft` before the log has taken it, an `Event` after.

Both carry the CloudEvents 1.0 attributes (https://github.com/cloudevents/spec), with unknown extensions kept. The
payload is kept as the bytes that were accepted; it is decoded once for each function that asks for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Final, Literal, NamedTuple

import msgspec

from interlock.core.ids import event_id

TENANT: Final = "tenant"
"""The CloudEvents extension attribute that says on whose behalf an event is."""


class Shard(NamedTuple):
    """The unit of order: a stream's name and the shard's number. Offsets in it start at 1 and have no gaps."""

    stream: str
    number: int


class Draft(msgspec.Struct, frozen=True, gc=False):
    """A fact before it has an offset.

    Attributes:
        stream: the log that it goes to.
        type: the event type's name with its version, as `order.paid@1`.
        source: CloudEvents `source`; with `id` and the stream it is the identity that dedupe knows.
        id: the producer's id.
        data: the payload, encoded as `datacontenttype` says (JSON by default).
        key: what order is kept for; None for types without a key.
        time: CloudEvents `time` (RFC 3339), as given.
        subject: CloudEvents `subject`.
        datacontenttype: the media type of `data`.
        dataschema: CloudEvents `dataschema`; holds the version of the type.
        extensions: unknown CloudEvents attributes, as name and text value.
        headers: allow-listed headers of the request that brought it (webhooks).
        causation: the event id (`evt_`) that this one was derived from, if any.
        traceparent: W3C trace context of the request that brought it, if any.
    """

    stream: str
    type: str
    source: str
    id: str
    data: bytes
    key: str | None = None
    time: str | None = None
    subject: str | None = None
    datacontenttype: str = "application/json"
    dataschema: str | None = None
    extensions: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    causation: str | None = None
    traceparent: str | None = None

    @property
    def tenant(self) -> str:
        """On whose behalf it is, for fair shares: the extension attribute `tenant`, or ""."""
        for name, value in self.extensions:
            if name == TENANT:
                return value
        return ""


class Claim(NamedTuple):
    """What stands in the log for a payload that is in a file: the SHA-256 of its bytes in hex, and how many they are.

    EIP: Claim Check (https://www.enterpriseintegrationpatterns.com/patterns/messaging/StoreInLibrary.html).
    """

    hash: str
    size: int

    @classmethod
    def of(cls, data: bytes) -> Claim:
        return cls(sha256(data).hexdigest(), len(data))


Absence = Literal["missing", "damaged", "unreadable"]
"""Why a payload is not there: no file has it, the file is not what was accepted, or the disk refuses to read it."""


class Event(msgspec.Struct, frozen=True, gc=False):
    """A fact in the log: a draft with its place and the moment of its acceptance (µs, the store's clock).

    Attributes:
        claim: the payload is large, and in a file: `draft.data` is empty until `Journal.whole` has brought it.
        absent: why that could not bring it.
        erased_at: its content was erased then (µs). Left are place, type and a hash of its identity, as `id`.
    """

    shard: Shard
    offset: int
    accepted_at: int
    draft: Draft
    claim: Claim | None = None
    absent: Absence | None = None
    erased_at: int | None = None

    @property
    def size(self) -> int:
        """Bytes of its payload, wherever that is."""
        return len(self.draft.data) if self.claim is None else self.claim.size

    @property
    def id(self) -> str:
        """`evt_` and 24 characters, computed from the place in the log."""
        return event_id(self.accepted_at, self.shard.stream, self.shard.number, self.offset)


class Appended(msgspec.Struct, frozen=True, gc=False):
    """What became of one draft.

    `duplicate`: its identity was known, nothing was written, and the place is that of the first.
    `conflict`: it was known with another payload.
    """

    shard: Shard
    offset: int
    accepted_at: int
    duplicate: bool = False
    conflict: bool = False

    @property
    def id(self) -> str:
        """The event's id; for a duplicate that of the first."""
        return event_id(self.accepted_at, self.shard.stream, self.shard.number, self.offset)


Headers = Mapping[str, str]
