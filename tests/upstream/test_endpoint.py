"""proxy/upstream/endpoint.py: connections are made, kept, reused and counted."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.model import Endpoint as Address
from proxy.errors import ConnectTimeout, Overloaded, UpstreamUnreachable
from proxy.upstream import resolve
from proxy.upstream.connection import UpstreamConnection
from proxy.upstream.deadlines import NEVER, Deadlines
from proxy.upstream.endpoint import ConnectSettings, Endpoint
from proxy.upstream.owed import owed
from tests.gateway.fakes import FakeTransport, turns
from tests.support.certificates import Authority
from tests.support.upstream import StubUpstream

ASK = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@contextmanager
def endpoint_at(
    url: str,
    *,
    pool_idle: float = 10.0,
    connections: int = 100,
    tls: ssl.SSLContext | None = None,
    server_name: str | None = None,
) -> Iterator[Endpoint]:
    """Yield an endpoint; its idle connections are closed at the end."""
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(loop)
    settings = ConnectSettings(pool_idle, connections, tls, server_name)
    endpoint = Endpoint(Address.parse(url), settings, loop, deadlines)
    try:
        yield endpoint
    finally:
        endpoint.close_idle()
        deadlines.stop()


async def ask(connection: UpstreamConnection) -> int:
    """Send a request, read its whole answer, return its status."""
    connection.begin(bodiless=False, upgrade=False)
    connection.write(ASK)
    answer = await connection.answer()
    while await connection.read():
        pass
    return answer.status


async def used(endpoint: Endpoint) -> UpstreamConnection:
    connection = await endpoint.connect(5.0)
    assert await ask(connection) == 200
    return connection


async def test_the_connection_that_was_used_last_is_used_first() -> None:
    async with StubUpstream() as upstream:
        with endpoint_at(upstream.url) as endpoint:
            first, second = await used(endpoint), await used(endpoint)
            endpoint.give_back(first)
            endpoint.give_back(second)
            assert (endpoint.open, endpoint.idle) == (2, 2)
            assert endpoint.take_idle(10.0) is second
            assert endpoint.take_idle(10.0) is first
            assert endpoint.take_idle(10.0) is None
            assert (endpoint.open, endpoint.idle) == (2, 0)
            first.abort()
            second.abort()
            await turns()


async def test_a_connection_from_the_pool_is_marked_and_has_no_deadline_left() -> None:
    async with StubUpstream() as upstream:
        with endpoint_at(upstream.url) as endpoint:
            connection = await used(endpoint)
            before = connection.reused
            endpoint.give_back(connection)
            waits = connection.read_deadline
            assert endpoint.take_idle(10.0) is connection
            assert (before, connection.reused) == (False, True)
            assert waits < NEVER
            assert connection.read_deadline == NEVER
            assert await ask(connection) == 200
            endpoint.give_back(connection)


async def test_a_connection_that_is_too_old_stays_where_it_is() -> None:
    async with StubUpstream() as upstream:
        with endpoint_at(upstream.url) as endpoint:
            connection = await used(endpoint)
            endpoint.give_back(connection)
            connection.idle_since -= 5.0
            assert endpoint.take_idle(4.0) is None
            assert endpoint.idle == 1
            assert endpoint.take_idle(6.0) is connection
            endpoint.give_back(connection)


async def test_a_connection_that_is_closing_is_passed_over() -> None:
    async with StubUpstream() as upstream:
        with endpoint_at(upstream.url) as endpoint:
            first, second = await used(endpoint), await used(endpoint)
            endpoint.give_back(first)
            endpoint.give_back(second)
            second.abort()
            assert endpoint.take_idle(10.0) is first
            endpoint.give_back(first)


async def test_without_a_pool_every_connection_is_closed() -> None:
    async with StubUpstream() as upstream:
        with endpoint_at(upstream.url, pool_idle=0.0) as endpoint:
            endpoint.give_back(await used(endpoint))
            await turns()
            assert (endpoint.open, endpoint.idle) == (0, 0)


async def test_an_idle_connection_that_the_endpoint_closes_leaves_the_pool() -> None:
    async with StubUpstream() as upstream:
        with endpoint_at(upstream.url) as endpoint:
            endpoint.give_back(await used(endpoint))
            upstream.close_idle()
            async with asyncio.timeout(5):
                while endpoint.open:  # noqa: ASYNC110 - a pool tells nobody that it changed
                    await asyncio.sleep(0.001)
            assert endpoint.idle == 0


async def test_closing_the_idle_leaves_no_connection() -> None:
    async with StubUpstream() as upstream:
        with endpoint_at(upstream.url) as endpoint:
            first, second = await used(endpoint), await used(endpoint)
            endpoint.give_back(first)
            endpoint.give_back(second)
            endpoint.close_idle()
            await turns()
            assert (endpoint.open, endpoint.idle) == (0, 0)


async def test_the_limit_of_connections_is_kept() -> None:
    async with StubUpstream() as upstream:
        with endpoint_at(upstream.url, connections=1) as endpoint:
            connection = await endpoint.connect(5.0)
            with pytest.raises(Overloaded):
                await endpoint.connect(5.0)
            connection.abort()
            await turns()
            (await endpoint.connect(5.0)).abort()
            await turns()
            assert endpoint.open == 0


async def test_connections_that_are_being_made_count() -> None:
    async with StubUpstream() as upstream:
        with endpoint_at(upstream.url, connections=1) as endpoint:
            making = asyncio.ensure_future(endpoint.connect(5.0))
            await asyncio.sleep(0)
            with pytest.raises(Overloaded):
                await endpoint.connect(5.0)
            (await making).abort()
            await turns()


# Connecting fails.


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        assert isinstance(port, int)
        return port


async def test_little_stands_in_the_kernel_for_an_endpoint_that_reads_nothing() -> None:
    """Else a request would have ended for us long before it has for the endpoint."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        endpoint_at(f"http://127.0.0.1:{listener.getsockname()[1]}") as endpoint,
    ):
        connection = await endpoint.connect(5.0)
        assert connection.transport is not None
        connection.transport.write(bytes(1 << 25))
        unread = owed(connection.transport) - connection.transport.get_write_buffer_size()
        assert unread < 1 << 20
        connection.abort()


async def test_each_address_of_a_name_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    async def addresses(_loop: object, host: str, _port: int) -> list[str]:
        return {"api": ["127.0.0.2", "127.0.0.1"], "away": ["127.0.0.2", "127.0.0.3"]}[host]

    monkeypatch.setattr(resolve, "to_try", addresses)
    async with StubUpstream() as upstream:
        with endpoint_at(f"http://api:{upstream.port}") as endpoint:
            endpoint.give_back(await used(endpoint))
        with (
            endpoint_at(f"http://away:{upstream.port}") as endpoint,
            pytest.raises(UpstreamUnreachable, match="refused"),
        ):
            await endpoint.connect(5.0)


async def test_nobody_listens() -> None:
    with endpoint_at(f"http://127.0.0.1:{closed_port()}") as endpoint:
        with pytest.raises(UpstreamUnreachable) as caught:
            await endpoint.connect(5.0)
        assert "refused" in caught.value.reason.lower()
        assert endpoint.open == 0


async def test_nobody_accepts_in_time() -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        loop = asyncio.get_running_loop()
        fillers = []
        for _ in range(2):  # the queue of connections that nobody accepts is full
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(deaf.getsockname())
            fillers.append(filler)
        assert loop.is_running()
        with endpoint_at(f"http://127.0.0.1:{deaf.getsockname()[1]}") as endpoint:
            with pytest.raises(ConnectTimeout):
                await endpoint.connect(0.05)
            assert endpoint.open == 0
        for filler in fillers:
            filler.close()


async def test_a_handshake_that_does_not_end_is_a_connection_that_did_not_come_about() -> None:
    context = ssl.create_default_context()
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(5)
        url = f"https://127.0.0.1:{deaf.getsockname()[1]}"
        with endpoint_at(url, tls=context) as endpoint:
            with pytest.raises(ConnectTimeout):
                await endpoint.connect(0.05)
            await turns()
            assert endpoint.open == 0


async def test_who_stops_waiting_leaves_no_connection_behind() -> None:
    async with StubUpstream() as upstream:
        with endpoint_at(upstream.url) as endpoint:
            making = asyncio.ensure_future(endpoint.connect(5.0))
            await asyncio.sleep(0)
            making.cancel()
            with pytest.raises(asyncio.CancelledError):
                await making
            assert endpoint.open == 0


# TLS and unix sockets.


async def test_tls_with_a_certificate_that_is_trusted(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with StubUpstream(tls=authority.server()) as upstream:
        with endpoint_at(upstream.url, tls=authority.client()) as endpoint:
            endpoint.give_back(await used(endpoint))
            assert endpoint.idle == 1


async def test_tls_with_a_name_of_its_own(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server = authority.server("inside.example.test", address=None)
    async with StubUpstream(tls=server) as upstream:
        with endpoint_at(
            upstream.url, tls=authority.client(), server_name="inside.example.test"
        ) as endpoint:
            endpoint.give_back(await used(endpoint))
            assert endpoint.idle == 1


async def test_tls_with_the_wrong_name(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with StubUpstream(tls=authority.server("other.example.test", address=None)) as upstream:
        with endpoint_at(upstream.url, tls=authority.client()) as endpoint:
            with pytest.raises(UpstreamUnreachable, match=r"TLS: .*(mismatch|not valid)"):
                await endpoint.connect(5.0)
            assert endpoint.open == 0


async def test_tls_with_a_certificate_of_somebody_else(tmp_path: Path) -> None:
    server = Authority(tmp_path, "stranger").server()
    async with StubUpstream(tls=server) as upstream:
        with (
            endpoint_at(upstream.url, tls=Authority(tmp_path).client()) as endpoint,
            pytest.raises(UpstreamUnreachable, match=r"TLS: .*issuer certificate"),
        ):
            await endpoint.connect(5.0)


async def test_tls_where_there_is_none(tmp_path: Path) -> None:
    async with StubUpstream() as upstream:
        url = upstream.url.replace("http:", "https:")
        with endpoint_at(url, tls=Authority(tmp_path).client()) as endpoint:
            with pytest.raises((UpstreamUnreachable, ConnectTimeout)):
                await endpoint.connect(0.5)
            await turns()
            assert endpoint.open == 0


async def test_a_unix_socket(tmp_path: Path) -> None:
    async with StubUpstream(path=str(tmp_path / "s")) as upstream:
        with endpoint_at(upstream.url) as endpoint:
            endpoint.give_back(await used(endpoint))
            assert endpoint.authority == b"localhost"
            assert endpoint.idle == 1


async def test_a_unix_socket_that_is_not_there(tmp_path: Path) -> None:
    with (
        endpoint_at(f"unix:{tmp_path}/s") as endpoint,
        pytest.raises(UpstreamUnreachable, match="No such file"),
    ):
        await endpoint.connect(5.0)


# Room, and who waits for it.


class Paper(Endpoint):
    """An endpoint whose connections are made when the test says so, of nothing."""

    def __init__(self, connections: int, pending: int) -> None:
        loop = asyncio.get_running_loop()
        settings = ConnectSettings(10.0, connections, None, None, pending)
        super().__init__(Address.parse("http://a:1"), settings, loop, Deadlines(loop))
        self.dialling: list[asyncio.Future[bool]] = []
        self.patience: list[float] = []

    async def dial(self, timeout: float) -> UpstreamConnection:
        self.patience.append(timeout)
        turn: asyncio.Future[bool] = self._loop.create_future()
        self.dialling.append(turn)
        if not await turn:
            raise UpstreamUnreachable("refused")
        connection = self._protocol()
        connection.connection_made(FakeTransport(connection))
        return connection


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(
            ["ask", "made", "refused", "back", "lost", "leave", "stream", "end", "over"]
        ),
        st.integers(0, 20),
    ),
    max_size=120,
)


class Story:
    """What becomes of the requests to one endpoint: each method is one thing that can happen."""

    def __init__(self, endpoint: Paper) -> None:
        self.endpoint = endpoint
        self.asking: list[asyncio.Task[UpstreamConnection]] = []
        self.busy: list[UpstreamConnection] = []
        self.streams: list[UpstreamConnection] = []

    def ask(self, _number: int) -> None:
        idle = self.endpoint.take_idle(10.0)
        if idle is not None:
            self.busy.append(idle)
            return
        self.asking.append(asyncio.get_running_loop().create_task(self.endpoint.connect(60.0)))

    def made(self, number: int) -> None:
        self._dialled(number, made=True)

    def refused(self, number: int) -> None:
        self._dialled(number, made=False)

    def _dialled(self, number: int, *, made: bool) -> None:
        if self.dialling:
            self.dialling[number % len(self.dialling)].set_result(made)

    def leave(self, number: int) -> None:
        if self.asking:
            self.asking[number % len(self.asking)].cancel()

    def stream(self, number: int) -> None:
        if self.busy:
            self.streams.append(self.busy.pop(number % len(self.busy)))
            self.endpoint.set_apart(self.streams[-1])

    def end(self, number: int) -> None:
        if self.streams:
            connection = self.streams.pop(number % len(self.streams))
            self.endpoint.rejoin(connection)
            connection.connection_lost(None)

    def over(self, number: int) -> None:
        if self.streams:
            connection = self.streams.pop(number % len(self.streams))
            self.endpoint.rejoin(connection)
            done(connection)
            self.endpoint.give_back(connection)

    def lost(self, number: int) -> None:
        if self.busy:
            self.busy.pop(number % len(self.busy)).connection_lost(None)

    def back(self, number: int) -> None:
        if self.busy:
            connection = self.busy.pop(number % len(self.busy))
            done(connection)
            self.endpoint.give_back(connection)

    @property
    def dialling(self) -> list[asyncio.Future[bool]]:
        return [turn for turn in self.endpoint.dialling if not turn.done()]

    async def settle(self) -> None:
        """Let the loop turn, and take in the connections that requests have got."""
        await turns()
        for task in [task for task in self.asking if task.done()]:
            self.asking.remove(task)
            if not task.cancelled() and task.exception() is None:
                self.busy.append(task.result())


@given(OPERATIONS, st.integers(1, 4), st.integers(0, 4))
def test_no_more_connections_and_no_more_waiting_than_allowed(
    operations: list[tuple[str, int]], most: int, pending: int
) -> None:
    """Whatever connects, fails, ends, streams or gives up in whatever order; and nobody waits while
    there is room.
    """

    async def run() -> None:
        story = Story(Paper(most, pending))
        endpoint = story.endpoint
        for operation, number in operations:
            getattr(story, operation)(number)
            await story.settle()
            shared = endpoint.open - endpoint.streams
            assert endpoint.waiting <= pending
            assert shared - endpoint.idle <= most
            assert not (endpoint.waiting and (endpoint.idle or shared < most))
            held = len(story.busy) + len(story.streams) + endpoint.idle + len(story.dialling)
            assert held == endpoint.open
        for task in story.asking:
            task.cancel()
        await asyncio.gather(*story.asking, return_exceptions=True)
        assert endpoint.waiting == 0

    asyncio.run(run())


async def waiting_behind(endpoint: Paper) -> tuple[UpstreamConnection, asyncio.Task[object]]:
    """Return the only connection, which is busy, and somebody who waits for it."""
    story = Story(endpoint)
    story.ask(0)
    await story.settle()
    story.made(0)
    await story.settle()
    story.ask(0)
    await story.settle()
    [busy], [asking] = story.busy, story.asking
    assert endpoint.waiting == 1
    return busy, asking


@pytest.mark.parametrize("how", ["ended", "leaving"])
async def test_what_was_given_to_one_who_had_left_is_no_idle_connection_when_it_ends(
    how: str,
) -> None:
    endpoint = Paper(1, 1)
    busy, asking = await waiting_behind(endpoint)
    done(busy)
    endpoint.give_back(busy)
    if how == "ended":
        busy.connection_lost(None)
    else:
        endpoint.leave()
    asking.cancel()
    await turns()
    assert (endpoint.open, endpoint.idle, endpoint.waiting) == (0, 0, 0)


async def test_who_waited_has_all_the_time_to_connect() -> None:
    """Or the endpoint would be held late, and be ejected, for those before."""
    endpoint = Paper(1, 1)
    busy, asking = await waiting_behind(endpoint)
    await asyncio.sleep(0.01)
    busy.connection_lost(None)
    await turns()
    assert endpoint.patience == [60.0, 60.0]
    endpoint.dialling[-1].set_result(True)
    await asking


async def test_a_stream_that_ends_is_not_one_connection_too_many() -> None:
    endpoint = Paper(1, 1)
    story = Story(endpoint)
    for _ in range(2):
        story.ask(0)
        await story.settle()
        story.made(0)
        await story.settle()
        if not story.streams:
            story.stream(0)
    story.ask(0)
    await story.settle()
    assert (endpoint.open, endpoint.streams, endpoint.waiting) == (2, 1, 1)
    story.over(0)
    await story.settle()
    assert (endpoint.open, endpoint.streams, endpoint.waiting) == (1, 0, 1)
    story.back(0)
    await story.settle()
    assert (endpoint.open, len(story.busy), endpoint.waiting) == (1, 1, 0)


async def test_streams_that_have_ended_keep_nobody_waiting() -> None:
    """What they leave idle is more than there is room for, and all of it makes room."""
    endpoint = Paper(1, 0)
    story = Story(endpoint)
    for _ in range(3):
        story.ask(0)
        await story.settle()
        story.made(0)
        await story.settle()
        story.stream(0)
    for _ in range(3):
        story.over(0)
    assert (endpoint.open, endpoint.idle) == (3, 3)
    asking = asyncio.ensure_future(endpoint.connect(60.0))  # as a request does that takes no idle
    await turns()
    assert (endpoint.open, endpoint.idle) == (1, 0)
    endpoint.dialling[-1].set_result(True)
    await asking


def done(connection: UpstreamConnection) -> None:
    """Let a whole exchange pass over the connection."""
    connection.begin(bodiless=False, upgrade=False)
    connection._sent = True
    connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
