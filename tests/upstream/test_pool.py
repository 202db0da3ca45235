"""proxy/upstream/pool.py: whose turn it is, and the TLS context of an upstream."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from proxy.upstream.deadlines import Deadlines
from proxy.upstream.endpoint import Endpoint
from proxy.upstream.pool import Pool
from tests.support.certificates import Authority
from tests.support.exchanges import config_of
from tests.support.upstream import StubUpstream

CONFIG = """
upstreams: {{api: {{{keys}}}}}
routes: [{{path: /**, upstream: api, auth: public}}]
"""
THREE = "endpoints: ['http://a:1', 'http://b:1', 'http://c:1']"


def pool_of(keys: str) -> Pool:
    loop = asyncio.get_running_loop()
    config = config_of(CONFIG.format(keys=keys))
    return Pool("api", config.upstreams["api"], loop, Deadlines(loop))


async def test_endpoints_take_turns() -> None:
    pool = pool_of(THREE)
    names = [pool.pick(()).name for _ in range(4)]
    assert names == ["http://a:1", "http://b:1", "http://c:1", "http://a:1"]


async def test_a_second_try_goes_to_another_endpoint() -> None:
    pool = pool_of(THREE)
    tried: list[Endpoint] = []
    for _ in range(3):
        tried.append(pool.pick(tried))
        pool.pick(())  # another request in between
    assert {endpoint.name for endpoint in tried} == {"http://a:1", "http://b:1", "http://c:1"}


async def test_where_all_were_tried_their_turns_go_on() -> None:
    pool = pool_of(THREE)
    tried = [pool.pick(()) for _ in range(3)]
    assert pool.pick(tried) in tried


async def test_a_single_endpoint_is_tried_again() -> None:
    pool = pool_of("endpoints: ['http://a:1']")
    assert pool.pick([pool.pick(())]) is pool.endpoints[0]


@pytest.mark.parametrize(("keys", "tells"), [("", False), (", host: upstream", True)])
async def test_whose_host_is_told(keys: str, tells: bool) -> None:
    assert pool_of(THREE + keys).tells_own_host is tells


async def test_closing_the_idle_closes_those_of_all_endpoints() -> None:
    async with StubUpstream() as one, StubUpstream() as two:
        pool = pool_of(f"endpoints: ['{one.url}', '{two.url}']")
        for endpoint in pool.endpoints:
            connection = await endpoint.connect(5.0)
            connection.begin(bodiless=False, upgrade=False)
            connection.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            while await connection.read():
                pass
            endpoint.give_back(connection)
        assert [endpoint.idle for endpoint in pool.endpoints] == [1, 1]
        pool.close_idle()
        assert [endpoint.idle for endpoint in pool.endpoints] == [0, 0]


async def test_an_upstream_without_https_reads_no_certificates(tmp_path: Path) -> None:
    ca = Authority(tmp_path).ca
    config_of(CONFIG.format(keys=(https := f"endpoints: ['https://a:1'], tls: {{ca: {ca}}}")))
    ca.unlink()
    with pytest.raises(OSError, match="No such file"):
        pool_of(https)
    pool_of("endpoints: ['http://a:1']")


async def test_a_ca_of_its_own_is_the_only_one_that_is_trusted(tmp_path: Path) -> None:
    own, other = Authority(tmp_path), Authority(tmp_path, "other")
    async with StubUpstream(tls=own.server()) as upstream:
        for ca, admitted in ((own.ca, True), (other.ca, False)):
            [endpoint] = pool_of(f"endpoints: ['{upstream.url}'], tls: {{ca: {ca}}}").endpoints
            reason = ""
            try:
                (await endpoint.connect(5.0)).abort()
            except Exception as error:  # noqa: BLE001 - whatever it is, the connection failed
                reason = str(error)
            assert (not reason) is admitted


async def test_an_endpoint_may_ask_for_our_certificate(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server = authority.server()
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_verify_locations(authority.ca)
    cert, key = authority.issue("gatelodge.example.test")
    async with StubUpstream(tls=server) as upstream:
        keys = (
            f"endpoints: ['{upstream.url}'], tls: {{ca: {authority.ca}, cert: {cert}, key: {key}}}"
        )
        [endpoint] = pool_of(keys).endpoints
        connection = await endpoint.connect(5.0)
        connection.begin(bodiless=False, upgrade=False)
        connection.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await connection.answer()).status == 200
        connection.abort()
