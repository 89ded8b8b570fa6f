"""What a user's functions are given: `Event`, `Context` and its `Client` for functions of events, `Hook` for webhooks.

`Context` and `Client` are protocols: delivery implements them, and so does whoever tests a function by itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Generic, NamedTuple, Protocol, TypedDict, TypeVar, Unpack, overload

import msgspec

from interlock.core.event import Draft, Shard
from interlock.core.event import Event as StoredEvent
from interlock.core.handler import Effect
from interlock.core.outcome import Answer
from interlock.spec import jsontext, model
from interlock.spec.plan import SystemSpec
from interlock.spec.span import moment

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_UNREAD: Any = object()  # Any: it stands in for a payload of whatever type until that is read.


class HttpSystem(msgspec.Struct, frozen=True):
    """The handle of a System that speaks HTTP: what `context.use` and `lab.system` take."""

    spec: SystemSpec

    @property
    def name(self) -> str:
        """Its name in configuration, console and logs: `integration.system`."""
        return self.spec.name


class SqlSystem(msgspec.Struct, frozen=True):
    """The handle of a System that is a database: what `context.use` and `lab.system` take."""

    spec: SystemSpec

    @property
    def name(self) -> str:
        """Its name in configuration, console and logs: `integration.system`."""
        return self.spec.name


class Event(Generic[T_co]):
    """A fact from the log, with its payload decoded on first use.

    Raises:
        PayloadError: from `payload`, if the stored bytes do not fit the model of the type.
    """

    __slots__ = ("_decode", "_payload", "stored")

    def __init__(self, stored: StoredEvent, decode: Callable[[bytes], T_co]) -> None:
        self.stored = stored
        self._decode = decode
        self._payload = _UNREAD

    @property
    def payload(self) -> T_co:
        """The fact itself, as its model."""
        if self._payload is _UNREAD:
            self._payload = self._decode(self.stored.draft.data)
        return self._payload

    @property
    def id(self) -> str:
        """Its id in the log, `evt_...`, as CLI, console and logs show it."""
        return self.stored.id

    @property
    def source_id(self) -> str:
        """The producer's id (CloudEvents `id`); with `source` it names the fact to the outside."""
        return self.stored.draft.id

    @property
    def source(self) -> str:
        """CloudEvents `source`."""
        return self.stored.draft.source

    @property
    def type(self) -> str:
        """The type with its version, `payment.settled@1`: as it was stored, also where upcasters lifted the payload."""
        return self.stored.draft.type

    @property
    def key(self) -> str | None:
        """What order is kept for."""
        return self.stored.draft.key

    @property
    def subject(self) -> str | None:
        """CloudEvents `subject`."""
        return self.stored.draft.subject

    @property
    def time(self) -> datetime | None:
        """CloudEvents `time`: when it happened, if the producer said so in RFC 3339."""
        try:
            return datetime.fromisoformat(self.stored.draft.time or "")
        except ValueError:
            return None

    @property
    def accepted_at(self) -> datetime:
        """When the log took it, in UTC."""
        return moment(self.stored.accepted_at)

    @property
    def extensions(self) -> Mapping[str, str]:
        """CloudEvents attributes that Interlock does not know."""
        return dict(self.stored.draft.extensions)

    @property
    def shard(self) -> Shard:
        """Stream and number of the log that it is in."""
        return self.stored.shard

    @property
    def offset(self) -> int:
        """Its place in the shard."""
        return self.stored.offset

    def __repr__(self) -> str:
        return f"<Event {self.id} {self.type} key={self.key!r}>"


class Missing(NamedTuple):
    """An event that the function was not given, and will not be unless a person brings it back.

    `reason` is that of its dead letter (`permanent`, `exhausted`, ...), `discarded`, or `edited` (another
    stands for it).
    """

    id: str
    reason: str


class Gap(msgspec.Struct, frozen=True):
    """What a key misses between the event before and this one: how many, the first and the last of them.

    It is told once: by the first event that is delivered after them, in each of its attempts.
    """

    count: int
    first: Missing
    last: Missing

    @property
    def field(self) -> str:
        """As calls say it, in `Interlock-Gap`: a structured-field integer with parameters (RFC 9651)."""
        (first, why_first), (last, why_last) = self.first, self.last
        return f"{self.count};first={first};first-reason={why_first};last={last};last-reason={why_last}"


class CallOptions(TypedDict, total=False):
    """What a call may say beside method and path.

    `json` is encoded and `body` sent as it is: one of them. `effect` says how repeating the call is made safe: `keyed`
    unless stated. `call` names it within its attempt: needed where calls to one System run side by side.
    `probe` asks whether a call with `effect="probe"` happened: the answer that stands for it, or None if it did not.
    """

    json: object
    body: bytes
    headers: Mapping[str, str]
    params: Mapping[str, str]
    effect: Effect
    call: str
    probe: Callable[[], Awaitable[Answer | None]]


class Client(Protocol):
    """Calls to one System; deadline, idempotency key, breaker, limiter and trace are always there.

    Every method answers with a 2xx `Answer`.

    Raises:
        CallFailed: for every other end of the call. Let it pass: it says to the lane what to do next.
        CallLabelMissing: if two calls without `call=` are under way at once.
    """

    async def request(self, method: str, path: str, **options: Unpack[CallOptions]) -> Answer: ...
    async def get(self, path: str, **options: Unpack[CallOptions]) -> Answer: ...
    async def post(self, path: str, **options: Unpack[CallOptions]) -> Answer: ...
    async def put(self, path: str, **options: Unpack[CallOptions]) -> Answer: ...
    async def patch(self, path: str, **options: Unpack[CallOptions]) -> Answer: ...
    async def delete(self, path: str, **options: Unpack[CallOptions]) -> Answer: ...


class Transaction(Protocol):
    """A transaction of a database that is made once for an event, however often the event is delivered.

    Where a former attempt has committed it, the first use of `execute`, `fetch` or `result` inside the block ends the
    block: nothing behind it runs, and the function goes on after the block. What the block computed is not there then,
    so what is needed after it is put into `result`.

    Attributes:
        result: JSON of at most 4 KiB that is kept with the receipt. After the block it is what was put into it when
            the transaction was committed, by this attempt or by a former one; None if nothing was.
    """

    result: Any  # Any: JSON, the user's own.

    @property
    def done(self) -> bool:
        """Whether a former attempt has committed it."""
        ...

    async def execute(self, statement: str, /, *values: object) -> int:
        """Run one statement; how many rows it changed. Its values stand for `$1`, `$2`, ...

        Raises:
            CallFailed: with the outcome; the transaction cannot be committed any more.
        """
        ...

    async def fetch(self, statement: str, /, *values: object) -> Sequence[tuple[Any, ...]]:
        """As `execute`; the rows that it gives."""
        ...


class SqlClient(Protocol):
    """The way to one database; deadline, breaker and limiter are always there."""

    def once(self, *, call: str | None = None) -> AbstractAsyncContextManager[Transaction, bool]:
        """A transaction that holds the receipt for this event: `async with context.use(ledger).once() as tx`.

        It is committed at the end of the block, and rolled back if an exception leaves the block. `call` names it
        within its attempt.

        Raises:
            CallFailed: if it cannot be begun or committed. Let it pass: it says to the lane what to do next.
            CallLabelMissing: if two transactions without `call=` are under way at once.
        """
        ...


class Context(Protocol):
    """The attempt that a function runs in."""

    @property
    def attempt(self) -> int:
        """1 for the first attempt of the event; it goes on counting when a person retries."""
        ...

    @property
    def deadline(self) -> datetime:
        """When the attempt is ended, in UTC."""
        ...

    @property
    def gap(self) -> Gap | None:
        """What is missing before this event, because it died or was discarded; None if nothing is.

        Only where there is order. Calls say it, too, in the header `Interlock-Gap`.
        """
        ...

    @overload
    def use(self, system: HttpSystem) -> Client: ...
    @overload
    def use(self, system: SqlSystem) -> SqlClient: ...
    def use(self, system: HttpSystem | SqlSystem) -> Client | SqlClient:
        """The way to a System."""
        ...

    def emit(self, draft: Draft) -> None:
        """Append a draft in the commit that settles this event: it is in the log if and only if the event is done.

        Raises:
            InterlockError: `call.emits-inside`, inside `once()`: a repeated attempt skips that block.
        """
        ...

    def log(self, message: str, /, **fields: object) -> None:
        """A log line with the ids of event, subscription and attempt."""
        ...


class Headers(Mapping[str, str]):
    """Header fields, found by name in any case; of a field that was sent twice the first."""

    __slots__ = ("_fields",)

    def __init__(self, fields: Sequence[tuple[str, str]]) -> None:
        self._fields = {name.lower(): value for name, value in reversed(fields)}

    def __getitem__(self, name: str) -> str:
        return self._fields[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)


class Hook(msgspec.Struct, frozen=True):
    """A webhook's request, verified.

    Attributes:
        body: the raw bytes that the signature was over.
        headers: the media type, the provider's own fields and `keep_headers`: the same when a dead letter is retried.
        id: the provider's id of this delivery or fact, from where the scheme has it or the field that `dedupe=` names.
        matched_secret: which of the active secrets the signature fitted; 0 is the current one.
    """

    body: bytes
    headers: Headers
    id: str | None = None
    matched_secret: int | None = None

    @overload
    def json(self) -> Any: ...  # Any: JSON from outside, before it has a model.
    @overload
    def json(self, type: type[T]) -> T: ...
    def json(self, type: type[Any] | None = None) -> Any:
        """The body as JSON, or as a payload model.

        Raises:
            PayloadError: if it is not strict JSON or does not fit the model; the request is then kept as a dead letter.
        """
        return jsontext.decode(self.body) if type is None else model.codec(type).decode(self.body)
