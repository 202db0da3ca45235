"""proxy/worker/departure.py: clients are sent elsewhere while new ones are still served."""

from __future__ import annotations

import asyncio
import logging
import socket
from time import monotonic
from typing import Any

import pytest

from proxy.worker import departure
from tests.support.client import RawClient
from tests.support.upstream import StubUpstream
from tests.support.worker import LocalGateway, request, settings

NOWHERE = "http://127.0.0.1:1"


def text(*endpoints: str, delay: str = "0s", **sections: Any) -> dict[str, Any]:
    drain = {"delay": delay, "timeout": "20s"}
    return settings(*(endpoints or (NOWHERE,)), drain=drain, health_path="/healthz", **sections)


async def test_new_ones_are_served_and_each_answer_is_the_last() -> None:
    async with LocalGateway(text()) as gateway:
        async with RawClient(gateway.port) as client:
            await client.send(request("GET", "/nowhere"))
            await client.read_answers()
            gateway.worker.depart()
            assert gateway.worker.state.ready() == (False, "draining")
            await client.send(request("GET", "/nowhere"))
            await client.read_until_closed()
            assert client.received.count(b"HTTP/1.1 404 ") == 2
        for _ in range(3):
            answer = await gateway.ask("GET", "/nowhere")
            assert (answer.status, answer.get("Connection")) == (404, "close")
        assert (await gateway.ask("GET", "/healthz")).status == 503
        assert not gateway.worker.deaf.is_set()
        await gateway.drain()
        with pytest.raises(ConnectionRefusedError):
            await gateway.ask("GET", "/nowhere")


async def test_until_the_delay_is_over_connections_live_on() -> None:
    async with LocalGateway(text(delay="1h")) as gateway, RawClient(gateway.port) as client:
        gateway.worker.depart()
        for _ in range(3):
            await client.send(request("GET", "/nowhere"))
            [answer] = await client.read_answers()
            assert answer.get("Connection") is None
        assert gateway.worker.state.ready() == (False, "draining")
        await gateway.stop()


async def test_a_drain_waits_only_for_what_is_left_of_the_delay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with LocalGateway(text(delay="1h")) as gateway:
        gateway.worker.depart()
        now = monotonic()
        draining = asyncio.ensure_future(gateway.drain())
        await asyncio.sleep(0.3)
        assert not gateway.worker.deaf.is_set()
        monkeypatch.setattr(departure, "monotonic", lambda: now + 3601)
        await draining


async def test_the_second_time_nothing_happens(caplog: pytest.LogCaptureFixture) -> None:
    async with LocalGateway(text()) as gateway:
        caplog.set_level(logging.INFO, "gatelodge.worker")
        first = gateway.worker.depart(3600)
        assert gateway.worker.depart(0) is first
        first.turn()
        assert repr(first) == "<Departure closing=False>"
        assert [each.message for each in caplog.records].count("draining") == 1
        await gateway.stop()


async def test_a_silent_connection_is_closed_and_one_that_is_new_may_ask() -> None:
    async with LocalGateway(text()) as gateway, RawClient(gateway.port) as silent:
        await silent.send(request("GET", "/nowhere"))
        await silent.read_answers()
        gateway.worker.depart()
        await silent.read_until_closed()
        async with RawClient(gateway.port) as new:
            await new.send(request("GET", "/nowhere"))
            await new.read_until_closed()
            assert b"HTTP/1.1 404 " in new.received
        await gateway.drain()


async def test_one_that_has_not_said_who_it_is_has_time_to() -> None:
    """Before its PROXY header, or its TLS handshake, a new connection is silent, too."""
    listen = {"address": "127.0.0.1:0", "proxy_protocol": True}
    config = text(listen=listen, trusted_proxies=["127.0.0.1"])
    async with LocalGateway(config) as gateway:
        leaving = gateway.worker.depart()
        async with RawClient(gateway.port) as client:
            await gateway.until(lambda: gateway.status["connections"]["client"] == 1)
            for _ in range(5):
                leaving.turn()
            await client.send(b"PROXY UNKNOWN\r\n" + request("GET", "/nowhere"))
            [answer] = await client.read_answers()
            assert (answer.status, answer.get("Connection")) == (404, "close")
        await gateway.drain()


async def test_a_request_that_is_not_read_yet_is_no_idle_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(departure, "_QUIET", 0.0)
    loop = asyncio.get_running_loop()
    async with StubUpstream() as upstream, LocalGateway(text(upstream.url)) as gateway:
        with socket.socket() as client:
            client.setblocking(False)
            await loop.sock_connect(client, ("127.0.0.1", gateway.port))
            await loop.sock_sendall(client, request("GET", "/public/x"))
            assert b" 200 " in await loop.sock_recv(client, 4096)
            await gateway.until(lambda: not any(each.busy for each in gateway.clients))
            # The loop does not turn between the request and the look of the departure.
            client.send(request("GET", "/public/x"))
            gateway.worker.depart()
            assert b" 200 " in await loop.sock_recv(client, 4096)
        await gateway.drain()
