"""Ends of TLS connections to an endpoint: with close_notify, and by TCP alone."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Any, Final

import pytest

from tests.support.certificates import Authority
from tests.support.client import RawClient
from tests.support.worker import LocalGateway, request, settings

BOTH_LOOPS = True

SMALL: Final = 1000
LARGE: Final = 450_000
"""More than is held for a client that does not read, by less than TLS buffers of the loops hold."""
LENGTH: Final = "Content-Length: %d\r\n"
UNTIL_THE_END: Final = ""


class Endpoint:
    """Answers one request over TLS from a thread, of which it reads so many bytes at most, and
    closes as soon as it `may_end`; with `notify` it has said before that it will.
    """

    def __init__(self, folder: Path, *, reads: int = 1 << 16) -> None:
        self._reads = reads
        self._authority = Authority(folder)
        self._context = self._authority.server()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(60)
        self.may_end = Event()

    def settings(self) -> dict[str, Any]:
        url = f"https://127.0.0.1:{self._listener.getsockname()[1]}"
        return settings(url, upstream={"tls": {"ca": str(self._authority.ca)}})

    async def answer(self, data: bytes, *, notify: bool) -> None:
        """Send `data` and end the connection, by `notify` as TLS has it."""
        await asyncio.to_thread(self._answer, data, notify)

    def _answer(self, data: bytes, notify: bool) -> None:
        with self._listener, self._listener.accept()[0] as accepted:
            accepted.settimeout(60)
            with self._context.wrap_socket(accepted, server_side=True) as encrypted:
                encrypted.recv(self._reads)
                encrypted.sendall(data)
                if notify:
                    encrypted.settimeout(0)
                    with suppress(ssl.SSLError):
                        encrypted.unwrap()  # sends ours, and does not wait for theirs
                assert self.may_end.wait(60)


def answer(framing: str, size: int) -> bytes:
    length = framing % size if framing else framing
    return f"HTTP/1.1 200 OK\r\n{length}Connection: close\r\n\r\n".encode() + bytes(size)


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize(
    ("framing", "notify"), [(LENGTH, False), (LENGTH, True), (UNTIL_THE_END, True)]
)
async def test_an_answer_that_is_whole_arrives_whole(
    tmp_path: Path, framing: str, notify: bool, size: int
) -> None:
    """Also to a client that reads nothing until the endpoint has long gone."""
    endpoint = Endpoint(tmp_path)
    endpoint.may_end.set()
    async with (
        LocalGateway(endpoint.settings()) as gateway,
        RawClient(gateway.port, window=4096) as client,
    ):
        client.post(request("GET", "/public/x"))
        await endpoint.answer(answer(framing, size), notify=notify)
        if size == LARGE:
            [pool] = gateway.worker._gateway.snapshot.pools.values()
            [of_pool] = pool.endpoints
            await gateway.until(lambda: any(each._reading_paused for each in of_pool._open))
            for _ in range(50):  # a chance to notice the end before what came before it
                await asyncio.sleep(0)
        client.read_on()
        [got] = await client.read_answers(deadline=60)
    assert (got.status, len(got.body), got.complete) == (200, size, True)


async def test_an_answer_without_length_that_ends_by_tcp_alone_may_be_cut(tmp_path: Path) -> None:
    """RFC 9112 section 9.8: it is complete only with close_notify."""
    endpoint = Endpoint(tmp_path)
    async with LocalGateway(endpoint.settings()) as gateway, RawClient(gateway.port) as client:
        client.post(request("GET", "/public/x"))
        async with asyncio.TaskGroup() as group:
            group.create_task(endpoint.answer(answer(UNTIL_THE_END, SMALL), notify=False))
            await client.wait(lambda: len(client.received) > SMALL)
            endpoint.may_end.set()
        await client.read_until_closed()
        assert client.reset
        line = await gateway.logged()
    assert (line["status"], line["code"]) == (200, "upstream_protocol")
    assert line["reason"] == "the connection ended without close_notify, as did the answer"


async def test_a_reset_behind_close_notify_takes_nothing_back(tmp_path: Path) -> None:
    """A refusal: the endpoint closes over what it has not read of the upload."""
    endpoint = Endpoint(tmp_path, reads=100)
    upload = request("POST", "/public/x", "Content-Length: 900000") + bytes(800_000)
    async with LocalGateway(endpoint.settings()) as gateway, RawClient(gateway.port) as client:
        client.post(upload)
        async with asyncio.TaskGroup() as group:
            group.create_task(endpoint.answer(answer(UNTIL_THE_END, SMALL), notify=True))
            await client.wait(lambda: len(client.received) > SMALL)
            [pool] = gateway.worker._gateway.snapshot.pools.values()
            [of_pool] = pool.endpoints
            await gateway.until(lambda: all(each._eof for each in of_pool._open))
            endpoint.may_end.set()
        await client.read_until_closed()
        line = await gateway.logged()
    assert (line["status"], line["code"], client.reset) == (200, None, False)
