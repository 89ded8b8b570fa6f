"""The frozen records that declarations build, and the `Plan` that holds all of them.

The runtime accepts nothing but a `Plan`; its digest is stamped on every attempt. Durations are integer microseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from interlock.core import limits
from interlock.core.event import TENANT, Draft
from interlock.spec.newness import NewnessFunction
from interlock.spec.patterns.resequence import Resequencing
from interlock.spec.schedule import CronTimes, EveryTimes, Missed, Times


class Where(NamedTuple):
    """The place of a declaration in the user's code or configuration."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class RetryPolicy(msgspec.Struct, frozen=True):
    """When to try again: `min(cap, base * 2**(n-1))` with equal jitter, bounded by age first.

    `schedule` replaces the formula by a list of delays; after its end the last one repeats.
    """

    base_us: int = limits.RETRY_BASE_US
    cap_us: int = limits.RETRY_CAP_US
    age_max_us: int = limits.RETRY_AGE_MAX_US
    attempts_max: int = limits.RETRY_ATTEMPTS_MAX
    jitter: Literal["equal", "full"] = "equal"
    schedule: tuple[int, ...] = ()


class OnDead(msgspec.Struct, frozen=True):
    """What follows when an event cannot be delivered."""

    kind: Literal["skip", "halt", "block_then_skip"]
    after_us: int | None = None
    """Only for `block_then_skip`: how long the key waits."""


class IntegrationSpec(msgspec.Struct, frozen=True):
    """Who owns an integration and which business need it serves."""

    name: str
    owner: str
    purpose: str
    where: Where


class SystemSpec(msgspec.Struct, frozen=True):
    """A System as declared. `name` is `integration.system`; its binding has the address and the limits."""

    name: str
    integration: str
    kind: Literal["http", "sql"]
    where: Where
    honours_keys: bool | None = None
    """Whether it makes a repeated idempotency key harmless; None: nobody has said, and `check` warns."""
    success_when: Callable[..., Any] | None = None
    """What a 2xx answer means, where the status does not say it: True, False, `Later` or `Reject`."""
    refresh: Callable[..., Any] | None = None
    """Obtains the `Authorization` of its calls anew when it answers 401."""


class EventTypeSpec(msgspec.Struct, frozen=True):
    """An event type in one version. `id` is `name@version`, as it stands in `Draft.type`.

    `decode(bytes)` gives the payload; `encode(payload)` gives bytes; `key(payload)` gives the ordering key, None for a
    type without one. All three raise nothing but `PayloadError`, with a code, a path and a remedy.
    """

    id: str
    name: str
    version: int
    stream: str
    integration: str
    model: Any
    decode: Callable[[bytes], Any]
    encode: Callable[[Any], bytes]
    key: Callable[[Any], str] | None
    schema_digest: str
    where: Where
    delayed: bool = False
    """Whether its drafts may state when they are due."""
    tenant: Callable[[Any], str] | None = None
    """`tenant(payload)` says on whose behalf an event is; it raises as `key` does."""

    def extensions(self, payload: Any, stated: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
        """The extension attributes of an event: those stated, and its tenant where the payload tells it.

        Raises:
            PayloadError: `event.tenant-invalid`.
        """
        if self.tenant is None:
            return tuple(sorted(stated))
        return tuple(sorted({**dict(stated), TENANT: self.tenant(payload)}.items()))


class UpcastSpec(msgspec.Struct, frozen=True):
    """An upcaster: `function(payload)` gives the payload of a newer version for that of an older one."""

    name: str
    old: EventTypeSpec
    into: EventTypeSpec
    function: Callable[..., Any]
    where: Where


class WebhookSpec(msgspec.Struct, frozen=True):
    """A webhook. `verify` is a `Verifier` (spec.signatures); `function(hook)` gives drafts.

    `inbox` names the stream that a verified but undecodable request goes to, and the subscription that retries it.
    `dedupe` is the field with the id of a delivery, or `none` for the reason that `dedupe_reason` says.
    """

    name: str
    integration: str
    method: str
    path: str
    verify: Any
    function: Callable[..., Any]
    stream: str
    inbox: str
    where: Where
    dedupe: str | None = None
    dedupe_reason: str = ""
    body_bytes_max: int = limits.BODY_BYTES_MAX
    keep_headers: tuple[str, ...] = ()

    @property
    def id_header(self) -> str | None:
        """The declared field with the id of a delivery, in lower case."""
        return self.dedupe.lower() if self.dedupe and self.dedupe != "none" else None


class LinkSpec(msgspec.Struct, frozen=True):
    """What a link does: it calls an operation of a System with the JSON that `map(payload)` gives, None for nothing."""

    system: str
    method: str
    path: str
    map: Callable[..., Any]


class SubscriptionSpec(msgspec.Struct, frozen=True):
    """A subscription (`subscribe`), a translation (`translate`) or a `resequence`; or one that nobody wrote.

    Those are the `inbox` of a webhook, and the `delay` that brings on the delayed events of an integration.
    `name` is `integration.function`. All types are of one stream. A link is a `subscribe` whose function is made of
    `link`.
    """

    name: str
    integration: str
    kind: Literal["subscribe", "translate", "resequence", "inbox", "delay"]
    types: tuple[EventTypeSpec, ...]
    stream: str
    function: Callable[..., Any]
    where: Where
    order: Literal["key", "none"] = "key"
    retry: RetryPolicy = RetryPolicy()
    on_dead: OnDead = OnDead("block_then_skip", limits.BLOCK_THEN_SKIP_US)
    on_dead_stated: bool = False
    freshness_us: int | None = None
    deadline_us: int = limits.FUNCTION_DEADLINE_US
    start: Literal["now", "beginning"] | int = "now"
    into: EventTypeSpec | None = None
    webhook: WebhookSpec | None = None
    link: LinkSpec | None = None
    if_newer_than: str | NewnessFunction | None = None
    """What says how new an event is; one that is not newer than the newest delivered one of its key is filtered."""
    resequencing: Resequencing | None = None
    """For a `resequence`: what numbers its events, and how long and for how many it waits."""
    systems: tuple[str, ...] = ()
    """Systems that its function is known to use (read from its code); more are learned as it runs."""
    upcasts: tuple[UpcastSpec, ...] = ()
    """What lifts events of older versions to one of `types`, step by step."""

    @property
    def is_written(self) -> bool:
        """Whether somebody wrote it."""
        return self.kind in {"subscribe", "translate", "resequence"}

    @property
    def reads(self) -> Sequence[EventTypeSpec]:
        """Its types, and the older versions that upcasters lift to them."""
        return (*self.types, *(upcast.old for upcast in self.upcasts))

    @property
    def type_ids(self) -> frozenset[str]:
        """What it reads, as `Draft.type` spells it."""
        return frozenset(type.id for type in self.reads)


class PollSpec(msgspec.Struct, frozen=True):
    """A poll of a foreign log: `function(since, context)` gives a `Page`. Its cursor holds the token."""

    name: str
    integration: str
    every_us: int
    function: Callable[..., Any]
    stream: str
    where: Where
    deadline_us: int = limits.FUNCTION_DEADLINE_US


class ScheduleSpec(msgspec.Struct, frozen=True):
    """A schedule: `function(due, context)` gives drafts at each of its times. Its cursor holds the place in time.

    Its times are those of `cron` by the clocks of `timezone`, or a span of `every_us` apart; exactly one of both.
    """

    name: str
    integration: str
    cron: str | None
    every_us: int | None
    timezone: str
    missed: Missed
    function: Callable[..., Any]
    stream: str
    where: Where
    deadline_us: int = limits.FUNCTION_DEADLINE_US

    @property
    def times(self) -> Times:
        """When it runs."""
        return EveryTimes(self.every_us or 0) if self.cron is None else CronTimes(self.cron, self.timezone)


class HttpBinding(msgspec.Struct, frozen=True):
    """How a System is reached, from `interlock.toml` (`[systems."payments.ledger"]`)."""

    url: str
    deadline_us: int = limits.CALL_TIMEOUT_US
    connect_us: int = limits.CONNECT_TIMEOUT_US
    concurrency: int = limits.SYSTEM_CONCURRENCY_MAX
    rate_per_second: float | None = None
    burst: int = 1
    headers: Mapping[str, str] = msgspec.field(default_factory=dict[str, str])
    """Sent with every call. A value `secret:NAME` is looked up when it is sent."""
    answer_bytes_max: int = limits.ANSWER_BYTES_MAX


class StreamSpec(NamedTuple):
    """A stream, how many shards it gets when it is made, and how much of it is kept; the bound met first rules."""

    name: str
    shards: int = limits.SHARDS_DEFAULT
    keep_us: int = limits.RETENTION_AGE_US
    keep_bytes: int = limits.RETENTION_BYTES


class Plan(msgspec.Struct, frozen=True):
    """All declarations of one installation, checked, bound and digested."""

    integrations: Sequence[IntegrationSpec]
    systems: Mapping[str, SystemSpec]
    bindings: Mapping[str, HttpBinding]
    types: Mapping[str, EventTypeSpec]
    webhooks: Sequence[WebhookSpec]
    subscriptions: Mapping[str, SubscriptionSpec]
    polls: Sequence[PollSpec]
    streams: Sequence[StreamSpec]
    digest: str
    schedules: Sequence[ScheduleSpec] = ()
    upcasts: Sequence[UpcastSpec] = ()

    @property
    def readers(self) -> frozenset[str]:
        """The names that cursors have: of subscriptions, polls and schedules."""
        return frozenset(self.subscriptions).union(
            (poll.name for poll in self.polls), (schedule.name for schedule in self.schedules)
        )


class Page(msgspec.Struct, frozen=True):
    """What a poll gives back: drafts, the token to go on from, and whether there is more at once."""

    drafts: Sequence[Draft]
    next: str | None
    more: bool = False
