"""The recording upstream: it records every byte, and notes everything that is not HTTP/1.1."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.client import RawClient
from tests.support.upstream import Exchange, StubUpstream


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"GET /x HTTP/1.0\r\nHost: a\r\n\r\n", id="version"),
        pytest.param(b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", id="space-in-target"),
        pytest.param(b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", id="raw-utf8"),
        pytest.param(b"GET / HTTP/1.1\nHost: a\r\n\r\n", id="bare-lf"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nB : c\r\n\r\n", id="space-before-colon"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", id="fold"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nB: c\x00\r\n\r\n", id="nul"),
        pytest.param(b"GET / HTTP/1.1\r\nB: c\r\n\r\n", id="no-host"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", id="two-hosts"),
        pytest.param(
            b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n",
            id="cl-te",
        ),
        pytest.param(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\na", id="length"),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nz\r\n",
            id="chunk-size",
        ),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n\r\n",
            id="trailer",
        ),
        pytest.param(b"GET / HTT", id="unfinished"),
    ],
)
async def test_stub_upstream_notes_what_is_not_http(data: bytes) -> None:
    async with StubUpstream() as upstream, RawClient(upstream.port) as client:
        await client.send(data)
        client.half_close()
        await upstream.wait(lambda: bool(upstream.violations))
        assert data.startswith(upstream.received)
        assert len(upstream.received) > 8
        await client.read_until_closed()


async def test_stub_upstream_records_requests_of_one_connection() -> None:
    async with StubUpstream() as upstream, RawClient(upstream.port) as client:
        head = b"POST /a?b HTTP/1.1\r\nHost: h\r\nX: \xff\r\n"
        sized, chunked = (
            b"Content-Length: 2\r\n\r\nhi",
            b"Transfer-Encoding: chunked\r\n\r\n1\r\n\xfe\r\n0\r\n\r\n",
        )
        await client.send(head + sized + head + chunked)
        first, second = await client.read_answers(2)
        assert [bytes(r.raw) for r in upstream.requests] == [head + sized, head + chunked]
        assert [bytes(r.body) for r in upstream.requests] == [b"hi", b"\xfe"]
        assert [r.connection for r in upstream.requests] == [0, 0]
        assert upstream.requests[0].get("x") == "\xff"
        assert first.json()["body"] == "hi"
        assert second.json()["target"] == "/a?b"
        assert upstream.violations == []


async def test_stub_upstream_closes_idle_connections_only() -> None:
    async with StubUpstream() as upstream:
        release = asyncio.Event()

        async def slow(exchange: Exchange) -> None:
            await release.wait()
            await exchange.send(b"HTTP/1.1 204 No Content\r\n\r\n")

        upstream.script("/slow", slow)
        async with RawClient(upstream.port) as idle, RawClient(upstream.port) as busy:
            await idle.send(b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n")
            await idle.read_answers()
            await busy.send(b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n")
            await upstream.wait(lambda: len(upstream.requests) == 2)
            upstream.close_idle()
            await idle.read_until_closed()
            release.set()
            [answer] = await busy.read_answers()
            assert answer.status == 204


async def test_stub_upstream_retires_idle_connections_once_the_other_side_has_closed() -> None:
    async with StubUpstream() as upstream, RawClient(upstream.port) as client:
        await client.send(b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
        await client.read_answers()
        with pytest.raises(TimeoutError):
            await upstream.retire_idle(deadline=0.01)
        await client.wait(lambda: client.eof)
        client.half_close()
        await upstream.retire_idle()
        assert upstream.connections[0].ended.is_set()
