"""What the gateway counts, and how Prometheus is told.

On the data path these are plain integers: a labelled prometheus_client counter costs 1.5 µs an
increment, an int 0.05. The library makes the exposition from them when somebody asks. Labels come
from the configuration, never from a request.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

if TYPE_CHECKING:
    from proxy.core.exchange import Exchange

BUCKETS: Final = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
)
"""Upper bounds of the duration histograms, in seconds."""
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
NO_ROUTE: Final = "-"


class Histogram:
    """Durations by bucket."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.total = 0.0

    def __repr__(self) -> str:
        return f"<Histogram count={sum(self.counts)}>"

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Return the cumulative counts by upper bound, as Prometheus wants them."""
        pairs, count = [], 0
        for bound, here in zip((*map(str, BUCKETS), "+Inf"), self.counts, strict=True):
            count += here
            pairs.append((bound, float(count)))
        return pairs


class Metrics:
    """The counters of one process. `gauges` are asked for when they are read: label values ->
    number.
    """

    def __init__(self) -> None:
        self.requests: dict[tuple[str, str, int], int] = {}
        self.request_seconds: dict[str, Histogram] = {}
        self.upstream_seconds: dict[str, Histogram] = {}
        self.refusals: dict[str, int] = {}
        self.arrivals_refused: dict[str, int] = {}
        self.sessions: dict[tuple[str, str], int] = {}
        self.session_cache_hits = 0
        self.session_cache_misses = 0
        self.session_cache_refusals = 0
        self.session_cache_joined = 0
        self.session_store_seconds = Histogram()
        self.limited: dict[tuple[str, str, str], int] = {}
        """Refusals by a limit's scope, what it is by, and its rate."""
        self.limit_store: dict[str, int] = {}
        self.retries = 0
        self.in_flight = 0
        self.log_lines_dropped = 0
        self.reload_successful = 1
        self.reload_timestamp = 0.0
        self.build: dict[str, str] = {}
        self.connections: Callable[[], dict[str, int]] = dict
        self.endpoints: Callable[[], Iterable[tuple[str, str, int]]] = tuple
        self.stores: Callable[[], Iterable[tuple[str, bool, int, int, int]]] = tuple
        """Session, whether its store is up, connections open and idle, look-ups that wait."""
        self.certificates: Callable[[], Iterable[tuple[str, float]]] = tuple
        """Where in the configuration a certificate of ours stands, and when it ends."""

        self.limits: Callable[[], Iterable[tuple[str, str, str, int]]] = tuple
        """Scope, by and rate of each limit, and clients of whom a count is kept."""
        self.limit_store_up: Callable[[], Iterable[bool]] = tuple
        """Whether the server that counts requests answers, if there is one."""

    def __repr__(self) -> str:
        return f"<Metrics requests={sum(self.requests.values())} in_flight={self.in_flight}>"

    def count(self, x: Exchange, seconds: float) -> None:
        """Count a finished exchange that took `seconds`."""
        self.in_flight -= 1
        route = NO_ROUTE if x.route is None else x.route.name
        method = x.head.method if x.head.method in METHODS else "other"
        key = (route, method, x.status)
        self.requests[key] = self.requests.get(key, 0) + 1
        _histogram(self.request_seconds, route).observe(seconds)
        if x.code:
            self.refusals[x.code] = self.refusals.get(x.code, 0) + 1
        if x.attempts:
            self.retries += x.attempts - 1
            _histogram(self.upstream_seconds, x.upstream).observe(x.upstream_seconds)
        if x.session and x.session_result:
            result = (x.session, x.session_result)
            self.sessions[result] = self.sessions.get(result, 0) + 1

    def count_limited(self, scope: str, by: str, rate: str) -> None:
        """Count a request that a limit refused; `scope` is a route's name, or ""."""
        limit = (scope or NO_ROUTE, by, rate)
        self.limited[limit] = self.limited.get(limit, 0) + 1

    def count_store(self, result: str, requests: int = 1) -> None:
        """Count requests for which the server that counts was asked, with this result."""
        self.limit_store[result] = self.limit_store.get(result, 0) + requests

    def text(self) -> tuple[bytes, str]:
        """Return the exposition and its content type."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Exposition(self))
        return generate_latest(registry), CONTENT_TYPE_LATEST


def _histogram(histograms: dict[str, Histogram], label: str) -> Histogram:
    histogram = histograms.get(label)
    if histogram is None:
        histogram = histograms[label] = Histogram()
    return histogram


class _Exposition(Collector):
    """Reads Metrics out, family by family."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        yield from self._counters()
        yield from self._durations()
        yield from self._gauges()
        yield from self._stores()
        yield from self._limits()

    def _counters(self) -> Iterator[Metric]:
        m = self._metrics
        requests = CounterMetricFamily(
            "gatelodge_requests", "Requests answered.", labels=["route", "method", "code"]
        )
        for (route, method, status), count in m.requests.items():
            requests.add_metric([route, method, str(status)], count)
        refusals = CounterMetricFamily(
            "gatelodge_refusals", "Requests that ended in an error of ours.", labels=["code"]
        )
        for code, count in m.refusals.items():
            refusals.add_metric([code], count)
        sessions = CounterMetricFamily(
            "gatelodge_session", "Sessions looked at.", labels=["session", "result"]
        )
        for (session, result), count in m.sessions.items():
            sessions.add_metric([session, result], count)
        cache = CounterMetricFamily(
            "gatelodge_session_cache", "Look-ups of verified sessions.", labels=["result"]
        )
        cache.add_metric(["hit"], m.session_cache_hits)
        cache.add_metric(["miss"], m.session_cache_misses)
        cache.add_metric(["refused"], m.session_cache_refusals)
        cache.add_metric(["joined"], m.session_cache_joined)
        refused = CounterMetricFamily(
            "gatelodge_arrivals_refused",
            "Connections that were closed before they were a client's.",
            labels=["reason"],
        )
        for reason, count in m.arrivals_refused.items():
            refused.add_metric([reason], count)
        yield from (requests, refusals, refused, sessions, cache)
        yield CounterMetricFamily("gatelodge_retries", "Requests sent once more.", m.retries)
        yield CounterMetricFamily(
            "gatelodge_log_lines_dropped",
            "Log lines that could not be written.",
            m.log_lines_dropped,
        )

    def _durations(self) -> Iterator[Metric]:
        for name, text, label, histograms in (
            (
                "gatelodge_request_duration_seconds",
                "From the whole head to the end of the answer.",
                "route",
                self._metrics.request_seconds,
            ),
            (
                "gatelodge_upstream_duration_seconds",
                "From the choice of an endpoint to the end of its answer.",
                "upstream",
                self._metrics.upstream_seconds,
            ),
        ):
            family = HistogramMetricFamily(name, text, labels=[label])
            for value, histogram in histograms.items():
                family.add_metric([value], histogram.buckets(), histogram.total)
            yield family
        store = HistogramMetricFamily(
            "gatelodge_session_store_duration_seconds",
            "Look-ups of sessions in a database, with the wait for a connection.",
        )
        seconds = self._metrics.session_store_seconds
        store.add_metric([], seconds.buckets(), seconds.total)
        yield store

    def _stores(self) -> Iterator[Metric]:
        up = GaugeMetricFamily(
            "gatelodge_session_store_up", "Whether a database answers.", labels=["session"]
        )
        connections = GaugeMetricFamily(
            "gatelodge_session_store_connections",
            "Connections to a database.",
            labels=["session", "state"],
        )
        waiting = GaugeMetricFamily(
            "gatelodge_session_store_waiting",
            "Look-ups that wait for a connection.",
            labels=["session"],
        )
        for session, is_up, opened, idle, waits in self._metrics.stores():
            up.add_metric([session], int(is_up))
            connections.add_metric([session, "busy"], opened - idle)
            connections.add_metric([session, "idle"], idle)
            waiting.add_metric([session], waits)
        yield from (up, connections, waiting)

    def _limits(self) -> Iterator[Metric]:
        labels = ["scope", "by", "rate"]
        limited = CounterMetricFamily(
            "gatelodge_rate_limited", "Requests that a rate limit refused.", labels=labels
        )
        for limit, count in self._metrics.limited.items():
            limited.add_metric(limit, count)
        entries = GaugeMetricFamily(
            "gatelodge_rate_limit_entries", "Clients of whom a count is kept.", labels=labels
        )
        for scope, by, rate, kept in self._metrics.limits():
            entries.add_metric([scope or NO_ROUTE, by, rate], kept)
        store = CounterMetricFamily(
            "gatelodge_limit_store", "Requests for which Redis was to be asked.", labels=["result"]
        )
        for result, count in self._metrics.limit_store.items():
            store.add_metric([result], count)
        yield from (limited, entries, store)
        for up in self._metrics.limit_store_up():
            yield GaugeMetricFamily("gatelodge_limit_store_up", "Whether Redis answers.", int(up))

    def _gauges(self) -> Iterator[Metric]:
        m = self._metrics
        yield GaugeMetricFamily(
            "gatelodge_requests_in_flight", "Requests being answered.", m.in_flight
        )
        connections = GaugeMetricFamily(
            "gatelodge_connections", "Open connections.", labels=["side"]
        )
        for side, count in m.connections().items():
            connections.add_metric([side], count)
        endpoints = GaugeMetricFamily(
            "gatelodge_endpoint_up", "Whether an endpoint is used.", labels=["upstream", "endpoint"]
        )
        for upstream, endpoint, up in m.endpoints():
            endpoints.add_metric([upstream, endpoint], up)
        build = GaugeMetricFamily("gatelodge_build_info", "What runs.", labels=list(m.build))
        build.add_metric(list(m.build.values()), 1)
        certificates = GaugeMetricFamily(
            "gatelodge_certificate_expiry_timestamp_seconds",
            "When a certificate of ours ends.",
            labels=["of"],
        )
        for place, ends in m.certificates():
            certificates.add_metric([place], ends)
        yield from (connections, endpoints, certificates, build)
        yield GaugeMetricFamily(
            "gatelodge_config_last_reload_successful",
            "Whether the configuration that was read last is in use.",
            m.reload_successful,
        )
        yield GaugeMetricFamily(
            "gatelodge_config_last_reload_timestamp_seconds",
            "When the configuration in use was read.",
            m.reload_timestamp,
        )
