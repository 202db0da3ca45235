"""What proxy/gateway/listener.py takes for granted about aiohttp: one test for each fact.

When an update of aiohttp breaks one of these, the listener has to be looked at before the new
version may be used.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import pytest
from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage, BadHttpMethod, LineTooLong
from aiohttp.http_parser import HttpRequestParser, HttpRequestParserPy, RawRequestMessage
from aiohttp.http_writer import HttpVersion10, HttpVersion11
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestPayloadError

from tests.gateway.fakes import FakeTransport, turns

GET = b"GET /x?y HTTP/1.1\r\nHost: a\r\nX-Odd: \xe4\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
UPGRADE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


class Handler(web.RequestHandler):
    """aiohttp's own protocol, with a loop that does nothing: what it does by itself is shown."""

    __slots__ = ("started",)

    async def start(self) -> None:
        self.started = asyncio.current_task()
        await asyncio.get_running_loop().create_future()


async def never(_request: web.BaseRequest) -> web.StreamResponse:
    raise AssertionError


class Open:
    """A connection of a web.Server over a fake transport. Underscores are those of aiohttp."""

    def __init__(self, **options: Any) -> None:
        loop = asyncio.get_running_loop()
        self.server = web.Server(never)
        chosen = {"keepalive_timeout": 0, "access_log": None, "auto_decompress": False, **options}
        self.handler: Any = Handler(self.server, loop=loop, **chosen)
        self.transport = FakeTransport(self.handler)
        self.handler.connection_made(self.transport)

    def feed(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.handler.data_received(piece)

    def message(self) -> tuple[Any, Any]:
        """Take the next message out, as the listener does."""
        message, payload = self.handler._messages.popleft()
        return message, payload


def test_the_parser_is_the_one_in_c() -> None:
    assert HttpRequestParser is not HttpRequestParserPy


async def test_start_runs_in_a_task_of_the_connection() -> None:
    opened = Open()
    await turns(1)
    assert opened.handler.started is opened.handler._task_handler
    assert not opened.handler._task_handler.done()


async def test_no_timer_without_a_keepalive_timeout() -> None:
    assert Open().handler._keepalive_handle is None
    assert Open(keepalive_timeout=1).handler._keepalive_handle is not None


async def test_messages_come_in_a_deque_of_message_and_payload() -> None:
    opened = Open()
    opened.feed(GET)
    assert type(opened.handler._messages) is deque
    message, payload = opened.message()
    assert type(message) is RawRequestMessage
    assert payload is EMPTY_PAYLOAD


async def test_what_a_message_tells() -> None:
    opened = Open()
    opened.feed(GET)
    message, _ = opened.message()
    assert (message.method, message.path) == ("GET", "/x?y")
    assert message.raw_headers == ((b"Host", b"a"), (b"X-Odd", b"\xe4"))
    assert message.version is HttpVersion11
    assert not message.should_close
    assert not message.upgrade


@pytest.mark.parametrize(
    ("line", "close", "upgrade"),
    [("", False, False), ("Connection: close\r\n", True, False)],
    ids=["plain", "close"],
)
async def test_whether_a_message_is_the_last(line: str, close: bool, upgrade: bool) -> None:
    opened = Open()
    opened.feed(f"GET / HTTP/1.1\r\nHost: a\r\n{line}\r\n".encode())
    message, _ = opened.message()
    assert (message.should_close, message.upgrade) == (close, upgrade)


async def test_the_version_before_1_1() -> None:
    opened = Open()
    opened.feed(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
    message, _ = opened.message()
    assert message.version == HttpVersion10
    assert message.version is not HttpVersion11
    assert message.should_close


async def test_a_message_wakes_the_waiter() -> None:
    opened = Open()
    opened.handler._waiter = waiter = asyncio.get_running_loop().create_future()
    opened.feed(GET[:10])
    assert not waiter.done()
    opened.feed(GET[10:])
    assert waiter.done()


async def test_requests_are_counted_and_errors_too() -> None:
    opened = Open()
    opened.feed(GET, GET + GET)
    assert opened.handler._request_count == 3
    opened.feed(b"nonsense\r\n\r\n")
    assert opened.handler._request_count == 4


async def test_pieces_of_a_head_and_of_a_body_are_not_counted() -> None:
    opened = Open()
    opened.feed(POST[:9], POST[9:])
    assert opened.handler._request_count == 1
    opened.feed(b"12", b"345")
    assert opened.handler._request_count == 1


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"G ET / HTTP/1.1\r\n\r\n", BadHttpMessage),
        (b"G@T / HTTP/1.1\r\nHost: a\r\n\r\n", BadHttpMethod),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n", LineTooLong),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 9000 + b"\r\n\r\n", LineTooLong),
    ],
    ids=["no target", "no method", "long target", "long field"],
)
async def test_an_error_of_the_parser_is_queued_with_its_exception(
    data: bytes, kind: type[Exception]
) -> None:
    opened = Open()
    opened.feed(data)
    message, payload = opened.message()
    assert not isinstance(message, RawRequestMessage)
    assert isinstance(message.exc, kind)
    assert payload is EMPTY_PAYLOAD


async def test_the_pieces_of_a_body_go_to_its_reader() -> None:
    opened = Open()
    opened.feed(POST + b"12")
    _, payload = opened.message()
    assert type(payload) is StreamReader
    assert payload.total_bytes == 2
    assert not payload.is_eof()
    assert await payload.readany() == b"12"
    opened.feed(b"345")
    assert payload.total_bytes == 5
    assert payload.is_eof()
    assert payload.read_nowait(-1) == b"345"
    assert await payload.readany() == b""


async def test_total_bytes_counts_the_body_without_its_framing() -> None:
    opened = Open()
    opened.feed(CHUNKED + b"5;x=y\r\n12345\r\n")
    _, payload = opened.message()
    assert payload.total_bytes == 5


async def test_a_trailer_is_kept_by_the_parser_until_it_ends() -> None:
    opened = Open()
    opened.feed(CHUNKED + b"0\r\n", b"X: y\r\n")
    _, payload = opened.message()
    assert not payload.is_eof()
    opened.feed(b"\r\n")
    assert payload.is_eof()


async def test_an_exception_reaches_whoever_reads_a_body() -> None:
    opened = Open()
    opened.feed(POST)
    _, payload = opened.message()
    reading = asyncio.ensure_future(payload.readany())
    await turns()
    payload.set_exception(KeyError("mine"))
    with pytest.raises(KeyError, match="mine"):
        await reading
    with pytest.raises(KeyError):
        await payload.readany()


async def test_broken_framing_of_a_body_is_queued_as_a_message() -> None:
    opened = Open()
    opened.feed(CHUNKED + b"1\r\na\r\n")
    _, payload = opened.message()
    opened.feed(b"zz\r\n")
    assert opened.handler._request_count == 2
    message, _ = opened.message()
    assert isinstance(message.exc, Exception)
    assert payload.total_bytes == 1


async def test_a_body_that_was_never_sent_raises_when_the_client_leaves() -> None:
    """What `readany` raises then is what RequestBody takes for broken framing."""
    opened = Open()
    opened.feed(CHUNKED)
    _, payload = opened.message()
    payload.set_exception(RequestPayloadError("cut"))
    with pytest.raises(RequestPayloadError):
        await payload.readany()


def test_no_body_is_a_body_at_its_end() -> None:
    assert EMPTY_PAYLOAD.is_eof()
    assert EMPTY_PAYLOAD.read_nowait(-1) == b""


async def test_an_empty_payload_cannot_be_broken() -> None:
    EMPTY_PAYLOAD.set_exception(KeyError("mine"))
    assert await EMPTY_PAYLOAD.readany() == b""


async def test_a_queue_that_is_full_pauses_the_transport_until_half_is_consumed() -> None:
    opened = Open()
    handler = opened.handler
    opened.feed(GET * (handler._max_msg_queue_size + 5))
    assert len(handler._messages) == handler._max_msg_queue_size
    assert handler._buffer_paused
    assert not opened.transport.reading
    taken = 0
    while handler._messages:
        handler._messages.popleft()
        handler._parser.message_consumed()
        taken += 1
        if handler._buffer_paused and len(handler._messages) <= handler._msg_queue_resume_size:
            handler._resume_reading_if_drained()
    assert taken == handler._max_msg_queue_size + 5
    assert not handler._buffer_paused
    assert opened.transport.reading


@pytest.mark.parametrize("told", [True, False], ids=["told", "not told"])
async def test_the_parser_goes_on_when_it_is_told_what_was_consumed(told: bool) -> None:
    opened = Open()
    handler = opened.handler
    count = handler._max_msg_queue_size
    opened.feed(GET * (count + 5))
    handler._messages.clear()
    for _ in range(count if told else 0):
        handler._parser.message_consumed()
    opened.feed(b"")
    assert (len(handler._messages) == 5) is told


async def test_a_request_that_is_taken_before_its_body_is_counted_as_one_that_waits() -> None:
    """Once: the next one that is taken is counted off in its place."""
    opened = Open()
    handler = opened.handler
    for _ in range(3):
        opened.feed(POST)
        opened.message()
        handler._parser.message_consumed()
        opened.feed(b"12345")
    opened.feed(GET * (handler._max_msg_queue_size + 5))
    assert len(handler._messages) == handler._max_msg_queue_size - 1
    assert not handler._buffer_paused


async def test_what_follows_an_upgrade_is_not_parsed() -> None:
    opened = Open()
    opened.feed(UPGRADE + b"one", GET)
    message, _ = opened.message()
    assert message.upgrade
    assert opened.handler._message_tail == b"one" + GET
    assert opened.handler._request_count == 1


@pytest.mark.parametrize(
    ("head", "upgraded"),
    [(UPGRADE, True), (UPGRADE.replace(b"websocket", b"h2c"), False), (GET, False)],
    ids=["websocket", "h2c", "none"],
)
async def test_whether_what_follows_is_no_http_any_more(head: bytes, upgraded: bool) -> None:
    opened = Open()
    assert not opened.handler._upgraded
    opened.feed(head)
    assert bool(opened.handler._upgraded) is upgraded
    opened.feed(GET)
    assert opened.handler._request_count == (1 if upgraded else 2)


async def test_a_long_tail_pauses_the_transport_until_it_is_told_to_go_on() -> None:
    opened = Open()
    opened.feed(UPGRADE, b"x" * (1 << 20))
    assert opened.handler._buffer_paused
    assert not opened.transport.reading
    opened.handler._resume_reading_for_buffer()
    assert not opened.handler._buffer_paused
    assert opened.transport.reading


async def test_reading_goes_on_when_the_transport_is_told_to() -> None:
    opened = Open()
    opened.transport.pause_reading()
    opened.handler._resume_transport_reading()
    assert opened.transport.reading


async def test_draining_waits_while_writing_is_paused() -> None:
    handler = Open().handler
    paused = [handler._paused]
    await handler._drain_helper()
    handler.pause_writing()
    paused.append(handler._paused)
    waiting = asyncio.ensure_future(handler._drain_helper())
    await turns()
    assert not waiting.done()
    handler.resume_writing()
    await waiting
    assert [*paused, handler._paused] == [False, True, False]


async def test_draining_raises_when_the_client_is_gone() -> None:
    opened = Open()
    opened.handler.connection_lost(None)
    with pytest.raises(ConnectionError):
        await opened.handler._drain_helper()


async def test_force_close_closes_the_transport_and_lets_nothing_in() -> None:
    opened = Open()
    handler = opened.handler
    before = handler._force_close
    handler._waiter = waiter = asyncio.get_running_loop().create_future()
    handler.force_close()
    assert (before, handler._force_close) == (False, True)
    assert waiter.cancelled()
    assert handler.transport is None
    assert opened.transport.calls == ["close"]
    opened.feed(GET)
    assert not handler._messages


async def test_the_end_of_a_connection_takes_parser_and_task_away() -> None:
    opened = Open()
    task = opened.handler._task_handler
    opened.handler.connection_lost(None)
    assert opened.handler._parser is None
    assert opened.handler._task_handler is None
    assert opened.handler.transport is None
    await turns()
    assert not task.cancelled()  # so the listener cancels it


async def test_the_server_knows_its_connections_until_their_task_has_ended() -> None:
    opened = Open()
    task = opened.handler._task_handler
    assert opened.server.connections == [opened.handler]
    opened.handler.connection_lost(None)
    await turns()
    assert opened.server.connections == [opened.handler]
    task.cancel()
    await turns()
    assert opened.server.connections == []


async def test_the_peer_is_that_of_the_transport() -> None:
    assert Open().handler.peername == ("203.0.113.7", 50000)


async def test_a_body_in_many_chunks_is_parsed_as_far_as_it_is_read() -> None:
    """Reading goes on from within `read_nowait`, which parses the next stretch."""
    opened = Open()
    opened.feed(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    _, payload = opened.message()
    payload._high_water_chunks, payload._low_water_chunks = 10, 5
    opened.feed(b"1\r\nx\r\n" * 100 + b"0\r\n\r\n")
    assert 10 <= payload.total_bytes <= 12
    assert opened.handler._reading_paused
    assert not opened.transport.reading
    stretches: list[int] = []
    while not payload.is_eof() or payload.total_bytes > sum(stretches):
        stretches.append(len(payload.read_nowait(-1)))
    assert sum(stretches) == 100
    assert max(stretches) <= 12
    assert not opened.handler._reading_paused
    assert opened.transport.reading


@pytest.mark.parametrize("size", [9000, 100_000])
async def test_limits_of_lines_are_those_that_were_asked_for(size: int) -> None:
    opened = Open(max_line_size=size + 100, max_field_size=size + 100, max_headers=300)
    lines = b"".join(b"X-%d: y\r\n" % i for i in range(290))
    opened.feed(
        b"GET /" + b"x" * size + b" HTTP/1.1\r\nHost: " + b"y" * size + b"\r\n" + lines + b"\r\n"
    )
    message, _ = opened.message()
    assert isinstance(message, RawRequestMessage)
    assert len(message.raw_headers) == 291


# What the parser does wrong: when one of these fails, what inbox.py does about it can go.


@pytest.mark.parametrize("cut", [None, -3], ids=["at once", "in pieces"])
async def test_the_last_trailer_becomes_a_header_of_the_next_request(cut: int | None) -> None:
    opened = Open()
    data = CHUNKED + b"0\r\nA: 1\r\nX-User-Id: forged\r\n\r\n"
    opened.feed(*([data] if cut is None else [data[:cut], data[cut:]]), GET)
    (first, _), (second, _) = opened.message(), opened.message()
    assert (b"X-User-Id", b"forged") not in first.raw_headers
    assert second.raw_headers[0] == (b"X-User-Id", b"forged")


async def test_a_parser_of_its_own_has_no_trailers() -> None:
    opened = Open()
    handler = opened.handler
    opened.feed(CHUNKED + b"0\r\nX-User-Id: forged\r\n\r\n")
    handler._parser = HttpRequestParser(
        handler,
        asyncio.get_running_loop(),
        handler._read_bufsize,
        max_line_size=handler.max_line_size,
        max_field_size=handler.max_field_size,
        max_headers=handler.max_headers,
        payload_exception=RequestPayloadError,
        auto_decompress=False,
        max_msg_queue_size=handler._max_msg_queue_size,
    )
    opened.feed(GET)
    opened.message()
    assert opened.message()[0].raw_headers == ((b"Host", b"a"), (b"X-Odd", b"\xe4"))


async def test_rtsp_is_taken_for_http() -> None:
    opened = Open()
    opened.feed(GET.replace(b"HTTP/1.1", b"RTSP/1.1"))
    assert opened.message()[0].version is HttpVersion11


async def test_a_reader_that_the_end_of_a_chunk_woke_does_not_look_for_an_exception() -> None:
    opened = Open()
    opened.feed(CHUNKED + b"1\r\nx")
    _, payload = opened.message()
    assert await payload.readany() == b"x"
    reading = asyncio.ensure_future(payload.readany())
    await turns()
    opened.feed(b"\r\nno chunk\r\n")
    payload.set_exception(RequestPayloadError("broken"))
    await turns()
    assert not reading.done()
    payload.set_exception(RequestPayloadError("broken"))
    with pytest.raises(RequestPayloadError):
        await reading
