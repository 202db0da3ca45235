"""Signed in is not enough: roles, claims and e-mail domains."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.upstream import StubUpstream
from tests.support.worker import ORIGIN, LocalGateway, settings, signed_in


@pytest.mark.parametrize(
    ("require", "claims", "status"),
    [
        pytest.param({"roles": ["admin"]}, {"roles": ["admin", "user"]}, 200, id="role"),
        pytest.param({"roles": ["admin", "ops"]}, {"role": "ops"}, 200, id="one-of-two"),
        pytest.param({"roles": ["admin"]}, {"roles": ["administrator"]}, 403, id="other-role"),
        pytest.param({"roles": ["admin"]}, {}, 403, id="no-role"),
        pytest.param({"claims": {"org.id": 5}}, {"org": {"id": 5}}, 200, id="claim"),
        pytest.param({"claims": {"org.id": 5}}, {"org": {"id": "5"}}, 403, id="claim-type"),
        pytest.param(
            {"email_domains": ["example.com"]}, {"email": "a@example.com"}, 200, id="domain"
        ),
        pytest.param(
            {"email_domains": ["example.com"]}, {"email": "a@b.example.com"}, 403, id="subdomain"
        ),
        pytest.param(
            {"roles": ["a"], "claims": {"x": True}}, {"roles": ["a"]}, 403, id="both-must-hold"
        ),
    ],
)
async def test_requirement_decides(
    upstream: StubUpstream, require: dict[str, object], claims: dict[str, Any], status: int
) -> None:
    routes = [{"path": "/**", "upstream": "api", "require": require}]
    async with LocalGateway(settings(upstream.url, routes=routes)) as gateway:
        answer = await gateway.ask("GET", "/x", signed_in(**claims))
    assert answer.status == status
    assert len(upstream.requests) == (status == 200)


async def test_forbidden_tells_the_page_but_not_why(gateway: LocalGateway) -> None:
    answer = await gateway.ask("GET", "/admin/x", signed_in(roles=["user"]), f"Origin: {ORIGIN}")
    assert (answer.status, answer.json()["code"]) == (403, "forbidden")
    assert answer.get("Access-Control-Allow-Origin") == ORIGIN
    assert answer.values("WWW-Authenticate") == []
    assert b"role" not in answer.body
    line = await gateway.logged()
    assert (line["user"], line["status"], line["code"]) == ("u-1", 403, "forbidden")
    assert "role" in line["reason"]


async def test_nobody_is_asked_to_sign_in_first(gateway: LocalGateway) -> None:
    answer = await gateway.ask("GET", "/admin/x")
    assert (answer.status, answer.json()["code"]) == (401, "session_missing")


async def test_most_specific_route_decides_not_the_broader_one(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    for path in ("/admin", "/admin/", "/ADMIN/x", "/admin;x/y", "/%61dmin/x"):
        answer = await gateway.ask("GET", path, signed_in(roles=["user"]))
        assert answer.status in (400, 403, 404), path
    assert upstream.requests == []
