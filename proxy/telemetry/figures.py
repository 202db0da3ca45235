"""The metrics of several processes as those of one: what a supervisor tells Prometheus.

A worker sends its figures (`figures_of`), and the supervisor adds them up (`sum_of`). Counters add
up; of a gauge of 0 or 1 the least counts, since something that one worker cannot use is a reason to
look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from proxy.telemetry.metrics import Histogram, Metrics

Figures = dict[str, Any]
"""Name of an attribute of Metrics -> its value at one moment, as it can be sent to a process."""

_OWN: Final = ("build", "reload_successful", "reload_timestamp")
"""What is not summed but the supervisor's own."""


def figures_of(metrics: Metrics) -> Figures:
    """Return the figures of this moment, gauges included."""
    return {
        name: _as_sent(value()) if callable(value) else value
        for name, value in vars(metrics).items()
        if name not in _OWN
    }


def counters_of(figures: Figures) -> Figures:
    """Return what stays true of a process that has ended: its counters, none of its gauges."""
    gauges = {"in_flight", *(name for name, value in vars(Metrics()).items() if callable(value))}
    return {name: value for name, value in figures.items() if name not in gauges}


def sum_of(many: Iterable[Figures], own: Metrics) -> Metrics:
    """Return metrics that hold the sum of `many`, and what is `own` to the one who sums."""
    total = Metrics()
    for name in _OWN:
        setattr(total, name, getattr(own, name))
    for name, value in added(many).items():
        is_gauge = callable(getattr(total, name))
        if is_gauge and name in _ROWS:
            value = _ROWS[name](value)
        setattr(total, name, _gauge(value) if is_gauge else value)
    return total


def _as_sent(value: Any) -> Any:
    """Return a gauge's value: rows as a list, since a generator cannot be sent."""
    return value if value is None or isinstance(value, int | float | dict) else list(value)


def added(many: Iterable[Figures]) -> Figures:
    """Return the sums of figures, to be summed again."""
    sums: Figures = {}
    for figures in many:
        sums = _plus(sums, figures)
    return sums


def _plus(one: Any, other: Any) -> Any:
    """Return the sum of two figures of one name."""
    if isinstance(one, Histogram):
        return _histograms(one, other)
    if one is None or other is None:
        return other if one is None else one
    if isinstance(one, bool):
        return one and other
    if isinstance(one, dict):
        both = dict(one)
        for key, value in other.items():
            both[key] = _plus(both[key], value) if key in both else value
        return both
    if isinstance(one, int | float):
        return one + other
    return [*one, *other]


def _histograms(one: Histogram, other: Histogram) -> Histogram:
    both = Histogram()
    both.counts = [a + b for a, b in zip(one.counts, other.counts, strict=True)]
    both.total = one.total + other.total
    return both


def _gauge(value: Any) -> Callable[[], Any]:
    return lambda: value


def _endpoints(rows: Iterable[tuple[str, str, int]]) -> list[tuple[str, str, int]]:
    """Return each endpoint once, up if it is for every worker."""
    up: dict[tuple[str, str], int] = {}
    for upstream, endpoint, is_up in rows:
        up[upstream, endpoint] = min(is_up, up.get((upstream, endpoint), is_up))
    return [(*key, is_up) for key, is_up in up.items()]


def _stores(
    rows: Iterable[tuple[str, bool, int, int, int]],
) -> list[tuple[str, bool, int, int, int]]:
    """Return each store once, up if it is for every worker, with the sums of its numbers."""
    found: dict[str, tuple[bool, int, int, int]] = {}
    for name, is_up, *numbers in rows:
        before = found.get(name, (True, 0, 0, 0))
        opened, idle, waiting = (a + b for a, b in zip(before[1:], numbers, strict=True))
        found[name] = before[0] and is_up, opened, idle, waiting
    return [(name, *state) for name, state in found.items()]


def _limits(rows: Iterable[tuple[str, str, str, int]]) -> list[tuple[str, str, str, int]]:
    """Return each limit once, with the sum of its clients."""
    kept: dict[tuple[str, str, str], int] = {}
    for scope, by, rate, count in rows:
        kept[scope, by, rate] = kept.get((scope, by, rate), 0) + count
    return [(*key, count) for key, count in kept.items()]


def _all_of(rows: Iterable[bool]) -> list[bool]:
    """Return whether it is so for every worker, if there is something to tell."""
    listed = list(rows)
    return [all(listed)] if listed else []


def _certificates(rows: Iterable[tuple[str, float]]) -> list[tuple[str, float]]:
    """Return each certificate once, with the end of the oldest that a worker uses."""
    ends: dict[str, float] = {}
    for place, end in rows:
        ends[place] = min(end, ends.get(place, end))
    return list(ends.items())


_ROWS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "certificates": _certificates,
    "endpoints": _endpoints,
    "stores": _stores,
    "limits": _limits,
    "limit_store_up": _all_of,
}
"""Gauges that are rows -> how the rows of all workers become those of one."""
