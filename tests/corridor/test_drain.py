"""A gateway that stops finishes what it has begun, and says so to those who would begin more."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import yaml

from tests.support.client import RawClient, exchange
from tests.support.gateway import GatewayProcess
from tests.support.scripts import Held, silent
from tests.support.upstream import Exchange, StubUpstream
from tests.support.worker import LocalGateway, request, settings

READY = b"GET /-/ready HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
HEALTH = request("GET", "/healthz")


def draining(upstream: StubUpstream, delay: str = "0s", timeout: str = "10s") -> dict[str, object]:
    return settings(
        upstream.url, health_path="/healthz", drain={"delay": delay, "timeout": timeout}
    )


async def refuses(port: int) -> bool:
    try:
        async with RawClient(port):
            return False
    except ConnectionRefusedError:
        return True


# The process and its signals.


@pytest_asyncio.fixture
async def process(upstream: StubUpstream, tmp_path: Path) -> AsyncIterator[GatewayProcess]:
    config = yaml.safe_dump(draining(upstream, delay="1s"))
    async with GatewayProcess(config, tmp_path) as gateway:
        yield gateway
        if gateway.running:
            gateway.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])
async def test_signal_drains_and_loses_nothing(
    process: GatewayProcess, upstream: StubUpstream, number: signal.Signals
) -> None:
    """Readiness, requests during the delay, one in flight throughout, an upload, exit code 0."""
    held = Held()
    upstream.script("/public/held", held)
    async with (
        RawClient(process.port) as waiting,
        RawClient(process.port) as uploading,
        RawClient(process.port) as idle,
        RawClient(process.port) as keeping,
    ):
        await waiting.send(request("GET", "/public/held"))
        head = request("POST", "/public/up", "Transfer-Encoding: chunked")
        await uploading.send(head + b"5\r\nhello\r\n")
        await keeping.send(request("GET", "/public/a"))
        await keeping.read_answers(1)
        await upstream.wait(lambda: len(upstream.requests) == 3)
        assert (await exchange(process.admin_port, READY)).status == 200
        process.process.send_signal(number)
        await process.wait_for_log(lambda line: line["event"] == "draining")
        assert (await exchange(process.admin_port, READY)).status == 503
        assert (await exchange(process.port, HEALTH)).status == 503
        late = await exchange(process.port, request("GET", "/public/b"))  # still served
        assert late.status == 200
        await idle.read_until_closed()
        await keeping.read_until_closed()
        assert not idle.reset
        assert not keeping.reset
        assert await refuses(process.port)
        assert process.running
        await uploading.send(b"5\r\nworld\r\n0\r\n\r\n")
        [uploaded] = await uploading.read_answers()
        held.go.set()
        [answer] = await waiting.read_answers()
        await waiting.read_until_closed()
    assert (uploaded.status, uploaded.get("Connection")) == (200, "close")
    assert uploaded.json()["body"] == "helloworld"
    assert (answer.status, answer.body, answer.get("Connection")) == (200, b"ok", "close")
    assert not waiting.reset
    assert await process.wait() == 0
    lines = [line for line in process.log_lines() if line["event"] == "request"]
    assert sorted(line["path"] for line in lines) == [
        "/public/a",
        "/public/b",
        "/public/held",
        "/public/up",
    ]


async def test_second_int_exits_at_once(process: GatewayProcess, upstream: StubUpstream) -> None:
    upstream.script("/public/x", silent)
    async with RawClient(process.port) as client:
        await client.send(request("GET", "/public/x"))
        await upstream.wait(lambda: bool(upstream.requests))
        process.process.send_signal(signal.SIGINT)
        await process.wait_for_log(lambda line: line["event"] == "draining")
        process.process.send_signal(signal.SIGINT)
        assert await process.wait() == 130
        await client.read_until_closed()


async def test_second_term_changes_nothing(process: GatewayProcess, upstream: StubUpstream) -> None:
    held = Held()
    upstream.script("/public/x", held)
    async with RawClient(process.port) as client:
        await client.send(request("GET", "/public/x"))
        await upstream.wait(lambda: bool(upstream.requests))
        process.process.send_signal(signal.SIGTERM)
        await process.wait_for_log(lambda line: line["event"] == "draining")
        process.process.send_signal(signal.SIGTERM)
        assert await refuses_soon(process.port)
        held.go.set()
        [answer] = await client.read_answers()
    assert answer.status == 200
    assert await process.wait() == 0


async def refuses_soon(port: int) -> bool:
    async with asyncio.timeout(10):
        while not await refuses(port):  # noqa: ASYNC110 - it is another process
            await asyncio.sleep(0.01)
    return True


# The worker alone.


async def test_answer_in_flight_is_finished_though_its_client_is_slow(
    upstream: StubUpstream,
) -> None:
    size = 8 << 20
    upstream.script(
        "/public/x", b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size
    )
    async with (
        LocalGateway(draining(upstream)) as gateway,
        RawClient(gateway.port, window=8192) as client,
    ):
        await client.send(request("GET", "/public/x"))
        await gateway.until(lambda: any(each.stalled for each in gateway.clients))
        drained = asyncio.create_task(gateway.drain())
        await gateway.until(lambda: gateway.status["state"] == "draining")
        client.read_on()
        await client.read_until_closed()
        await drained
        [answer] = client.answers().all
    assert len(answer.body) == size
    assert not client.reset


async def test_stream_is_cut_off_at_the_timeout(upstream: StubUpstream) -> None:
    async def endless(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        await silent(exchange)

    upstream.script("/public/x", endless)
    async with (
        LocalGateway(draining(upstream, timeout="300ms")) as gateway,
        RawClient(gateway.port) as client,
    ):
        await client.send(request("GET", "/public/x"))
        await client.wait(lambda: b"\r\n\r\n" in client.received)
        await gateway.drain()
        assert gateway.status["state"] == "stopped"
        await client.read_until_closed()
        assert client.reset
        line = await gateway.logged()
        assert (line["status"], line["code"]) == (499, "client_gone")
        await upstream.wait(lambda: upstream.connections[0].ended.is_set())


@pytest.mark.parametrize("behind", [True, False], ids=["behind", "silent"])
async def test_idle_client_cannot_hold_the_gateway_up(upstream: StubUpstream, behind: bool) -> None:
    """Neither one that leaves its answers lying nor one that has begun a head and gone away."""
    size = 300 * 1024
    upstream.script(
        "/public/x", b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size
    )
    async with (
        LocalGateway(draining(upstream, timeout="500ms")) as gateway,
        RawClient(gateway.port, window=4096) as client,
    ):
        await client.send(request("GET", "/public/x") * 16 if behind else b"GET /public/x HT")
        await gateway.until(lambda: not behind or any(each.stalled for each in gateway.clients))
        await gateway.drain()
        assert gateway.status["state"] == "stopped"


async def test_connection_after_an_upload_is_idle(upstream: StubUpstream) -> None:
    async with (
        LocalGateway(draining(upstream, timeout="1m")) as gateway,
        RawClient(gateway.port) as client,
    ):
        await client.send(request("POST", "/public/x", "Content-Length: 5"))
        await gateway.until(lambda: any(each.busy for each in gateway.clients))
        await client.send(b"hello")
        await client.read_answers()
        await gateway.drain(deadline=10)
        await client.read_until_closed()
    assert not client.reset


async def test_pipelined_requests_that_have_come_are_answered_or_left_alone(
    upstream: StubUpstream,
) -> None:
    """The first answer says that it is the last, and nothing behind it is begun."""
    held = Held()
    upstream.script("/public/held", held)
    async with (
        LocalGateway(draining(upstream)) as gateway,
        RawClient(gateway.port) as client,
    ):
        await client.send(request("GET", "/public/held") + request("POST", "/public/b", body=b"x"))
        await upstream.wait(lambda: bool(upstream.requests))
        drained = asyncio.create_task(gateway.drain())
        await gateway.until(lambda: gateway.worker._gateway.closing)
        held.go.set()
        await client.read_until_closed()
        await drained
        assert [each.get("Connection") for each in client.answers().all] == ["close"]
    assert [each.target for each in upstream.requests] == ["/public/held"]


async def test_nothing_is_left_behind(upstream: StubUpstream) -> None:
    before = asyncio.all_tasks()
    async with LocalGateway(draining(upstream)) as gateway:
        for _ in range(3):
            await gateway.ask("GET", "/public/x")
        await gateway.drain()
        await upstream.wait(lambda: all(each.ended.is_set() for each in upstream.connections))
        await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
