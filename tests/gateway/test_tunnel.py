"""proxy/gateway/tunnel.py: two connections, spliced."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Final

import pytest

from proxy.core.frames import RESTART, accept_key, close_frame
from proxy.errors import UpstreamProtocol
from proxy.gateway.tunnel import Tunnel
from proxy.upstream.connection import UpstreamConnection
from proxy.upstream.deadlines import NEVER
from proxy.upstream.outbox import Outbox
from tests.gateway.fakes import FakeClient, FakeTransport, turns
from tests.gateway.road import Road
from tests.support.exchanges import UPGRADE, WEBSOCKET_KEY

ACCEPT: Final = b"Sec-WebSocket-Accept: " + accept_key(WEBSOCKET_KEY.encode()) + b"\r\n"
SWITCH: Final = b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
WEBSOCKET: Final = "upgrade: websocket"
FRAME: Final = b"\x82\x03abc"


class Spliced:
    """A tunnel between a fake client and an upstream connection over a fake transport."""

    def __init__(self, patience: float | None = 10.0, lifetime: float | None = None) -> None:
        self.client = FakeClient()
        loop = asyncio.get_running_loop()
        self.upstream = UpstreamConnection(loop, Outbox(loop), lambda _connection: None)
        self.transport = FakeTransport(self.upstream)
        self.upstream.connection_made(self.transport)
        self.upstream.begin(bodiless=False, upgrade=True)
        self.upstream.data_received(SWITCH + ACCEPT + b"\r\n")
        self.tunnel = Tunnel(self.client, self.upstream, patience, lifetime)

    async def run(self) -> asyncio.Task[None]:
        """Begin to splice; return the task, which ends with the tunnel."""
        task = asyncio.ensure_future(self.tunnel.run())
        await turns()
        return task


async def test_bytes_pass_both_ways() -> None:
    spliced = Spliced()
    await spliced.run()
    spliced.tunnel.from_client(b"in")
    spliced.upstream.data_received(FRAME)
    await turns()
    assert spliced.transport.written == b"in"
    assert spliced.client.written == FRAME
    assert (spliced.tunnel.bytes_in, spliced.tunnel.bytes_out) == (2, 5)
    spliced.tunnel.client_gone()


async def test_bytes_that_came_early_pass_first() -> None:
    spliced = Spliced()
    spliced.client.tail = b"early in"
    spliced.upstream.data_received(FRAME)
    await spliced.run()
    assert spliced.transport.written == b"early in"
    assert spliced.client.written == FRAME
    spliced.tunnel.client_gone()


async def test_it_ends_when_the_client_leaves() -> None:
    spliced = Spliced()
    task = await spliced.run()
    assert not task.done()
    spliced.tunnel.client_gone()
    await task


async def test_it_ends_when_the_endpoint_leaves_after_what_that_has_sent() -> None:
    spliced = Spliced()
    task = await spliced.run()
    spliced.upstream.data_received(FRAME)
    spliced.upstream.connection_lost(None)
    await task
    assert spliced.client.written == FRAME


async def test_it_ends_at_once_when_the_endpoint_has_left_before() -> None:
    spliced = Spliced()
    spliced.upstream.data_received(FRAME)
    spliced.upstream.connection_lost(None)
    await (await spliced.run())
    assert spliced.client.written == FRAME


async def test_it_ends_when_the_client_cannot_be_written_to() -> None:
    spliced = Spliced()
    task = await spliced.run()
    spliced.client.gone = True
    spliced.upstream.data_received(FRAME)
    await task


async def test_each_side_waits_for_the_other() -> None:
    spliced = Spliced()
    await spliced.run()
    client = spliced.client.transport
    assert isinstance(client, FakeTransport)
    spliced.tunnel.client_writable(False)
    spliced.upstream.pause_writing()
    held = (client.reading, spliced.transport.reading)
    spliced.tunnel.client_writable(True)
    spliced.upstream.resume_writing()
    assert (held, client.reading, spliced.transport.reading) == ((False, False), True, True)
    spliced.tunnel.client_gone()


# Deadlines and Close frames.


async def test_every_byte_that_passes_moves_the_deadline() -> None:
    spliced = Spliced(patience=10.0)
    await spliced.run()
    deadlines = [spliced.client.read_deadline]
    spliced.client.read_deadline = 0.0
    spliced.tunnel.from_client(b"x")
    deadlines.append(spliced.client.read_deadline)
    spliced.client.read_deadline = 0.0
    spliced.upstream.data_received(FRAME)
    deadlines.append(spliced.client.read_deadline)
    assert all(0 < deadline - monotonic() <= 10 for deadline in deadlines)
    spliced.tunnel.client_gone()


async def test_without_patience_and_session_there_is_no_deadline() -> None:
    spliced = Spliced(patience=None)
    await spliced.run()
    assert spliced.client.read_deadline == NEVER
    spliced.tunnel.client_gone()


async def test_a_tunnel_that_stands_still_ends_without_a_frame() -> None:
    spliced = Spliced(lifetime=1000.0)
    task = await spliced.run()
    spliced.tunnel.expire()
    await task
    assert spliced.client.written == b""


async def test_the_end_of_the_session_is_told_by_a_close_frame() -> None:
    spliced = Spliced(patience=10.0, lifetime=0.0)
    task = await spliced.run()
    assert spliced.client.read_deadline <= monotonic()
    spliced.tunnel.expire()
    await task
    assert spliced.client.written == close_frame(1008)


async def test_a_close_frame_waits_for_the_frame_that_is_half_sent() -> None:
    spliced = Spliced()
    task = await spliced.run()
    spliced.upstream.data_received(FRAME[:3])
    spliced.tunnel.close(RESTART)
    await turns()
    waits = not task.done()
    spliced.upstream.data_received(FRAME[3:])
    await task
    assert waits
    assert spliced.client.written == FRAME + close_frame(RESTART)


async def test_a_frame_that_does_not_end_holds_a_close_up_for_a_moment_only() -> None:
    spliced = Spliced(lifetime=0.0)
    task = await spliced.run()
    spliced.upstream.data_received(FRAME[:3])
    spliced.tunnel.expire()
    assert 0 < spliced.client.read_deadline - monotonic() <= 1
    assert not task.done()
    spliced.tunnel.expire()
    await task
    assert spliced.client.written == FRAME[:3]


async def test_nothing_follows_a_close_frame() -> None:
    spliced = Spliced()
    task = await spliced.run()
    spliced.tunnel.close(RESTART)
    spliced.upstream.data_received(FRAME)
    spliced.tunnel.close(RESTART)
    await task
    assert spliced.client.written == close_frame(RESTART)


async def test_a_close_to_a_client_that_is_gone_ends_the_tunnel() -> None:
    spliced = Spliced()
    task = await spliced.run()
    spliced.client.gone = True
    spliced.tunnel.close(RESTART)
    await task


# The answer to the handshake.

REFUSED = {
    "another protocol": SWITCH.replace(b"websocket", b"h2c") + ACCEPT,
    "no protocol": b"HTTP/1.1 101 S\r\nConnection: Upgrade\r\n" + ACCEPT,
    "no connection": b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\n" + ACCEPT,
    "another connection": SWITCH.replace(b"n: Upgrade", b"n: keep-alive") + ACCEPT,
    "no accept": SWITCH,
    "another accept": SWITCH + b"Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n",
}

BECAUSE: Final = r"a 101 (that does not switch|with a wrong|without Connection)"


@pytest.mark.parametrize("answer", REFUSED.values(), ids=REFUSED)
async def test_a_101_that_does_not_accept_is_refused(answer: bytes) -> None:
    async with Road(answer + b"\r\n", route=WEBSOCKET) as road:
        with pytest.raises(UpstreamProtocol, match=BECAUSE):
            await road.forward(*UPGRADE)
        assert road.client.written == b""
        assert road.client.tunnel is None


async def test_a_101_that_accepts_opens_the_tunnel_and_is_passed_on() -> None:
    async with Road(
        SWITCH.replace(b"Upgrade\r\n", b"keep-alive, upgrade\r\n") + ACCEPT + b"\r\n",
        route=WEBSOCKET,
    ) as road:
        forwarding = asyncio.ensure_future(road.forward(*UPGRADE))
        await road.until(lambda: road.client.tunnel is not None)
        assert road.client.written.startswith(b"HTTP/1.1 101 ")
        assert ACCEPT in road.client.written
        assert road.client.head_sent
        assert road.client.tunnel is not None
        road.client.tunnel.client_gone()
        assert await forwarding is False
        assert road.x.status == 101
