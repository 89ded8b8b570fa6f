"""Metrics for Prometheus and OpenMetrics: seconds and bytes, counters end in `_total`, every label is bounded.

Counters and histograms are fed by records (`RULES`); gauges are read when somebody asks (`GAUGES`), so that what is
shown is what is. HTTP durations follow the OpenTelemetry semantic conventions, version 1.44.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Final, Literal, NamedTuple, cast

from prometheus_client import CollectorRegistry, Metric, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

SERIES_MAX: Final = 1_000
"""Label combinations of one metric. What comes after them is counted together, under `_other`."""
_OTHER: Final = "_other"
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"})
HTTP_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Seconds, as the OpenTelemetry conventions advise for HTTP durations."""
COMMIT_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

FRESHNESS_BUCKETS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 86_400.0)
"""Seconds: from the promise of a second to the day after which an event would have died."""


class Rule(NamedTuple):
    """One metric and the record that feeds it.

    Attributes:
        record: the record's name.
        metric: the metric's name; a counter's without `_total`.
        help: one sentence.
        labels: label name -> field name.
        amount: the field that holds how many, or how long in µs (one or a list of them); None counts one.
        kind: how it is added up.
        buckets: of a histogram, in seconds.
    """

    record: str
    metric: str
    help: str
    labels: Mapping[str, str]
    amount: str | None = None
    kind: Literal["counter", "seconds"] = "counter"
    buckets: tuple[float, ...] = ()


class Reading(NamedTuple):
    """The present value of a gauge of `GAUGES`; `labels` in the order declared there.

    Several of one gauge and labels (one for each shard, say) are added up.
    """

    gauge: str
    labels: tuple[str, ...]
    value: float


_SUBSCRIPTION: Final = {"subscription": "subscription"}
_WEBHOOK: Final = {"webhook": "webhook"}
_SYSTEM: Final = {"system": "system"}

RULES: Final[tuple[Rule, ...]] = (
    Rule("events.accepted", "interlock_events_accepted", "Events that POST /events took.", {}, "events"),
    Rule("events.accepted", "interlock_events_duplicate", "Events of those that were known.", {}, "duplicates"),
    Rule("events.refused", "interlock_events_refused", "Refusals of POST /events.", {"code": "code"}),
    Rule("events.id-conflict", "interlock_events_id_conflict", "Known ids with another payload.", {}, "events"),
    Rule(
        "webhook.accepted",
        "interlock_webhook_accepted",
        "Webhooks that were made durable, by which of the active secrets matched: 0 is the current one.",
        {**_WEBHOOK, "secret": "secret"},
    ),
    Rule("webhook.accepted", "interlock_webhook_events_accepted", "Events that webhooks made.", _WEBHOOK, "events"),
    Rule("webhook.accepted", "interlock_webhook_events_duplicate", "Those that were known.", _WEBHOOK, "duplicates"),
    Rule(
        "webhook.refused",
        "interlock_webhook_refused",
        "Webhooks whose signature was refused, by what was wrong.",
        {**_WEBHOOK, "category": "category"},
    ),
    Rule("webhook.poison", "interlock_webhook_poison", "Webhooks kept raw because their function failed.", _WEBHOOK),
    Rule(
        "webhook.duplicate-conflict",
        "interlock_webhook_duplicate_conflict",
        "Webhooks with a known id and another body.",
        _WEBHOOK,
    ),
    Rule(
        "intake.refused",
        "interlock_intake_refused",
        "Requests refused because the store could not take them.",
        {"code": "code"},
    ),
    Rule("wire.refused", "interlock_wire_refused", "Requests that the server itself refused.", {"code": "code"}),
    Rule(
        "settlement.committed",
        "interlock_events_delivered",
        "Events delivered at the first attempt or after others.",
        _SUBSCRIPTION,
        "successes",
    ),
    Rule(
        "events.delivered",
        "interlock_events_freshness_seconds",
        "Time from the acceptance of an event to its delivery.",
        _SUBSCRIPTION,
        "ages_us",
        "seconds",
        FRESHNESS_BUCKETS,
    ),
    Rule("settlement.committed", "interlock_events_dead", "Events that became dead letters.", _SUBSCRIPTION, "dead"),
    Rule("event.late", "interlock_events_late", "Events filtered because they came too late.", _SUBSCRIPTION),
    Rule(
        "sequence.skipped",
        "interlock_sequence_numbers_skipped",
        "Numbers that resequencers went on without.",
        _SUBSCRIPTION,
        "count",
    ),
    Rule(
        "sequence.repeated",
        "interlock_sequence_numbers_repeated",
        "Events filtered because another one has their number.",
        _SUBSCRIPTION,
    ),
    Rule("settlement.committed", "interlock_settlements", "Settlements that were committed.", _SUBSCRIPTION),
    Rule("settlement.in-doubt", "interlock_settlements_in_doubt", "Commits of settlements whose answer was lost.", {}),
    Rule(
        "attempt.failed",
        "interlock_attempts_failed",
        "Attempts that did not deliver, by outcome.",
        {**_SUBSCRIPTION, "outcome": "outcome"},
    ),
    Rule(
        "lane.request-applied",
        "interlock_requests_applied",
        "Requests of people that lanes have applied.",
        {**_SUBSCRIPTION, "verb": "verb"},
    ),
    Rule("lane.lost", "interlock_lanes_lost", "Lanes that lost their cursor and opened anew.", _SUBSCRIPTION),
    Rule("lane.stalled", "interlock_lanes_stalled", "Lanes that had to be woken.", _SUBSCRIPTION),
    Rule("lease.lost", "interlock_leases_lost", "Leases that ended before they were renewed.", {}),
    Rule(
        "breaker.transition",
        "interlock_breaker_transitions",
        "Changes of a System's breaker, by the state that it went to.",
        {**_SYSTEM, "state": "state"},
    ),
    Rule("limiter.paused", "interlock_limiter_paused", "Answers 429 that stopped sending for a while.", _SYSTEM),
    Rule(
        "call.ended",
        "http_client_request_duration_seconds",
        "Duration of the calls that were sent to Systems.",
        {
            "interlock_system": "system",
            "http_request_method": "method",
            "http_response_status_code": "status",
            "error_type": "error",
        },
        "duration_us",
        "seconds",
        HTTP_BUCKETS,
    ),
    Rule(
        "http.served",
        "http_server_request_duration_seconds",
        "Duration of requests to the data and the control port.",
        {"http_request_method": "method", "http_route": "route", "http_response_status_code": "status"},
        "durations_us",
        "seconds",
        HTTP_BUCKETS,
    ),
    Rule(
        "control.request",
        "http_server_request_duration_seconds",
        "Duration of requests to the data and the control port.",
        {"http_request_method": "method", "http_route": "route", "http_response_status_code": "status"},
        "duration_us",
        "seconds",
        HTTP_BUCKETS,
    ),
    Rule("control.command", "interlock_commands", "Commands of people that were committed.", {"verb": "verb"}),
    Rule("poll.page", "interlock_poll_events", "Events that polls brought.", {"poll": "poll"}, "events"),
    Rule("poll.failed", "interlock_polls_failed", "Polls that failed.", {"poll": "poll"}),
    Rule("schedule.run", "interlock_schedule_runs", "Runs of schedules.", {"schedule": "schedule"}),
    Rule("schedule.failed", "interlock_schedules_failed", "Runs of schedules that failed.", {"schedule": "schedule"}),
    Rule("schedule.missed", "interlock_schedules_missed", "Passages over missed times.", {"schedule": "schedule"}),
    Rule("body.absent", "interlock_bodies_absent", "Reads of large payloads that failed.", {"why": "why"}),
    Rule("bodies.collected", "interlock_bodies_collected", "Files that no event needed any more.", {}, "files"),
    Rule(
        "conservation.broken", "interlock_conservation_broken", "Minutes in which a lane's books did not balance.", {}
    ),
    Rule(
        "store.committed",
        "interlock_store_commit_duration_seconds",
        "How long group commits took, the way to the writer's thread and back included.",
        {},
        "duration_us",
        "seconds",
        COMMIT_BUCKETS,
    ),
    Rule("store.committed", "interlock_store_items", "Events and other writes that commits made durable.", {}, "items"),
    Rule("store.committed", "interlock_store_bytes", "Bytes of the events among them.", {}, "bytes"),
    Rule("store.commit-failed", "interlock_store_commits_failed", "Commits that failed.", {"code": "code"}),
    Rule("store.writer-busy", "interlock_store_writer_busy", "Writes refused because the queue was full.", {}),
    Rule(
        "loop.held",
        "interlock_loop_held_duration_seconds",
        "How long functions held the loop, of those that held it too long.",
        {},
        "duration_us",
        "seconds",
        (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
    ),
)

GAUGES: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "interlock_subscription_lag": ("Offsets above the floors of its cursors, of whatever type.", ("subscription",)),
    "interlock_subscription_running": ("Attempts under way.", ("subscription",)),
    "interlock_subscription_stragglers": ("Accounted events that are not settled.", ("subscription",)),
    "interlock_subscription_behind": ("Events that wait behind a blocked key.", ("subscription",)),
    "interlock_subscription_lanes_open": ("Shards of it that this process serves now.", ("subscription",)),
    "interlock_breaker_state": ("1 for the state that the System's breaker is in.", ("system", "state")),
    "interlock_system_paused": ("1 while a person has paused it.", ("system",)),
    "interlock_system_running": ("Calls under way.", ("system",)),
    "interlock_system_waiting": ("Calls that wait for the limiter.", ("system",)),
    "interlock_store_disk_free_bytes": ("What the disk of the store has free.", ()),
    "interlock_log_lines_dropped": ("Log lines that a slow reader made us drop since the start.", ()),
}
"""Gauge -> help and label names. Whoever has the values hands them in as `Reading`s."""


class Metrics:
    """A sink that keeps the metrics, and the page that shows them. It counts without a lock: call it on the loop.

    Args:
        readings: called at each scrape; gives the gauges' present values. One that is not declared is left out.
        version: of this package, for `interlock_build_info`.
        rules: which records feed which metrics.
    """

    def __init__(self, readings: Callable[[], Iterable[Reading]], version: str, rules: Sequence[Rule] = RULES) -> None:
        self._registry = CollectorRegistry()
        self._fed: dict[str, list[tuple[_Series, str | None]]] = {}
        named: dict[str, _Series] = {}
        for rule in rules:
            series = named.get(rule.metric)
            if series is None:
                series = named[rule.metric] = _Seconds(rule) if rule.kind == "seconds" else _Count(rule)
                self._registry.register(series)
            self._fed.setdefault(rule.record, []).append((series, rule.amount))
        self._registry.register(_Gauges(readings, version))
        ProcessCollector(registry=self._registry)

    def wants(self, record: str) -> bool:
        """Whether a metric is fed by this record."""
        return record in self._fed

    def __call__(self, record: str, /, **fields: object) -> None:
        for series, amount in self._fed.get(record, ()):
            series.add(fields, amount)

    def page(self, accept: str) -> tuple[bytes, str]:
        """The exposition and its media type: OpenMetrics if `accept` (the request's header) asks for it."""
        encode, media_type = choose_encoder(accept)
        return encode(self._registry), media_type


class _Series(Collector):
    """One rule's metric: a list of numbers for each combination of labels that was seen.

    The library's own counters take a lock for each step, which is more than a whole record may cost here.
    """

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self._fields = tuple(rule.labels.values())
        self._cells: dict[tuple[object, ...], list[int]] = {}
        self._shown: dict[tuple[str, ...], list[int]] = {}

    def add(self, fields: Mapping[str, object], amount_field: str | None) -> None:
        """Count one record. What cannot be counted or cannot name a series is left out."""
        amount = 1 if amount_field is None else fields.get(amount_field)
        if type(amount) is int and amount >= 0:
            amounts = [amount]
        elif type(amount) is list:
            amounts = [each for each in cast("list[object]", amount) if type(each) is int and each >= 0]
        else:
            return
        seen = tuple([fields.get(name) for name in self._fields])
        try:
            cell = self._cells.get(seen)
        except TypeError:  # a list or a mapping names no series
            return
        if cell is None:
            cell = self._cell(seen)
        for each in amounts:
            self.count(cell, each)

    def count(self, cell: list[int], amount: int) -> None:
        """Add to one combination's numbers."""
        raise NotImplementedError

    def describe(self) -> Iterable[Metric]:
        """Nothing: names are unique by the table of rules."""
        return ()

    def _cell(self, seen: tuple[object, ...]) -> list[int]:
        labels = tuple(label(*pair) for pair in zip(self._fields, seen, strict=True))
        if labels not in self._shown and len(self._shown) >= SERIES_MAX:
            labels = tuple(_OTHER for _ in labels)
        cell = self._shown.setdefault(labels, [0] * (len(self._rule.buckets) + 2))
        # What was seen may be anything a peer writes; many of them become one series, which must keep its room.
        if len(self._cells) >= SERIES_MAX:
            self._cells.clear()
        self._cells[seen] = cell
        return cell


class _Count(_Series):
    """A counter."""

    def count(self, cell: list[int], amount: int) -> None:
        cell[0] += amount

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(self._rule.metric, self._rule.help, labels=tuple(self._rule.labels))
        for labels, cell in list(self._shown.items()):
            family.add_metric(labels, cell[0])
        yield family


class _Seconds(_Series):
    """A histogram of durations: a number for each bucket, for those above the last one, and the sum in µs."""

    def __init__(self, rule: Rule) -> None:
        super().__init__(rule)
        self._bounds_us = [round(bound * 1_000_000) for bound in rule.buckets]

    def count(self, cell: list[int], amount: int) -> None:
        cell[bisect_left(self._bounds_us, amount)] += 1
        cell[-1] += amount

    def collect(self) -> Iterator[Metric]:
        family = HistogramMetricFamily(self._rule.metric, self._rule.help, labels=tuple(self._rule.labels))
        names = [*map(repr, self._rule.buckets), "+Inf"]
        for labels, cell in list(self._shown.items()):
            *counts, total_us = list(cell)
            family.add_metric(labels, list(zip(names, accumulate(counts), strict=True)), total_us / 1_000_000)
        yield family


def label(field: str, value: object) -> str:
    """A label's value. Only names, numbers and nothing may become one; unknown HTTP methods are `_OTHER`."""
    if field == "method":
        return value if isinstance(value, str) and value in _METHODS else "_OTHER"
    if isinstance(value, str):
        return value[:128].encode("utf-8", "replace").decode()
    return str(value) if isinstance(value, int) else ""


class _Gauges(Collector):
    """Reads the gauges at each scrape."""

    def __init__(self, readings: Callable[[], Iterable[Reading]], version: str) -> None:
        self._readings = readings
        self._version = version

    def collect(self) -> Iterator[Metric]:
        build = GaugeMetricFamily(
            "interlock_build_info", "Always 1; the label says which version runs.", labels=["version"]
        )
        build.add_metric([self._version], 1)
        yield build
        sums: dict[tuple[str, tuple[str, ...]], float] = {}
        for gauge, labels, value in self._readings():
            sums[gauge, labels] = sums.get((gauge, labels), 0) + value
        families = {name: GaugeMetricFamily(name, text, labels=labels) for name, (text, labels) in GAUGES.items()}
        for (gauge, labels), value in sums.items():
            if gauge in GAUGES and len(labels) == len(GAUGES[gauge][1]):
                families[gauge].add_metric(labels, value)
        yield from families.values()

    def describe(self) -> Iterable[Metric]:
        """Nothing: asking would read the gauges while the registry is being built."""
        return ()
