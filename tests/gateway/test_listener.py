"""proxy/gateway/listener.py over a fake transport, in front of a fake gateway."""

from __future__ import annotations

import asyncio
import gc
import socket
import struct
import sys
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any, Final

import pytest

from proxy.config.model import Limits
from proxy.core.head import RequestHead
from proxy.errors import BadRequest, HeadTooLarge, Overloaded, ProxyError, RequestTimeout
from proxy.gateway.downstream import Downstream, Payload
from proxy.gateway.listener import ClientConnection, ClientServer
from proxy.upstream.deadlines import NEVER
from tests.gateway.fakes import Handler, Listener, turns

GET: Final = b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n"
POST: Final = b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"
CHUNKED: Final = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
UPGRADE: Final = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
SMALL: Final = Limits(head=1000)


def reading(*, keep: bool = True) -> tuple[Handler, list[bytes | ProxyError]]:
    """Return a handler that reads the whole body, and what it came upon."""
    got: list[bytes | ProxyError] = []

    async def handle(client: Downstream, _head: RequestHead, payload: Payload) -> bool:
        try:
            while data := await payload.readany():
                got.append(data)
        except ProxyError as error:
            got.append(error)
            client.write(b"<%d>" % error.status)
            return False
        client.write(b"<ok>")
        return keep and not client.closes

    return handle, got


class FakeTunnel:
    """Notes what the listener tells it."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def from_client(self, data: bytes) -> None:
        self.heard.append(data)

    def client_gone(self) -> None:
        self.heard.append("gone")

    def client_writable(self, writable: bool) -> None:
        self.heard.append(writable)

    def close(self, code: int) -> None:
        self.heard.append(code)

    def expire(self) -> None:
        self.heard.append("expired")


def tunnelling(tunnel: FakeTunnel, opened: list[bytes]) -> Handler:
    async def handle(client: Downstream, _head: RequestHead, _payload: Payload) -> bool:
        opened.append(client.open_tunnel(tunnel))
        await asyncio.get_running_loop().create_future()
        return False

    return handle


# Requests.


async def test_requests_are_answered_in_order() -> None:
    listener = Listener()
    await listener.feed(GET % b"/1" + GET % b"/2", GET % b"/3")
    assert listener.written == b"</1></2></3>"
    assert listener.transport.calls == []


async def test_a_request_waits_for_the_one_before_it() -> None:
    go = asyncio.Event()

    async def handle(client: Downstream, head: RequestHead, _payload: Payload) -> bool:
        await go.wait()
        client.write(head.target.encode())
        return True

    listener = Listener(handle)
    await listener.feed(GET % b"/1", GET % b"/2")
    assert listener.gateway.targets == ["/1"]
    assert listener.client.busy
    go.set()
    await turns()
    assert listener.written == b"/1/2"
    assert not listener.client.busy


async def test_more_requests_than_the_parser_queues_are_all_answered() -> None:
    listener = Listener()
    await listener.feed(b"".join(GET % b"/%d" % i for i in range(200)))
    async with asyncio.timeout(5):
        while len(listener.gateway.heads) < 200:
            await turns()
    assert listener.gateway.targets == [f"/{i}" for i in range(200)]
    assert listener.transport.reading


async def test_a_request_may_come_byte_by_byte() -> None:
    listener = Listener()
    request = GET % b"/1"
    await listener.feed(*(request[i : i + 1] for i in range(len(request))))
    assert listener.written == b"</1>"


async def test_the_head_is_what_was_sent_and_by_whom() -> None:
    listener = Listener(tls=True)
    await listener.feed(b"GET /x?y HTTP/1.1\r\nHost: a\r\nX-Odd: \xe4\r\n\r\n")
    [head] = listener.gateway.heads
    assert (head.method, head.target, head.minor) == ("GET", "/x?y", 1)
    assert head.fields == ((b"Host", b"a"), (b"X-Odd", b"\xe4"))
    assert (head.peer, head.tls) == ("203.0.113.7", True)
    whoever = listener.client.whoever
    assert (whoever.address, whoever.scheme, whoever.trusted) == ("203.0.113.7", "https", False)


async def test_a_peer_on_a_unix_socket_has_a_name() -> None:
    listener = Listener(family=socket.AF_UNIX)
    await listener.feed(GET % b"/")
    assert listener.gateway.heads[0].peer == "unix"


LAST = {
    "close": (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 1),
    "HTTP/1.0": (b"GET / HTTP/1.0\r\nHost: a\r\n\r\n", 0),
    "HTTP/1.0, keep-alive": (b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", 0),
    "upgrade": (UPGRADE, 1),
}


@pytest.mark.parametrize(("data", "minor"), LAST.values(), ids=LAST)
async def test_a_last_request_ends_the_connection(data: bytes, minor: int) -> None:
    listener = Listener()
    await listener.feed(data)
    assert listener.written == b"</>"
    assert listener.gateway.heads[0].minor == minor
    asked = b"upgrade" not in data.lower() and b"keep-alive" not in data
    assert listener.transport.calls == ["close" if asked else "write_eof"]


async def test_what_follows_a_declined_upgrade_is_never_a_request() -> None:
    listener = Listener()
    await listener.feed(UPGRADE + GET % b"/smuggled")
    assert listener.gateway.targets == ["/"]


async def test_a_gateway_that_closes_ends_each_connection_with_its_next_answer() -> None:
    listener = Listener()
    listener.gateway.closing = True
    await listener.feed(GET % b"/1" + GET % b"/2")
    assert listener.written == b"</1>"
    assert listener.transport.calls == ["write_eof"]


ONE: Final = Limits(connections=1)


async def test_a_connection_too_many_is_refused_and_nothing_behind_its_request_is_read() -> None:
    first = Listener(limits=ONE)
    await turns()
    second = Listener(server=first.server)
    await second.feed(GET % b"/", GET % b"/again")
    assert second.written == b"<503>"
    assert [type(error) for error in first.gateway.errors] == [Overloaded]
    assert first.gateway.heads == []
    assert first.gateway.offered == []
    assert second.transport.calls == ["write_eof"]
    assert first.transport.calls == []


async def test_a_connection_too_many_may_ask_for_the_health() -> None:
    first = Listener(limits=ONE)
    second = Listener(server=first.server)
    await second.feed(GET % b"/health")
    assert second.written == b"<200>"
    assert second.transport.calls == ["write_eof"]


@pytest.mark.parametrize("beginning", [b"", b"G", b"\r\n", b"GET / HTTP/1.1\r\n"])
async def test_a_connection_too_many_has_a_moment_for_its_head(beginning: bytes) -> None:
    first = Listener(limits=ONE)
    second = Listener(server=first.server)
    await turns()
    deadline = second.client.read_deadline
    assert deadline - monotonic() <= 3
    await second.feed(beginning)
    assert second.client.read_deadline == deadline


async def test_what_is_no_request_is_refused_as_such_on_a_connection_too_many() -> None:
    first = Listener(limits=ONE)
    second = Listener(server=first.server)
    await second.feed(b"\x16\x03\x01\x02\x00\x01\x00")
    assert [type(error) for error in first.gateway.errors] == [BadRequest]


async def test_when_somebody_leaves_there_is_room_again() -> None:
    first = Listener(limits=ONE)
    first.client.connection_lost(None)
    second = Listener(server=first.server)
    await second.feed(GET % b"/")
    assert second.written == b"</>"


# Heads: what is no request, deadlines, bounds.


@pytest.mark.parametrize(
    "data",
    [b"GET / HTTP/1.1\r\nodd\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00"],
    ids=["no colon", "no host", "TLS"],
)
async def test_what_is_no_request_is_refused_and_nothing_more_is_read(data: bytes) -> None:
    listener = Listener()
    await listener.feed(data, GET % b"/next")
    assert [type(error) for error in listener.gateway.errors] == [BadRequest]
    assert listener.gateway.heads == []
    assert listener.transport.calls == ["write_eof"]


@pytest.mark.parametrize("beginning", [b"", GET % b"/1"], ids=["at once", "behind a request"])
async def test_what_is_no_request_is_not_held_and_nothing_behind_it_is_parsed(
    beginning: bytes,
) -> None:
    """The collector looks seldom, and a flood of such requests would fill the memory before."""
    never = asyncio.get_running_loop().create_future()

    async def handle(_client: Downstream, _head: RequestHead, _payload: Payload) -> bool:
        await never
        return False

    listener = Listener(handle)
    if beginning:
        await listener.feed(beginning)
    data = b"x" * 300_000
    before = sys.getrefcount(data)
    gc.disable()
    try:
        for _ in range(3):
            listener.client.data_received(data)
        assert sys.getrefcount(data) == before
        assert len(listener.client._messages) == 1
    finally:
        gc.enable()


async def test_requests_before_what_is_none_are_answered_first() -> None:
    listener = Listener()
    await listener.feed(GET % b"/1", b"GET / HTTP/1.1\r\nodd\r\n\r\n")
    assert listener.written == b"</1><400>"


@pytest.mark.parametrize("beginning", [b"G", b"\r\n", b"GET / HTTP/1.1\r\nHost:"])
async def test_a_head_has_a_deadline_from_its_first_byte(beginning: bytes) -> None:
    listener = Listener(limits=Limits(idle=1000.0, header_timeout=10.0))
    await turns()
    idle = listener.client.read_deadline - monotonic()
    await listener.feed(beginning)
    begun = listener.client.read_deadline
    await listener.feed({b"G": b"E", b"\r\n": b"\r\n"}.get(beginning, b"x"))
    assert idle > 900
    assert begun - monotonic() <= 10
    assert listener.client.read_deadline == begun


async def test_a_late_head_is_answered_408() -> None:
    listener = Listener()
    await listener.feed(b"GET / HT")
    listener.expire()
    await turns()
    assert [type(error) for error in listener.gateway.errors] == [RequestTimeout]
    assert listener.written == b"<408>"


async def test_a_head_that_began_behind_a_request_has_its_deadline_when_that_is_answered() -> None:
    listener = Listener(limits=Limits(idle=1000.0, header_timeout=10.0))
    await listener.feed(GET % b"/1", b"GET /")
    assert listener.client.read_deadline - monotonic() <= 10


@pytest.mark.parametrize("head", [b"G", b"GET /2 HTTP/1.1\r\nHost:"])
@pytest.mark.parametrize(
    "before",
    [
        (GET % b"/1",),
        (GET % b"/0" + GET % b"/1",),
        (GET % b"/0" + b"GE", b"T /1 HTTP/1.1\r\nHost: a\r\n\r\n"),
        (POST % b"/1" + b"12345",),
        (POST % b"/1" + b"12", b"345"),
        (CHUNKED + b"1\r\nx\r\n0\r\n\r\n", GET % b"/1"),
    ],
    ids=[
        *("a request", "two requests", "a head in pieces behind another", "a body"),
        *("a body in pieces", "behind chunks"),
    ],
)
async def test_a_head_that_begins_in_the_data_of_the_one_before_has_its_deadline(
    before: tuple[bytes, ...], head: bytes
) -> None:
    handle, _ = reading()
    listener = Listener(handle, limits=Limits(idle=1000.0, header_timeout=10.0))
    await listener.feed(*before[:-1], before[-1] + head)
    begun = listener.client.read_deadline
    assert begun - monotonic() <= 10
    assert not listener.client.close_idle()
    await listener.feed(b"E")
    assert listener.client.read_deadline == begun
    listener.expire()
    await turns()
    assert [type(error) for error in listener.gateway.errors] == [RequestTimeout]
    assert listener.server.cut == {"head": 1}


@pytest.mark.parametrize(
    "before",
    [
        (GET % b"/1",),
        (GET % b"/0" + GET % b"/1",),
        (POST % b"/1" + b"12345",),
        (CHUNKED + b"1\r\nx\r\n0\r\n\r\n",),
        (CHUNKED + b"1\r\nx\r\n0\r\n\r", b"\n"),
        (CHUNKED + b"1\r\nx\r\n0\r\n\r\n", POST % b"/" + b"12345"),
    ],
)
async def test_where_no_head_has_begun_the_connection_is_idle(before: tuple[bytes, ...]) -> None:
    handle, _ = reading()
    listener = Listener(handle, limits=Limits(idle=1000.0, header_timeout=10.0))
    await listener.feed(*before)
    assert listener.client.read_deadline - monotonic() > 900
    listener.expire()
    assert listener.transport.calls == ["close"]
    assert listener.gateway.errors == []


async def test_an_idle_connection_is_closed_without_a_word() -> None:
    listener = Listener()
    await turns()
    listener.expire()
    await turns()
    assert listener.written == b""
    assert listener.transport.calls == ["close"]


async def test_the_next_request_has_the_whole_idle_time_again() -> None:
    listener = Listener(limits=Limits(idle=1000.0, header_timeout=10.0))
    request = GET % b"/1"
    await listener.feed(request[:5], request[5:])
    assert listener.written == b"</1>"
    assert listener.client.read_deadline - monotonic() > 900


async def test_a_request_that_is_answered_has_no_deadline() -> None:
    seen: list[float] = []

    async def handle(client: Downstream, _head: RequestHead, _payload: Payload) -> bool:
        seen.append(client.read_deadline)
        return True

    await Listener(handle).feed(GET % b"/")
    assert seen == [NEVER]


@pytest.mark.parametrize(
    ("beginning", "status"),
    [(b"GET / HTTP/1.1\r\nHost: a\r\nX: ", 431), (b"GET /", 414)],
    ids=["fields", "target"],
)
async def test_a_head_that_does_not_end_is_refused_in_time(beginning: bytes, status: int) -> None:
    listener = Listener(limits=SMALL)
    await listener.feed(beginning, *[b"x" * 500] * 5)
    assert listener.written == b"<%d>" % status


async def test_blank_lines_without_end_are_refused() -> None:
    listener = Listener(limits=SMALL)
    await listener.feed(*[b"\r\n" * 250] * 5)
    assert len(listener.gateway.errors) == 1


# Bodies.


async def test_a_body_reaches_its_reader_piece_by_piece() -> None:
    handle, got = reading()
    listener = Listener(handle)
    await listener.feed(POST % b"/1" + b"12", b"345" + GET % b"/2")
    assert got == [b"12", b"345"]
    assert listener.written == b"<ok><ok>"


async def test_a_body_that_stands_still_is_the_readers_to_refuse() -> None:
    handle, got = reading()
    listener = Listener(handle)
    await listener.feed(POST % b"/" + b"12")
    listener.expire()
    await turns()
    assert got[0] == b"12"
    assert isinstance(got[1], RequestTimeout)


async def test_broken_framing_reaches_whoever_reads_the_body() -> None:
    handle, got = reading()
    listener = Listener(handle)
    await listener.feed(CHUNKED + b"2\r\nok\r\n", b"zz\r\n")
    assert got[0] == b"ok"
    assert isinstance(got[1], BadRequest)
    assert listener.gateway.errors == []
    assert listener.transport.calls == ["write_eof"]


@pytest.mark.parametrize("what", [b"X: " + b"y" * 500 + b"\r\n", b"a" * 500], ids=["lines", "line"])
async def test_trailers_without_end_are_refused_and_end_the_body(what: bytes) -> None:
    handle, got = reading()
    listener = Listener(handle, limits=SMALL)
    start = b"0\r\n" if what.endswith(b"\n") else b"0\r\nX: "
    await listener.feed(CHUNKED + b"2\r\nok\r\n", start, *[what] * 6)
    assert got[0] == b"ok"
    assert isinstance(got[1], HeadTooLarge)
    assert listener.written == b"<431>"


async def test_trailers_within_bounds_pass() -> None:
    handle, got = reading()
    listener = Listener(handle, limits=SMALL)
    await listener.feed(CHUNKED + b"2\r\nok\r\n", b"0\r\n", b"X: y\r\n\r\n")
    assert got == [b"ok"]
    assert listener.written == b"<ok>"


async def test_small_chunks_are_no_reason_to_refuse_a_body() -> None:
    handle, got = reading()
    listener = Listener(handle, limits=SMALL)
    await listener.feed(CHUNKED, *[b"1\r\nx\r\n" * 100] * 50, b"0\r\n\r\n")
    assert b"".join(piece for piece in got if isinstance(piece, bytes)) == b"x" * 5000
    assert listener.written == b"<ok>"


# Writing.


async def test_writing_after_the_client_has_gone_raises() -> None:
    listener = Listener()
    listener.client.connection_lost(None)
    with pytest.raises(ConnectionError):
        listener.client.write(b"x")


async def test_draining_waits_for_the_client() -> None:
    client = Listener().client
    client.pause_writing()
    waiting = asyncio.ensure_future(client.drain())
    await turns()
    assert client.stalled
    assert not waiting.done()
    client.resume_writing()
    await waiting
    assert client.write_deadline == NEVER


# The end of a connection.


async def test_unread_bytes_are_taken_in_for_a_moment_before_the_end() -> None:
    async def early(client: Downstream, _head: RequestHead, _payload: Payload) -> bool:
        client.write(b"<413>")
        return False

    listener = Listener(early)
    await listener.feed(POST % b"/" + b"12", b"345", GET % b"/smuggled")
    assert listener.transport.calls == ["write_eof"]
    assert listener.gateway.targets == ["/"]
    assert listener.client.read_deadline - monotonic() <= 2
    listener.expire()
    assert listener.transport.calls == ["write_eof", "close"]


async def test_a_transport_that_cannot_close_by_half_is_closed() -> None:
    listener = Listener()
    listener.transport.half_closes = False
    await listener.feed(b"GET / HTTP/1.1\r\nodd\r\n\r\n")
    assert listener.transport.calls == ["close"]


async def test_a_client_that_leaves_our_last_bytes_lying_is_aborted() -> None:
    listener = Listener()
    await listener.feed(b"GET / HTTP/1.1\r\nodd\r\n\r\n")
    listener.transport.unsent = 1
    listener.expire()
    assert listener.transport.calls == ["write_eof", "abort"]


@pytest.mark.parametrize(
    ("family", "options"),
    [
        (socket.AF_INET, [(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))]),
        (socket.AF_UNIX, []),
    ],
    ids=["tcp", "unix"],
)
async def test_an_abort_is_a_reset_where_there_is_one(
    family: int, options: list[tuple[Any, ...]]
) -> None:
    listener = Listener(family=family)
    before = len(listener.transport.sock.options)
    listener.client.abort()
    assert listener.transport.sock.options[before:] == options
    assert listener.transport.calls == ["abort"]


async def test_aborting_twice_does_no_harm() -> None:
    listener = Listener()
    listener.client.abort()
    await turns()
    listener.client.abort()
    assert listener.transport.calls[0] == "abort"


async def test_an_idle_connection_can_be_closed() -> None:
    listener = Listener()
    await listener.feed(GET % b"/")
    assert listener.client.close_idle()
    assert listener.transport.calls == ["close"]


async def close_idle(listener: Listener) -> None:
    assert listener.client.close_idle()


async def last_answer(listener: Listener) -> None:
    await listener.feed(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")


async def deadline(listener: Listener) -> None:
    listener.expire()


@pytest.mark.parametrize("end", [close_idle, last_answer, deadline], ids=lambda end: end.__name__)
async def test_what_was_written_in_the_same_turn_is_sent_before_the_end(
    end: Callable[[Listener], Awaitable[None]],
) -> None:
    listener = Listener()
    await turns()
    listener.client.write(b"written")
    await end(listener)
    assert listener.written.startswith(b"written")
    assert listener.transport.calls == ["close"]


@pytest.mark.parametrize("data", [GET % b"/", b"GET /"], ids=["a request", "half a head"])
async def test_a_connection_that_is_used_is_not_closed(data: bytes) -> None:
    async def handle(_client: Downstream, _head: RequestHead, _payload: Payload) -> bool:
        await asyncio.get_running_loop().create_future()
        return True

    listener = Listener(handle)
    await listener.feed(data)
    assert not listener.client.close_idle()
    assert listener.transport.calls == []


# Tunnels.


async def test_a_tunnel_gets_what_has_come_and_all_that_comes() -> None:
    tunnel, opened = FakeTunnel(), []  # type: tuple[FakeTunnel, list[bytes]]
    listener = Listener(tunnelling(tunnel, opened))
    await listener.feed(UPGRADE + b"early", b"later", GET % b"/smuggled")
    assert opened == [b"early"]
    assert tunnel.heard == [b"later", GET % b"/smuggled"]
    assert listener.gateway.targets == ["/"]


async def test_a_tunnel_hears_what_happens_to_the_client() -> None:
    tunnel = FakeTunnel()
    listener = Listener(tunnelling(tunnel, []))
    await listener.feed(UPGRADE)
    listener.client.pause_writing()
    listener.client.resume_writing()
    listener.expire()
    listener.client.connection_lost(None)
    assert tunnel.heard == [False, True, "expired", "gone"]


async def test_a_tunnel_that_is_over_ends_the_connection_at_once() -> None:
    """Nobody would end it later: its deadlines are the tunnel's."""

    async def handle(client: Downstream, _head: RequestHead, _payload: Payload) -> bool:
        client.open_tunnel(FakeTunnel())
        return False

    listener = Listener(handle)
    await listener.feed(UPGRADE)
    assert listener.transport.calls == ["close"]


async def test_a_tunnel_reads_on_where_its_early_bytes_had_filled_the_buffer() -> None:
    tunnel, opened, go = FakeTunnel(), [], asyncio.Event()  # type: tuple[FakeTunnel, list[int], asyncio.Event]

    async def handle(client: Downstream, _head: RequestHead, _payload: Payload) -> bool:
        await go.wait()
        opened.append(len(client.open_tunnel(tunnel)))
        await asyncio.get_running_loop().create_future()
        return False

    listener = Listener(handle)
    await listener.feed(UPGRADE, b"x" * (1 << 20))
    paused = not listener.transport.reading
    go.set()
    await turns()
    assert paused
    assert opened == [1 << 20]
    assert listener.transport.reading


# The server.


async def test_the_server_knows_the_connections_that_are_open() -> None:
    first = Listener()
    second = Listener(server=first.server)
    assert set(first.server.clients) == {first.client, second.client}
    first.client.connection_lost(None)
    await turns()
    assert first.server.clients == [second.client]


async def test_deadlines_are_watched_as_long_as_the_connection_lasts() -> None:
    listener = Listener()
    watched = [repr(listener.deadlines)]
    listener.client.connection_lost(None)
    watched.append(repr(listener.deadlines))
    assert watched == ["<Deadlines watched=1>", "<Deadlines watched=0>"]
    listener.deadlines.stop()


async def test_the_server_makes_our_connections() -> None:
    listener = Listener()
    assert isinstance(listener.server, ClientServer)
    assert type(listener.client) is ClientConnection
    texts = [repr(listener.client)]
    listener.client.connection_lost(None)
    assert [*texts, repr(listener.client)] == [
        "<ClientConnection idle>",
        "<ClientConnection closed>",
    ]
