"""Who asks too often gets 429, before anything is done for him; everybody else is served."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.support.answers import Answer
from tests.support.client import RawClient
from tests.support.upstream import StubUpstream
from tests.support.worker import (
    COOKIE,
    ORIGIN,
    LocalGateway,
    request,
    settings,
    signed_in,
    token,
)

HOUR = 3600


@asynccontextmanager
async def limited(
    top: Any = "off", own: Mapping[str, Any] | None = None, **sections: Any
) -> AsyncIterator[tuple[LocalGateway, StubUpstream]]:
    """A gateway with these limits: on `top`, and of its `own` routes, by their paths."""
    async with StubUpstream() as upstream:
        config = settings(upstream.url, rate_limit=top, **sections)
        for route in config["routes"]:
            if own and route["path"] in own:
                route["rate_limit"] = own[route["path"]]
        async with LocalGateway(config) as gateway:
            yield gateway, upstream


def by(kind: str, rate: str = "2/h", **more: Any) -> dict[str, Any]:
    return {"by": kind, "rate": rate, **more}


async def statuses(gateway: LocalGateway, times: int, target: str, *lines: str) -> list[int]:
    return [(await gateway.ask("GET", target, *lines)).status for _ in range(times)]


async def test_the_third_of_two_is_told_when_to_come_back() -> None:
    async with limited(by("ip")) as (g, upstream):
        assert await statuses(g, 2, "/public/x") == [200, 200]
        answer = await g.ask("GET", "/public/x", f"Origin: {ORIGIN}")
        line = await g.logged(lambda line: line["status"] == 429)
    assert answer.status == 429
    assert answer.get("Retry-After") == str(HOUR // 2)
    assert answer.get("RateLimit-Policy") == '"ip-2/h";q=2;w=3600'
    assert answer.get("RateLimit") == f'"ip-2/h";r=0;t={HOUR // 2}'
    assert answer.get("Content-Type") == "application/problem+json"
    assert answer.get("Cache-Control") == "no-store"
    assert answer.get("Access-Control-Allow-Origin") == ORIGIN
    assert {"Retry-After", "RateLimit"} <= set(
        (answer.get("Access-Control-Expose-Headers") or "").split(", ")
    )
    problem = json.loads(answer.body)
    assert (problem["code"], problem["status"]) == ("rate_limited", 429)
    assert (line["code"], line["reason"]) == (
        "rate_limited",
        "2/h by ip (burst 2), of all routes",
    )
    assert line["attempts"] == 0
    assert len(upstream.requests) == 2


async def test_a_bad_cookie_is_stopped_before_anybody_looks_at_it() -> None:
    bad = f"Cookie: {COOKIE}=no-token"
    async with limited(by("ip")) as (g, _):
        assert await statuses(g, 4, "/api/x", bad) == [401, 401, 429, 429]
        text = g.worker.state.metrics_text()[0].decode()
    assert 'gatelodge_session_total{result="session_invalid",session="web"} 2.0' in text
    assert 'gatelodge_rate_limited_total{by="ip",rate="2/h",scope="-"} 2.0' in text
    assert 'gatelodge_rate_limit_entries{by="ip",rate="2/h",scope="-"} 1.0' in text
    assert 'gatelodge_refusals_total{code="rate_limited"} 2.0' in text


async def test_users_are_told_apart_and_nobody_is_counted_by_the_address() -> None:
    ada, bob = signed_in("ada"), signed_in("bob")
    async with limited(by("user")) as (g, _):
        assert await statuses(g, 3, "/api/x", ada) == [200, 200, 429]
        assert await statuses(g, 3, "/api/x", bob) == [200, 200, 429]
        # Another token, a bearer, another route: the same user.
        assert await statuses(g, 1, "/api/x", signed_in("ada", name="A")) == [429]
        assert await statuses(g, 1, "/optional/x", f"Authorization: Bearer {token('ada')}") != [200]
        assert await statuses(g, 3, "/optional/x") == [200, 200, 429]
        assert await statuses(g, 1, "/public/x", ada) == [429]
        # Whose cookie is bad is nobody, whom a limit by user does not see before authentication.
        assert await statuses(g, 3, "/api/x", f"Cookie: {COOKIE}=x") == [401] * 3


async def test_an_id_like_an_address_is_not_that_address() -> None:
    async with limited(by("user")) as (g, _):
        assert await statuses(g, 3, "/api/x", signed_in("127.0.0.1")) == [200, 200, 429]
        assert await statuses(g, 3, "/optional/x") == [200, 200, 429]


async def test_a_huge_id_is_counted_like_any_other() -> None:
    huge = signed_in("é" * 900)
    async with limited(by("user")) as (g, _):
        assert await statuses(g, 3, "/api/x", huge) == [200, 200, 429]


async def test_a_route_s_own_limit_stands_in_the_place_of_the_general_one() -> None:
    own = {"/public/**": by("ip", "3/h"), "/optional/**": "off"}
    async with limited(by("ip"), own) as (g, _):
        assert await statuses(g, 4, "/public/x") == [200, 200, 200, 429]
        assert await statuses(g, 5, "/optional/x") == [200] * 5
        # The general limit has not seen any of these.
        assert await statuses(g, 3, "/api/x") == [401, 401, 429]
        answer = await g.ask("GET", "/public/x")
        line = await g.logged(lambda line: line["route"] == "/public/**" and line["code"])
    assert answer.get("RateLimit-Policy") == '"ip-3/h";q=3;w=3600'
    assert line["reason"] == "3/h by ip (burst 3), of route /public/**"


async def test_by_route_all_clients_of_a_route_are_counted_together() -> None:
    async with limited(by("route")) as (g, _):
        ada, bob = signed_in("ada"), signed_in("bob")
        assert [*await statuses(g, 1, "/api/x", ada), *await statuses(g, 2, "/api/y", bob)] == [
            200,
            200,
            429,
        ]
        assert await statuses(g, 3, "/public/x") == [200, 200, 429]


async def test_of_several_limits_each_holds_and_what_is_refused_counts_in_none() -> None:
    top = [by("ip", "9/h"), by("route", "3/h")]
    async with limited(top) as (g, _):
        assert Counter(await statuses(g, 20, "/public/x")) == {200: 3, 429: 17}
        assert Counter(await statuses(g, 9, "/optional/x")) == {200: 3, 429: 6}
        answer = await g.ask("GET", "/public/x")
        assert answer.get("RateLimit") == '"route-3/h";r=0;t=1200'


async def test_a_burst_is_what_may_come_at_once() -> None:
    top = by("ip", "3600/h", burst=2)
    async with limited(top) as (g, _):
        answers = [await g.ask("GET", "/public/x") for _ in range(3)]
    assert [answer.status for answer in answers[:2]] == [200, 200]
    if answers[2].status == 429:  # else this machine took a second for two requests
        assert answers[2].get("Retry-After") == "1"


async def test_head_and_options_count_and_what_we_answer_ourselves_does_not() -> None:
    preflight = (f"Origin: {ORIGIN}", "Access-Control-Request-Method: GET")
    async with limited(by("ip", "3/h"), health_path="/healthz") as (g, _):
        for _ in range(5):
            assert (await g.ask("OPTIONS", "/public/x", *preflight)).status == 204
            assert (await g.ask("GET", "/healthz")).status == 200
            assert (await g.ask("GET", "/nothing")).status == 404
        found = [(await g.ask(m, "/public/x")).status for m in ("HEAD", "OPTIONS", "GET")]
        assert found == [200, 200, 200]
        refused = await g.ask("HEAD", "/public/x")
        assert (refused.status, refused.body) == (429, b"")
        assert (await g.ask("OPTIONS", "/public/x", *preflight)).status == 204


async def test_a_preflight_that_goes_upstream_counts() -> None:
    preflight = (f"Origin: {ORIGIN}", "Access-Control-Request-Method: GET")
    async with limited(by("ip"), cors="off") as (g, _):
        found = [(await g.ask("OPTIONS", "/api/x", *preflight)).status for _ in range(3)]
    assert found == [200, 200, 429]


async def test_the_address_is_the_one_that_a_trusted_proxy_vouches_for() -> None:
    async with limited(by("ip"), trusted_proxies=["127.0.0.1"]) as (g, _):

        async def ask(chain: str) -> int:
            return (await g.ask("GET", "/public/x", f"X-Forwarded-For: {chain}")).status

        assert [await ask("192.0.2.1") for _ in range(3)] == [200, 200, 429]
        # What the client itself wrote stands further left, and changes nothing.
        assert await ask("203.0.113.9, 192.0.2.1") == 429
        assert await ask("192.0.2.2") == 200
        assert [await ask(f"2001:db8::{n}") for n in range(1, 4)] == [200, 200, 429]
        assert await ask("2001:db8:0:1::1") == 200


async def test_a_header_of_somebody_who_is_not_trusted_makes_nobody_else_of_him() -> None:
    async with limited(by("ip")) as (g, _):
        chains = [f"X-Forwarded-For: 192.0.2.{number}" for number in range(3)]
        found = [(await g.ask("GET", "/public/x", chain)).status for chain in chains]
    assert found == [200, 200, 429]


async def test_a_path_that_a_backend_may_read_as_the_limited_one_is_no_way_around() -> None:
    routes = [
        {"path": "/login", "upstream": "api", "rate_limit": by("ip")},
        {"path": "/**", "upstream": "api"},
    ]
    async with limited(routes=routes) as (g, _):
        answers = [
            await g.ask("GET", target, signed_in())
            for target in ("/LOGIN", "/login/", "/login;x", "/%6Cogin")
        ]
    assert [answer.status for answer in answers] == [400] * 4
    assert {json.loads(answer.body)["code"] for answer in answers} == {"ambiguous_path"}


UPGRADE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


async def test_a_websocket_counts_once_when_it_is_opened() -> None:
    async with limited(by("user")) as (g, upstream):
        upstream.script("/api/ws", SWITCHED)
        lines = (signed_in(), f"Origin: {ORIGIN}", *UPGRADE)
        for _ in range(2):
            async with RawClient(g.port) as client:
                await client.send(request("GET", "/api/ws", *lines))
                await client.wait(lambda: b"101" in client.received)
        assert (await g.ask("GET", "/api/ws", *lines)).status == 429
        assert await statuses(g, 1, "/api/x", signed_in()) == [429]


async def test_a_request_that_is_tried_at_two_endpoints_counts_once() -> None:
    async with StubUpstream() as upstream:
        config = settings("http://127.0.0.1:1", upstream.url, rate_limit=by("ip"))
        async with LocalGateway(config) as g:
            assert await statuses(g, 3, "/public/x") == [200, 200, 429]
            await g.logged(lambda line: line["attempts"] == 2)


async def on_one_connection(g: LocalGateway, times: int, data: bytes) -> list[Answer]:
    """Send the same bytes so often on one connection, each when the last was answered."""
    async with RawClient(g.port) as client:
        answers: list[Answer] = []
        while len(answers) < times:
            await client.send(data)
            answers = await client.read_answers(len(answers) + 1)
        return answers


async def test_a_request_with_a_body_is_refused_before_the_body_comes() -> None:
    async with limited(by("ip")) as (g, _):
        await statuses(g, 2, "/public/x")
        head = request("POST", "/public/x", "Content-Length: 1000", "Expect: 100-continue")
        [answer] = await on_one_connection(g, 1, head)
    assert answer.status == 429
    assert answer.get("Connection") == "close"


async def test_the_refusal_leaves_the_connection_open() -> None:
    async with limited(by("ip")) as (g, _):
        answers = await on_one_connection(g, 4, request("GET", "/public/x"))
    assert [answer.status for answer in answers] == [200, 200, 429, 429]


LANE = [
    pytest.param("/public/x", (), "ip", id="public"),
    pytest.param("/api/x", (signed_in(),), "user", id="user"),
    pytest.param("/optional/x", (), "user", id="nobody"),
    pytest.param("/api/x", (signed_in(),), "route", id="route"),
]


@pytest.mark.parametrize(("target", "lines", "kind"), LANE)
async def test_the_lane_counts_each_of_its_requests(
    target: str, lines: tuple[str, ...], kind: str
) -> None:
    async with limited([by(kind, "20/h"), by("ip", "1000/h")]) as (g, upstream):
        answers = await on_one_connection(g, 30, request("GET", target, *lines))
        assert repr(g.worker._gateway.snapshot.lane) == "<Lane heads=1>"
        assert {each["entries"] for each in g.status["rate_limits"]} == {1}
        assert len(upstream.requests) == 20
    assert [answer.status for answer in answers] == [200] * 20 + [429] * 10


async def test_users_of_the_lane_are_told_apart() -> None:
    passed = []
    async with limited(by("user", "5/h")) as (g, _):
        for user in ("ada", "bob", "ada", "bob"):
            answers = await on_one_connection(g, 4, request("GET", "/api/x", signed_in(user)))
            passed.append([answer.status for answer in answers].count(200))
    assert passed == [4, 4, 1, 1]


async def test_without_a_pooled_connection_a_known_head_is_counted_once_all_the_same() -> None:
    """The lane gives back what it has taken when it cannot send, and the ordinary way counts."""
    async with limited(by("ip", "12/h"), upstream={"pool_idle": "1ms"}) as (g, _):
        answers = await on_one_connection(g, 15, request("GET", "/public/x"))
    assert [answer.status for answer in answers] == [200] * 12 + [429] * 3
