"""Whatever goes upstream, no backend reads it as a path that demands more than what was checked.

The oracle is made of the backends of test_routing.py: every choice of what a backend may forgive
(escapes decoded once, `;params` cut, dots and spaces trimmed, slashes merged, case ignored, a slash
at the end dropped), with the plainest matching of patterns that can be written down. It shares no
code with what it judges, but the grammar of patterns.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from proxy.core.pattern import Pattern
from proxy.core.rewrite import Rewrite
from proxy.core.routing import Route, RouteTable
from proxy.core.target import Host, canonicalise
from proxy.errors import BadRequest, MethodRefused, NoRoute
from tests.core.test_routing import BACKENDS, HOST, backend_choices, backend_reading, guarded

STRICTNESS = {"public": 0, "required": 1, "admin": 2}

# Routes: plain ones, and ones that are rewritten. No two of them are for the same paths.
PARTS = ["api", "Admin", "admin", "v1", "x", "*"]
paths = st.builds(
    lambda parts, end: "/" + "/".join([*parts, *end]),
    st.lists(st.sampled_from(PARTS), min_size=1, max_size=3),
    st.sampled_from([[], ["**"]]),
) | st.just("/**")
guards = st.sampled_from(sorted(STRICTNESS))
results = st.none() | paths

# Targets: pieces that some backend reads as another path, in any order, and any text at all.
# fmt: off
TRICKY = [
    "api", "API", "admin", "ADMIN", "Admin", "v1", "x", "%61dmin", "adm%49n", "admin;v=1", "admin.",
    "admin%20", "admin%2e", "admin%3b", "", ".", "..", "%2e", "%2e%2e", ".%2E", "%252e%252e", "..;",
    "%2f", "%2F..%2f", "%5c", "\\", "..\\", "%00", "admin%00", "%c0%ae", "%e0%80%ae", "%ef%bc%8e",
    "%", "%zz", "%u002e", "?", "#", "admin?", ";", ";/", " ", "\t", "\xe9", "~", "5", "a.b",
]
# fmt: on
targets = st.lists(st.sampled_from(TRICKY), min_size=1, max_size=5).map(
    lambda parts: "/" + "/".join(parts)
)


def rewritten(path: str, result: str | None, guard: str, **changes: Any) -> Route | None:
    """Return a route, or None where `result` does not go with `path`."""
    if result is None:
        return guarded(path, guard, **changes)
    try:
        rewrite = Rewrite.replace(path, result)
    except ValueError:
        return None
    return guarded(path, guard, rewrite=rewrite, **changes)


def forwarded(routes: list[Route], sent: str) -> tuple[Route, str] | None:
    """Return the route and the path that goes upstream, as `decide` does it."""
    table = RouteTable(routes)
    host = Host(HOST, None)
    try:
        target = canonicalise(sent, "GET", host)
        route = table.match(HOST, target, "GET")
        if route.rewrite is None:
            return route, target.path
        path, _ = route.rewrite.apply(target)
        table.check_rewritten(route, HOST, canonicalise(path, "GET", host), "GET")
    except (NoRoute, MethodRefused, BadRequest):
        return None
    return route, path.partition("?")[0]


def strictness(route: Route) -> int:
    return next(
        level for guard, level in STRICTNESS.items() if guarded("/", guard).policy == route.policy
    )


def as_seen(route: Route) -> Route:
    if route.rewrite is None:
        return route
    return replace(route, path=str(route.rewrite.result), rewrite=None)


tables = st.dictionaries(paths, st.tuples(guards, results), min_size=1, max_size=6)


@given(tables, targets | targets.map(lambda sent: sent + "?q=/../admin") | st.text(max_size=30))
@example({"/**": ("public", None), "/admin/**": ("admin", None)}, "/%41dmin/x")
@example({"/v1/**": ("public", "/**"), "/admin/**": ("admin", None)}, "/v1/admin/x")
@example({"/v1/**": ("public", "/**"), "/admin/**": ("admin", None)}, "/v1/ADMIN;x/y")
@example({"/v1/*": ("public", "/admin/*"), "/admin/x": ("admin", None)}, "/v1/X")
@example({"/v1/**": ("public", "/**"), "/**": ("required", None)}, "/v1//evil.test/x")
@example({"/v1/**": ("required", "/**"), "/x/**": ("public", None)}, "/v1/x/y")
def test_what_is_forwarded_demands_no_more_wherever_it_arrives(
    table: dict[str, tuple[str, str | None]], sent: str
) -> None:
    made = [rewritten(path, result, guard) for path, (guard, result) in table.items()]
    routes = [route for route in made if route is not None]
    found = forwarded(routes, sent)
    if found is None:
        return
    route, path = found
    assert path.startswith("/")
    assert not path.startswith("//")
    # What other routes reach at this upstream; the chosen one is where the operator sent it.
    own = as_seen(route)
    others = [
        as_seen(each)
        for each in routes
        if each is not route and Pattern.parse(as_seen(each).path) != Pattern.parse(own.path)
    ]
    for forgives in BACKENDS:
        arrived = backend_reading(path, forgives)
        assert ".." not in arrived.split("/"), forgives
        for other in backend_choices([own, *others], path, forgives):
            demanded = min(
                strictness(each)
                for each in [*others, own]
                if each is other or each.path == other.path
            )
            assert demanded <= strictness(route), (forgives, arrived, other.path)


@given(tables, targets)
def test_what_is_not_rewritten_goes_upstream_as_it_was_sent(
    table: dict[str, tuple[str, str | None]], sent: str
) -> None:
    routes = [guarded(path, guard) for path, (guard, _) in table.items()]
    found = forwarded(routes, sent)
    assert found is None or found[1] == sent.partition("?")[0]
