"""`host`: what the upstream sees as `Host`, and routes that are for one host only."""

from __future__ import annotations

import pytest

from tests.support.client import exchange
from tests.support.upstream import StubUpstream
from tests.support.worker import LocalGateway, request, settings


@pytest.mark.parametrize("host", ["api.example.com", "API.Example.com:8080", "[::1]:80", "a."])
async def test_host_passes_as_the_client_sent_it(
    gateway: LocalGateway, upstream: StubUpstream, host: str
) -> None:
    answer = await exchange(gateway.port, request("GET", "/public/x", host=host))
    assert answer.status == 200
    [seen] = upstream.requests
    assert seen.get("Host") == host
    assert seen.get("X-Forwarded-Host") == host


async def test_host_may_be_the_endpoints(upstream: StubUpstream) -> None:
    async with StubUpstream() as other:
        config = settings(upstream.url, other.url, upstream={"host": "upstream"})
        async with LocalGateway(config) as gateway:
            for _ in range(2):
                assert (await gateway.ask("GET", "/public/x")).status == 200
        for each in (upstream, other):
            [seen] = each.requests
            assert seen.get("Host") == f"127.0.0.1:{each.port}"
            assert seen.get("X-Forwarded-Host") == "api.example.com"


async def test_routes_may_be_for_one_host(upstream: StubUpstream) -> None:
    routes = [
        {"path": "/**", "host": "a.example.com", "upstream": "api", "auth": "public"},
        {"path": "/**", "host": "*.example.com", "upstream": "api"},
    ]
    async with LocalGateway(settings(upstream.url, routes=routes)) as gateway:
        statuses = [
            (await exchange(gateway.port, request("GET", "/x", host=host))).status
            for host in ("a.example.com", "A.EXAMPLE.com:1", "a.example.com.", "b.example.com", "c")
        ]
    assert statuses == [200, 200, 200, 401, 404]


async def test_host_that_is_named_twice_or_otherwise_is_refused(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    twice = await exchange(gateway.port, request("GET", "/public/x", "Host: b.example"))
    other = await exchange(gateway.port, request("GET", "http://b.example/public/x"))
    assert (twice.status, other.status) == (400, 400)
    assert upstream.connections == []
