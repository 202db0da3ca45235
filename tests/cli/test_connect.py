"""Connecting to endpoints, over real sockets."""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from pathlib import Path
from typing import Any

import pytest

from proxy.cli.connect import Reached, ask_redis, connect_all
from proxy.config.load import loads
from proxy.config.model import Config
from tests.cli import certificates
from tests.support.valkey import Valkey


def config(*endpoints: str, **more: Any) -> Config:
    listed = ", ".join(f'"{endpoint}"' for endpoint in endpoints)
    extra = "".join(f", {key}: {value}" for key, value in more.items())
    return loads(
        f"upstreams: {{api: {{endpoints: [{listed}]{extra}}}}}\n"
        "routes: [{path: /**, upstream: api, auth: public}]\n",
        "x.yaml",
        {},
    ).config


async def hold(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


def port_of(server: asyncio.Server) -> int:
    port: int = server.sockets[0].getsockname()[1]
    return port


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


async def test_tcp_and_unix_endpoints_are_reached(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    async with (
        await asyncio.start_server(hold, "127.0.0.1", 0) as tcp,
        await asyncio.start_unix_server(hold, path),
    ):
        endpoints = [f"http://127.0.0.1:{port_of(tcp)}", f"unix:{path}"]
        reached = await connect_all(config(*endpoints))
    assert reached == [Reached("api", endpoint, "") for endpoint in endpoints]


async def test_each_endpoint_that_is_not_there_is_told(tmp_path: Path) -> None:
    port = free_port()
    async with await asyncio.start_server(hold, "127.0.0.1", 0) as tcp:
        there = f"http://127.0.0.1:{port_of(tcp)}"
        gone = [f"http://127.0.0.1:{port}", f"unix:{tmp_path / 'gone.sock'}"]
        reached = await connect_all(config(gone[0], there, gone[1]))
    assert [(each.endpoint, bool(each.problem)) for each in reached] == [
        (gone[0], True),
        (there, False),
        (gone[1], True),
    ]


async def test_nothing_is_sent() -> None:
    received: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            received.set_result(await reader.read())
        except ConnectionResetError:
            received.set_result(b"")
        writer.close()

    async with await asyncio.start_server(listen, "127.0.0.1", 0) as tcp:
        await connect_all(config(f"http://127.0.0.1:{port_of(tcp)}"))
        async with asyncio.timeout(10):
            assert await received == b""


async def test_tls_is_checked_as_the_gateway_checks_it(tmp_path: Path) -> None:
    pair = certificates.make(tmp_path, "server")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair.cert, pair.key)
    async with await asyncio.start_server(hold, "127.0.0.1", 0, ssl=context) as server:
        endpoint = f"https://127.0.0.1:{port_of(server)}"
        [known] = await connect_all(config(endpoint, tls=f"{{ca: {pair.cert}}}"))
        [unknown] = await connect_all(config(endpoint))
    assert known.problem == ""
    assert "certificate" in unknown.problem


async def test_an_endpoint_that_does_not_answer_in_time_is_told() -> None:
    # A TCP connection comes about, the TLS handshake does not.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        timeouts = "{connect: 50ms}"
        [reached] = await connect_all(config(f"https://127.0.0.1:{port}", timeouts=timeouts))
    assert reached.problem == "no connection within 0.05 s"


def with_redis(keys: str) -> Config:
    return loads(
        "upstreams: {api: {endpoints: [http://127.0.0.1:1]}}\n"
        "routes: [{path: /**, upstream: api, auth: public}]\n"
        f"redis: {{{keys}}}\n",
        "x.yaml",
        {},
    ).config


def named(name: str) -> Config:
    return loads(
        f"upstreams: {{api: {{dns: '{name}', timeouts: {{connect: 5s}}}}}}\n"
        "routes: [{path: /**, upstream: api, auth: public}]\n",
        "x.yaml",
        {},
    ).config


async def test_redis_is_asked_without_counting_anything(valkey: Valkey) -> None:
    assert await ask_redis(with_redis(f"url: {valkey.url}")) == ""
    async with valkey.client() as client:
        assert await client.dbsize() == 0


async def test_why_redis_cannot_be_asked_is_told(
    valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = await ask_redis(with_redis("url: redis://127.0.0.1:1, password: hunter2"))
    assert refused == "no connection: Connection refused"
    monkeypatch.setattr("proxy.limits.shared.CONNECT", 0.05)
    valkey.freeze()
    assert await ask_redis(with_redis(f"url: {valkey.url}")) == "no answer in time"
    monkeypatch.setitem(sys.modules, "redis", None)
    missing = await ask_redis(with_redis(f"url: {valkey.url}"))
    assert missing is not None
    assert "pip install 'gatelodge[redis]'" in missing


async def test_without_redis_nobody_is_asked() -> None:
    assert await ask_redis(config("http://127.0.0.1:1")) is None


async def test_each_address_of_a_name_is_tried() -> None:
    async with await asyncio.start_server(hold, "127.0.0.1", 0) as tcp:
        there = f"http://127.0.0.1:{port_of(tcp)}"
        reached = await connect_all(named(f"localhost:{port_of(tcp)}"))
    assert Reached("api", there, "") in reached


async def test_a_name_without_an_address_is_told() -> None:
    # RFC 6761 section 6.4: no name below "invalid" exists.
    [reached] = await connect_all(named("api.invalid:80"))
    assert reached.endpoint == "http://api.invalid"
    assert reached.problem.startswith("no address is known: ")
