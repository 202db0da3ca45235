"""The configuration's own tests."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.cli.cases import run_case
from proxy.config.model import TestCase
from proxy.session.resolver import Resolver
from proxy.telemetry.metrics import Metrics
from tests.cli.example import AT, CONFIG, COOKIE, compiled, token

ROOT = {"roles": ["root"], "email": "a@example.com", "claims": {"org": {"plan": "pro"}}}
PREFLIGHT = {"Origin": "https://app.example.com", "Access-Control-Request-Method": "PUT"}
FORWARDED = {"status": 200, "route": "/**", "upstream": "api"}


async def failure(request: str, expect: Any, *, text: str = CONFIG, **more: Any) -> str | None:
    config, rules = compiled(text)
    case = TestCase.model_validate({"request": request, "expect": expect, **more})
    resolve = Resolver(config, rules, Metrics()).resolve
    return await run_case(config, rules, resolve, case, AT)


TRUE: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "public": ("GET /public/x", {"status": 200, "route": "/public/**", "upstream": "own"}, {}),
    "nobody": ("GET /x", 401, {}),
    "somebody": ("GET /x", FORWARDED, {"as": {}}),
    "bound session": ("GET /tenant/x", 200, {"as": {}}),
    "roles, claims, domain": ("GET /admin/x", 200, {"as": ROOT}),
    "other role": ("GET /admin/x", 403, {"as": ROOT | {"roles": ["user"]}}),
    "other claim": ("GET /admin/x", 403, {"as": ROOT | {"claims": {"org": {"plan": "no"}}}}),
    "other domain": ("GET /admin/x", 403, {"as": ROOT | {"email": "a@example.org"}}),
    "optional": ("GET /maybe/x", 200, {}),
    "route of a refusal": ("GET /admin/x", {"status": 401, "route": "/admin/**"}, {}),
    "upstream alone": ("GET /public/x", {"upstream": "own"}, {}),
    "host": ("PUT http://a.files.example.com/files/x", {"route": "/files/**"}, {"as": {}}),
    "host and method": ("POST http://a.files.example.com/files/x", 405, {"as": {}}),
    "preflight": ("OPTIONS /x", 204, {"headers": PREFLIGHT}),
    "foreign preflight": ("OPTIONS /x", 403, {"headers": PREFLIGHT | {"Origin": "https://e.x"}}),
    "foreign page": ("POST /x", 403, {"as": {}, "headers": {"Origin": "https://evil.example"}}),
    "own page": ("POST /x", 200, {"as": {}, "headers": {"Origin": "https://app.example.com"}}),
    "sign in": ("GET /page", 302, {"headers": {"Sec-Fetch-Mode": "navigate"}}),
    "a cookie that is no session": ("GET /x", 401, {"cookies": {COOKIE: "garbage"}}),
    "a cookie that is one": ("GET /x", 200, {"cookies": {COOKIE: token()}}),
    "another cookie": ("GET /x", 200, {"as": {}, "cookies": {"theme": "dark"}}),
    "a session cookie of its own": ("GET /x", 200, {"as": {}, "cookies": {COOKIE: "mine"}}),
    "a broken one of its own": ("GET /x", 401, {"as": {}, "cookies": {COOKIE: "100%"}}),
    "bad path": ("GET /a/../b", 400, {}),
}  # fmt: skip


@pytest.mark.parametrize(("request_", "expect", "more"), TRUE.values(), ids=TRUE)
async def test_what_is_so_holds(request_: str, expect: Any, more: dict[str, Any]) -> None:
    assert await failure(request_, expect, **more) is None


FALSE = {
    "not refused": (
        ("GET /x", 403, {"as": {"id": "zoe", "roles": ["a", "b"]}}),
        "GET /x as zoe with roles a, b: expected 403, "
        "got 200 (forwarded to upstream api) by route /**",
    ),
    "refused": (
        ("GET /admin/x", 200, {"as": {}}),
        "GET /admin/x as test: expected 200 (forwarded), got 403 forbidden by route /admin/**: "
        "the user has none of the roles that the route requires",
    ),
    "another status": (
        ("GET /x", 403, {}),
        "GET /x: expected 403, got 401 session_missing by route /**",
    ),
    "another route": (
        ("GET /x", {"route": "/page"}, {"as": {}}),
        "GET /x as test: expected route /page, got 200 (forwarded to upstream api) by route /**",
    ),
    "another upstream": (
        ("GET /x", {"status": 200, "upstream": "own"}, {"as": {}}),
        "GET /x as test: expected 200 (forwarded), upstream own, "
        "got 200 (forwarded to upstream api) by route /**",
    ),
    "an upstream, but refused": (
        ("GET /x", {"upstream": "api"}, {}),
        "GET /x: expected upstream api, got 401 session_missing by route /**",
    ),
    "an answer of ours": (
        ("OPTIONS /x", 200, {"headers": PREFLIGHT}),
        "OPTIONS /x: expected 200 (forwarded), got 204 by route /**",
    ),
    "no route": (
        ("GET /a/../b", {"status": 400, "route": "/**"}, {}),
        "GET /a/../b: expected 400, route /**, got 400 ambiguous_path: the path holds a dot "
        "segment",
    ),
}


@pytest.mark.parametrize(("case", "message"), FALSE.values(), ids=FALSE)
async def test_what_is_not_so_is_told(case: tuple[str, Any, dict[str, Any]], message: str) -> None:
    request_, expect, more = case
    told = await failure(request_, expect, **more)
    assert told is not None
    assert told.startswith(message)


@pytest.mark.parametrize("value", ["-1", "1\r\nX: y"])
async def test_a_header_that_cannot_be_sent_fails_the_test(value: str) -> None:
    told = await failure("GET /x", 200, headers={"Content-Length": value})
    assert told is not None
    assert told.startswith("GET /x: cannot be sent: ")


async def test_cookies_of_a_test_are_not_in_its_failure() -> None:
    told = await failure("GET /x", 200, cookies={COOKIE: token(secret="x" * 40)})
    assert told is not None
    assert "session_invalid" in told
    assert COOKIE not in told


async def test_a_route_for_https_alone_finds_the_user() -> None:
    """The cookie that `as` brings counts over http and over https."""
    plain = CONFIG.replace("public_origin: https:", "public_origin: http:")
    assert await failure("GET /x", 200, text=plain, **{"as": {}}) is None
    proxied = {"X-Forwarded-Proto": "https"}
    assert await failure("GET /x", 200, text=plain, headers=proxied, **{"as": {}}) is None
