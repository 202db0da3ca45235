"""proxy/worker/process.py: how a worker starts, drains and stops."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys

import pytest

from tests.support.client import RawClient
from tests.support.gateway import ROOT
from tests.support.postgres import Database
from tests.support.scripts import Held, silent
from tests.support.upstream import StubUpstream
from tests.support.worker import LocalGateway, request, settings


async def test_a_worker_says_where_it_listens() -> None:
    async with LocalGateway(settings("http://127.0.0.1:1")) as gateway:
        assert set(gateway.worker.addresses) == {"main", "admin"}
        assert gateway.status["state"] == "ready"
    assert gateway.status["state"] == "stopped"


async def test_bytes_that_are_no_request_reach_no_log(caplog: pytest.LogCaptureFixture) -> None:
    """aiohttp's report of a line that it cannot read repeats the line."""
    async with LocalGateway(settings("http://127.0.0.1:1")) as gateway:
        for line in (b"Authorization : Bearer SECRET", b"Cookie: a=SECRET\0", b"SECRET"):
            async with RawClient(gateway.admin_port) as client:
                await client.send(b"GET /-/config HTTP/1.1\r\nHost: localhost\r\n%b\r\n\r\n" % line)
                await client.read_until_closed()
                assert b" 400 " in client.received
    assert "SECRET" not in caplog.text
    assert "Error handling request" not in caplog.text


async def test_a_drain_finishes_what_is_in_flight_and_closes_what_is_idle() -> None:
    held = Held()
    async with StubUpstream() as upstream, LocalGateway(settings(upstream.url)) as gateway:
        upstream.script("/public/held", held)
        async with RawClient(gateway.port) as busy, RawClient(gateway.port) as idle:
            await idle.send(request("GET", "/public/x"))
            await idle.read_answers()
            await busy.send(request("GET", "/public/held"))
            await upstream.wait(lambda: len(upstream.requests) == 2)
            draining = asyncio.ensure_future(gateway.drain())
            await idle.read_until_closed()
            assert not draining.done()
            assert gateway.worker.state.ready() == (False, "draining")
            held.go.set()
            [answer] = await busy.read_answers()
            assert (answer.status, answer.get("Connection")) == (200, "close")
            await draining
        assert gateway.status["state"] == "stopped"


async def test_a_connection_that_has_only_just_come_may_still_ask() -> None:
    config = settings("http://127.0.0.1:1", drain={"delay": "0s", "timeout": "20s"})
    async with LocalGateway(config) as gateway, RawClient(gateway.port) as used:
        async with RawClient(gateway.port) as fresh:
            await used.send(request("GET", "/nowhere"))
            await used.read_answers()
            draining = asyncio.ensure_future(gateway.drain())
            await gateway.worker.deaf.wait()
            for client in (used, fresh):
                await client.send(request("GET", "/nowhere"))
                await client.read_until_closed()
                assert client.received.count(b"Connection: close") == 1
        await draining


async def test_requests_are_taken_while_readiness_is_withdrawn() -> None:
    config = settings("http://127.0.0.1:1", drain={"delay": "300ms", "timeout": "5s"})
    config["health_path"] = "/healthz"
    async with LocalGateway(config) as gateway:
        draining = asyncio.ensure_future(gateway.drain())
        await gateway.until(lambda: not gateway.worker.state.ready()[0])
        assert (await gateway.ask("GET", "/healthz")).status == 503
        assert (await gateway.ask("GET", "/nowhere")).status == 404
        await draining
        with pytest.raises(ConnectionRefusedError):
            await gateway.ask("GET", "/nowhere")


async def test_what_outlasts_the_drain_is_cut_off() -> None:
    async with StubUpstream() as upstream:
        config = settings(upstream.url, drain={"delay": "0s", "timeout": "100ms"})
        async with LocalGateway(config) as gateway:
            upstream.script("/public/x", silent)
            async with RawClient(gateway.port) as client:
                await client.send(request("GET", "/public/x"))
                await upstream.wait(lambda: bool(upstream.requests))
                await gateway.drain()
                await client.read_until_closed()
                assert client.received == b""
        assert [line["status"] for line in gateway.log_lines()] == [499]


async def test_a_stop_cuts_off_at_once_and_logs_what_it_cut() -> None:
    async with StubUpstream() as upstream, LocalGateway(settings(upstream.url)) as gateway:
        upstream.script("/public/x", silent)
        async with RawClient(gateway.port) as client:
            await client.send(request("GET", "/public/x"))
            await upstream.wait(lambda: bool(upstream.requests))
            await gateway.stop()
            await client.read_until_closed()
        assert [line["status"] for line in gateway.log_lines()] == [499]
        assert gateway.status["connections"] == {"client": 0, "upstream": 0}


@pytest.mark.slow
def test_a_worker_refuses_to_run_without_the_c_parser() -> None:
    code = "from tests.support.worker import settings, LocalGateway as G; import asyncio\n"
    code += "async def main():\n  async with G(settings('http://127.0.0.1:1')): pass\n"
    done = subprocess.run(
        [sys.executable, "-c", code + "asyncio.run(main())"],
        cwd=ROOT,
        env={**os.environ, "AIOHTTP_NO_EXTENSIONS": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "RuntimeError: aiohttp runs without its C parser" in done.stderr


async def test_a_database_that_does_not_fit_keeps_a_worker_from_starting(
    database: Database,
) -> None:
    sessions = {"web": {"database": {"url": database.url}}}
    gateway = LocalGateway(settings("http://127.0.0.1:1", sessions=sessions))
    with pytest.raises(ValueError, match=r"^sessions\.web\.database: no table of the database"):
        await gateway.__aenter__()
    assert gateway.worker.addresses == {}


async def test_shared_limits_without_their_package_keep_a_worker_from_starting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    config = settings(
        "http://127.0.0.1:1",
        rate_limit={"by": "ip", "rate": "9/h"},
        redis={"url": "redis://127.0.0.1:1"},
    )
    gateway = LocalGateway(config)
    with pytest.raises(ValueError, match=r"pip install 'gatelodge\[redis\]'"):
        await gateway.__aenter__()
    assert gateway.worker.addresses == {}


@pytest.mark.parametrize("turns", range(6))
async def test_one_that_was_accepted_as_the_socket_closed_is_answered(turns: int) -> None:
    """The loop makes a connection's protocol a turn or two after it has taken it from the queue."""
    config = settings("http://127.0.0.1:1", drain={"delay": "0s", "timeout": "20s"})
    async with LocalGateway(config) as gateway:
        with socket.create_connection(("127.0.0.1", gateway.port)) as client:
            for _ in range(turns):
                await asyncio.sleep(0)
            draining = asyncio.ensure_future(gateway.drain())
            await gateway.worker.deaf.wait()
            for _ in range(50):
                await asyncio.sleep(0)
            assert not draining.done()  # or the process would be gone by now
            client.send(request("GET", "/nowhere"))
            client.setblocking(False)
            answer = await asyncio.get_running_loop().sock_recv(client, 4096)
            assert answer.startswith(b"HTTP/1.1 404 ")
            await draining
