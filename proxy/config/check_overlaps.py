"""Do the routes make sense together?

Two of them must not be for the same requests, and none may open a door that another one closes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Final

from proxy.config.inherit import cors_for, csrf_for, sessions_for, upgrades
from proxy.config.patterns import Pattern, offered, shared_methods

if TYPE_CHECKING:
    from proxy.config.model import Config, RouteConfig
    from proxy.config.problems import Report

_STRICTNESS: Final = {"public": 0, "optional": 1, "required": 2}


@dataclass(frozen=True)
class _Rule:
    """A route with its pattern read."""

    position: int
    route: RouteConfig
    pattern: Pattern

    @property
    def host(self) -> str | None:
        return None if self.route.host is None else self.route.host.lower().removesuffix(".")


def check_overlaps(config: Config, report: Report) -> None:
    """Refuse ties, routes that only a forgiving backend tells apart, and shadowed strict routes."""
    rules = list(_rules(config))
    for first, second in combinations(rules, 2):
        if first.host != second.host:
            continue
        if first.pattern == second.pattern:
            if _ties(first.route, second.route):
                _report_tie(first, second, report)
        elif first.pattern.folded() == second.pattern.folded():
            _check_fold(config, first, second, report)
    for rule in rules:
        if rule.host is not None:
            _check_shadow(rule, rules, report)


def _rules(config: Config) -> Iterator[_Rule]:
    for position, route in enumerate(config.routes):
        try:
            yield _Rule(position, route, Pattern.parse(route.path))
        except ValueError:
            continue  # Told by check_routes.


def _ties(one: RouteConfig, two: RouteConfig) -> bool:
    """Say whether no rule decides between two routes for the same paths.

    A route that names its methods wins over one that takes them all.
    """
    if one.methods is None or two.methods is None:
        return one.methods is two.methods
    return bool(offered(one.methods) & offered(two.methods))


def _report_tie(first: _Rule, second: _Rule, report: Report) -> None:
    shared = shared_methods(first.route.methods, second.route.methods)
    methods = "" if shared is None else f" with {', '.join(sorted(shared))}"
    line = report.line(("routes", first.position))
    message = f"this route and the one {line} are for the same requests{methods}"
    report.add(("routes", second.position, "path"), message)


def _check_fold(config: Config, first: _Rule, second: _Rule, report: Report) -> None:
    """Report two routes that are one to a forgiving backend and are guarded differently."""
    one, two = first.route, second.route
    if not _is_apart(first, second) and _guard(config, one) != _guard(config, two):
        line = report.line(("routes", first.position))
        message = (
            f"this path differs from the one {line} only in case or by a slash at its end, and "
            "the routes are guarded differently, so such requests would all be refused as "
            "ambiguous; if the upstream tells them apart, write case_sensitive: true or "
            "strict_slash: true on both"
        )
        report.add(("routes", second.position, "path"), message)


def _is_apart(first: _Rule, second: _Rule) -> bool:
    """Say whether the flags of both routes keep their paths apart."""
    one, two = first.pattern, second.pattern
    cased = one.segments if one.segments[-1:] != ("",) else one.segments[:-1]
    other = two.segments if two.segments[-1:] != ("",) else two.segments[:-1]
    if cased != other:
        return first.route.case_sensitive and second.route.case_sensitive
    return first.route.strict_slash and second.route.strict_slash


def _guard(config: Config, route: RouteConfig) -> tuple[object, ...]:
    return (
        route.auth,
        route.require,
        sessions_for(config, route),
        cors_for(config, route),
        csrf_for(config, route),
        upgrades(route),
    )


def _check_shadow(rule: _Rule, rules: list[_Rule], report: Report) -> None:
    """Report a route with a host that lets through what a route without one holds back.

    Routes with a host are tried first, however broad their path, so on that host they win.
    """
    for strict in rules:
        if strict.host is not None or not rule.pattern.overlaps(strict.pattern):
            continue
        if shared_methods(rule.route.methods, strict.route.methods) == frozenset():
            continue
        if _is_as_strict(rule.route, strict.route) or _is_taken_care_of(rule, strict, rules):
            continue
        line = report.line(("routes", strict.position))
        message = (
            f"on this host, this route takes requests from the stricter one {line}, because a "
            "host comes first: make this route as strict, repeat the stricter one with this host, "
            "or give that one the host that it is meant for"
        )
        report.add(("routes", rule.position, "host"), message)
        return


def _is_taken_care_of(rule: _Rule, strict: _Rule, rules: list[_Rule]) -> bool:
    """Say whether the same host has another route that wins over `rule` and is strict enough."""
    return any(
        other.host == rule.host
        and other.pattern.covers(strict.pattern)
        and _wins(other, rule, strict)
        and _is_as_strict(other.route, strict.route)
        for other in rules
    )


def _wins(one: _Rule, two: _Rule, strict: _Rule) -> bool:
    """Say whether what `strict` is for goes to the first rule rather than to the second."""
    if one.pattern != two.pattern:
        # The path decides before the method: what the winner does not offer is refused with 405.
        return one.pattern.rank < two.pattern.rank
    named, wanted = one.route.methods, strict.route.methods
    if named is None or two.route.methods is not None or wanted is None:
        return False
    return offered(wanted) <= offered(named)


def _is_as_strict(one: RouteConfig, two: RouteConfig) -> bool:
    """Say whether whoever may use the first route may use the second."""
    if _STRICTNESS[one.auth] < _STRICTNESS[two.auth]:
        return False
    asked, wanted = one.require, two.require
    return (
        _is_narrower(asked.roles, wanted.roles)
        and _is_narrower(asked.email_domains, wanted.email_domains)
        and all(
            path in asked.claims and _values(asked.claims[path]) <= _values(values)
            for path, values in wanted.claims.items()
        )
    )


def _values(values: tuple[object, ...]) -> set[tuple[bool, object]]:
    # To Python True is 1; to a token it is not.
    return {(isinstance(value, bool), value) for value in values}


def _is_narrower(one: tuple[str, ...], two: tuple[str, ...]) -> bool:
    """Compare lists of which the user needs one entry; an empty list asks for nothing."""
    return not two or (bool(one) and set(one) <= set(two))
