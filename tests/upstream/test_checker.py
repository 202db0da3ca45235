"""proxy/upstream/checker.py: one check, from the connection to the status."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from proxy.config.model import Endpoint as Address
from proxy.config.model import HealthConfig
from proxy.upstream.checker import check
from proxy.upstream.deadlines import Deadlines
from proxy.upstream.endpoint import ConnectSettings, Endpoint
from tests.support.certificates import Authority
from tests.support.scripts import close, reset, silent
from tests.support.upstream import Script, StubUpstream


def endpoint_at(url: str, *, connections: int = 100, tls: ssl.SSLContext | None = None) -> Endpoint:
    loop = asyncio.get_running_loop()
    settings = ConnectSettings(10.0, connections, tls, None)
    return Endpoint(Address.parse(url), settings, loop, Deadlines(loop))


async def checked(upstream: StubUpstream, **rules: object) -> str:
    health = HealthConfig.model_validate({"path": "/healthz", **rules})
    return await check(endpoint_at(upstream.url), health)


async def test_what_is_sent() -> None:
    async with StubUpstream() as upstream:
        assert await checked(upstream, path="/healthz?deep=1") == ""
        assert upstream.received == (
            b"GET /healthz?deep=1 HTTP/1.1\r\n"
            b"Host: 127.0.0.1:%d\r\n"
            % upstream.port
            + b"User-Agent: gatelodge-health\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        )
        assert upstream.violations == []


async def test_a_host_of_its_own_is_sent() -> None:
    async with StubUpstream() as upstream:
        assert await checked(upstream, host="api.example.test") == ""
        assert upstream.requests[0].get("Host") == "api.example.test"


@pytest.mark.parametrize(
    ("status", "wanted", "problem"),
    [
        (200, None, ""),
        (204, None, ""),
        (299, None, ""),
        (302, None, "status 302"),
        (404, None, "status 404"),
        (503, None, "status 503"),
        (404, [404], ""),
        (401, (200, 401), ""),
        (204, (200, 401), "status 204"),
    ],
)
async def test_which_status_is_good(status: int, wanted: object, problem: str) -> None:
    async with StubUpstream() as upstream:
        upstream.script("/healthz", b"HTTP/1.1 %d \r\nContent-Length: 0\r\n\r\n" % status)
        assert await checked(upstream, **({"status": wanted} if wanted else {})) == problem


async def test_interim_answers_are_passed_over() -> None:
    async with StubUpstream() as upstream:
        upstream.script(
            "/healthz",
            b"HTTP/1.1 103 \r\nLink: </a>\r\n\r\nHTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n",
        )
        assert await checked(upstream) == ""


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        (silent, "no answer within 0.05 s"),
        (close, "the connection has ended"),
        (reset, "the connection was reset"),
    ],
)
async def test_who_says_nothing_is_not_well(script: Script, problem: str) -> None:
    async with StubUpstream() as upstream:
        upstream.script("/healthz", script)
        said = await checked(upstream, timeout=0.05 if script is silent else 10.0)
        assert said == problem or script is not silent
        assert said


async def test_what_is_no_http_is_not_well() -> None:
    async with StubUpstream() as upstream:
        upstream.script("/healthz", b"SSH-2.0-OpenSSH_9.2\r\n")
        assert await checked(upstream) != ""


async def test_nobody_there_is_told_as_a_request_would_be() -> None:
    health = HealthConfig(path="/")
    assert await check(endpoint_at("http://127.0.0.1:1"), health) == "Connection refused"


async def test_a_certificate_that_is_not_known_is_told(tmp_path: Path) -> None:
    async with StubUpstream(tls=Authority(tmp_path).server()) as upstream:
        endpoint = endpoint_at(upstream.url, tls=ssl.create_default_context())
        assert (await check(endpoint, HealthConfig(path="/"))).startswith("TLS: ")


async def test_the_cap_on_connections_is_not_for_checks_and_they_take_none() -> None:
    async with StubUpstream() as upstream:
        endpoint = endpoint_at(upstream.url, connections=1)
        busy = await endpoint.connect(5.0)
        assert await check(endpoint, HealthConfig(path="/")) == ""
        assert endpoint.open == 1
        busy.abort()


async def test_each_check_has_a_connection_of_its_own_and_leaves_none() -> None:
    async with StubUpstream() as upstream:
        for _ in range(3):
            assert await checked(upstream) == ""
        assert len(upstream.connections) == 3
        for connection in upstream.connections:
            async with asyncio.timeout(10):
                await connection.ended.wait()
