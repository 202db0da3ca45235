"""proxy/gateway/forward.py: a permitted request goes out and its answer comes back."""

from __future__ import annotations

import pytest

from proxy.errors import BadRequest, BodyTooLarge, UpstreamProtocol, UpstreamUnreachable
from proxy.upstream.deadlines import NEVER
from tests.gateway.fakes import FakePayload, turns
from tests.gateway.road import Road
from tests.support.upstream import Exchange

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CLOSED = "http://127.0.0.1:1"  # tcpmux: nobody listens there


async def test_an_answer_comes_back_in_one_write() -> None:
    async with Road(OK) as road:
        assert await road.forward()
        assert len(road.client.writes) == 1
        assert road.client.writes[0].startswith(b"HTTP/1.1 200 ")
        assert road.client.writes[0].endswith(b"\r\n\r\nok")
        assert road.client.head_sent
        x = road.x
        assert (x.status, x.attempts, x.bytes_in, x.bytes_out) == (200, 1, 0, 2)
        assert (x.upstream, x.endpoint) == ("api", road.upstream.url)
        assert road.pool.endpoints[0].idle == 1


async def test_a_body_of_unknown_length_goes_out_in_chunks() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc")
        exchange.close()

    async with Road(script) as road:
        assert await road.forward()
        assert road.client.written.endswith(b"\r\n\r\n3\r\nabc\r\n0\r\n\r\n")


async def test_a_body_of_unknown_length_ends_the_connection_of_an_old_client() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc")
        exchange.close()

    async with Road(script) as road:
        assert not await road.forward(minor=0)
        assert road.client.written.endswith(b"\r\n\r\nabc")


async def test_chunks_come_out_as_chunks() -> None:
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n"
    async with Road(answer) as road:
        assert await road.forward()
        assert road.client.written.endswith(b"\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
        assert road.x.bytes_out == 3


@pytest.mark.parametrize("minor", [0, 1])
async def test_early_hints_go_to_those_who_know_them(minor: int) -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    async with Road(hints + OK) as road:
        await road.forward(minor=minor)
        assert road.client.written.startswith(b"HTTP/1.1 103 ") == bool(minor)
        assert road.x.status == 200


async def test_a_gateway_that_closes_says_so_in_the_answer() -> None:
    async with Road(OK) as road:
        road.client.closes = True
        assert not await road.forward()
        assert b"Connection: close\r\n" in road.client.written
        assert road.pool.endpoints[0].idle == 1


async def test_an_answer_before_the_end_of_the_body_ends_both_connections() -> None:
    async def early(exchange: Exchange) -> None:
        await exchange.send(OK)

    class Endless(FakePayload):
        async def readany(self) -> bytes:
            await turns(10_000)
            return b""

    async with Road(early) as road:
        fields = ("Transfer-Encoding", "chunked")
        assert not await road.forward(fields, method="POST", payload=Endless(b"x"))
        await turns()
        assert b"Connection: close\r\n" in road.client.written
        assert road.pool.endpoints[0].open == 0


async def test_an_upload_that_failed_as_the_answer_came_ends_the_clients_connection() -> None:
    async def early(exchange: Exchange) -> None:
        await exchange.send(OK)

    class Broken(FakePayload):
        async def readany(self) -> bytes:
            [connection] = road.pool.endpoints[0]._open
            while not connection.answered:
                await turns(1)
            raise BadRequest("broken framing")

    async with Road(early) as road:
        fields = ("Transfer-Encoding", "chunked")
        assert not await road.forward(fields, method="POST", payload=Broken(b"x"))
        assert b"Connection: close\r\n" in road.client.written


async def test_a_cut_answer_raises_after_what_there_was() -> None:
    async def cut(exchange: Exchange) -> None:
        await exchange.send(OK[:-1])
        exchange.close()

    async with Road(cut) as road:
        with pytest.raises(UpstreamProtocol):
            await road.forward()
        assert road.client.head_sent
        assert road.client.written.endswith(b"\r\n\r\no")
        await turns()
        assert road.pool.endpoints[0].open == 0


async def test_a_client_that_is_behind_is_waited_for() -> None:
    async def slow(exchange: Exchange) -> None:
        await exchange.send(OK[:-2].replace(b": 2", b": 3000000"))
        await exchange.send(b"x" * 3_000_000)

    async with Road(slow) as road:
        road.client.stalled = True
        assert await road.forward()
        assert road.client.drains > 0
        assert road.x.bytes_out == 3_000_000


async def test_who_waits_for_a_client_that_is_behind_can_be_ended_for_others() -> None:
    async def slow(exchange: Exchange) -> None:
        await exchange.send(OK[:-2].replace(b": 2", b": 3000000"))
        await exchange.send(b"x" * 3_000_000)

    async with Road(slow) as road:
        road.client.stalled = True
        seen: list[bool] = []

        async def drain() -> None:
            [connection] = road.pool.endpoints[0]._open
            seen.append(connection.waits_since < NEVER and connection.give_way is not None)

        road.client.drain = drain  # type: ignore[method-assign]  # one that looks at the endpoint
        await road.forward()
        [connection] = road.pool.endpoints[0]._open
        assert all(seen)
        assert connection.waits_since == NEVER


async def test_a_client_that_is_behind_with_a_whole_answer_holds_no_connection() -> None:
    async def fast(exchange: Exchange) -> None:
        await exchange.send(OK[:-2].replace(b": 2", b": 5"))
        await exchange.send(b"x" * 5)

    async with Road(fast) as road:
        road.client.stalled = True
        await road.forward()
        assert road.client.drains == 0
        assert road.pool.endpoints[0].idle == 1


# Other tries.


async def test_an_endpoint_that_cannot_be_reached_is_passed_over() -> None:
    async with Road(OK, more=(CLOSED,)) as road:
        assert await road.forward(method="POST")
        assert (road.x.attempts, road.x.endpoint) == (2, road.upstream.url)


async def test_a_body_of_which_nothing_was_read_goes_to_the_next_endpoint_too() -> None:
    async with Road(OK, more=(CLOSED,)) as road:
        fields = ("Content-Length", "2")
        assert await road.forward(fields, method="PUT", payload=FakePayload(b"ok"))
        assert road.x.attempts == 2
        assert bytes(road.upstream.requests[0].body) == b"ok"


async def test_the_last_failure_is_the_one_that_is_told() -> None:
    async with Road(OK, more=(CLOSED, "http://127.0.0.1:2")) as road:
        with pytest.raises(UpstreamUnreachable):
            await road.forward()
        assert road.x.attempts == 2
        assert road.upstream.requests == []


async def test_a_bad_answer_is_not_asked_for_again() -> None:
    async with Road(b"nonsense\r\n\r\n") as road:
        with pytest.raises(UpstreamProtocol):
            await road.forward()
        assert road.x.attempts == 1
        assert len(road.upstream.requests) == 1
        assert not road.client.head_sent


async def test_a_body_beyond_its_limit_is_refused_before_anything_is_sent() -> None:
    async with Road(OK, route="limits: {body: 3B}") as road:
        fields = ("Transfer-Encoding", "chunked")
        with pytest.raises(BodyTooLarge):
            await road.forward(fields, method="POST", payload=FakePayload(b"abcd", eof=True))
        assert road.upstream.requests == []
        assert road.x.bytes_in == 4
