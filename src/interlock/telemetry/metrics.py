"""Metrics for Prometheus and OpenMetrics: seconds and bytes, counters end in `_total`, every label is bounded.

Counters and histograms are fed by records (`RULES`); gauges are read when somebody asks (`GAUGES`), so that what is
shown is what is. HTTP durations follow the OpenTelemetry semantic conventions, version 1.44.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Histogram, Metric, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

SERIES_MAX: Final = 1_000
"""Label combinations of one metric. What comes after them is counted together, under `_other`."""
_OTHER: Final = "_other"
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"})
HTTP_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Seconds, as the OpenTelemetry conventions advise for HTTP durations."""
COMMIT_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Rule(NamedTuple):
    """One metric and the record that feeds it.

    Attributes:
        record: the record's name.
        metric: the metric's name; a counter's without `_total`.
        help: one sentence.
        labels: label name -> field name.
        amount: the field that holds how many, or how long in µs; None counts one.
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
    """The present value of a gauge of `GAUGES`; `labels` in the order declared there."""

    gauge: str
    labels: tuple[str, ...]
    value: float


_HTTP_SERVER: Final = {
    "http_request_method": "method",
    "http_route": "route",
    "http_response_status_code": "status",
}
_HTTP_CLIENT: Final = {
    "http_request_method": "method",
    "interlock_system": "system",
    "http_response_status_code": "status",
    "error_type": "error",
}

RULES: Final[tuple[Rule, ...]] = ()

GAUGES: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "interlock_subscription_lag_events": ("Events of its types that it has not accounted for.", ("subscription",)),
    "interlock_subscription_stragglers": (
        "Accounted events that are not settled, by state.",
        ("subscription", "state"),
    ),
    "interlock_subscription_behind_events": ("Events that wait behind a blocked key.", ("subscription",)),
    "interlock_subscription_paused": ("1 while a person has paused it.", ("subscription",)),
    "interlock_subscription_conservation_error_events": (
        "Left side minus right side of the conservation equation; anything but 0 is a bug.",
        ("subscription",),
    ),
    "interlock_breaker_state": ("1 for the state that the System's breaker is in.", ("system", "state")),
    "interlock_system_paused": ("1 while a person has paused it.", ("system",)),
    "interlock_system_running_calls": ("Calls under way.", ("system",)),
    "interlock_system_waiting_calls": ("Calls that wait for the limiter.", ("system",)),
    "interlock_log_lines_dropped": ("Log lines that a slow reader made us drop since the start.", ()),
}
"""Gauge -> help and label names. Whoever has the values hands them in as `Reading`s."""


class Metrics:
    """A sink that keeps the metrics, and the page that shows them.

    Args:
        readings: called at each scrape; gives the gauges' present values. Those of unknown gauges are left out.
        version: of this package, for `interlock_build_info`.
        rules: which records feed which metrics.
    """

    def __init__(self, readings: Callable[[], Iterable[Reading]], version: str, rules: Sequence[Rule] = RULES) -> None:
        self._registry = _Registry()
        self._fed: dict[str, list[_Series]] = {}
        for rule in rules:
            self._fed.setdefault(rule.record, []).append(_Series(rule, self._registry))
        self._registry.register(_Gauges(readings, version))
        ProcessCollector(registry=self._registry)

    def __call__(self, record: str, /, **fields: object) -> None:
        for series in self._fed.get(record, ()):
            series.add(fields)

    def page(self, accept: str) -> tuple[bytes, str]:
        """The exposition and its media type: OpenMetrics if `accept` (the request's header) asks for it."""
        encode, media_type = choose_encoder(accept)
        return encode(self._registry), media_type


class _Registry(CollectorRegistry):
    """Leaves out the `_created` samples: they double every series and nobody reads them."""

    def collect(self) -> Iterator[Metric]:
        for family in super().collect():
            family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
            yield family


class _Series:
    """One rule's metric, with the label combinations seen so far."""

    def __init__(self, rule: Rule, registry: CollectorRegistry) -> None:
        names = tuple(rule.labels)
        self._fields = tuple(rule.labels.values())
        self._amount = rule.amount
        self._adders: dict[tuple[object, ...], Callable[[float], None]] = {}
        self._scale = 1e-6 if rule.kind == "seconds" else 1.0
        if rule.kind == "seconds":
            self._metric: Counter | Histogram = Histogram(
                rule.metric, rule.help, names, registry=registry, buckets=rule.buckets
            )
        else:
            self._metric = Counter(rule.metric, rule.help, names, registry=registry)

    def add(self, fields: Mapping[str, object]) -> None:
        amount = 1 if self._amount is None else fields.get(self._amount)
        if not isinstance(amount, int | float) or amount < 0:
            return
        seen = tuple([fields.get(name) for name in self._fields])
        try:
            adder = self._adders.get(seen)
        except TypeError:  # a list or a mapping names no series
            return
        if adder is None:
            adder = self._adder(seen)
        adder(amount * self._scale)

    def _adder(self, seen: tuple[object, ...]) -> Callable[[float], None]:
        full = len(self._adders) >= SERIES_MAX
        values = [_OTHER] * len(seen) if full else [label(*pair) for pair in zip(self._fields, seen, strict=True)]
        metric = self._metric.labels(*values) if values else self._metric
        adder = metric.observe if isinstance(metric, Histogram) else metric.inc
        if not full:
            self._adders[seen] = adder
        return adder


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
        families = {name: GaugeMetricFamily(name, text, labels=labels) for name, (text, labels) in GAUGES.items()}
        for reading in self._readings():
            family = families.get(reading.gauge)
            if family is not None and len(family.samples) < SERIES_MAX * 8:
                family.add_metric(list(reading.labels), reading.value)
        yield from families.values()

    def describe(self) -> Iterable[Metric]:
        """Nothing: asking would read the gauges while the registry is being built."""
        return ()
