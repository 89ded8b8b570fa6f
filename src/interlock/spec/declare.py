"""What users write: `Integration`, its Systems and event types, and the decorators for functions.

They only build the frozen records of `spec.plan` and return the function unchanged; nothing here runs anything. What
is wrong with a declaration is told by `check`, all at once; only what has no record at all raises here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime, timedelta
from inspect import currentframe, unwrap
from typing import Any, Generic, Literal, Required, TypedDict, TypeVar, Unpack, overload

import msgspec

from interlock.core import limits
from interlock.core.errors import SpecError
from interlock.core.event import Draft
from interlock.core.outcome import Answer, Later, Outcome, Reject
from interlock.spec.delay import bringing_on, delay
from interlock.spec.function import Context, Event, Hook, HttpSystem, SqlSystem
from interlock.spec.identity import checked_label, checked_text
from interlock.spec.jsontext import PayloadError
from interlock.spec.link import link_function
from interlock.spec.model import codec
from interlock.spec.newness import NewnessFunction
from interlock.spec.patterns.resequence import NumberFunction, Resequencing
from interlock.spec.plan import (
    EventTypeSpec,
    IntegrationSpec,
    LinkSpec,
    OnDead,
    Page,
    PollSpec,
    RetryPolicy,
    ScheduleSpec,
    SubscriptionSpec,
    SystemSpec,
    UpcastSpec,
    WebhookSpec,
    Where,
)
from interlock.spec.resequencer import as_it_is, looking, name_of
from interlock.spec.schedule import Missed
from interlock.spec.signatures import Verifier
from interlock.spec.span import instant, microseconds

T = TypeVar("T")
U = TypeVar("U")
V = TypeVar("V")

AcceptFunction = Callable[[Hook], Iterable[Draft]]
PollFunction = Callable[[str | None, Context], Awaitable[Page]]
ScheduleFunction = Callable[[datetime, Context], Awaitable[Iterable[Draft]]]
TranslateFunction = Callable[[T], U | None]
UpcastFunction = Callable[[T], U]
SuccessWhen = Callable[[Answer], bool | Later | Reject]
RefreshFunction = Callable[[Context], Awaitable[str]]
SubscribeFunction = Callable[[Event[T], Context], Awaitable[Outcome | None] | Outcome | None]
"""`async def`, or a plain `def` that may block: it runs in a thread."""

Order = Literal["key", "none"]


class DraftOptions(TypedDict, total=False):
    """What a draft may state: CloudEvents attributes (`source` is `/integration/NAME` otherwise), and when it is due.

    Attributes:
        due: a moment, or a span from its acceptance on, before which it is not appended to its stream; only for types
            that are declared `delayed`.
    """

    time: datetime
    source: str
    subject: str
    extensions: Mapping[str, str]
    due: timedelta | datetime


class WebhookOptions(TypedDict, total=False):
    """What a webhook may state.

    `dedupe`: the header that has the provider's id of a delivery, where the scheme does not know it; `none` with a
    `dedupe_reason` where there is no such id. `body_bytes_max`: larger requests are answered 413. `keep_headers`:
    further fields for the function and the log; never credentials.
    """

    dedupe: str
    dedupe_reason: str
    body_bytes_max: int
    keep_headers: tuple[str, ...]


class SubscribeOptions(TypedDict, total=False):
    """What a subscription may state.

    Attributes:
        order: `key` (the default) keeps the order of each key; a type without a key demands `none`.
        retry: when to try again; PATIENT unless stated.
        on_dead: what its key's later events do when an event cannot be delivered; `block_then_skip(1 h)` unless stated.
        freshness: within which time of its acceptance an event should be done; measured, and alerted on.
        deadline: how long one attempt may take; 30 s unless stated.
        start: where it starts in the log when it is first deployed; `now` unless stated.
        if_newer_than: a field of the payload, or a function of it, that says how new an event is: an int, a str or a
            datetime. One that is not newer than the newest delivered one of its key is filtered and counted as late.
    """

    order: Order
    retry: RetryPolicy
    on_dead: Literal["skip", "halt"] | OnDead
    freshness: timedelta
    deadline: timedelta
    start: Literal["now", "beginning"] | datetime
    if_newer_than: str | NewnessFunction


class ResequenceOptions(SubscribeOptions, total=False):
    """What a resequencer states, and what it may.

    Attributes:
        by: a field of the payload, or a function of it: the number. Within a key numbers rise by one.
        gap_after: how long after its acceptance an event waits for lower numbers. Then it goes on without them and says
            so in its attribute `interlockskipped`; what comes after all is late: filtered, and counted.
        buffer_max: how many events of a key wait, 1,000 unless stated; with one more the lowest goes on.
        first: the first number of every key; the first one that is seen unless stated.
    """

    by: Required[str | NumberFunction]
    gap_after: Required[timedelta]
    buffer_max: int
    first: int


class EventType(msgspec.Struct, Generic[T], frozen=True):
    """The handle of an event type in one version: what subscriptions name, and what drafts are made with."""

    spec: EventTypeSpec

    @property
    def id(self) -> str:
        """Name and version, as `payment.settled@1`."""
        return self.spec.id

    def draft(self, payload: T, *, id: str, **options: Unpack[DraftOptions]) -> Draft:
        """A fact of this type, ready for the log. `id` is the producer's and stays the same when it sends again.

        Raises:
            PayloadError: if the payload does not fit its model, or id, key or tenant cannot be one;
                `draft.not-delayed`, `draft.due-invalid`.
        """
        time, due = options.get("time"), options.get("due")
        draft = Draft(
            stream=self.spec.stream,
            type=self.spec.id,
            source=options.get("source") or f"/integration/{self.spec.integration}",
            id=checked_text("id", id, limits.ID_CHARS_MAX),
            data=self.spec.encode(payload),
            key=None if self.spec.key is None else self.spec.key(payload),
            time=None if time is None else _rfc3339(time),
            subject=options.get("subject"),
            extensions=self.spec.extensions(payload, options.get("extensions", {}).items()),
        )
        if due is None:
            return draft
        if not self.spec.delayed:
            raise PayloadError(
                "draft.not-delayed",
                f"A draft of {self.spec.id!r} states when it is due, and its type is not declared so",
                f"Declare it so: event({self.spec.name!r}, ..., delayed=True).",
            )
        return delay(draft, due)


class Integration:
    """One business need, its owner, and everything that serves it. Declare it at the top of a module.

    Attributes:
        spec: name, owner and purpose.
        systems, types, upcasts, webhooks, subscriptions, polls, schedules: what has been declared, in the order of the
            source.
    """

    def __init__(self, name: str, *, owner: str, purpose: str) -> None:
        self.spec = IntegrationSpec(name, owner, purpose, _caller())
        self.systems: list[SystemSpec] = []
        self.types: list[EventTypeSpec] = []
        self.upcasts: list[UpcastSpec] = []
        self.webhooks: list[WebhookSpec] = []
        self.subscriptions: list[SubscriptionSpec] = []
        self.polls: list[PollSpec] = []
        self.schedules: list[ScheduleSpec] = []

    @property
    def name(self) -> str:
        """The first part of every name in it, and the name of its stream."""
        return self.spec.name

    def http(
        self,
        name: str,
        *,
        honours_keys: bool | None = None,
        success_when: SuccessWhen | None = None,
        refresh: RefreshFunction | None = None,
    ) -> HttpSystem:
        """A System that speaks HTTP; `[systems."integration.name"]` in `interlock.toml` binds it to an address.

        Args:
            honours_keys: whether it makes a call with a repeated Idempotency-Key harmless.
            success_when: for one that reports failures in the body of a 2xx answer. A pure function: True is a success,
                False is tried again; or it gives `Later(...)` or `Reject(...)` itself.
            refresh: gives the value of `Authorization` for its calls when it answers 401, once for all calls under way;
                each is then repeated with its key. The value is kept in memory only, and shown nowhere.
        """
        spec = SystemSpec(f"{self.name}.{name}", self.name, "http", _caller(), honours_keys, success_when, refresh)
        self.systems.append(spec)
        return HttpSystem(spec)

    def sql(self, name: str) -> SqlSystem:
        """A System that is a database; its binding's url begins with `postgresql://` or `sqlite:///`."""
        spec = SystemSpec(f"{self.name}.{name}", self.name, "sql", _caller(), honours_keys=True)
        self.systems.append(spec)
        return SqlSystem(spec)

    def event(
        self,
        name: str,
        model: type[T],
        *,
        version: int = 1,
        key: Callable[[T], str] | None = None,
        tenant: Callable[[T], str] | None = None,
        delayed: bool = False,
    ) -> EventType[T]:
        """An event type. `key` names what order is kept for: events of one key are delivered one at a time, in order.

        `tenant` says on whose behalf an event is: nobody's flood keeps the others waiting. A key is of one tenant.
        `delayed`: its drafts may say when they are `due`. Such an event takes its place in the order when it is due.

        Raises:
            SpecError: `spec.model-unsupported`.
        """
        coded = codec(model)
        spec = EventTypeSpec(
            id=f"{name}@{version}",
            name=name,
            version=version,
            stream=self.name,
            integration=self.name,
            model=model,
            decode=coded.decode,
            encode=coded.encode,
            key=None if key is None else checked_label("key", key),
            schema_digest=coded.digest,
            where=_caller(),
            delayed=delayed,
            tenant=None if tenant is None else checked_label("tenant", tenant),
        )
        if delayed:
            self._bring_on(spec.where)
        self.types.append(spec)
        return EventType(spec)

    def upcast(
        self, old: EventType[T], *, into: EventType[U]
    ) -> Callable[[UpcastFunction[T, U]], UpcastFunction[T, U]]:
        """A pure function that makes the payload of a newer version of an event type from that of an older one.

        Subscriptions and translations of the newer version then read events of the older one, too, in the order of
        their keys; their payload passes the upcasters, one after the other, until it is of a version that the
        subscription names. Nothing that is stored changes: `event.type` stays the one that was stored. The key has to
        come out the same. An upcaster that raises, or whose payload does not fit, makes the event a dead letter with
        the reason `contract`.
        """

        def declare(function: UpcastFunction[T, U]) -> UpcastFunction[T, U]:
            spec = UpcastSpec(self._named(function), old.spec, into.spec, function, _place(function))
            self.upcasts.append(spec)
            return function

        return declare

    def webhook(
        self, route: str, *, verify: Verifier, **options: Unpack[WebhookOptions]
    ) -> Callable[[AcceptFunction], AcceptFunction]:
        """A pure function from a verified request to drafts; the sender is answered 202 when they are durable."""

        def declare(function: AcceptFunction) -> AcceptFunction:
            method, _, path = route.partition(" ")
            name = self._named(function)
            spec = WebhookSpec(
                name,
                self.name,
                method,
                path.strip(),
                verify,
                function,
                self.name,
                f"{name}.inbox",
                _place(function),
                **options,
            )
            self.webhooks.append(spec)
            self.subscriptions.append(_inbox(spec))
            return function

        return declare

    @overload
    def subscribe(
        self, type: EventType[T], /, **options: Unpack[SubscribeOptions]
    ) -> Callable[[SubscribeFunction[T]], SubscribeFunction[T]]: ...
    @overload
    def subscribe(
        self, type: EventType[T], second: EventType[U], /, **options: Unpack[SubscribeOptions]
    ) -> Callable[[SubscribeFunction[T | U]], SubscribeFunction[T | U]]: ...
    @overload
    def subscribe(
        self, type: EventType[T], second: EventType[U], third: EventType[V], /, **options: Unpack[SubscribeOptions]
    ) -> Callable[[SubscribeFunction[T | U | V]], SubscribeFunction[T | U | V]]: ...
    @overload
    def subscribe(
        self, *types: EventType[Any], **options: Unpack[SubscribeOptions]
    ) -> Callable[[SubscribeFunction[Any]], SubscribeFunction[Any]]: ...
    def subscribe(
        self, *types: EventType[Any], **options: Unpack[SubscribeOptions]
    ) -> Callable[[SubscribeFunction[Any]], SubscribeFunction[Any]]:
        """A function for every event of these types, which are of one stream."""

        def declare(function: SubscribeFunction[Any]) -> SubscribeFunction[Any]:
            specs = tuple(type.spec for type in types)
            self.subscriptions.append(_subscription(self._named(function), self.name, specs, function, options))
            return function

        return declare

    def translate(
        self, raw: EventType[T], *, into: EventType[U], **options: Unpack[SubscribeOptions]
    ) -> Callable[[TranslateFunction[T, U]], TranslateFunction[T, U]]:
        """A pure function from one payload to another, for example raw to canonical; None has nothing to say."""

        def declare(function: TranslateFunction[T, U]) -> TranslateFunction[T, U]:
            spec = _subscription(self._named(function), self.name, (raw.spec,), function, options)
            self.subscriptions.append(msgspec.structs.replace(spec, kind="translate", into=into.spec))
            return function

        return declare

    @overload
    def resequence(
        self, raw: EventType[T], /, *, into: EventType[T], map: None = None, **options: Unpack[ResequenceOptions]
    ) -> None: ...
    @overload
    def resequence(
        self,
        raw: EventType[T],
        /,
        *,
        into: EventType[U],
        map: TranslateFunction[T, U],
        **options: Unpack[ResequenceOptions],
    ) -> None: ...
    def resequence(
        self,
        raw: EventType[Any],
        /,
        *,
        into: EventType[Any],
        map: TranslateFunction[Any, Any] | None = None,
        **options: Unpack[ResequenceOptions],
    ) -> None:
        """Put the events of each key into the order of their numbers (Enterprise Integration Patterns: Resequencer).

        One that comes before its turn is held; what is in order is emitted as `into`, with the same payload, or with
        what the pure function `map` makes of it. It is a subscription that is named for what it makes:
        `integration.payment-ordered` for `payment.ordered`.
        """
        where = _caller()
        types = (raw.spec, looking(raw.spec.stream, where))
        spec = _subscription(f"{self.name}.{name_of(into.spec)}", self.name, types, map or as_it_is, options)
        how = Resequencing(
            options["by"],
            microseconds(options["gap_after"]),
            options.get("buffer_max", limits.SEQUENCE_BUFFER),
            options.get("first"),
        )
        self.subscriptions.append(
            msgspec.structs.replace(spec, kind="resequence", where=where, into=into.spec, resequencing=how)
        )
        self._bring_on(where)

    def link(
        self,
        source: EventType[T],
        target: HttpSystem,
        operation: str,
        /,
        *,
        map: Callable[[T], object],
        **options: Unpack[SubscribeOptions],
    ) -> None:
        """Point to point: a subscription that calls `operation` (`POST /orders`) of a System for each event.

        `map` is pure and gives the JSON of the call, None for an event that is not for this System. The subscription is
        named for it, `integration.map`, for as long as it lives; all else is as for `subscribe`.
        """
        method, _, path = operation.partition(" ")
        link = LinkSpec(target.name, method, path.strip(), map)
        spec = _subscription(self._named(map), self.name, (source.spec,), link_function(link, target), options)
        self.subscriptions.append(msgspec.structs.replace(spec, where=_caller(), link=link))

    def poll(self, *, every: timedelta, deadline: timedelta | None = None) -> Callable[[PollFunction], PollFunction]:
        """A function that reads a foreign log from a token on; its page and the next token are one commit."""

        def declare(function: PollFunction) -> PollFunction:
            bound = limits.FUNCTION_DEADLINE_US if deadline is None else microseconds(deadline)
            name = self._named(function)
            self.polls.append(
                PollSpec(name, self.name, microseconds(every), function, self.name, _place(function), bound)
            )
            return function

        return declare

    @overload
    def schedule(
        self, *, cron: str, timezone: str = "UTC", missed: Missed, deadline: timedelta | None = None
    ) -> Callable[[ScheduleFunction], ScheduleFunction]: ...
    @overload
    def schedule(
        self, *, every: timedelta, missed: Missed, deadline: timedelta | None = None
    ) -> Callable[[ScheduleFunction], ScheduleFunction]: ...
    def schedule(
        self,
        *,
        cron: str | None = None,
        every: timedelta | None = None,
        timezone: str = "UTC",
        missed: Missed,
        deadline: timedelta | None = None,
    ) -> Callable[[ScheduleFunction], ScheduleFunction]:
        """A function that makes drafts at its times; they and the time that it ran for are one commit.

        It is given the time that it runs for, in the schedule's zone: ids made of that are the same when it runs again.

        Args:
            cron: minute, hour, day of the month, month, day of the week, by the clocks of `timezone`.
            every: or a span, counted from 1970 UTC.
            missed: what becomes of times that passed while it could not run: `run once` for the last of them, `skip`
                them, or `catch up` with each in turn.
        """

        def declare(function: ScheduleFunction) -> ScheduleFunction:
            bound = limits.FUNCTION_DEADLINE_US if deadline is None else microseconds(deadline)
            every_us = None if every is None else microseconds(every)
            name, where = self._named(function), _place(function)
            self.schedules.append(
                ScheduleSpec(name, self.name, cron, every_us, timezone, missed, function, self.name, where, bound)
            )
            return function

        return declare

    def _bring_on(self, where: Where) -> None:
        """See to it that delayed events are appended when they are due."""
        if not any(spec.kind == "delay" for spec in self.subscriptions):
            self.subscriptions.append(bringing_on(self.name, where))

    def _named(self, function: Callable[..., object]) -> str:
        """`integration.function`: the name that the store knows it by, for as long as it lives."""
        return f"{self.name}.{getattr(function, '__name__', '')}"


def _subscription(
    name: str,
    integration: str,
    types: tuple[EventTypeSpec, ...],
    function: Callable[..., Any],
    options: SubscribeOptions,
) -> SubscriptionSpec:
    on_dead = options.get("on_dead", OnDead("block_then_skip", limits.BLOCK_THEN_SKIP_US))
    start = options.get("start", "now")
    freshness = options.get("freshness")
    deadline = options.get("deadline")
    return SubscriptionSpec(
        name=name,
        integration=integration,
        kind="subscribe",
        types=types,
        stream=types[0].stream if types else integration,
        function=function,
        where=_place(function),
        order=options.get("order", "key"),
        retry=options.get("retry", RetryPolicy()),
        on_dead=OnDead(on_dead) if isinstance(on_dead, str) else on_dead,
        on_dead_stated="on_dead" in options,
        freshness_us=None if freshness is None else microseconds(freshness),
        deadline_us=limits.FUNCTION_DEADLINE_US if deadline is None else microseconds(deadline),
        start=start if isinstance(start, str) else instant(start),
        if_newer_than=options.get("if_newer_than"),
    )


def _inbox(webhook: WebhookSpec) -> SubscriptionSpec:
    """The subscription that runs a webhook's function again over a request that it could not read."""
    raw = EventTypeSpec(
        id=f"{webhook.name}.request@1",
        name=f"{webhook.name}.request",
        version=1,
        stream=webhook.inbox,
        integration=webhook.integration,
        model=bytes,
        decode=lambda data: data,
        encode=lambda payload: payload,
        key=None,
        schema_digest="",
        where=webhook.where,
    )
    return SubscriptionSpec(
        name=webhook.inbox,
        integration=webhook.integration,
        kind="inbox",
        types=(raw,),
        stream=webhook.inbox,
        function=webhook.function,
        where=webhook.where,
        order="none",
        on_dead=OnDead("skip"),
        start="beginning",
        webhook=webhook,
    )


def _rfc3339(time: datetime) -> str:
    instant(time)
    return time.isoformat()


def _place(function: Callable[..., object]) -> Where:
    code = getattr(unwrap(function), "__code__", None)
    if code is None:
        raise SpecError(
            "spec.not-a-function",
            f"{function!r} is not a function, so it has no name that lasts",
            "Decorate a function that is defined with def.",
        )
    return Where(code.co_filename, code.co_firstlineno)


def _caller() -> Where:
    """The line that called the public method that called this."""
    frame = currentframe()
    for _ in range(2):
        frame = frame.f_back if frame else None
    return Where(frame.f_code.co_filename, frame.f_lineno) if frame else Where("", 0)
