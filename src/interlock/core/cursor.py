"""The ledger's values: how far a subscription has accounted for a shard, and what is not settled.

The conservation equation holds at every commit (docs/design.md):
`floor - start + bits(above) = delivered + filtered + discarded + stragglers + behind`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec

from interlock.core.event import Shard

RowState = Literal["running", "due", "held", "dead", "discarded"]
"""`discarded` is the grave of a dead letter: out of the equation's stragglers, kept so that `restore` finds it."""

DeadReason = Literal[
    "exhausted",
    "permanent",
    "expired",
    "contract",
    "poison_decode",
    "ambiguous",
    "crashed",
    "skipped_by_operator",
    "upstream_deleted",
]

Trigger = Literal["auto", "retry", "replay"]
"""What an attempt is made for: by itself, or because a person put a straggler back, or a settled event."""


class CursorId(NamedTuple):
    """A subscription (or poll) and a shard."""

    subscription: str
    shard: Shard


class Counters(msgspec.Struct, frozen=True, gc=False):
    """Events that a cursor has accounted for and settled. `dead` counts rows in that state (they are stragglers).

    `late`: how often one was filtered because a newer one of its key had been delivered.
    """

    delivered: int = 0
    filtered: int = 0
    discarded: int = 0
    dead: int = 0
    late: int = 0


class Row(msgspec.Struct, frozen=True, gc=False):
    """A straggler: an accounted event that is not settled. Instants are µs since the epoch.

    Attributes:
        offset: its place in the shard.
        key: its key; None for types without one.
        state: `running`, `due`, `held` (needs a person, blocks its key), `dead` or `discarded` (block nothing).
        due_at: when the next attempt is to start; for `held`, when block_then_skip makes it dead (None: never).
        since: start of the first attempt that counted in this budget; None before it.
        attempts: attempts that counted in this budget.
        attempts_total: attempts that counted, over all budgets: the next attempt's number is this + 1.
        epoch: the cursor's epoch under which it was last put.
        call: the name of the `once` call that may be in flight.
        crashes: how often the process died while it ran.
        reason: why it is held or dead.
        error: class and redacted detail of the last failure.
        status: HTTP status of the last failure.
        system: the System of the last failure.
        fingerprint: `fp_...` of the last failure.
        first_failed_at: start of its first failed attempt over all budgets.
        died_at: when it became dead or was discarded.
        replays: how often a person put it back.
        memo: results of the calls that finished in attempts that did not (opaque to the store); b"" for none.
        type: the event's type, for lists.
        trigger: how it came back last; a `replay` stays one over later retries, until it is settled.
        job: the request (`job_...`) that put it back last.
        actor: who asked for that.
        why: in their words.
        told: the offset of the event whose delivery told its receiver that this one, dead or discarded, is missing.
        edited: the producer's id of the event that was appended instead of this one, which is discarded for that.
    """

    offset: int
    key: str | None
    state: RowState
    due_at: int | None = None
    since: int | None = None
    attempts: int = 0
    attempts_total: int = 0
    epoch: int = 0
    call: str | None = None
    crashes: int = 0
    reason: str | None = None
    error: str | None = None
    status: int | None = None
    system: str | None = None
    fingerprint: str | None = None
    first_failed_at: int | None = None
    died_at: int | None = None
    replays: int = 0
    memo: bytes = b""
    type: str = ""
    trigger: Trigger = "auto"
    job: str | None = None
    actor: str | None = None
    why: str | None = None
    told: int | None = None
    edited: str | None = None

    @property
    def is_missing(self) -> bool:
        """Whether its receiver was never given it and has not been told. What is replayed it was given before."""
        return self.state in ("dead", "discarded") and self.told is None and self.trigger != "replay"


class Mark(msgspec.Struct, frozen=True, gc=False):
    """One key's followers that the floor passed and nobody started: `count` events in `[first, last]`."""

    key: str
    first: int
    last: int
    count: int


class Success(NamedTuple):
    """One successful attempt, as the compact array of a settlement keeps it. Duration in µs; status 0 for none.

    `filtered`: the function had nothing to say to the event.
    """

    offset: int
    started_at: int
    duration_us: int
    status: int
    filtered: bool = False


class Attempt(msgspec.Struct, frozen=True, gc=False):
    """The whole record of an attempt that failed, or of a straggler's success.

    Excerpts are redacted and cut to 16 KiB. `job`, `actor` and `why` are those of the person's request that put the
    event back before it, if one did. `filtered`: the function had nothing to say to the event.
    """

    id: str
    offset: int
    number: int
    started_at: int
    duration_us: int
    outcome: Literal["done", "later", "reject", "unavailable", "unknown"]
    error: str = ""
    detail: str = ""
    status: int = 0
    system: str | None = None
    fingerprint: str | None = None
    request: str = ""
    response: str = ""
    trigger: Trigger = "auto"
    actor: str | None = None
    trace: str | None = None
    plan: str = ""
    job: str | None = None
    why: str | None = None
    filtered: bool = False


class Past(NamedTuple):
    """What the records of an event's attempts say of it.

    Attributes:
        attempts: how many there were.
        filtered: the last one that succeeded had nothing to say to it.
        done_at: when that one started; 0 if none did.
        jobs: the requests of persons that led to attempts.
    """

    attempts: int = 0
    filtered: bool = False
    done_at: int = 0
    jobs: frozenset[str] = frozenset()

    def then(self, record: Success | Attempt) -> Past:
        """With one more record; they need not come in the order of time."""
        done = isinstance(record, Success) or record.outcome == "done"
        latest = done and record.started_at >= self.done_at
        return Past(
            self.attempts + 1,
            record.filtered if latest else self.filtered,
            record.started_at if latest else self.done_at,
            self.jobs if isinstance(record, Success) or record.job is None else self.jobs | {record.job},
        )


class TypesFrom(NamedTuple):
    """The event types that a subscription reads from this offset on (rule 5). A second reading uses the same."""

    offset: int
    types: frozenset[str]


def types_after(entries: Sequence[TypesFrom], after: int) -> tuple[frozenset[str] | None, int | None]:
    """The types that hold at `after + 1`, and the last offset that they hold for (None: open end) (rule 5)."""
    types, until = None, None
    for entry in entries:
        if entry.offset <= after + 1 or types is None:
            types = entry.types
        else:
            until = entry.offset - 1
            break
    return types, until


class Cursor(msgspec.Struct, frozen=True):
    """How far a subscription has accounted for a shard.

    Attributes:
        id: the subscription and the shard.
        start: the offset before its first event.
        floor: everything up to here is accounted for; never goes back.
        above: bit i set means that offset `floor + 1 + i` is accounted for; at most 1,024 bits.
        epoch: raised whenever the cursor is assigned; a commit under another epoch is refused.
        number: the last settlement's number under this epoch.
        counters: what was settled.
        types: the types read, by the first offset that they hold for, ascending.
        token: a foreign source's position, for polls.
        unclean: openings in a row that were not followed by a clean close (rule 12).
        effects: effect names other than `keyed` that this cursor's calls have used; a take-over waits for them.
    """

    id: CursorId
    start: int
    floor: int
    above: int = 0
    epoch: int = 0
    number: int = 0
    counters: Counters = Counters()
    types: tuple[TypesFrom, ...] = ()
    token: str | None = None
    unclean: int = 0
    effects: frozenset[str] = frozenset()
