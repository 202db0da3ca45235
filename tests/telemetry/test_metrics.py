from __future__ import annotations

import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from proxy.core.exchange import Exchange
from proxy.telemetry.metrics import BUCKETS, METHODS, Histogram, Metrics
from tests.support.exchanges import HOST, SECRET, exchange, head, rules_of

Labels = dict[str, str]

RULES = rules_of(f"""
sessions: {{web: {{secret: {SECRET}}}}}
upstreams: {{api: {{endpoints: [http://127.0.0.1:8000]}}}}
routes: [{{path: /api/**, upstream: api}}, {{path: "/we'ird,=(%22)/**", upstream: api}}]
""")
API, WEIRD = sorted(RULES.routes.rows(), key=lambda route: route.path)

# Section 6 of the design, and how the databases are.
NAMES: dict[str, tuple[str, ...]] = {
    "gatelodge_requests_total": ("route", "method", "code"),
    "gatelodge_request_duration_seconds": ("route",),
    "gatelodge_upstream_duration_seconds": ("upstream",),
    "gatelodge_requests_in_flight": (),
    "gatelodge_refusals_total": ("code",),
    "gatelodge_arrivals_refused_total": ("reason",),
    "gatelodge_session_total": ("session", "result"),
    "gatelodge_session_cache_total": ("result",),
    "gatelodge_session_store_duration_seconds": (),
    "gatelodge_session_store_up": ("session",),
    "gatelodge_session_store_connections": ("session", "state"),
    "gatelodge_session_store_waiting": ("session",),
    "gatelodge_endpoint_up": ("upstream", "endpoint"),
    "gatelodge_retries_total": (),
    "gatelodge_connections": ("side",),
    "gatelodge_config_last_reload_successful": (),
    "gatelodge_config_last_reload_timestamp_seconds": (),
    "gatelodge_certificate_expiry_timestamp_seconds": ("of",),
    "gatelodge_build_info": ("version",),
    "gatelodge_log_lines_dropped_total": (),
    "gatelodge_rate_limited_total": ("scope", "by", "rate"),
    "gatelodge_rate_limit_entries": ("scope", "by", "rate"),
    "gatelodge_limit_store_total": ("result",),
    "gatelodge_limit_store_up": (),
}


def done(method: str = "GET", target: str = "/api/x", **changes: Any) -> Exchange:
    settings: dict[str, Any] = {"route": API, "status": 200} | changes
    return exchange(head(method=method, target=target), **settings)


def counted(metrics: Metrics, *exchanges: Exchange, seconds: float = 0.5) -> Metrics:
    for x in exchanges:
        metrics.in_flight += 1
        metrics.count(x, seconds)
    return metrics


def samples(metrics: Metrics) -> list[tuple[str, Labels, float]]:
    """Return what Prometheus reads: every sample of the exposition, by name and labels."""
    data, content_type = metrics.text()
    assert content_type.startswith("text/plain; version=")
    return [
        (sample.name, dict(sample.labels), sample.value)
        for family in text_string_to_metric_families(data.decode())
        for sample in family.samples
    ]


def values(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    """Return the samples called `name`: label values in the order of NAMES -> value."""
    order = NAMES[re.sub("_(sum|count)$", "", name)]
    found = [(labels, value) for key, labels, value in samples(metrics) if key == name]
    return {tuple(labels[label] for label in order): value for labels, value in found}


def everything() -> Metrics:
    metrics = Metrics()
    metrics.build = {"version": "1.2"}
    metrics.connections = lambda: {"client": 3, "upstream": 1}
    metrics.endpoints = lambda: [("api", "127.0.0.1:8000", 1)]
    metrics.stores = lambda: [("web", True, 1, 1, 0)]
    metrics.limits = lambda: [("", "ip", "100/m", 1)]
    metrics.limit_store_up = lambda: [True]
    metrics.count_limited("", "ip", "100/m")
    metrics.count_store("answered")
    metrics.arrivals_refused = {"peer_untrusted": 2}
    metrics.certificates = lambda: [("listen", 1_800_000_000.0)]
    x = done(attempts=1, upstream="api", session="web", session_result="valid", code="internal")
    return counted(metrics, x)


def test_the_names_and_labels_are_those_of_the_contract() -> None:
    found: dict[str, set[str]] = {}
    for name, labels, _ in samples(everything()):
        family = re.sub("_(bucket|sum|count)$", "", name)
        found.setdefault(family, set()).update(labels.keys() - {"le"})
    assert found == {name: set(labels) for name, labels in NAMES.items()}


def test_every_family_has_its_type_and_says_what_it_is() -> None:
    data, _ = everything().text()
    families = list(text_string_to_metric_families(data.decode()))
    kinds = {family.name: family.type for family in families}
    assert kinds["gatelodge_requests"] == "counter"
    assert kinds["gatelodge_request_duration_seconds"] == "histogram"
    assert kinds["gatelodge_requests_in_flight"] == "gauge"
    assert all(family.documentation for family in families)
    assert len(kinds) == len(families)


def test_a_process_that_has_done_nothing_can_be_read() -> None:
    found = {name: value for name, _, value in samples(Metrics())}
    assert found["gatelodge_requests_in_flight"] == 0
    assert found["gatelodge_retries_total"] == 0
    assert found["gatelodge_log_lines_dropped_total"] == 0
    assert found["gatelodge_config_last_reload_successful"] == 1
    assert found["gatelodge_config_last_reload_timestamp_seconds"] == 0
    assert found["gatelodge_build_info"] == 1
    assert values(Metrics(), "gatelodge_session_cache_total") == {
        ("hit",): 0,
        ("miss",): 0,
        ("refused",): 0,
        ("joined",): 0,
    }
    assert found["gatelodge_session_store_duration_seconds_count"] == 0


def test_requests_are_counted_by_route_method_and_status() -> None:
    metrics = counted(Metrics(), done(), done(), done("POST"), done(status=404), done(route=None))
    assert values(metrics, "gatelodge_requests_total") == {
        ("/api/**", "GET", "200"): 2,
        ("/api/**", "POST", "200"): 1,
        ("/api/**", "GET", "404"): 1,
        ("-", "GET", "200"): 1,
    }


def test_names_of_the_configuration_are_told_whatever_is_in_them() -> None:
    metrics = counted(Metrics(), done(route=WEIRD))
    assert values(metrics, "gatelodge_requests_total") == {(WEIRD.name, "GET", "200"): 1}


@pytest.mark.parametrize("method", [*sorted(METHODS), "PROPFIND", "FOO", "get", "", 'A"\n'])
def test_methods_outside_the_list_are_one(method: str) -> None:
    metrics = counted(Metrics(), done(method))
    label = method if method in METHODS else "other"
    assert values(metrics, "gatelodge_requests_total") == {("/api/**", label, "200"): 1}


def test_no_label_comes_from_a_request() -> None:
    before = counted(everything(), done(route=None, status=404, code="no_route"))
    mark = "mark-of-the-client"
    request = head(
        ("X-Request-Id", mark),
        ("User-Agent", mark),
        ("Cookie", mark),
        ("Origin", mark),
        method=mark.upper(),
        target=f"/{mark}?{mark}",
        host=mark,
    )
    x = exchange(request, route=None, status=404, code="no_route", reason=mark, user=mark)
    x.request_id = x.traceparent = x.endpoint = mark
    after = counted(everything(), x)
    assert mark not in after.text()[0].decode().lower()
    assert len(samples(after)) == len(samples(before))


def test_refusals_are_counted_by_code() -> None:
    metrics = counted(
        Metrics(), done(code="no_route"), done(code="no_route"), done(code="forbidden")
    )
    counted(metrics, done())
    expected = {("no_route",): 2.0, ("forbidden",): 1.0}
    assert values(metrics, "gatelodge_refusals_total") == expected


def test_sessions_are_counted_by_what_became_of_them() -> None:
    metrics = counted(
        Metrics(),
        done(session="web", session_result="valid"),
        done(session="web", session_result="valid"),
        done(session="web", session_result="session_invalid"),
        done(session="tenant", session_result="session_expired"),
        done(session="web"),  # refused before anybody looked at it
        done(session_result="session_missing"),
        done(),
    )
    assert values(metrics, "gatelodge_session_total") == {
        ("web", "valid"): 2,
        ("web", "session_invalid"): 1,
        ("tenant", "session_expired"): 1,
    }


def test_cache_look_ups_are_told_by_what_came_of_them() -> None:
    metrics = Metrics()
    metrics.session_cache_hits, metrics.session_cache_misses = 5, 2
    metrics.session_cache_refusals, metrics.session_cache_joined = 3, 4
    assert values(metrics, "gatelodge_session_cache_total") == {
        ("hit",): 5,
        ("miss",): 2,
        ("refused",): 3,
        ("joined",): 4,
    }


def test_look_ups_in_a_database_are_timed() -> None:
    metrics = Metrics()
    metrics.session_store_seconds.observe(0.25)
    metrics.session_store_seconds.observe(0.5)
    assert values(metrics, "gatelodge_session_store_duration_seconds_count") == {(): 2}
    assert values(metrics, "gatelodge_session_store_duration_seconds_sum") == {(): 0.75}


def test_stores_are_told_of_when_they_are_asked_for() -> None:
    metrics = Metrics()
    metrics.stores = lambda: [("web", True, 5, 2, 1), ("shop", False, 0, 0, 0)]
    assert values(metrics, "gatelodge_session_store_up") == {("web",): 1, ("shop",): 0}
    assert values(metrics, "gatelodge_session_store_connections") == {
        ("web", "busy"): 3,
        ("web", "idle"): 2,
        ("shop", "busy"): 0,
        ("shop", "idle"): 0,
    }
    assert values(metrics, "gatelodge_session_store_waiting") == {("web",): 1, ("shop",): 0}


def test_retries_are_the_tries_beyond_the_first() -> None:
    metrics = counted(
        Metrics(),
        done(),
        done(attempts=1, upstream="api"),
        done(attempts=3, upstream="api"),
    )
    assert values(metrics, "gatelodge_retries_total") == {(): 2}
    count = values(metrics, "gatelodge_upstream_duration_seconds_count")
    assert count == {("api",): 2}


def test_upstream_time_is_its_own() -> None:
    x = done(attempts=1, upstream="api", upstream_seconds=0.25)
    metrics = counted(Metrics(), x, seconds=2.0)
    assert values(metrics, "gatelodge_upstream_duration_seconds_sum") == {("api",): 0.25}
    assert values(metrics, "gatelodge_request_duration_seconds_sum") == {("/api/**",): 2.0}


def test_requests_in_flight_rise_and_fall() -> None:
    metrics = Metrics()
    metrics.in_flight += 2
    assert values(metrics, "gatelodge_requests_in_flight") == {(): 2}
    metrics.count(done(), 0.1)
    assert values(metrics, "gatelodge_requests_in_flight") == {(): 1}


def test_what_is_asked_for_is_asked_at_every_reading() -> None:
    metrics = everything()
    assert values(metrics, "gatelodge_connections") == {("client",): 3, ("upstream",): 1}
    metrics.connections = lambda: {"client": 0}
    metrics.endpoints = lambda: [("api", "a:1", 1), ("api", "b:1", 0)]
    assert values(metrics, "gatelodge_connections") == {("client",): 0}
    assert values(metrics, "gatelodge_endpoint_up") == {("api", "a:1"): 1, ("api", "b:1"): 0}


def test_reloads_and_lost_lines_are_told() -> None:
    metrics = Metrics()
    metrics.reload_successful, metrics.reload_timestamp, metrics.log_lines_dropped = 0, 1.5e9, 7
    assert values(metrics, "gatelodge_config_last_reload_successful") == {(): 0}
    assert values(metrics, "gatelodge_config_last_reload_timestamp_seconds") == {(): 1.5e9}
    assert values(metrics, "gatelodge_log_lines_dropped_total") == {(): 7}


@given(st.lists(st.one_of(st.floats(0, 100), st.sampled_from(BUCKETS)), max_size=20))
def test_buckets_are_cumulative_and_hold_what_is_not_above_their_bound(
    durations: list[float],
) -> None:
    metrics = Metrics()
    for seconds in durations:
        counted(metrics, done(), seconds=seconds)
    found = [
        (float(labels["le"]), value)
        for name, labels, value in samples(metrics)
        if name == "gatelodge_request_duration_seconds_bucket"
    ]
    if not durations:
        assert found == []
        return
    assert [bound for bound, _ in found] == [*BUCKETS, math.inf]
    assert found == [(bound, sum(seconds <= bound for seconds in durations)) for bound, _ in found]
    total = values(metrics, "gatelodge_request_duration_seconds_sum")[("/api/**",)]
    assert total == pytest.approx(sum(durations))
    count = values(metrics, "gatelodge_request_duration_seconds_count")
    assert count == {("/api/**",): len(durations)}


def test_bounds_rise() -> None:
    assert list(BUCKETS) == sorted(set(BUCKETS))


def test_reprs_show_numbers() -> None:
    metrics = counted(Metrics(), done(), done("POST"))
    metrics.in_flight = 4
    assert repr(metrics) == "<Metrics requests=2 in_flight=4>"
    histogram = Histogram()
    histogram.observe(0.1)
    assert repr(histogram) == "<Histogram count=1>"
    assert HOST not in repr(metrics)


def test_limits_are_told_by_what_the_configuration_calls_them() -> None:
    metrics = Metrics()
    metrics.count_limited("", "ip", "100/m")
    metrics.count_limited("", "ip", "100/m")
    metrics.count_limited("POST /x", "user", "5/h")
    metrics.limits = lambda: [("", "ip", "100/m", 7), ("POST /x", "user", "5/h", 2)]
    metrics.count_store("answered", 3)
    metrics.count_store("failed")
    top = {"scope": "-", "by": "ip", "rate": "100/m"}
    own = {"scope": "POST /x", "by": "user", "rate": "5/h"}
    found = samples(metrics)
    assert ("gatelodge_rate_limited_total", top, 2.0) in found
    assert ("gatelodge_rate_limited_total", own, 1.0) in found
    assert ("gatelodge_rate_limit_entries", top, 7.0) in found
    assert ("gatelodge_limit_store_total", {"result": "answered"}, 3.0) in found
    assert ("gatelodge_limit_store_total", {"result": "failed"}, 1.0) in found


@pytest.mark.parametrize(("up", "expected"), [([True], [1.0]), ([False], [0.0]), ([], [])])
def test_redis_is_told_of_where_there_is_one(up: list[bool], expected: list[float]) -> None:
    metrics = Metrics()
    metrics.limit_store_up = lambda: up
    found = [value for name, _, value in samples(metrics) if name == "gatelodge_limit_store_up"]
    assert found == expected
