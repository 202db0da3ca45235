"""proxy/upstream/connection.py over a fake transport."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, Final

import pytest

from proxy.errors import (
    AnswerLate,
    ConnectionCut,
    ConnectionGone,
    ConnectionStale,
    ProxyError,
    RequestTimeout,
    UpstreamProtocol,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from proxy.upstream.connection import UpstreamConnection
from proxy.upstream.deadlines import NEVER
from proxy.upstream.outbox import Outbox
from tests.gateway.fakes import FakeTransport, turns

OK: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SWITCH: Final = b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
PART: Final = 30 * 1024


class Wire:
    """A connection that is open over a fake transport; `lost` says that it has told of its end."""

    def __init__(self, *, begun: bool = True, upgrade: bool = False) -> None:
        self.lost: list[UpstreamConnection] = []
        loop = asyncio.get_running_loop()
        self.connection = UpstreamConnection(loop, Outbox(loop), self.lost.append)
        self.transport = FakeTransport(self.connection)
        self.connection.connection_made(self.transport)
        if begun:
            self.connection.begin(bodiless=False, upgrade=upgrade)

    def feed(self, data: bytes) -> None:
        self.connection.data_received(data)


def waiting(awaitable: Awaitable[Any]) -> asyncio.Future[Any]:
    return asyncio.ensure_future(awaitable)


async def test_an_exchange_leaves_the_connection_ready_for_the_next() -> None:
    wire = Wire()
    wire.connection.write(b"request")
    waiter = waiting(wire.connection.answer())
    await turns()
    assert not waiter.done()
    wire.feed(OK)
    assert (await waiter).status == 200
    assert [await wire.connection.read(), await wire.connection.read()] == [b"ok", b""]
    assert wire.connection.exhausted
    assert wire.connection.end()
    assert wire.transport.written == b"request"
    assert wire.transport.calls == []


async def test_a_connection_may_be_used_again() -> None:
    wire = Wire()
    for _ in range(2):
        wire.connection.begin(bodiless=False, upgrade=False)
        wire.feed(OK)
        assert await wire.connection.read() == b"ok"
        assert wire.connection.end()


async def test_early_hints_come_before_the_answer() -> None:
    wire = Wire()
    wire.feed(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK)
    statuses = [(await wire.connection.answer()).status for _ in range(2)]
    assert statuses == [103, 200]


async def test_a_byte_on_an_idle_connection_ends_it() -> None:
    wire = Wire(begun=False)
    wire.feed(b"H")
    assert wire.transport.calls == ["abort"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        OK[:-1],
        OK + b"x",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
    ],
    ids=["no answer", "half an answer", "one byte more", "closing", "until the end"],
)
async def test_a_connection_is_not_kept_after(data: bytes) -> None:
    wire = Wire()
    if data:
        wire.feed(data)
    assert not wire.connection.end()
    assert wire.transport.calls == ["abort"]


async def test_a_connection_with_unsent_bytes_is_not_kept() -> None:
    wire = Wire()
    wire.connection.pause_writing()
    wire.feed(OK)
    assert not wire.connection.end()
    assert wire.transport.calls == ["abort"]


async def test_a_connection_whose_request_still_waits_for_the_turns_end_is_not_kept() -> None:
    wire = Wire()
    wire.connection.write(b"GET / HTTP/1.1\r\n\r\n")
    wire.feed(OK)
    assert not wire.connection.end()
    await turns()
    assert wire.transport.written == b""


async def test_a_connection_that_is_closing_is_not_kept() -> None:
    wire = Wire()
    wire.feed(OK)
    wire.transport.close()
    assert not wire.connection.end()


# How it fails.


async def failure(waiter: asyncio.Future[Any]) -> ProxyError:
    with pytest.raises(ProxyError) as caught:
        await waiter
    return caught.value


async def test_a_bad_answer_reaches_whoever_waits_for_it() -> None:
    wire = Wire()
    waiter = waiting(wire.connection.answer())
    await turns()
    wire.feed(b"nonsense\r\n\r\n")
    assert type(await failure(waiter)) is UpstreamProtocol
    assert wire.transport.calls == ["abort"]


@pytest.mark.parametrize(
    ("reused", "sent", "kind"),
    [
        (True, b"", ConnectionStale),
        (True, b"H", UpstreamProtocol),
        (False, b"", ConnectionCut),
        (False, b"HTTP/1.1 200 OK\r\nContent-Le", UpstreamProtocol),
    ],
    ids=["reused, not a byte", "reused, a byte", "fresh, not a byte", "fresh, half a head"],
)
async def test_what_an_early_end_means(reused: bool, sent: bytes, kind: type[ProxyError]) -> None:
    wire = Wire()
    wire.connection.reused = reused
    wire.connection.write(b"request")
    waiter = waiting(wire.connection.answer())
    await turns()
    if sent:
        wire.feed(sent)
    wire.connection.connection_lost(None)
    assert type(await failure(waiter)) is kind
    assert wire.lost == [wire.connection]


async def test_a_body_that_is_cut_raises_after_what_there_was() -> None:
    wire = Wire()
    wire.feed(OK[:-1])
    wire.connection.connection_lost(ConnectionResetError())
    assert await wire.connection.read() == b"o"
    with pytest.raises(UpstreamProtocol):
        await wire.connection.read()


async def test_a_body_without_framing_ends_with_the_connection() -> None:
    wire = Wire()
    wire.feed(b"HTTP/1.1 200 OK\r\n\r\nbody")
    wire.connection.eof_received()
    wire.connection.connection_lost(None)
    assert [await wire.connection.read(), await wire.connection.read()] == [b"body", b""]


async def test_a_reset_is_the_end_of_no_body() -> None:
    wire = Wire()
    wire.feed(b"HTTP/1.1 200 OK\r\n\r\nbody")
    wire.connection.connection_lost(ConnectionResetError())
    assert await wire.connection.read() == b"body"
    with pytest.raises(UpstreamProtocol):
        await wire.connection.read()


async def test_a_whole_answer_outlasts_the_end_of_the_connection() -> None:
    wire = Wire()
    wire.feed(OK)
    wire.connection.connection_lost(None)
    assert (await wire.connection.answer()).status == 200
    assert await wire.connection.read() == b"ok"
    assert not wire.connection.end()


async def test_writing_to_a_connection_that_has_ended_raises_why() -> None:
    wire = Wire()
    wire.connection.fail(RequestTimeout("the upload"))
    await turns()
    with pytest.raises(RequestTimeout):
        wire.connection.write(b"more")


async def test_the_first_failure_counts() -> None:
    wire = Wire()
    wire.connection.fail(RequestTimeout("first"))
    wire.connection.fail(UpstreamTimeout("second"))
    with pytest.raises(RequestTimeout):
        await wire.connection.answer()


# Deadlines.


async def test_a_deadline_fails_the_exchange() -> None:
    wire = Wire()
    waiter = waiting(wire.connection.answer())
    await turns()
    wire.connection.read_deadline = 1.0
    assert wire.connection.deadline == 1.0
    wire.connection.expire()
    assert type(await failure(waiter)) is AnswerLate
    assert wire.connection.deadline == NEVER


async def test_a_deadline_within_the_answer_is_told_apart() -> None:
    wire = Wire()
    waiter = waiting(wire.connection.answer())
    await turns()
    wire.feed(b"HTTP/1.1 200 OK\r\n")
    wire.connection.expire()
    assert type(await failure(waiter)) is UpstreamTimeout


async def test_a_deadline_closes_an_idle_connection() -> None:
    wire = Wire(begun=False)
    wire.connection.expire()
    assert wire.transport.calls == ["abort"]
    await turns()
    assert wire.lost == [wire.connection]


def test_no_patience_is_no_deadline() -> None:
    loop = asyncio.new_event_loop()
    connection = UpstreamConnection(loop, Outbox(loop), lambda _connection: None)
    loop.close()
    assert connection.after(None) == NEVER
    assert connection.after(0) < connection.after(100) < NEVER


# Backpressure.


async def test_draining_does_not_wait_while_the_endpoint_keeps_up() -> None:
    wire = Wire()
    await wire.connection.drain(1.0)
    assert wire.connection.write_deadline == NEVER


async def test_draining_waits_until_the_endpoint_takes_bytes() -> None:
    wire = Wire()
    wire.connection.pause_writing()
    waiter = waiting(wire.connection.drain(1.0))
    await turns()
    assert not waiter.done()
    assert wire.connection.write_deadline < NEVER
    wire.connection.resume_writing()
    await waiter
    assert wire.connection.write_deadline == NEVER


async def test_draining_ends_with_the_connection() -> None:
    wire = Wire()
    wire.connection.pause_writing()
    waiter = waiting(wire.connection.drain(None))
    await turns()
    wire.connection.expire()
    assert type(await failure(waiter)) is AnswerLate


async def test_an_endpoint_that_takes_bytes_slowly_is_in_time() -> None:
    """It is late only when it has taken nothing since the last look."""
    wire = Wire()
    wire.transport.unsent = 100
    wire.connection.pause_writing()
    waiter = waiting(wire.connection.drain(1.0))
    await turns()
    wire.transport.unsent = 99
    wire.connection.expire()
    await turns()
    assert not waiter.done()
    assert wire.connection.write_deadline < NEVER
    wire.connection.expire()
    assert type(await failure(waiter)) is AnswerLate


async def test_an_endpoint_waits_for_a_client_that_reads_slowly() -> None:
    wire = Wire()
    wire.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    reading = []
    for _ in range(3):
        wire.feed(b"x" * PART)
        reading.append(wire.transport.reading)
    assert reading == [True, True, False]
    assert len(await wire.connection.read()) == 3 * PART
    assert wire.transport.reading


async def test_what_is_taken_with_the_head_lets_the_endpoint_go_on() -> None:
    wire = Wire()
    wire.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 3 * PART)
    assert not wire.transport.reading
    assert len(wire.connection.take()) == 3 * PART
    assert wire.transport.reading


async def test_a_connection_is_kept_only_when_it_reads() -> None:
    """A large answer that comes at once stops the reading; the next answer must not find it so."""
    wire = Wire()
    wire.feed(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (3 * PART) + b"x" * 3 * PART)
    wire.connection.take()
    assert wire.connection.exhausted
    assert wire.connection.end()
    assert wire.transport.reading


# Tunnels.


async def test_a_tunnel_gets_everything_that_follows() -> None:
    got: list[bytes] = []
    wire = Wire(upgrade=True)
    wire.connection.read_deadline = 5.0
    wire.feed(SWITCH + b"a")
    wire.feed(b"b")
    assert (await wire.connection.answer()).status == 101
    assert wire.connection.take_over(got.append) == b"ab"
    assert wire.connection.read_deadline == NEVER
    wire.feed(b"c")
    wire.connection.connection_lost(None)
    assert got == [b"c", b""]


async def test_a_tunnel_hears_when_the_endpoint_is_behind() -> None:
    heard: list[bool] = []
    wire = Wire(upgrade=True)
    wire.connection.on_writable = heard.append
    wire.connection.pause_writing()
    wire.connection.resume_writing()
    assert heard == [False, True]


async def test_begin_comes_first() -> None:
    wire = Wire(begun=False)
    with pytest.raises(RuntimeError, match="begin"):
        await wire.connection.answer()


async def test_its_text_tells_its_state() -> None:
    wire = Wire()
    texts = [repr(wire.connection)]
    wire.feed(OK)
    wire.connection.end()
    wire.connection.reused = True
    texts.append(repr(wire.connection))
    wire.connection.connection_lost(None)
    texts.append(repr(wire.connection))
    assert texts == [
        "<UpstreamConnection busy>",
        "<UpstreamConnection idle reused>",
        "<UpstreamConnection closed reused>",
    ]


async def test_what_comes_before_the_request_has_left_is_not_its_answer() -> None:
    wire = Wire(begun=False)
    wire.connection.reused = True
    wire.connection.begin(bodiless=False, upgrade=False)
    wire.connection.write(b"request")
    wire.feed(OK)
    with pytest.raises(UpstreamUnreachable) as raised:
        await wire.connection.answer()
    assert not isinstance(raised.value, ConnectionStale)
    assert wire.transport.written == b""
    assert wire.transport.calls == ["abort"]


async def test_a_pooled_connection_that_ended_before_the_request_left_was_not_asked() -> None:
    wire = Wire(begun=False)
    wire.connection.reused = True
    wire.connection.begin(bodiless=False, upgrade=False)
    wire.connection.write(b"request")
    wire.transport.close()
    await turns()
    assert wire.transport.written == b""
    with pytest.raises(ConnectionGone):
        await wire.connection.answer()


async def test_an_early_answer_may_come_while_more_of_the_request_is_held() -> None:
    wire = Wire()
    wire.connection.write(b"head")
    await turns()
    wire.connection.write(b"body")
    wire.feed(OK)
    assert (await wire.connection.answer()).status == 200
