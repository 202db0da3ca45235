"""proxy/limits/server.py with a real Valkey: how it is reached, and what is said when it is not."""

from __future__ import annotations

import asyncio
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from proxy.config.model import RedisConfig
from proxy.errors import LimitStoreDown
from proxy.limits.server import RedisServer
from tests.support.certificates import Authority
from tests.support.valkey import Valkey, running

QUESTION = (["p:limit:a"], [1, 1_000_000, 2_000_000])


@asynccontextmanager
async def server(url: str, **keys: Any) -> AsyncIterator[RedisServer]:
    made = RedisServer(RedisConfig.model_validate({"url": url, **keys}))
    try:
        yield made
    finally:
        await made.close()


async def reason(made: RedisServer) -> str:
    """Return why it does not answer."""
    with pytest.raises(LimitStoreDown) as caught:
        await made.ask(*QUESTION)
    error = caught.value
    assert error.__cause__ is None
    assert error.__suppress_context__
    return error.reason


async def test_it_counts_and_finds_the_script_missing_by_itself(valkey: Valkey) -> None:
    async with server(valkey.url) as made, valkey.client() as client:
        assert await made.ask(*QUESTION) == [0]
        await client.execute_command("SCRIPT", "FLUSH")
        assert [await made.ask(*QUESTION) for _ in range(2)] == [[0], [pytest.approx(1e6, rel=1)]]


async def test_it_comes_back_by_itself_after_the_server_has_been_away(valkey: Valkey) -> None:
    async with server(valkey.url) as made:
        assert await made.ask(*QUESTION) == [0]
        await valkey.kill()
        assert "no connection" in await reason(made)
        await made.close()
        assert await reason(made) == "no connection: Connection refused"
        await made.close()
        await valkey.start()
        assert await made.ask(*QUESTION) == [0]


async def test_an_answer_that_nobody_waited_for_is_not_taken_for_the_next(valkey: Valkey) -> None:
    async with server(valkey.url) as made:
        assert await made.ask(*QUESTION) == [0]
        valkey.freeze()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await made.ask(*QUESTION)
        await made.close()
        valkey.thaw()
        keys, arguments = ["p:limit:b", "p:limit:c"], [2, 1, 1, 1, 1]
        assert len(await made.ask(keys, arguments)) == 2


@asynccontextmanager
async def guarded(valkey: Valkey, **settings: Any) -> AsyncIterator[Any]:
    """Give the server a password, hunter2, and yield a client that knows it."""
    async with valkey.client(**settings) as client:
        await client.execute_command(*("ACL", "SETUSER", "default", "resetpass", ">hunter2"))
        yield client


async def test_database_user_and_password_are_those_of_the_configuration(valkey: Valkey) -> None:
    async with guarded(valkey, db=3) as client:
        await client.execute_command("ACL", "SETUSER", "ada", "on", ">lovelace", "~*", "+@all")
        place = f"127.0.0.1:{valkey.port}"
        for url, keys in (
            (f"redis://:hunter2@{place}/3", {}),
            (f"redis://{place}/3", {"password": "hunter2"}),
            (f"redis://ada:lovelace@{place}/3", {}),
            (f"redis://ada@{place}/3", {"password": "lovelace"}),
        ):
            await client.flushdb()
            async with server(url, **keys) as made:
                assert await made.ask(*QUESTION) == [0]
                assert await client.exists("p:limit:a") == 1


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("", "it refuses the user or the password"),
        (":wrong-hunter3@", "it refuses the user or the password"),
        ("nobody:hunter2@", "it refuses the user or the password"),
        ("weak:hunter2@", "the user may not do what is needed"),
    ],
)
async def test_what_it_refuses_is_told_without_a_secret(
    valkey: Valkey, user: str, expected: str
) -> None:
    async with guarded(valkey) as client:
        await client.execute_command("ACL", "SETUSER", "weak", "on", ">hunter2", "~*", "+ping")
    async with server(f"redis://{user}127.0.0.1:{valkey.port}") as made:
        assert await reason(made) == expected
        assert repr(made) == "<RedisServer>"


async def test_a_replica_and_a_full_server_say_so(valkey: Valkey) -> None:
    async with server(valkey.url) as made, valkey.client() as client:
        await client.config_set("maxmemory", "1")
        assert await reason(made) == "its memory is full (maxmemory)"
        await client.config_set("maxmemory", "0")
        await client.execute_command("REPLICAOF", "127.0.0.1", "1")
        assert await reason(made) == "it is a replica, which counts nothing"


async def test_a_name_that_nobody_knows_is_told() -> None:
    async with server("redis://no-such-host.invalid") as made:
        assert await reason(made) == "its name cannot be resolved"


async def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with running(unixsocket=str(path)):
        async with server(f"unix://{path}") as made:
            assert await made.ask(*QUESTION) == [0]


@asynccontextmanager
async def tls_before(valkey: Valkey, context: ssl.SSLContext) -> AsyncIterator[int]:
    """Yield the port of something that speaks TLS and passes all on to a Valkey."""

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(1 << 16):
            sink.write(data)
            await sink.drain()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner = await asyncio.open_connection("127.0.0.1", valkey.port)
        back = asyncio.create_task(pump(inner_reader, writer))
        try:
            await pump(reader, inner)
        finally:
            back.cancel()
            inner.close()
            writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()


async def test_tls_is_checked_against_the_roots_that_are_named(
    valkey: Valkey, tmp_path: Path
) -> None:
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "stranger")
    async with tls_before(valkey, authority.server()) as port:
        async with server(f"rediss://127.0.0.1:{port}", ca=str(authority.ca)) as made:
            assert await made.ask(*QUESTION) == [0]
        async with server(f"rediss://127.0.0.1:{port}", ca=str(stranger.ca)) as made:
            assert (await reason(made)).startswith("TLS: ")
        async with server(f"rediss://127.0.0.1:{port}") as made:
            assert (await reason(made)).startswith("TLS: ")


async def test_tls_is_for_the_name_in_the_url(valkey: Valkey, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with (
        tls_before(valkey, authority.server("other.test", address=None)) as port,
        server(f"rediss://127.0.0.1:{port}", ca=str(authority.ca)) as made,
    ):
        assert (await reason(made)).startswith("TLS: ")


def test_roots_that_cannot_be_used_are_an_error_at_the_start(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("-----BEGIN NOTHING-----\n", encoding="ascii")
    with pytest.raises(ssl.SSLError):
        RedisServer(RedisConfig.model_validate({"url": "rediss://a", "ca": str(file)}))


def test_without_the_package_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ValueError, match=r"pip install 'gatelodge\[redis\]'"):
        RedisServer(RedisConfig.model_validate({"url": "redis://a"}))
