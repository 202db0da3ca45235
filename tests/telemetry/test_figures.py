"""proxy/telemetry/figures.py: several processes tell Prometheus one thing."""

from __future__ import annotations

import pickle
import re

from proxy.telemetry.figures import Figures, counters_of, figures_of, sum_of
from proxy.telemetry.metrics import Metrics
from tests.telemetry.test_metrics import everything


def sent(metrics: Metrics) -> Figures:
    """Return the figures as they arrive in another process."""
    figures: Figures = pickle.loads(pickle.dumps(figures_of(metrics)))  # noqa: S301 - our own
    return figures


def values(metrics: Metrics) -> dict[str, float]:
    """Return sample -> value, as Prometheus would read them."""
    lines = metrics.text()[0].decode().splitlines()
    found = (re.fullmatch(r"([^# ]\S*(?:\{.*\})?) (\S+)", line) for line in lines)
    return {match[1]: float(match[2]) for match in found if match}


def test_one_process_is_what_it_was() -> None:
    metrics = everything()
    assert values(sum_of([sent(metrics)], metrics)) == values(metrics)


def test_two_are_twice_as_much_of_everything_that_is_counted() -> None:
    metrics = everything()
    one, two = values(metrics), values(sum_of([sent(metrics), sent(metrics)], metrics))
    assert one.keys() == two.keys()
    once = re.compile(
        r"gatelodge_(build_info|certificate_|config_|endpoint_up|session_store_up|limit_store_up)"
    )
    wrong = {
        name: (one[name], two[name])
        for name in one
        if two[name] != (one[name] if once.match(name) else 2 * one[name])
    }
    assert wrong == {}
    assert any(one.values())


def test_what_only_one_has_is_there() -> None:
    first, second = Metrics(), Metrics()
    first.refusals["no_route"] = 1
    second.refusals["forbidden"] = 2
    total = sum_of([sent(first), sent(second)], Metrics())
    assert total.refusals == {"no_route": 1, "forbidden": 2}


def test_something_is_up_when_every_worker_can_use_it() -> None:
    def worker(up: bool) -> Metrics:
        metrics = Metrics()
        metrics.endpoints = lambda: [("api", "a", int(up)), ("api", "b", 1)]
        metrics.stores = lambda: [("web", up, 3, 1, 2)]
        metrics.limit_store_up = lambda: [up]
        return metrics

    total = sum_of([sent(worker(True)), sent(worker(False))], Metrics())
    assert list(total.limit_store_up()) == [False]
    assert list(total.endpoints()) == [("api", "a", 0), ("api", "b", 1)]
    assert list(total.stores()) == [("web", False, 6, 2, 4)]


def test_a_process_that_has_ended_leaves_its_counters_and_no_gauge() -> None:
    metrics = everything()
    left = counters_of(sent(metrics))
    total = sum_of([left], Metrics())
    assert total.requests == metrics.requests
    assert total.in_flight == 0
    assert dict(total.connections()) == {}
    assert list(total.endpoints()) == []


def test_without_a_process_there_is_nothing_but_our_own() -> None:
    own = Metrics()
    own.build = {"version": "1"}
    assert values(sum_of([], own))['gatelodge_build_info{version="1"}'] == 1


def test_a_certificate_ends_with_the_oldest_that_a_worker_uses() -> None:
    def worker(ends: float) -> Metrics:
        metrics = Metrics()
        metrics.certificates = lambda: [("listen", ends), ("upstreams.api", 5.0)]
        return metrics

    total = sum_of([sent(worker(20.0)), sent(worker(10.0))], Metrics())
    assert list(total.certificates()) == [("listen", 10.0), ("upstreams.api", 5.0)]
