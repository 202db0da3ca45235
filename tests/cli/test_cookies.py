"""Why cookies do not count."""

from __future__ import annotations

import pytest

from proxy.cli.cookies import CookieReader
from proxy.core.client import Client
from proxy.core.head import RequestHead
from proxy.core.rules import Rules, compile_rules
from proxy.core.target import canonicalise, parse_host
from tests.cli.example import CONFIG, loaded

SECURE = "__Secure-authjs.session-token"
PLAIN = "authjs.session-token"
OLD = "next-auth.session-token"


@pytest.fixture(scope="module")
def rules() -> Rules:
    return compile_rules(
        loaded(CONFIG.replace("public_origin: https:", "public_origin: http:")).config
    )


def reasons(
    rules: Rules, path: str, cookie: str, *, scheme: str, bearer: bool = False
) -> dict[str, str]:
    fields = [(b"Cookie", cookie.encode())] + [(b"Authorization", b"Bearer x")] * bearer
    head = RequestHead("GET", path, 1, tuple(fields), "127.0.0.1")
    host = parse_host(b"api.example.com")
    route = rules.routes.match(host.name, canonicalise(path, "GET", host), "GET")
    found = None
    if route.policy.auth != "public":
        found = rules.find_credential(route, head, Client("127.0.0.1", scheme, trusted=False))
    reader = CookieReader(rules.sessions, route, found, secure=scheme == "https")
    return {each.name: each.reason for each in reader.ignored(cookie.encode())}


NONE = "no session has a cookie of this name"
TWIN = "over https, or where {} is there, only that one counts"


@pytest.mark.parametrize(
    ("path", "cookie", "scheme", "expected"),
    [
        ("/x", f"{SECURE}=t", "https", {}),
        ("/x", f"{PLAIN}=t", "http", {}),
        ("/x", f"{SECURE}.0=t; {SECURE}.1=u", "https", {}),
        ("/x", f"{SECURE}=t; theme=dark", "https", {"theme": NONE}),
        ("/x", f"{PLAIN}=t", "https", {PLAIN: TWIN.format(SECURE)}),
        ("/x", f"{PLAIN}=t; {SECURE}=t", "http", {PLAIN: TWIN.format(SECURE)}),
        ("/x", f"{PLAIN}=t; {SECURE}.0=t", "http", {PLAIN: TWIN.format(SECURE)}),
        ("/x", f"{PLAIN}=t; {SECURE}=", "http", {SECURE: "it is empty"}),
        ("/x", f"{PLAIN}=t; {OLD}=t", "http", {OLD: f"{PLAIN} (session web) comes first"}),
        ("/x", f"{SECURE}=t; tenant-session=t", "https", {
            "tenant-session": f"{SECURE} (session web) comes first"}),
        ("/public/x", f"{SECURE}=t; a=b", "https", {
            SECURE: "the route is public, so nobody looks", "a": NONE}),
        ("/admin/x", "tenant-session=t", "https", {
            "tenant-session": "the route does not use the session tenant"}),
        ("/tenant/x", f"{SECURE}=t; tenant-session=t", "https", {
            SECURE: "the route does not use the session web"}),
        ("/x", "theme=", "https", {"theme": NONE}),
    ],
)  # fmt: skip
def test_every_cookie_that_does_not_count_has_its_reason(
    rules: Rules, path: str, cookie: str, scheme: str, expected: dict[str, str]
) -> None:
    assert reasons(rules, path, cookie, scheme=scheme) == expected


def test_a_bearer_comes_first_only_where_no_cookie_is(rules: Rules) -> None:
    told = reasons(rules, "/tenant/x", f"a=b; {PLAIN}=t", scheme="http", bearer=True)
    assert told == {"a": NONE, PLAIN: "the route does not use the session web"}


def test_a_cookie_that_comes_twice_is_named_once(rules: Rules) -> None:
    route = rules.routes.rows()[0]
    reader = CookieReader(rules.sessions, route, None, secure=True)
    assert [each.name for each in reader.ignored(b"a=1; a=2; b=3")] == ["a", "b"]
