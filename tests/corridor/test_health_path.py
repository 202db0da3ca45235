"""`health_path`: the gateway's own answer for load balancers, before routing and unlogged."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.client import RawClient
from tests.support.upstream import StubUpstream
from tests.support.worker import LocalGateway, request, settings


@pytest_asyncio.fixture
async def gateway(upstream: StubUpstream) -> AsyncIterator[LocalGateway]:
    config = settings(
        upstream.url,
        health_path="/healthz",
        routes=[{"path": "/**", "upstream": "api", "auth": "public"}],
    )
    async with LocalGateway(config) as gateway:
        yield gateway


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_health_is_answered_here(
    gateway: LocalGateway, upstream: StubUpstream, method: str
) -> None:
    answer = await gateway.ask(method, "/healthz")
    assert answer.status == 200
    assert answer.body == (b"" if method == "HEAD" else b"ok\n")
    assert answer.get("Cache-Control") == "no-store"
    assert answer.values("Server") == []
    assert upstream.connections == []
    assert gateway.status["requests"] == 0
    assert (await gateway.ask("GET", "/other")).status == 200
    await gateway.logged()
    assert [line["path"] for line in gateway.log_lines()] == ["/other"]


async def test_health_needs_no_host(gateway: LocalGateway) -> None:
    async with RawClient(gateway.port) as client:
        await client.send(b"GET /healthz HTTP/1.0\r\n\r\n")
        data = await client.read_until_closed()
    assert data.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("target", ["/healthz?x", "/healthz/", "/Healthz", "/healthz/x"])
async def test_other_paths_are_the_upstreams(
    gateway: LocalGateway, upstream: StubUpstream, target: str
) -> None:
    assert (await gateway.ask("GET", target)).status == 200
    assert [each.target for each in upstream.requests] == [target]


async def test_connection_stays_open(gateway: LocalGateway) -> None:
    async with RawClient(gateway.port) as client:
        await client.send(request("GET", "/healthz") * 3)
        assert [each.status for each in await client.read_answers(3)] == [200] * 3


async def test_body_that_nobody_wants_ends_the_connection(gateway: LocalGateway) -> None:
    async with RawClient(gateway.port) as client:
        await client.send(request("POST", "/healthz", "Content-Length: 10") + b"part")
        [answer] = await client.read_answers()
    assert (answer.status, answer.get("Connection")) == (200, "close")


async def test_without_a_health_path_it_is_a_path_like_any(upstream: StubUpstream) -> None:
    async with LocalGateway(settings(upstream.url)) as gateway:
        assert (await gateway.ask("GET", "/healthz")).status == 404


@pytest.mark.parametrize(
    ("line", "fields", "status"),
    [
        ("GET /healthz HTTP/1.0", "", 200),
        ("OPTIONS /healthz HTTP/1.0", "", 200),
        ("GET /healthz HTTP/0.9", "Host: a\r\n", 400),
        ("GET /healthz HTTP/2.0", "Host: a\r\n", 400),
        ("TRACE /healthz HTTP/1.1", "Host: a\r\n", 501),
        ("BREW /healthz HTTP/1.1", "Host: a\r\n", 501),
        ("POST /healthz HTTP/1.1", "Host: a\r\nTransfer-Encoding: gzip, chunked\r\n", 501),
        ("GET /healthz HTTP/1.1", "Host: a\r\nExpect: x\r\n", 417),
        ("GET /healthz HTTP/1.1", "", 400),
    ],
)
async def test_what_is_no_request_is_refused_here_too(
    gateway: LocalGateway, upstream: StubUpstream, line: str, fields: str, status: int
) -> None:
    async with RawClient(gateway.port) as client:
        await client.send(f"{line}\r\n{fields}\r\n".encode())
        [answer] = await client.read_answers()
    assert answer.status == status
    assert upstream.connections == []
