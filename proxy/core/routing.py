"""Which route a request takes, and whether every backend would agree that it is that one.

The law of this file: the route is chosen by the bytes that go upstream. Then the path is looked at
as a more forgiving backend would read it, and if any such reading is guarded otherwise, the request
is refused.

Why one folded look-up covers all partial readings (a backend that ignores case but knows no
`;params`, and so on): folding more never makes a pattern stop matching, as patterns are folded too
and no segment folds to nothing. So whatever some reading would choose matches the folded path as
well, and is at least as specific as the chosen route. Therefore all patterns that match the folded
path are walked from the most specific down to the chosen one.

A path that is rewritten reaches what other routes to the same upstream may guard. To send it there
is what the operator has written down; but where another route's pattern is more specific than the
one that was written, the request would come in by the back door, and is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Final

from proxy.core.pattern import Pattern, PatternTree
from proxy.core.rewrite import Rewrite
from proxy.core.target import Target, fold, parse_host
from proxy.errors import AmbiguousPath, BadHost, MethodRefused, NoRoute

if TYPE_CHECKING:
    from proxy.config.model import Timeouts
    from proxy.core.cors import Cors
    from proxy.core.identity import IdentityHeaders
    from proxy.core.limits import RouteLimits
    from proxy.core.origin import OriginCheck
    from proxy.core.policy import Policy

__all__ = ["Rewrite", "Route", "RouteTable", "route_name"]

_Folding = tuple[bool, bool]
"""case_sensitive, strict_slash."""
_ALL: Final[_Folding] = (False, False)


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """One rule of the configuration, compiled. Durations are seconds; None lifts a limit.

    `methods` None is all of them; GET implies HEAD. `sessions` are names, in the order in which
    they are tried.
    """

    name: str
    path: str
    host: str | None
    methods: frozenset[str] | None
    upstream: str
    policy: Policy
    cors: Cors
    origin_check: OriginCheck
    sessions: tuple[str, ...]
    identity: IdentityHeaders
    body_limit: int | None
    body_idle: float
    timeouts: Timeouts
    attempts: int
    upgrade: bool
    rewrite: Rewrite | None
    encoded_slashes: bool
    case_sensitive: bool
    strict_slash: bool
    login_url: str | None
    limits: RouteLimits

    @property
    def guard(self) -> tuple[object, ...]:
        """What keeps others out: who may come, by which session, from where, how, and how often.

        Upstream, sizes and timeouts are no guard: a request stays with the route that was chosen
        for it, and so do they. How often is one: where a backend reads `/LOGIN` as `/login`, the
        route with the looser limit would be the way around the other.
        """
        return self.policy, self.sessions, self.origin_check, self.cors, self.upgrade, self.limits


def route_name(path: str, host: str | None, methods: Iterable[str] | None) -> str:
    """Return a route's name for logs and metrics, such as `POST api.example.com/uploads/**`."""
    prefix = "" if methods is None else ",".join(sorted(methods)) + " "
    return f"{prefix}{host or ''}{path}"


def _tie(methods: frozenset[str] | None, others: frozenset[str] | None) -> bool:
    """Whether two routes for the same paths tie. A method that is named wins over "all"."""
    if methods is None or others is None:
        return methods is others
    return not methods.isdisjoint(others)


class _Leaf:
    """The routes that share a host and a path pattern, by method."""

    __slots__ = ("_any", "_by_method", "routes")

    def __init__(self) -> None:
        self._any: Route | None = None
        self._by_method: dict[str, Route] = {}
        self.routes: list[Route] = []

    def add(self, route: Route) -> None:
        """Raises ValueError if another route of the leaf ties with `route`."""
        for other in self.routes:
            if _tie(route.methods, other.methods):
                raise ValueError(f"{route.name!r} and {other.name!r} are for the same requests")
        self.routes.append(route)
        if route.methods is None:
            self._any = route
            return
        for method in route.methods:
            self._by_method[method] = route
        if "GET" in route.methods and "HEAD" not in self._by_method:
            self._by_method["HEAD"] = route

    def offer(self, method: str) -> Route | None:
        return self._by_method.get(method, self._any)

    @property
    def allow(self) -> tuple[str, ...]:
        return tuple(sorted(self._by_method))


class _Group:
    """The routes of one host pattern, by path and by folded path."""

    __slots__ = ("folded", "leaves", "tree")

    def __init__(self) -> None:
        self.leaves: dict[Pattern, _Leaf] = {}
        self.tree: PatternTree[_Leaf] = PatternTree()
        self.folded: dict[_Folding, PatternTree[list[_Leaf]]] = {}

    def add(self, route: Route) -> None:
        pattern = Pattern.parse(route.path)
        if pattern not in self.leaves:
            self.leaves[pattern] = _Leaf()
            self.tree.add(pattern, self.leaves[pattern])
        self.leaves[pattern].add(route)

    def compile(self, foldings: Iterable[_Folding]) -> None:
        """Build the folded trees. Patterns that fold to the same one share a leaf there."""
        for folding in foldings:
            joint: dict[Pattern, list[_Leaf]] = {}
            for pattern, leaf in self.leaves.items():
                joint.setdefault(_folded(pattern, folding), []).append(leaf)
            tree = self.folded[folding] = PatternTree()
            for pattern, leaves in joint.items():
                tree.add(pattern, leaves)

    @property
    def is_folded(self) -> bool:
        """Whether folding changes none of the patterns."""
        return all(_folded(pattern, _ALL) == pattern for pattern in self.leaves)

    def rows(self) -> list[Route]:
        return [
            route
            for pattern in sorted(self.leaves, key=lambda pattern: pattern.order)
            for route in sorted(self.leaves[pattern].routes, key=_method_order)
        ]


def _method_order(route: Route) -> tuple[bool, str]:
    return route.methods is None, route.name


def _folded(pattern: Pattern, folding: _Folding) -> Pattern:
    case_sensitive, strict_slash = folding
    return pattern.folded(case_sensitive=case_sensitive, strict_slash=strict_slash)


_HOSTS_MAX: Final = 1024


class RouteTable:
    """All routes of a configuration.

    Raises ValueError for a path or host that is no pattern, and for two routes that are for the
    same requests.
    """

    def __init__(self, routes: Sequence[Route]) -> None:
        self._groups: dict[str | None, _Group] = {}
        foldings = {_ALL} | {(route.case_sensitive, route.strict_slash) for route in routes}
        for route in routes:
            self._groups.setdefault(_host_pattern(route.host), _Group()).add(route)
        for group in self._groups.values():
            group.compile(foldings)
        # Where no pattern changes by folding, a path that does not change either is found by both
        # look-ups at the same place, and the second is left out.
        self._is_folded = all(group.is_folded for group in self._groups.values())
        # Host -> its groups, in order. Emptied when full: a client may invent hosts.
        self._by_host: dict[str, tuple[_Group, ...]] = {}
        self._behind = {
            (route, group): RouteTable(_behind(route, _beside(host, routes)))
            for host, group in self._groups.items()
            for route in routes
            if route.rewrite is not None
        }

    def match(self, host: str, target: Target, method: str) -> Route:
        """Return the route for a request to `host` (canonical, as in `Host.name`).

        Host first (exact, then `*.` by length, then none), then the path, then the method: a path
        that wins without offering the method never falls back to a broader route. A preflight is
        matched with the method that it asks for. Raises NoRoute, MethodRefused and AmbiguousPath.
        """
        groups = self._by_host.get(host)
        if groups is None:
            groups = self._note_host(host)
        segments = target.path.split("/")
        for group in groups:
            leaf = group.tree.first(segments)
            if leaf is not None:
                break
        else:
            raise NoRoute
        route = leaf.offer(method)
        if route is None:
            raise MethodRefused(f"the path offers {', '.join(leaf.allow)}", allow=leaf.allow)
        if target.folded is not target.path or not self._is_folded:
            self._check_readings(groups, target, method, leaf, route)
        return route

    def check_rewritten(self, route: Route, host: str, target: Target, method: str) -> None:
        """Refuse a request by `route`, which makes `target` of its path, if that is another route's
        to guard.

        Raises AmbiguousPath.
        """
        group = (self._by_host.get(host) or self._note_host(host))[0]
        try:
            other = self._behind[route, group].match(host, target, method)
        except MethodRefused:
            other = None
        if other is None or not (other.guard == route.guard or other.policy.auth == "public"):
            raise AmbiguousPath("the path is rewritten to one with another guard")

    def rows(self) -> list[Route]:
        """Return all routes in the order in which they are tried."""
        hosts = sorted(self._groups, key=_host_order)
        return list(chain.from_iterable(self._groups[host].rows() for host in hosts))

    def _note_host(self, host: str) -> tuple[_Group, ...]:
        hosts = sorted((known for known in self._groups if _covers(known, host)), key=_host_order)
        if len(self._by_host) >= _HOSTS_MAX:
            self._by_host.clear()
        groups = self._by_host[host] = tuple(self._groups[known] for known in hosts)
        return groups

    def _check_readings(
        self,
        groups: tuple[_Group, ...],
        target: Target,
        method: str,
        leaf: _Leaf,
        route: Route,
    ) -> None:
        """Raise AmbiguousPath unless all readings of the path are guarded as `route` is.

        The flags are those of the chosen route: it is its backend that gets the request.
        """
        folding = (route.case_sensitive, route.strict_slash)
        path = target.folded if folding == _ALL else _fold(target.path, folding)
        end: _Leaf | None = leaf
        if target.encoded_slash:
            if not route.encoded_slashes:
                raise AmbiguousPath("the path holds %2f, which the route does not allow")
            kept = _fold(target.path, folding, keep_encoded_slash=True)
            self._check_reading(groups, kept, folding, method, leaf, route)
            # Read as a slash, it makes another path of which the chosen pattern may know nothing.
            # That no route knows it is fine: whoever allows %2f vouches that the backend takes it
            # for a character.
            decoded = target.path.replace("%2f", "/").replace("%2F", "/").split("/")
            end = next(filter(None, (group.tree.first(decoded) for group in groups)), None)
        self._check_reading(groups, path, folding, method, end, route)

    @staticmethod
    def _check_reading(
        groups: tuple[_Group, ...],
        folded: str,
        folding: _Folding,
        method: str,
        end: _Leaf | None,
        route: Route,
    ) -> None:
        """Walk what matches `folded`, most specific first, to `end`: all must be guarded alike."""
        segments = folded.split("/")
        for group in groups:
            for leaves in group.folded[folding].every(segments):
                if not _all_guard_alike(leaves, method, route):
                    raise AmbiguousPath("read otherwise, the path leads to another guard")
                if end in leaves:
                    return
        if end is not None:
            raise AmbiguousPath("read otherwise, the path leads to no route")


def _beside(host: str | None, routes: Iterable[Route]) -> list[Route]:
    """Return the routes for requests to hosts of which `host` is the narrowest pattern."""
    example = "" if host is None else host.replace("*", "\0")  # a label that is in no pattern
    return [route for route in routes if _covers(_host_pattern(route.host), example)]


def _behind(route: Route, routes: Iterable[Route]) -> list[Route]:
    """Return those of `routes` that have the upstream of `route`, by the paths that it sees and for
    any host; of those that are for the same paths as `route` only that.
    """
    seen = [replace(_as_seen(route), methods=None)]  # that it offers the method was seen before
    others = [other for other in routes if other is not route and other.upstream == route.upstream]
    # Of two for the same paths the one counts that is written so, and demands something.
    others.sort(key=lambda other: (other.rewrite is not None, other.policy.auth == "public"))
    for other in map(_as_seen, others):
        same = [each for each in seen if Pattern.parse(each.path) == Pattern.parse(other.path)]
        if not any(each is seen[0] or _tie(each.methods, other.methods) for each in same):
            seen.append(other)
    return seen


def _as_seen(route: Route) -> Route:
    path = route.path if route.rewrite is None else str(route.rewrite.result)
    return replace(route, path=path, host=None, rewrite=None)


def _all_guard_alike(leaves: Iterable[_Leaf], method: str, route: Route) -> bool:
    """Whether `method` is offered by one of `leaves` at least, and by all that do as by `route`."""
    offered = False
    for leaf in leaves:
        other = leaf.offer(method)
        if other is not None:
            if other is not route and other.guard != route.guard:
                return False
            offered = True
    return offered


def _fold(path: str, folding: _Folding, *, keep_encoded_slash: bool = False) -> str:
    case_sensitive, strict_slash = folding
    return fold(
        path,
        case_sensitive=case_sensitive,
        strict_slash=strict_slash,
        keep_encoded_slash=keep_encoded_slash,
    )


def _host_pattern(host: str | None) -> str | None:
    """Return `host` in canonical form. Raises ValueError unless it is `NAME` or `*.NAME`."""
    if host is None:
        return None
    star = "*." if host.startswith("*.") else ""
    try:
        parsed = parse_host(host.removeprefix("*.").encode())
    except BadHost:
        parsed = None
    if parsed is None or parsed.port is not None:
        raise ValueError("host is a name without a port, or *. and a name")
    return star + parsed.name


def _covers(pattern: str | None, host: str) -> bool:
    if pattern is None or pattern == host:
        return True
    # The apex itself is not below: "example.com" does not end in ".example.com".
    return pattern.startswith("*.") and host.endswith(pattern[1:])


def _host_order(pattern: str | None) -> tuple[int, int, str]:
    if pattern is None:
        return 2, 0, ""
    if pattern.startswith("*."):
        return 1, -pattern.count("."), pattern
    return 0, 0, pattern
