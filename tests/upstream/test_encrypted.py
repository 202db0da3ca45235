"""proxy/upstream/encrypted.py: buffers of connections over TLS, and their ends."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any, cast

import pytest

from proxy.upstream.encrypted import bound_buffers, ends_orderly
from tests.gateway.fakes import FakeTransport
from tests.support.certificates import Authority

BOTH_LOOPS = True


class Side:
    """One side of a connection over TLS, as a transport gives it out."""

    def __init__(self, context: ssl.SSLContext, *, server: bool) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        name = None if server else "localhost"
        self.encrypted = context.wrap_bio(
            self.incoming, self.outgoing, server_side=server, server_hostname=name
        )

    def get_extra_info(self, name: str) -> ssl.SSLObject:
        assert name == "ssl_object"
        return self.encrypted


def pump(one: Side, other: Side) -> None:
    one.incoming.write(other.outgoing.read())
    other.incoming.write(one.outgoing.read())


def shaken(ours: Side, theirs: Side) -> None:
    for _ in range(5):
        for side in (ours, theirs):
            try:
                side.encrypted.do_handshake()
            except ssl.SSLWantReadError:
                pass
            pump(ours, theirs)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_an_end_is_orderly_with_close_notify(tmp_path: Path, version: ssl.TLSVersion) -> None:
    authority = Authority(tmp_path)
    server = authority.server()
    server.minimum_version = server.maximum_version = version
    ours, theirs = Side(authority.client(), server=False), Side(server, server=True)
    shaken(ours, theirs)
    transport = cast("asyncio.Transport", ours)
    theirs.encrypted.write(b"the last word")
    pump(ours, theirs)
    assert ours.encrypted.read(100) == b"the last word"
    assert not ends_orderly(transport)
    with pytest.raises(ssl.SSLWantReadError):
        theirs.encrypted.unwrap()
    pump(ours, theirs)
    assert ends_orderly(transport)
    assert ends_orderly(transport)


def test_without_tls_the_end_is_what_the_kernel_says_it_is() -> None:
    assert ends_orderly(FakeTransport())


async def test_both_loops_take_the_bounds(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server = await asyncio.start_server(
        lambda _reader, writer: writer.close(), "127.0.0.1", 0, ssl=authority.server()
    )
    async with server:
        port = server.sockets[0].getsockname()[1]
        transport, _ = await asyncio.get_running_loop().create_connection(
            asyncio.Protocol, "127.0.0.1", port, ssl=authority.client(), server_hostname="localhost"
        )
        bound_buffers(transport)
        encrypted: Any = transport
        assert encrypted.get_read_buffer_limits() == (0, 1)
        assert transport.get_write_buffer_limits() == (16 * 1024, 64 * 1024)
        transport.abort()
