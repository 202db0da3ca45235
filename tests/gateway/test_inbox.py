"""proxy/gateway/inbox.py beyond what test_listener.py shows: where the parser is said to stand."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.head import RequestHead
from proxy.gateway.downstream import Begun, Downstream, Payload
from tests.gateway.fakes import Listener, turns

GET = b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
EMPTY = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
BLANK = b"\r\n"
PROBE = GET % b"/probe"


async def read_all(client: Downstream, _head: RequestHead, payload: Payload) -> bool:
    while await payload.readany():
        pass
    return not client.closes


async def probe(pieces: list[bytes]) -> bool:
    """Feed `pieces`; if the parser is said to be at rest, see that it is. Return what is said."""
    listener = Listener(read_all)
    await turns()
    await listener.feed(*pieces)
    offered = len(listener.gateway.offered)
    before = len(listener.gateway.heads)
    await listener.feed(PROBE)
    at_rest = len(listener.gateway.offered) > offered
    if at_rest:
        heads = listener.gateway.heads[before:]
        assert [(head.method, head.target) for head in heads] == [("GET", "/probe")]
        assert listener.gateway.errors == []
    listener.client.connection_lost(None)
    await turns()
    return at_rest


@given(
    messages=st.lists(
        st.sampled_from([GET % b"/", POST, CHUNKED, EMPTY, BLANK, GET % b"/long/path"]), max_size=4
    ),
    extra=st.sampled_from([b"", b"", b"G", b"GET / HT", b"\r", b"GET / HTTP/1.1\r\nHost: a\r\n"]),
    cuts=st.lists(st.integers(0, 400), max_size=4),
)
def test_where_the_parser_is_said_to_be_at_rest_it_is(
    messages: list[bytes], extra: bytes, cuts: list[int]
) -> None:
    data = b"".join(messages) + extra
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [data[a:b] for a, b in pairwise(places)]
    at_rest = asyncio.run(probe(pieces))
    assert not (at_rest and extra)


@pytest.mark.parametrize(
    "pieces",
    [
        [],
        [GET % b"/"],
        [GET % b"/", GET % b"/"],
        [POST],
        [POST[:-5], POST[-5:]],
        [POST[:20], POST[20:-2], POST[-2:]],
        [EMPTY, GET % b"/"],
        [BLANK + GET % b"/"],
    ],
    ids=range(8),
)
async def test_after_whole_messages_it_is_said_so(pieces: list[bytes]) -> None:
    assert await probe(pieces)


async def test_a_head_is_known_by_its_bytes_only_where_it_came_alone() -> None:
    listener = Listener()
    alone, with_body, split = GET % b"/1", POST, GET % b"/3"
    await listener.feed(alone, with_body, split[:9], split[9:], alone)
    assert [head.raw for head in listener.gateway.heads] == [alone, b"", b"", alone]


async def test_requests_that_wait_keep_their_own_bytes() -> None:
    go = asyncio.Event()

    async def handle(_client: Downstream, _head: RequestHead, _payload: Payload) -> bool:
        await go.wait()
        return True

    listener = Listener(handle)
    first, second, third = (GET % b"/%d" % number for number in range(3))
    await listener.feed(first, second, third)
    go.set()
    await turns(20)
    for head in listener.gateway.heads:
        assert head.raw in (b"", GET % head.target.encode())


class Passing:
    """An exchange in the lane that does what the test says."""

    def __init__(self, client: Downstream) -> None:
        self.client = client
        self.gone = False
        self.went_on = 0

    async def go_on(self, payload: Payload) -> bool:
        assert payload.is_eof()
        self.went_on += 1
        self.client.write(b"<went on>")
        return True

    def leave(self) -> None:
        self.client.take_back(self)

    def client_gone(self) -> None:
        self.gone = True


class Laned(Listener):
    """A connection whose gateway lets every request into the lane."""

    def __init__(self) -> None:
        super().__init__()
        self.passing: list[Passing] = []
        self.gateway.enter = self._enter  # type: ignore[method-assign]

    def _enter(self, _client: Downstream, data: bytes) -> Begun | None:
        self.gateway.offered.append(data)
        self.passing.append(Passing(self.client))
        return self.passing[-1]


async def test_what_is_in_the_lane_never_reaches_the_parser() -> None:
    listener = Laned()
    await turns()
    await listener.feed(PROBE)
    assert listener.gateway.offered == [PROBE]
    assert listener.gateway.heads == []
    assert not listener.client.close_idle()
    listener.client.passed()
    await listener.feed(PROBE)
    assert len(listener.passing) == 2
    assert listener.client.passage is listener.passing[1]


async def test_bytes_that_come_meanwhile_send_it_to_the_task_and_wait_behind_it() -> None:
    listener = Laned()
    await turns()
    await listener.feed(PROBE, PROBE)
    [passing] = listener.passing
    assert passing.went_on == 1
    assert listener.gateway.targets == ["/probe"]
    assert listener.written == b"<went on></probe>"


async def test_a_passage_hears_that_the_client_is_gone() -> None:
    listener = Laned()
    await turns()
    await listener.feed(PROBE)
    listener.client.connection_lost(None)
    await turns()
    assert listener.passing[0].gone


async def test_nothing_enters_while_the_client_does_not_read() -> None:
    listener = Laned()
    await turns()
    listener.client.pause_writing()
    await listener.feed(PROBE)
    assert listener.passing == []


async def test_an_idle_connection_has_its_deadline_again_behind_a_passage() -> None:
    listener = Laned()
    await turns()
    await listener.feed(PROBE)
    waiting = listener.client.deadline
    listener.client.passed()
    assert listener.client.deadline < waiting == float("inf")


async def test_a_passage_that_was_given_back_hears_of_a_client_that_left_before_its_turn() -> None:
    listener = Laned()
    await turns()
    await listener.feed(PROBE)
    [passing] = listener.passing
    # One turn of the loop: the client's end is noted first, then something comes from the endpoint.
    listener.transport.abort()
    passing.leave()
    await turns()
    assert passing.gone
    assert passing.went_on == 0


async def test_nothing_enters_on_a_connection_that_is_being_closed() -> None:
    listener = Laned()
    await turns()
    assert listener.client.close_idle()
    listener.client.data_received(PROBE)  # TLS hands in what was there before its goodbye
    assert listener.passing == []
    late = Laned()
    await turns()
    late.expire()
    late.client.data_received(PROBE)
    assert late.passing == []


async def test_a_length_that_the_parser_does_not_count_is_no_request() -> None:
    listener = Laned()
    await turns()
    head = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551615\r\n\r\n"
    listener.client._intake.lose()
    await listener.feed(head, PROBE)
    assert listener.passing == []
    assert listener.gateway.heads == []
    [error] = listener.gateway.errors
    assert error.status == 400
    assert listener.written == b"<400>"


async def test_nothing_of_a_head_is_kept_once_it_was_taken() -> None:
    listener = Listener()
    await turns()
    await listener.feed(PROBE)
    assert listener.gateway.heads[0].raw == PROBE
    assert PROBE not in listener.client._alone
