"""A preflight ends at the gateway, before anybody asks who is signed in."""

from __future__ import annotations

import pytest

from tests.support.client import RawClient
from tests.support.upstream import StubUpstream
from tests.support.worker import ORIGIN, LocalGateway, request, settings, signed_in

ASKING = f"Origin: {ORIGIN}", "Access-Control-Request-Method: PUT"


async def test_preflight_is_granted_without_a_session_and_without_the_upstream(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    asked = "Access-Control-Request-Headers: content-type, x-csrf"
    answer = await gateway.ask("OPTIONS", "/api/x", *ASKING, asked)
    assert answer.status == 204
    assert answer.get("Access-Control-Allow-Origin") == ORIGIN
    assert answer.get("Access-Control-Allow-Credentials") == "true"
    assert "PUT" in str(answer.get("Access-Control-Allow-Methods")).split(", ")
    assert answer.get("Access-Control-Allow-Headers") == "content-type, x-csrf"
    assert answer.get("Access-Control-Max-Age") == "600"
    assert "Origin" in str(answer.get("Vary")).split(", ")
    assert answer.get("Content-Length") is None
    assert upstream.connections == []


async def test_preflight_does_not_look_at_the_session(gateway: LocalGateway) -> None:
    answer = await gateway.ask("OPTIONS", "/api/x", *ASKING, "Cookie: authjs.session-token=broken")
    assert answer.status == 204


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(("Origin: https://evil.example", ASKING[1]), id="origin"),
        pytest.param(("Origin: null", ASKING[1]), id="null"),
        pytest.param((ASKING[0], "Access-Control-Request-Method: SEARCH"), id="method"),
        pytest.param((*ASKING, "Access-Control-Request-Headers: a b"), id="header-names"),
    ],
)
async def test_refused_preflight_has_no_cors_headers(
    gateway: LocalGateway, upstream: StubUpstream, lines: tuple[str, ...]
) -> None:
    answer = await gateway.ask("OPTIONS", "/api/x", *lines)
    assert answer.status == 403
    assert answer.json()["code"] == "origin_refused"
    assert [n for n, _ in answer.headers if n.lower().startswith(b"access-control-")] == []
    assert upstream.connections == []


async def test_preflight_is_judged_by_the_route_of_the_requested_method(
    upstream: StubUpstream,
) -> None:
    routes = [
        {"path": "/x", "methods": ["PUT"], "upstream": "api", "cors": {"max_age": "1m"}},
        {"path": "/x", "methods": ["POST"], "upstream": "api", "cors": {"max_age": "2m"}},
    ]
    async with LocalGateway(settings(upstream.url, routes=routes)) as gateway:
        put = await gateway.ask("OPTIONS", "/x", *ASKING)
        post = await gateway.ask("OPTIONS", "/x", ASKING[0], "Access-Control-Request-Method: POST")
        delete = await gateway.ask(
            "OPTIONS", "/x", ASKING[0], "Access-Control-Request-Method: DELETE"
        )
        refused = await gateway.ask("DELETE", "/x", ASKING[0])
    assert put.get("Access-Control-Max-Age") == "60"
    assert post.get("Access-Control-Max-Age") == "120"
    # The page may ask, so that it can read that there is no DELETE.
    assert (delete.status, delete.get("Access-Control-Max-Age")) == (204, "600")
    assert refused.status == 405
    assert refused.get("Allow") == "POST, PUT"
    assert refused.get("Access-Control-Allow-Origin") == ORIGIN


@pytest.mark.parametrize(
    "lines", [(), ASKING[:1], ASKING[1:]], ids=["bare", "no-method", "no-origin"]
)
async def test_other_options_requests_are_requests_like_any(
    gateway: LocalGateway, upstream: StubUpstream, lines: tuple[str, ...]
) -> None:
    guarded = await gateway.ask("OPTIONS", "/api/x", *lines)
    public = await gateway.ask("OPTIONS", "/public/x", *lines)
    assert (guarded.status, public.status) == (401, 200)
    assert [each.method for each in upstream.requests] == ["OPTIONS"]


async def test_with_cors_off_a_preflight_goes_upstream_as_nobody(upstream: StubUpstream) -> None:
    async with LocalGateway(settings(upstream.url, cors="off")) as gateway:
        answer = await gateway.ask("OPTIONS", "/api/x", *ASKING, signed_in(), "X-User-Id: forged")
    assert answer.status == 200
    [request] = upstream.requests
    assert request.values("X-User-Id") == []
    assert request.values("Cookie") == []
    assert request.get("Access-Control-Request-Method") == "PUT"


async def test_private_network_access_is_granted_where_it_is_configured(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    asked = "Access-Control-Request-Private-Network: true"
    name = "Access-Control-Allow-Private-Network"
    cors = {"origins": [ORIGIN], "private_network": True}
    assert (await gateway.ask("OPTIONS", "/api/x", *ASKING, asked)).get(name) is None
    async with LocalGateway(settings(upstream.url, cors=cors)) as granting:
        assert (await granting.ask("OPTIONS", "/api/x", *ASKING, asked)).get(name) == "true"
        assert (await granting.ask("OPTIONS", "/api/x", *ASKING)).get(name) is None


async def test_connection_goes_on_after_a_preflight(gateway: LocalGateway) -> None:
    async with RawClient(gateway.port) as client:
        await client.send(request("OPTIONS", "/api/x", *ASKING))
        await client.read_answers(1)
        await client.send(request("GET", "/api/x", signed_in(), ASKING[0]))
        preflight, answer = await client.read_answers(2)
    assert preflight.values("Connection") == []
    assert (preflight.status, answer.status) == (204, 200)
