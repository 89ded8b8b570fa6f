"""What was seen of a run from outside: by its clients, its remotes and an auditor of the disk, never by the product.

One line each, in the order of time; a run's history as JSONL is enough for the checker. Instants are virtual µs.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from interlock.core.handler import Effect

KILLED = "killed"
"""`Fault.what` when a process is dead from then on."""
SPOILED = "bad deploy"
"""What events are rejected for by a function that rejects everything."""
Kind = Literal["invoke", "ok", "fail", "info"]
"""`fail` surely did not happen; `info` may have (a timeout, a reset, a 5xx)."""


class Line(msgspec.Struct, frozen=True, tag_field="op", kw_only=True):
    """`t` in µs of virtual time; `process` is who saw it."""

    t: int
    process: str = ""


class Published(Line, tag="publish", frozen=True, kw_only=True):
    """A client handed in an event. `digest` is of its body; `server` is the process that it was handed to."""

    kind: Kind
    stream: str
    id: str
    key: str | None = None
    type: str = ""
    digest: str = ""
    server: str = ""


class Logged(Line, tag="logged", frozen=True, kw_only=True):
    """An event became durable. `origin` and `via`: the event and the subscription that it was derived by, if it was.

    `by`: the process that committed it.
    """

    stream: str
    shard: int
    offset: int
    id: str
    key: str | None = None
    type: str = ""
    digest: str = ""
    origin: str = ""
    via: str = ""
    serial: int = 0
    by: str = ""


class Took(Line, tag="took", frozen=True, kw_only=True):
    """A process has opened the store for itself alone: from here on nobody else may commit to it."""


class Found(Line, tag="found", frozen=True, kw_only=True):
    """What a process that opened the store found in a shard: the ids of all events after an offset."""

    stream: str
    shard: int
    after: int
    ids: tuple[str, ...] = ()


class Retired(Line, tag="retired", frozen=True, kw_only=True):
    """A shard's events up to an offset went; their identities are forgotten with them."""

    stream: str
    shard: int
    upto: int


class Read(Line, tag="read", frozen=True, kw_only=True):
    """A reader got the events of a shard after an offset, and was told that it has all up to `upto`."""

    stream: str
    shard: int
    after: int
    upto: int
    offsets: tuple[int, ...]


class Accounted(Line, tag="accounted", frozen=True, kw_only=True):
    """A commit changed a cursor: what the ledger then held. `marks` as (key, first, last, count).

    `process`: who committed. `epoch`: raised by each opening. `exhausted`: those of the dead that died of a budget.
    `running`: those of the live whose attempt was started before this commit. `spoiled`: those held or dead whose
    function rejects everything. `untold`: those of the dead and discarded that nobody has told their receiver of.
    `edited`: those of the discarded that another event stands for, with its id.
    """

    subscription: str
    stream: str
    shard: int
    start: int
    floor: int
    above: int
    delivered: int
    filtered: int
    discarded: int
    dead: int
    epoch: int
    number: int
    live: tuple[int, ...] = ()
    running: tuple[int, ...] = ()
    dead_rows: tuple[int, ...] = ()
    exhausted: tuple[int, ...] = ()
    discarded_rows: tuple[int, ...] = ()
    spoiled: tuple[int, ...] = ()
    untold: tuple[int, ...] = ()
    edited: tuple[tuple[int, str], ...] = ()
    marks: tuple[tuple[str, int, int, int], ...] = ()
    types: tuple[tuple[int, tuple[str, ...]], ...] = ()


class Began(Line, tag="began", frozen=True, kw_only=True):
    """The user's function was entered."""

    subscription: str
    stream: str
    shard: int
    offset: int
    id: str
    key: str | None = None


class Ended(Line, tag="ended", frozen=True, kw_only=True):
    """The user's function returned well: what it did for the event is done."""

    subscription: str
    stream: str
    shard: int
    offset: int


class Called(Line, tag="called", frozen=True, kw_only=True):
    """A remote got a whole request and made up its mind.

    `fresh`: it changed the remote's state. `status` 0: it never answered. `retry_after_us`: what it asked for.
    `sender`: the process that sent it. `until`: it is under way so long; until the answer, or its caller's deadline.
    `gap`: what it says is missing before it: how many, and the first and the last offset.
    """

    subscription: str
    stream: str
    shard: int
    offset: int
    id: str
    label: str
    status: int
    fresh: bool
    key: str | None = None
    token: str = ""
    digest: str = ""
    retry_after_us: int = 0
    sender: str = ""
    until: int = 0
    gap: tuple[int, int, int] | None = None


class Probed(Line, tag="probed", frozen=True, kw_only=True):
    """A remote was asked whether it has had the effect of an event's call, and made up its mind; fields as `Called`.

    `found`: it said that it has, whether or not the answer arrived.
    """

    subscription: str
    stream: str
    shard: int
    offset: int
    id: str
    label: str
    status: int
    found: bool
    sender: str = ""
    until: int = 0


class Turned(Line, tag="turned", frozen=True, kw_only=True):
    """The breaker of a process says that it stands differently towards a remote."""

    remote: str
    state: str


class Asked(Line, tag="asked", frozen=True, kw_only=True):
    """A person asked something of an event: retry, skip, discard, restore, edit, replay.

    `id`, `digest`: of the event that an edit appends instead.
    """

    verb: str
    subscription: str
    stream: str
    shard: int
    offset: int
    id: str = ""
    digest: str = ""


class Controlled(Line, tag="controlled", frozen=True, kw_only=True):
    """A commit changed what is paused. `subject` is the key of its control cell."""

    subject: str
    paused: bool
    by: str


class Fault(Line, tag="fault", frozen=True, kw_only=True):
    """Something was broken on purpose. `scope` says what it can explain."""

    scope: Literal["process", "store", "network", "remote", "operator", "deploy"]
    what: str


class Tried(Line, tag="tried", frozen=True, kw_only=True):
    """A client asked for an operation on a register that others race for, or was told what came of it.

    `serial` is the operation's. Asked: `value` is what is to be written and `expected` the version that is to be there.
    Told: `number` is the version or the offset, `value` what was read, `refused` that something else is there, `known`
    that it had been appended before.
    """

    kind: Kind
    subject: str
    serial: int
    what: Literal["read", "write", "append"]
    value: str = ""
    expected: int = 0
    number: int = 0
    refused: bool = False
    known: bool = False


class Leaked(Line, tag="leaked", frozen=True, kw_only=True):
    """A secret stands where people may read it. The line itself does not have it."""

    where: str


class Quiet(Line, tag="quiet", frozen=True, kw_only=True):
    """From here on nothing is broken any more."""


class Finished(Line, tag="finished", frozen=True, kw_only=True):
    """The end: `pending` is what is still not settled, as text for people."""

    pending: tuple[str, ...] = ()


class Reads(msgspec.Struct, frozen=True):
    """What the checker has to know about a subscription.

    Attributes:
        labels: the calls that its function makes for each event; empty for a translation, None where that is not known
            and an `Ended` line tells.
        effect: of those calls.
        backoff_us: the shortest wait after a first failure.
        age_max_us: after this the last attempt is due whatever was waited for.
        prompt_us: within which time an event is delivered where nothing in its way is broken; None: not promised.
        ailing: keys whose events are made to fail.
        delay_us: how long after an event what is derived of it is due.
        waits_us: how long it waits for a missing number, where it puts what it derives in order; 0: it does not.
        newer: whether it delivers only what has a higher serial than what it has delivered of the key.
        calls_max: how many calls of one process may be under way at once at a remote that it calls; None: not known.
        window_max: how many offsets above its floor a cursor may account for; None: not known.
        running_max: how many of its attempts may run at once on a shard; None: not known.
    """

    name: str
    stream: str
    ordered: bool
    effect: Effect
    labels: tuple[str, ...] | None
    backoff_us: int = 0
    age_max_us: int | None = None
    attempts_max: int = 40
    prompt_us: int | None = None
    ailing: frozenset[str] = frozenset()
    delay_us: int = 0
    newer: bool = False
    waits_us: int = 0
    calls_max: int | None = None
    window_max: int | None = None
    running_max: int | None = None


AnyLine = (
    Published
    | Logged
    | Took
    | Found
    | Retired
    | Read
    | Accounted
    | Began
    | Ended
    | Called
    | Probed
    | Turned
    | Asked
    | Controlled
    | Fault
    | Tried
    | Leaked
    | Quiet
    | Finished
)


class History:
    """Collects lines; `dump` gives JSONL."""

    def __init__(self) -> None:
        self.lines: list[AnyLine] = []

    def add(self, line: AnyLine) -> None:
        self.lines.append(line)

    def dump(self) -> bytes:
        return msgspec.json.Encoder().encode_lines(self.lines)


def load(text: bytes) -> list[AnyLine]:
    """Read back what `dump` gave."""
    return msgspec.json.Decoder(AnyLine).decode_lines(text)
