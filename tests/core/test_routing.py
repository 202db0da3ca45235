from __future__ import annotations

import re
from itertools import product
from typing import Any, Literal

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from proxy.config.model import CorsConfig, Rate, Timeouts
from proxy.core.cors import Cors
from proxy.core.identity import IdentityHeaders
from proxy.core.limits import Limit, RouteLimits
from proxy.core.origin import OriginCheck
from proxy.core.pattern import Pattern
from proxy.core.policy import Policy
from proxy.core.routing import Rewrite, Route, RouteTable, route_name
from proxy.core.target import Host, Target, canonicalise
from proxy.errors import AmbiguousPath, BadRequest, MethodRefused, NoRoute

Auth = Literal["required", "optional", "public"]
HOST = "api.example.test"


def route(
    path: str,
    auth: Auth = "required",
    *,
    host: str | None = None,
    methods: set[str] | None = None,
    **changes: Any,
) -> Route:
    settings: dict[str, Any] = {
        "name": route_name(path, host, methods),
        "path": path,
        "host": host,
        "methods": None if methods is None else frozenset(methods),
        "upstream": "api",
        "policy": Policy(auth),
        "cors": Cors(None),
        "origin_check": OriginCheck(True, [], None),
        "sessions": ("web",),
        "identity": IdentityHeaders({}),
        "body_limit": None,
        "body_idle": 30.0,
        "timeouts": Timeouts(),
        "attempts": 2,
        "upgrade": auth != "public",
        "rewrite": None,
        "encoded_slashes": False,
        "case_sensitive": False,
        "strict_slash": False,
        "login_url": None,
        "limits": RouteLimits(),
    }
    return Route(**(settings | changes))


def admin(path: str, **changes: Any) -> Route:
    return route(path, policy=Policy("required", roles={"admin"}), **changes)


def match(table: RouteTable, sent: str, method: str = "GET", host: str = HOST) -> str:
    return table.match(host, canonicalise(sent, method, Host(host, None)), method).name


def outcome(table: RouteTable, sent: str, method: str = "GET", host: str = HOST) -> object:
    try:
        return match(table, sent, method, host)
    except (NoRoute, MethodRefused, BadRequest) as refusal:
        return type(refusal)


BASE = RouteTable(
    [
        route("/public/**", "public"),
        route("/api/optional/**", "optional"),
        admin("/api/admin/**"),
        route("/api/**"),
    ]
)
STRIP = RouteTable([*BASE.rows(), route("/svc/**", rewrite=Rewrite.strip("/svc/**", "/svc"))])

# The attack cases about paths: what is sent, and what must come of it.
ATTACKS = {
    "PA-01": ("/public/../api/admin/x", AmbiguousPath),
    "PA-02": ("/public/%2e%2e/api/admin/x", AmbiguousPath),
    "PA-03": ("/public/..%2fapi/admin/x", AmbiguousPath),
    "PA-04": ("/public%2f..%2fapi%2fadmin%2fx", AmbiguousPath),
    "PA-05": ("/public/%2E%2E%2Fapi/admin/x", AmbiguousPath),
    "PA-06": ("/public/.%2e/api/admin/x", AmbiguousPath),
    "PA-07": ("/public/%252e%252e%252fapi/admin/x", "/public/**"),
    "PA-08": ("/public/..\\api\\admin\\x", AmbiguousPath),
    "PA-09": ("/public/..%5capi%5cadmin", AmbiguousPath),
    "PA-10": ("/public/..;/api/admin/x", AmbiguousPath),
    "PA-11": ("/public/..", AmbiguousPath),
    "PA-12": ("/public/%2e%2e", AmbiguousPath),
    "PA-14": ("/public/x/%2e%2e/%2e%2e/api/admin", AmbiguousPath),
    "PA-16": ("/public/%c0%ae%c0%ae%c0%afapi/admin", "/public/**"),
    "PA-17": ("/public/%ef%bc%8e%ef%bc%8e%ef%bc%8fapi/admin", "/public/**"),
    "PA-21": ("/api/%61dmin/x", AmbiguousPath),
    "PA-22": ("/api/admin%2fx", AmbiguousPath),
    "PA-23": ("/api%2fadmin/x", NoRoute),
    "PA-24": ("/api/admin;a=b/x", AmbiguousPath),
    "PA-25": ("/api;/admin/x", NoRoute),
    "PA-27": ("/api/admin%00/x", AmbiguousPath),
    "PA-28": ("/api/admin%20/x", AmbiguousPath),
    "PA-30": ("/api/admin%0a/x", AmbiguousPath),
    "PA-31": ("/api/admin%09/x", AmbiguousPath),
    "PA-34": ("/api/admin\\x", AmbiguousPath),
    "PA-37": ("/%61pi/admin/x", NoRoute),
    "PA-38": ("/API/Admin/x", NoRoute),
    "PA-46": ("/api/admin;x.css", AmbiguousPath),
    "PA-47": ("/api/admin%3fx.css", AmbiguousPath),
    "PA-48": ("/api/admin%23x.css", AmbiguousPath),
    "PA-50": ("/api/admin%2f.css", AmbiguousPath),
    "PA-51": ("/api/admin?x.css", "/api/admin/**"),
    "PA-56": ("//evil.test/x", AmbiguousPath),
    "PA-62": ("/public/%ff%fe", "/public/**"),
    "upper case below a prefix": ("/api/ADMIN/x", AmbiguousPath),
    "trailing dot": ("/api/admin./x", AmbiguousPath),
    "two slashes": ("/api//admin/x", AmbiguousPath),
    "encoded semicolon": ("/api/admin%3b/x", AmbiguousPath),
    "dots and encoded semicolon": ("/public/..%3b/api/admin/x", AmbiguousPath),
    "optional folds into required": ("/api/optional;/x", AmbiguousPath),
}


@pytest.mark.parametrize(("sent", "expected"), ATTACKS.values(), ids=ATTACKS)
def test_path_tricks_do_not_change_the_guard(sent: str, expected: object) -> None:
    assert outcome(BASE, sent) == expected


STRIP_ATTACKS = {
    "PA-68": ("/svc../api/admin/x", NoRoute),
    "PA-70": ("/svc%2f..%2fapi/admin", AmbiguousPath),
    "PA-73": ("/svc:80@evil.test/", NoRoute),
    "PA-74": ("/svcx/y", NoRoute),
    "dot segments after the prefix": ("/svc/../api/admin", AmbiguousPath),
    "the prefix itself": ("/svc", "/svc/**"),
    "the prefix with parameters": ("/svc;x/y", NoRoute),
    "the prefix in upper case": ("/SVC/y", NoRoute),
}


@pytest.mark.parametrize(("sent", "expected"), STRIP_ATTACKS.values(), ids=STRIP_ATTACKS)
def test_a_prefix_ends_at_a_slash(sent: str, expected: object) -> None:
    assert outcome(STRIP, sent) == expected


def test_hosts_go_from_exact_over_wildcards_to_none() -> None:
    table = RouteTable(
        [
            route("/x", host="a.example.test"),
            route("/x", host="*.deep.example.test"),
            route("/x", host="*.example.test"),
            route("/x"),
            route("/only-here"),
        ]
    )
    expected = {
        "a.example.test": "a.example.test/x",
        "b.example.test": "*.example.test/x",
        "b.c.example.test": "*.example.test/x",
        "b.deep.example.test": "*.deep.example.test/x",
        "deep.example.test": "*.example.test/x",
        "example.test": "/x",
        "evilexample.test": "/x",
        "a.example.test.evil.test": "/x",
    }
    assert {host: match(table, "/x", host=host) for host in expected} == expected
    assert match(table, "/only-here", host="a.example.test") == "/only-here"


def test_a_host_pattern_is_canonical() -> None:
    table = RouteTable([route("/x", host="*.Example.TEST."), route("/y", host="A.Example.test")])
    assert match(table, "/x", host="b.example.test") == "*.Example.TEST./x"
    assert match(table, "/y", host="a.example.test") == "A.Example.test/y"


@pytest.mark.parametrize("host", ["", "a b", "a:80", "*", "*.", "*.*.test", "a.*", "a/b"])
def test_what_is_no_host_pattern_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match="host is a name"):
        RouteTable([route("/x", host=host)])


def test_many_hosts_do_not_fill_the_memory() -> None:
    table = RouteTable([route("/x", host="*.example.test"), route("/**")])
    for number in range(3000):
        assert match(table, "/x", host=f"h{number}.example.test") == "*.example.test/x"
    assert len(table._by_host) <= 1024


def test_the_method_comes_after_the_path() -> None:
    table = RouteTable(
        [
            route("/**"),
            route("/uploads/**", methods={"POST", "GET"}),
            admin("/api/**", methods={"DELETE"}),
            route("/api/**"),
            route("/once", methods={"GET"}),
            route("/once", methods={"HEAD"}),
            route("/twice", methods={"HEAD"}),
            route("/twice", methods={"GET"}),
        ]
    )
    assert match(table, "/uploads/x", "POST") == "GET,POST /uploads/**"
    assert match(table, "/uploads/x", "HEAD") == "GET,POST /uploads/**"
    assert match(table, "/api/x", "DELETE") == "DELETE /api/**"
    assert match(table, "/api/x", "PUT") == "/api/**"
    assert match(table, "/api/x", "delete") == "/api/**"
    assert match(table, "/once", "HEAD") == "HEAD /once"
    assert match(table, "/twice", "HEAD") == "HEAD /twice"
    with pytest.raises(MethodRefused) as refused:
        match(table, "/uploads/x", "DELETE")
    assert refused.value.allow == ("GET", "HEAD", "POST")
    assert refused.value.status == 405


def test_a_path_of_a_narrow_host_is_405_there_and_nothing_broader() -> None:
    table = RouteTable([route("/x", host=HOST, methods={"POST"}), route("/x")])
    assert outcome(table, "/x", "GET") is MethodRefused
    assert outcome(table, "/x", "GET", "other.test") == "/x"


def test_no_route_is_the_default() -> None:
    assert outcome(RouteTable([]), "/") is NoRoute
    assert outcome(RouteTable([route("/x", host="other.test")]), "/x") is NoRoute


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (route("/a/**"), route("/a/**", "public")),
        (route("/a", methods={"GET"}), route("/a", methods={"GET", "POST"})),
        (route("/a", host="a.test"), route("/a", host="A.test.")),
    ],
)
def test_two_routes_for_the_same_requests_are_an_error(one: Route, other: Route) -> None:
    with pytest.raises(ValueError, match="are for the same requests"):
        RouteTable([one, other])


def test_routes_that_differ_by_method_or_host_are_no_tie() -> None:
    RouteTable(
        [
            route("/a"),
            route("/a", methods={"GET"}),
            route("/a", methods={"HEAD", "POST"}),
            route("/a", host="a.test"),
            route("/a", host="*.a.test"),
            route("/a/"),
            route("/a/**"),
        ]
    )


def test_rows_come_in_the_order_in_which_they_are_tried() -> None:
    names = [
        "POST b.test/z",
        "b.test/z",
        "*.x.a.test/**",
        "*.a.test/**",
        "/a/b",
        "/a/*/c",
        "/a/**",
        "/b",
        "/*/b",
        "/**",
    ]
    routes = {}
    for name in names:
        methods, _, rest = name.rpartition(" ")
        host, slash, path = rest.partition("/")
        routes[name] = route(
            slash + path, host=host or None, methods={methods} if methods else None
        )
    table = RouteTable([routes[name] for name in sorted(names)])
    assert [row.name for row in table.rows()] == names


def test_a_route_is_named_after_what_it_matches() -> None:
    assert route_name("/x/**", None, None) == "/x/**"
    assert route_name("/x", "api.example.com", ["POST", "GET"]) == "GET,POST api.example.com/x"


# What counts as a guard and what does not: a path that folds into a route that differs in this.
GUARDS = {
    "auth": {"policy": Policy("optional")},
    "roles": {"policy": Policy("required", roles={"x"})},
    "claims": {"policy": Policy("required", claims={"x": 1})},
    "sessions": {"sessions": ("web", "other")},
    "origin check": {"origin_check": OriginCheck(False, [], None)},
    "origins": {"origin_check": OriginCheck(True, ["https://a.test"], None)},
    "cors": {"cors": Cors(CorsConfig(origins=("https://a.test",)))},
    "upgrade": {"upgrade": False},
    "rate limits": {"limits": RouteLimits((Limit("/x", "ip", Rate(5, 60), 5),))},
}


@pytest.mark.parametrize("changes", GUARDS.values(), ids=GUARDS)
def test_another_guard_makes_a_path_ambiguous(changes: dict[str, Any]) -> None:
    table = RouteTable([route("/**"), route("/x/**", **changes)])
    assert outcome(table, "/X/y") is AmbiguousPath
    assert outcome(table, "/x/y") == "/x/**"
    assert outcome(table, "/Y/y") == "/**"


NO_GUARDS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "upstream": {"upstream": "other"},
    "sizes": {"body_limit": 5, "body_idle": 1.0, "attempts": 1},
    "rewrite": {"rewrite": Rewrite.strip("/x/**", "/x")},
    "equal rules, compiled again": {
        "policy": Policy("required"),
        "cors": Cors(CorsConfig()),
        "origin_check": OriginCheck(True, [], None),
        "limits": RouteLimits(),
    },
}


@pytest.mark.parametrize("changes", NO_GUARDS.values(), ids=NO_GUARDS)
def test_the_same_guard_makes_no_path_ambiguous(changes: dict[str, Any]) -> None:
    table = RouteTable([route("/**"), route("/x/**", **changes)])
    assert outcome(table, "/X/y") == "/**"


def test_a_folded_reading_that_refuses_the_method_is_ambiguous() -> None:
    table = RouteTable([route("/**"), route("/x", methods={"POST"})])
    assert outcome(table, "/X", "POST") == "/**"
    assert outcome(table, "/X", "GET") is AmbiguousPath


def test_siblings_that_fold_alike_must_be_guarded_alike() -> None:
    table = RouteTable([route("/a", methods={"GET"}), route("/A", methods={"POST"})])
    assert outcome(table, "/a", "GET") == "GET /a"
    assert outcome(table, "/A", "POST") == "POST /A"
    table = RouteTable([route("/a"), admin("/A")])
    assert outcome(table, "/a") is AmbiguousPath
    assert outcome(table, "/A") is AmbiguousPath


def test_a_narrower_host_counts_in_the_folded_reading() -> None:
    table = RouteTable([admin("/x", host=HOST), route("/**")])
    assert outcome(table, "/X") is AmbiguousPath
    assert outcome(table, "/X", host="other.test") == "/**"


def test_an_exception_inside_a_guarded_folder_does_not_open_the_folder() -> None:
    """A backend that ignores case but knows no parameters reads `/api/health;x`, a guarded path."""
    table = RouteTable([route("/**", "public"), route("/api/**"), route("/api/health", "public")])
    assert outcome(table, "/api/health") == "/api/health"
    assert outcome(table, "/API/health;x") is AmbiguousPath
    assert outcome(table, "/API/health") is AmbiguousPath


def test_a_target_that_folds_to_no_route_at_all_is_refused() -> None:
    """The folding here cannot make one; should it ever, the answer is no."""
    table = RouteTable([route("/x")])
    with pytest.raises(AmbiguousPath):
        table.match(HOST, Target(path="/x", query=None, folded="/y", encoded_slash=False), "GET")


def test_flags_say_that_the_backend_of_the_chosen_route_tells_paths_apart() -> None:
    routes = [admin("/admin"), admin("/Case/Admin"), route("/dir")]
    for case, slash in product([False, True], repeat=2):
        table = RouteTable([*routes, route("/**", case_sensitive=case, strict_slash=slash)])
        assert outcome(table, "/Admin") == ("/**" if case else AmbiguousPath)
        assert outcome(table, "/admin/") == ("/**" if slash else AmbiguousPath)
        assert outcome(table, "/Admin/") == ("/**" if case or slash else AmbiguousPath)
        assert outcome(table, "/case/admin") == ("/**" if case else AmbiguousPath)
        assert outcome(table, "/Case/Admin;x") is AmbiguousPath
        assert outcome(table, "/admin%2e") is AmbiguousPath
        assert outcome(table, "/Other/") == "/**"


def test_the_flags_of_a_route_that_was_not_chosen_do_not_count() -> None:
    table = RouteTable([admin("/admin", case_sensitive=True, strict_slash=True), route("/**")])
    assert outcome(table, "/Admin") is AmbiguousPath
    assert outcome(table, "/admin/") is AmbiguousPath


def test_encoded_slashes_pass_where_the_route_allows_them() -> None:
    table = RouteTable(
        [
            route("/files/*", encoded_slashes=True),
            admin("/files/secret/**"),
            admin("/files/*/admin"),
            route("/docs/**", encoded_slashes=True),
            admin("/docs/*/admin"),
        ]
    )
    assert outcome(table, "/files/a%2fb") == "/files/*"
    assert outcome(table, "/files/a%2Fb%2fc") == "/files/*"
    assert outcome(table, "/files/secret%2fx") is AmbiguousPath
    assert outcome(table, "/files/SECRET%2Fx") is AmbiguousPath
    assert outcome(table, "/files/x%2Fadmin") is AmbiguousPath
    assert outcome(table, "/files/x%2f..%2fsecret") is AmbiguousPath
    assert outcome(table, "/docs/a%2fb/c") == "/docs/**"
    # Whether or not the slash splits, some backend reads the path of an admin.
    assert outcome(table, "/docs/a%2fb/ADMIN") is AmbiguousPath
    assert outcome(table, "/docs/a%2fadmin") is AmbiguousPath


def test_other_routes_refuse_encoded_slashes() -> None:
    table = RouteTable([route("/files/*", encoded_slashes=True), route("/**")])
    assert outcome(table, "/other/a%2fb") is AmbiguousPath
    assert outcome(table, "/other/a%252fb") == "/**"


# Properties. A backend is a choice of what it forgives; this is the plainest way to write one down.

STEPS = ("decode", "params", "trim", "slashes", "case", "end")
ESCAPE = re.compile("%[0-9a-fA-F]{2}")


def backend_reading(path: str, forgives: frozenset[str]) -> str:
    if "decode" in forgives:
        path = ESCAPE.sub(lambda escape: chr(int(escape[0][1:], 16)), path)
    segments = path.split("/")[1:]
    if "params" in forgives:
        segments = [segment.split(";")[0] for segment in segments]
    if "trim" in forgives:
        segments = [segment.rstrip(". ") for segment in segments]
    if "slashes" in forgives:
        segments = [s for s in segments[:-1] if s] + segments[-1:]
    if "end" in forgives and len(segments) > 1 and segments[-1] == "":
        segments = segments[:-1]
    path = "/" + "/".join(segments)
    return path.lower() if "case" in forgives else path


def backend_choices(routes: list[Route], path: str, forgives: frozenset[str]) -> list[Route]:
    """The most specific of the routes that a backend would take `path` for; several if they tie."""
    seen = backend_reading(path, forgives).split("/")[1:]
    matching: dict[tuple[int, ...], list[Route]] = {}
    for candidate in routes:
        pattern = Pattern.parse(candidate.path)
        wanted = [part and backend_reading(f"/{part}", forgives)[1:] for part in pattern.segments]
        if "end" in forgives and len(wanted) > 1 and wanted[-1] == "":
            wanted.pop()
        if len(seen) < len(wanted) or (len(seen) > len(wanted) and not pattern.open):
            continue
        if all(bool(s) if w is None else s == w for s, w in zip(seen, wanted, strict=False)):
            rank = tuple(kind for kind, _ in pattern.order[: len(wanted)])
            matching.setdefault((*rank, 2 if pattern.open else 0), []).append(candidate)
    return matching[min(matching)] if matching else []


LITERALS = ["api", "Api", "admin", "health", "x", "x;y"]
pattern_texts = st.builds(
    lambda parts, end: "/" + "/".join([*parts, *end]),
    st.lists(st.sampled_from([*LITERALS, "*", "*"]), min_size=1, max_size=3),
    st.sampled_from([[], ["**"], [""]]),
) | st.just("/**")
PIECES = [*LITERALS, "API", "%61pi", "api;v", "api.", "api%20", "admin", "ADMIN", "%41dmin;", "",
          "health;x", "X", "x%2E", "%3bx", "a", "..x", "5"]  # fmt: skip
sent_paths = st.lists(st.sampled_from(PIECES), min_size=1, max_size=4).map(
    lambda parts: "/" + "/".join(parts)
)
guards = st.sampled_from(["public", "required", "admin"])


def guarded(path: str, guard: str, **changes: Any) -> Route:
    if guard == "admin":
        return admin(path, **changes)
    return route(path, "public" if guard == "public" else "required", **changes)


BACKENDS = [
    frozenset(step for step, chosen in zip(STEPS, choice, strict=True) if chosen)
    for choice in product([False, True], repeat=len(STEPS))
]


@given(st.dictionaries(pattern_texts, guards, min_size=1, max_size=6), sent_paths)
@example({"/**": "public", "/api/**": "required", "/api/health": "public"}, "/API/health;x")
@example({"/x/**": "public", "/x/*/admin": "admin", "/x/admin": "public"}, "/x/;a/ADMIN")
@example({"/**": "public", "/api/**": "admin", "/api/x": "public"}, "/API//x")
def test_no_backend_reads_an_accepted_path_as_one_with_another_guard(
    table: dict[str, str], sent: str
) -> None:
    routes = [guarded(path, guard) for path, guard in table.items()]
    try:
        target = canonicalise(sent, "GET", Host(HOST, None))
        chosen = RouteTable(routes).match(HOST, target, "GET")
    except (NoRoute, BadRequest):
        return
    assert [chosen] == backend_choices(routes, sent, frozenset())
    for forgives in BACKENDS:
        choices = backend_choices(routes, sent, forgives)
        assert choices, f"a backend that forgives {set(forgives)} knows no such path"
        assert {choice.policy for choice in choices} == {chosen.policy}


@given(st.sets(pattern_texts, min_size=1, max_size=6), sent_paths)
def test_with_one_guard_for_all_no_routed_path_is_ambiguous(texts: set[str], sent: str) -> None:
    """So the folded look-up always finds the route that the exact one found."""
    routes = [route(text) for text in texts]
    assume(outcome(RouteTable([route("/**")]), sent) == "/**")
    expected = backend_choices(routes, sent, frozenset())
    assert outcome(RouteTable(routes), sent) == (expected[0].name if expected else NoRoute)


slashed_parts = st.lists(
    st.sampled_from([*PIECES, "api%2Fadmin", "%2f", "x%2FX"]), min_size=1, max_size=4
)


@given(st.dictionaries(pattern_texts, guards, min_size=1, max_size=6), slashed_parts)
def test_no_backend_reads_an_allowed_encoded_slash_as_another_guard(
    table: dict[str, str], parts: list[str]
) -> None:
    sent = "/" + "/".join(parts)
    routes = [guarded(path, guard, encoded_slashes=True) for path, guard in table.items()]
    try:
        target = canonicalise(sent, "GET", Host(HOST, None))
        chosen = RouteTable(routes).match(HOST, target, "GET")
    except (NoRoute, BadRequest):
        return
    split = sent.replace("%2f", "/").replace("%2F", "/")
    kept = sent.replace("%2f", "@").replace("%2F", "@")
    for forgives in BACKENDS:
        choices = [
            *backend_choices(routes, split, forgives),
            *backend_choices(routes, kept, forgives),
        ]
        assert {choice.policy for choice in choices} == {chosen.policy}


# Rewritten paths: what another route guards is not reached by the back door.


def rewriting(path: str, result: str, auth: Auth = "required", **changes: Any) -> Route:
    return route(path, auth, rewrite=Rewrite.replace(path, result), **changes)


def rewritten(table: RouteTable, sent: str, method: str = "GET", host: str = HOST) -> object:
    """Return what the upstream would see, or the refusal."""
    target = canonicalise(sent, method, Host(host, None))
    chosen = table.match(host, target, method)
    assert chosen.rewrite is not None
    try:
        seen, _ = chosen.rewrite.apply(target)
        table.check_rewritten(chosen, host, canonicalise(seen, method, Host(host, None)), method)
    except BadRequest as refusal:
        return type(refusal)
    return seen


def test_a_rewritten_path_reaches_what_was_written_but_no_stricter_part_of_it() -> None:
    table = RouteTable(
        [
            rewriting("/v1/**", "/**"),
            rewriting("/hook", "/internal/hook", "public"),
            rewriting("/open/**", "/public/**", "public"),
            admin("/admin/**"),
            admin("/internal/**"),
            route("/public/**", "public"),
            route("/**"),
        ]
    )
    assert rewritten(table, "/v1/x") == "/x"
    assert rewritten(table, "/v1/public/x") == "/public/x"  # demands less
    assert rewritten(table, "/v1/admin/x") is AmbiguousPath
    assert rewritten(table, "/v1/ADMIN/x") is AmbiguousPath
    assert rewritten(table, "/v1/admin;v=1/x") is AmbiguousPath
    assert rewritten(table, "/v1/x/admin") == "/x/admin"
    assert rewritten(table, "/hook") == "/internal/hook"  # these very words were written down
    assert rewritten(table, "/open/x") == "/public/x"
    assert rewritten(table, "/v1//x") is AmbiguousPath


def test_only_routes_to_the_same_upstream_and_for_the_host_guard_a_rewritten_path() -> None:
    table = RouteTable(
        [
            rewriting("/v1/**", "/**"),
            admin("/elsewhere/**", upstream="other"),
            admin("/there/**", host="b.example.test"),
            rewriting("/v2/**", "/**", host="*.example.test"),
            admin("/wild/**", host="*.example.test"),
            admin("/all/**"),
        ]
    )
    assert rewritten(table, "/v1/elsewhere/x") == "/elsewhere/x"
    assert rewritten(table, "/v1/there/x", host="a.test") == "/there/x"
    assert rewritten(table, "/v1/there/x", host="b.example.test") is AmbiguousPath
    assert rewritten(table, "/v1/wild/x", host="c.example.test") is AmbiguousPath
    assert rewritten(table, "/v2/all/x", host="c.example.test") is AmbiguousPath
    assert rewritten(table, "/v2/x", host="b.example.test") == "/x"


def test_what_another_rewritten_route_reaches_is_guarded_as_that_one() -> None:
    table = RouteTable(
        [
            rewriting("/v1/**", "/**", "public"),
            admin("/ops/**", rewrite=Rewrite.replace("/ops/**", "/internal/**")),
            admin("/only/post", methods={"POST"}),
        ]
    )
    assert rewritten(table, "/v1/internal/x") is AmbiguousPath
    assert rewritten(table, "/ops/x") == "/internal/x"
    assert rewritten(table, "/v1/only/post") is AmbiguousPath
    assert rewritten(table, "/v1/only/post", "POST") is AmbiguousPath
