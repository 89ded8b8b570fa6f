"""Metrics: names and units, bounded labels, gauges that are read when asked, and the two formats of the page."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from interlock.telemetry.metrics import GAUGES, RULES, SERIES_MAX, Metrics, Reading, Rule
from interlock.telemetry.records import RECORDS

COUNT = Rule("shop.sold", "interlock_sold", "Things sold.", {"stream": "stream"}, amount="count")
TIMED = Rule(
    "http.done",
    "http_server_request_duration_seconds",
    "Duration.",
    {"http_request_method": "method"},
    amount="duration_us",
    kind="seconds",
    buckets=(0.1, 1.0),
)


def page(metrics: Metrics, accept: str = "") -> str:
    return metrics.page(accept)[0].decode()


def fresh(*rules: Rule, readings: tuple[Reading, ...] = ()) -> Metrics:
    return Metrics(lambda: readings, "1.2.3", rules)


def test_a_record_adds_its_amount_under_its_labels() -> None:
    metrics = fresh(COUNT)
    metrics("shop.sold", stream="payments", count=3)
    metrics("shop.sold", stream="payments", count=4)
    metrics("unknown.record", stream="payments", count=4)
    assert 'interlock_sold_total{stream="payments"} 7.0' in page(metrics)


def test_webhooks_are_counted_by_the_secret_that_matched_so_that_the_old_one_can_go() -> None:
    metrics = fresh(*RULES)
    for secret in (0, 1, 1, None):
        metrics("webhook.accepted", webhook="shop.from_github", events=1, duplicates=0, secret=secret)
    text = page(metrics)
    assert 'interlock_webhook_accepted_total{secret="1",webhook="shop.from_github"} 2.0' in text
    assert 'interlock_webhook_accepted_total{secret="",webhook="shop.from_github"} 1.0' in text


def test_durations_come_in_microseconds_and_are_shown_in_seconds() -> None:
    metrics = fresh(TIMED)
    metrics("http.done", method="GET", duration_us=250_000)
    text = page(metrics)
    assert 'http_server_request_duration_seconds_bucket{http_request_method="GET",le="0.1"} 0.0' in text
    assert 'http_server_request_duration_seconds_sum{http_request_method="GET"} 0.25' in text


def test_an_unknown_http_method_does_not_become_a_label() -> None:
    metrics = fresh(TIMED)
    metrics("http.done", method="BREW", duration_us=1)
    assert 'http_request_method="_OTHER"' in page(metrics)
    assert "BREW" not in page(metrics)


def test_methods_that_a_peer_makes_up_do_not_take_the_room_of_others() -> None:
    metrics = fresh(TIMED)
    for n in range(SERIES_MAX + 50):
        metrics("http.done", method=f"BREW{n}", duration_us=1)
    metrics("http.done", method="GET", duration_us=1)
    text = page(metrics)
    assert f'_count{{http_request_method="_OTHER"}} {SERIES_MAX + 50}.0' in text
    assert '_count{http_request_method="GET"} 1.0' in text


def test_a_list_of_durations_counts_each_and_two_records_may_feed_one_metric() -> None:
    many = TIMED._replace(record="http.many", amount="durations_us")
    metrics = fresh(TIMED, many)
    metrics("http.done", method="GET", duration_us=250_000)
    metrics("http.many", method="GET", durations_us=[50_000, 100_000, "?", -1])
    text = page(metrics)
    assert text.count("# TYPE http_server_request_duration_seconds histogram") == 1
    assert '_bucket{http_request_method="GET",le="0.1"} 2.0' in text
    assert '_count{http_request_method="GET"} 3.0' in text
    assert '_sum{http_request_method="GET"} 0.4' in text


def test_label_combinations_are_bounded_and_nothing_is_lost_from_the_sum() -> None:
    metrics = fresh(COUNT)
    for n in range(SERIES_MAX + 50):
        metrics("shop.sold", stream=f"s{n}", count=1)
    text = page(metrics)
    assert 'interlock_sold_total{stream="_other"} 50.0' in text
    assert len(re.findall(r"^interlock_sold_total", text, re.MULTILINE)) == SERIES_MAX + 1


@given(
    st.one_of(st.none(), st.text(), st.integers(), st.floats(), st.lists(st.integers()), st.binary()),
    st.one_of(st.none(), st.text(), st.integers()),
)
def test_no_field_makes_a_metric_fail(stream: object, count: object) -> None:
    metrics = fresh(COUNT)
    metrics("shop.sold", stream=stream, count=count)
    page(metrics)


def test_gauges_show_what_is_when_somebody_asks_summed_over_shards() -> None:
    now = [Reading("interlock_subscription_lag", ("payments.book",), shard) for shard in (4, 3)]
    metrics = Metrics(lambda: now, "1", ())
    assert 'interlock_subscription_lag{subscription="payments.book"} 7.0' in page(metrics)
    now[:] = [Reading("no_such_gauge", (), 1), Reading("interlock_subscription_lag", (), 1)]
    text = page(metrics)
    assert "payments.book" not in text
    assert "no_such_gauge" not in text
    assert "interlock_subscription_lag 1" not in text


def test_both_formats_parse_and_openmetrics_ends_with_eof() -> None:
    metrics = fresh(COUNT, TIMED)
    metrics("shop.sold", stream='a"b\\c\n', count=1)
    metrics("http.done", method="GET", duration_us=5)
    assert list(parse_text(page(metrics)))
    body, media_type = metrics.page("application/openmetrics-text; version=1.0.0")
    assert media_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")
    assert list(parse_openmetrics(body.decode()))
    assert "_created" not in page(metrics)


def test_every_metric_has_help_a_base_unit_and_names_that_prometheus_takes() -> None:
    for rule in RULES:
        assert rule.help.endswith(".")
        assert re.fullmatch(r"(interlock|http)_[a-z_]+", rule.metric)
        assert (rule.kind == "seconds") == rule.metric.endswith("_seconds")
        assert (rule.kind == "seconds") == bool(rule.buckets)
        assert all(re.fullmatch(r"[a-z_]+", name) for name in rule.labels)
    for name, (text, _) in GAUGES.items():
        assert text.endswith(".")
        assert name.startswith("interlock_")


def test_every_rule_is_fed_by_a_registered_record_that_has_its_fields() -> None:
    for rule in RULES:
        fields = RECORDS[rule.record].fields
        assert set(rule.labels.values()) <= set(fields), rule
        assert rule.amount is None or rule.amount in fields, rule


def test_the_page_says_which_version_runs() -> None:
    assert 'interlock_build_info{version="1.2.3"} 1.0' in page(fresh())
