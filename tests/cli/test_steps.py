"""The steps of a request, as JSON."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from proxy.cli.steps import config_of, requirements
from proxy.core.rules import compile_rules
from proxy.upstream.deadlines import Deadlines
from proxy.upstream.pool import Pool
from tests.cli.example import AT, CONFIG, COOKIE, OTHER_SECRET, cookie, loaded, steps, token
from tests.support.exchanges import exchange, head


def test_a_forwarded_request_tells_every_step() -> None:
    told = steps("/x?q=1", cookie(token(name="Zoë", roles=["user", "eu"])))
    head = told.pop("head")
    assert told == {
        "request": {
            "method": "GET",
            "target": "/x?q=1",
            "host": "api.example.com",
            "path": "/x",
            "folded": "/x",
        },
        "client": {"address": "127.0.0.1", "scheme": "http", "trusted_proxy": False},
        "route": {
            "name": "/**",
            "host": None,
            "path": "/**",
            "methods": None,
            "sessions": ["web", "tenant"],
        },
        "cors": {
            "enabled": True,
            "origin": None,
            "listed": None,
            "preflight": False,
            "headers": ["Vary: Origin"],
        },
        "session": {
            "state": "valid",
            "session": "web",
            "source": "cookie",
            "cookie": COOKIE,
            "kind": "authjs-v5",
            "expires": AT + 3600,
        },
        "cookies_ignored": [{"name": "theme", "reason": "no session has a cookie of this name"}],
        "principal": {"id": "u-1", "email": None, "name": "Zoë", "roles": ["user", "eu"]},
        "policy": {"auth": "required", "require": {}, "met": True},
        "rate_limits": [],
        "upstream": {
            "name": "api",
            "endpoints": ["http://127.0.0.1:8001", "http://127.0.0.1:8002"],
            "dns": None,
            "balance": "round_robin",
            "preferred": None,
        },
        "outcome": {"verdict": "forwarded", "websocket": False},
    }
    assert head[:6] == [
        "GET /x?q=1 HTTP/1.1",
        "Host: api.example.com",
        "Cookie: theme=dark",
        "X-User-Id: u-1",
        "X-User-Name: Zo%C3%AB",
        "X-User-Roles: user,eu",
    ]


def test_an_upstream_with_its_own_host_is_shown_it() -> None:
    assert steps("/public/x")["head"][1] == "Host: 127.0.0.1:8003"


USUAL = 'endpoints: ["http://127.0.0.1:8001", "http://127.0.0.1:8002"]'


def balanced(keys: str, user: str) -> dict[str, Any]:
    """Explain a request of `user` with these keys in place of the usual upstream's endpoints."""
    told = steps("/x", cookie(token(sub=user)), text=CONFIG.replace(USUAL, keys))
    upstream: dict[str, Any] = told["upstream"]
    return upstream


def test_the_endpoint_that_a_hash_prefers_is_the_one_that_requests_take() -> None:
    keys = "balance: hash(user), endpoints: ['http://a:1', 'http://b:1', 'http://c:1']"
    upstream = loaded(CONFIG.replace(USUAL, keys)).config.upstreams["api"]
    loop = asyncio.new_event_loop()
    try:
        pool = Pool("api", upstream, loop, Deadlines(loop))
        for user in ("u-1", "u-2", "u-3", "u-4"):
            picked = pool.pick(exchange(head(), user=user))
            assert balanced(keys, user)["preferred"] == picked.name
    finally:
        loop.close()


def test_endpoints_from_dns_are_told_by_its_name() -> None:
    told = balanced("dns: 'api.default.svc:8000'", "u-1")
    assert (told["endpoints"], told["dns"]) == ([], "http://api.default.svc:8000")


def test_a_public_route_looks_at_no_session() -> None:
    told = steps("/public/x", cookie("whatever"))
    assert told["session"] == {"state": "not looked at"}
    assert told["principal"] is None
    assert [each["name"] for each in told["cookies_ignored"]] == ["theme", COOKIE]


def test_a_missing_session_is_refused_with_advice() -> None:
    told = steps("/x")
    assert told["session"] == {"state": "missing"}
    outcome = told["outcome"]
    assert (outcome["verdict"], outcome["status"], outcome["code"]) == (
        "refused",
        401,
        "session_missing",
    )
    assert outcome["reason"]
    assert "cookie" in outcome["advice"]
    assert told["head"] is None
    assert told["policy"]["met"] is None


def test_a_token_of_another_secret_tells_why() -> None:
    told = steps("/x", cookie(token(OTHER_SECRET)))
    session, outcome = told["session"], told["outcome"]
    assert (session["state"], session["code"], session["cookie"]) == (
        "refused",
        "session_invalid",
        COOKIE,
    )
    assert session["reason"] == outcome["reason"] != ""
    assert told["principal"] is None


def test_time_is_an_argument() -> None:
    value = token()
    assert steps("/x", cookie(value))["outcome"]["verdict"] == "forwarded"
    assert steps("/x", cookie(value), at=AT + 7200)["outcome"]["code"] == "session_expired"


def test_an_expired_session_where_it_is_optional_is_told_and_forwarded() -> None:
    told = steps("/maybe/x", cookie(token()), at=AT + 7200)
    assert told["session"]["code"] == "session_expired"
    assert told["outcome"]["verdict"] == "forwarded"
    assert not any(line.startswith("X-User-") for line in told["head"])


def test_two_different_sessions_are_ambiguous() -> None:
    told = steps("/x", ("Cookie", f"{COOKIE}=a; {COOKIE}=b; c=d"))
    assert told["session"]["code"] == "session_ambiguous"
    assert [each["name"] for each in told["cookies_ignored"]] == ["c"]


def test_a_policy_that_is_not_met_tells_what_is_asked() -> None:
    told = steps("/admin/x", cookie(token(roles=["user"])))
    assert told["policy"] == {
        "auth": "required",
        "require": {
            "roles": ["admin", "root"],
            "claims": {"org.plan": ["pro"]},
            "email_domains": ["example.com"],
        },
        "met": False,
    }
    assert told["outcome"]["code"] == "forbidden"
    assert told["principal"]["roles"] == ["user"]


def test_a_foreign_page_is_refused_before_its_cookie_is_verified() -> None:
    told = steps("/x", cookie(token()), ("Origin", "https://evil.example"), method="POST")
    assert told["outcome"]["code"] == "origin_refused"
    assert told["session"]["state"] == "not verified"
    assert told["policy"]["met"] is None
    assert told["cors"]["listed"] is False


def test_a_granted_preflight_tells_its_answer() -> None:
    told = steps(
        "/x",
        ("Origin", "https://app.example.com"),
        ("Access-Control-Request-Method", "PUT"),
        method="OPTIONS",
    )
    assert told["cors"]["preflight"] is True
    assert told["cors"]["listed"] is True
    assert told["session"] == {"state": "not looked at"}
    assert told["outcome"]["verdict"] == "answered"
    assert told["outcome"]["status"] == 204
    assert "Access-Control-Allow-Origin: https://app.example.com" in told["outcome"]["headers"]


def test_a_refused_preflight_is_answered_without_cors_headers() -> None:
    told = steps(
        "/x",
        ("Origin", "https://evil.example"),
        ("Access-Control-Request-Method", "PUT"),
        method="OPTIONS",
    )
    assert told["outcome"]["status"] == 403
    assert told["cors"]["headers"] == []


def test_a_preflight_for_the_upstream_meets_no_policy() -> None:
    told = steps(
        "/x",
        ("Origin", "https://app.example.com"),
        ("Access-Control-Request-Method", "PUT"),
        method="OPTIONS",
        text=CONFIG.replace("cors:\n  origins: [https://app.example.com]\n", ""),
    )
    assert told["cors"]["enabled"] is False
    assert told["outcome"]["verdict"] == "forwarded"
    assert told["policy"]["met"] is None


def test_a_browser_that_navigates_is_sent_to_sign_in() -> None:
    told = steps("/page", ("Sec-Fetch-Mode", "navigate"))
    assert told["outcome"]["status"] == 302
    assert told["outcome"]["headers"][0].startswith("Location: https://app.example.com/signin?")
    assert told["session"] == {"state": "missing"}


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("/a/../b", {"host": "api.example.com", "path": None, "folded": None}),
        ("http://b@d/x", {"host": None, "path": None, "folded": None}),
    ],
)
def test_what_cannot_be_read_leads_to_no_route(url: str, read: dict[str, Any]) -> None:
    told = steps(url)
    assert read.items() <= told["request"].items()
    assert told["outcome"]["status"] == 400
    assert {told[step] for step in ("route", "session", "policy", "upstream", "head")} == {None}


def test_a_path_that_folds_is_shown_both_ways() -> None:
    request = steps("/Public/X/")["request"]
    assert (request["path"], request["folded"]) == ("/Public/X/", "/public/x")


def test_a_trusted_proxy_tells_scheme_and_client() -> None:
    told = steps(
        "/x",
        ("X-Forwarded-For", "203.0.113.9"),
        ("X-Forwarded-Proto", "https"),
        peer="10.0.0.1",
    )
    assert told["client"] == {"address": "203.0.113.9", "scheme": "https", "trusted_proxy": True}


@pytest.mark.parametrize("keep", [False, True])
def test_no_token_is_shown(keep: bool) -> None:
    value = token()
    other = token(OTHER_SECRET, cookie="tenant-session")
    text = CONFIG + f"identity: {{forward_session_cookie: {str(keep).lower()}}}\n"
    for url, name, shown in (("/x", COOKIE, value), ("/tenant/x", "tenant-session", other)):
        told = steps(url, cookie(shown, name), ("Authorization", f"Bearer {value}"), text=text)
        assert told["outcome"]["verdict"] == "forwarded"
        assert value not in json.dumps(told)
        assert other not in json.dumps(told)
        assert (f"{name}=(hidden)" in json.dumps(told)) is keep


def test_a_bearer_is_told_by_session() -> None:
    told = steps(
        "/tenant/x", ("Authorization", f"Bearer {token(OTHER_SECRET, cookie='tenant-session')}")
    )
    assert told["session"]["source"] == "bearer"
    assert told["session"]["cookie"] is None
    assert not any(line.startswith("Authorization") for line in told["head"])


def test_a_websocket_is_named() -> None:
    handshake = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="),
    ]
    assert steps("/x", cookie(token()), *handshake)["outcome"]["websocket"] is True


def test_every_route_is_found_again_in_the_file() -> None:
    config = loaded().config
    written = [config_of(config, route) for route in compile_rules(config).routes.rows()]
    assert sorted(route.path for route in written) == sorted(route.path for route in config.routes)


def test_routes_of_one_path_are_told_apart_by_method_and_host() -> None:
    routes = "".join(
        f"  - {{path: /same, upstream: api{more}}}\n"
        for more in (", methods: [POST]", ", methods: [PUT]", "", ", host: h.example")
    )
    config = loaded(CONFIG + routes).config
    found = {id(config_of(config, route)) for route in compile_rules(config).routes.rows()}
    assert len(found) == len(config.routes)


def test_a_route_without_requirements_has_none() -> None:
    assert requirements(loaded().config.routes[0]) == {}


LIMITED = f"""{CONFIG}rate_limit: [{{by: ip, rate: 100/m}}, {{by: user, rate: 9/s, burst: 20}}]
redis: {{url: redis://127.0.0.1:1}}
""".replace("path: /page,", "path: /page, rate_limit: {by: route, rate: 1/h, shared: false},")


def test_the_limits_are_told_and_as_whose_a_request_would_count() -> None:
    top = [
        {"scope": None, "by": "ip", "rate": "100/m", "burst": 100, "shared": True},
        {"scope": None, "by": "user", "rate": "9/s", "burst": 20, "shared": True},
    ]

    def told(url: str, *headers: tuple[str, str], method: str = "GET") -> Any:
        return steps(url, *headers, method=method, text=LIMITED)["rate_limits"]

    ip, user = ({**limit, "counted_by": limit["by"]} for limit in top)
    nobody = user | {"counted_by": "ip"}
    assert told("/x", cookie(token())) == [ip, user]
    assert told("/x") == told("/x", cookie("a.b")) == [ip, nobody]
    assert told("/public/x", cookie(token())) == [ip, nobody]
    [own] = told("/page", cookie(token()))
    assert (own["scope"], own["by"], own["counted_by"]) == ("/page", "route", "route")
    assert own["shared"] is False
    preflight = ("Origin", "https://app.example.com"), ("Access-Control-Request-Method", "GET")
    assert told("/x", *preflight, method="OPTIONS") == []
    assert told("/a/../b") is None


def test_to_explain_a_request_counts_nothing() -> None:
    for _ in range(3):
        assert steps("/page", cookie(token()), text=LIMITED)["outcome"]["verdict"] == "forwarded"
