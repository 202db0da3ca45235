"""proxy/gateway/inbox.py beyond what test_listener.py shows: where the parser is said to stand."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.head import RequestHead
from proxy.errors import HeadTooLarge
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
        [CHUNKED],
        [CHUNKED[:-3], CHUNKED[-3:]],
        [*(CHUNKED[i : i + 1] for i in range(len(CHUNKED)))],
        [CHUNKED, GET % b"/", CHUNKED],
        [GET % b"/" + GET % b"/"],
        [POST + GET % b"/"],
        [(GET % b"/" + GET % b"/")[:-20], (GET % b"/")[-20:]],
        [CHUNKED.replace(b"0\r\n", b"0\r\nA: b\r\nC: d\r\n")],
    ],
    ids=range(16),
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


# Chunks: aiohttp's parser gives their last trailer to the next request.

TRAILED = CHUNKED[:-2] + b"A: 1\r\nX-Last: forged\r\n\r\n"


@pytest.mark.parametrize("cuts", [[], [3], [-1], [-3], [-30], range(1, len(TRAILED))], ids=str)
async def test_no_trailer_becomes_a_header_of_the_next_request(cuts: Sequence[int]) -> None:
    places = [0, *(cut % len(TRAILED) for cut in cuts), len(TRAILED)]
    pieces = [TRAILED[a:b] for a, b in pairwise(places)]
    listener = Listener(read_all)
    await turns()
    await listener.feed(*pieces, PROBE, *pieces, PROBE)
    assert listener.gateway.targets == ["/", "/probe"] * 2
    for head in listener.gateway.heads:
        assert [name for name, _ in head.fields][:1] == [b"Host"]
        assert b"X-Last" not in dict(head.fields)


@pytest.mark.parametrize("first", [CHUNKED, TRAILED], ids=["no trailers", "trailers"])
@pytest.mark.parametrize("behind", [PROBE, PROBE * 3, POST[:-2], PROBE[:9], PROBE + TRAILED])
@pytest.mark.parametrize("cut", [None, 5, -1, -3, -12], ids=str)
async def test_what_comes_together_with_the_end_of_chunks_is_dropped(
    first: bytes, behind: bytes, cut: int | None
) -> None:
    pieces = [first + behind] if cut is None else [first[:cut], first[cut:] + behind]
    listener = Listener(read_all)
    await turns()
    await listener.feed(GET % b"/before", *pieces, PROBE)
    assert listener.gateway.targets == ["/before", "/"]
    assert listener.gateway.errors == []
    assert listener.transport.calls == ["write_eof"]


async def test_requests_before_chunks_are_all_answered() -> None:
    listener = Listener(read_all)
    await turns()
    await listener.feed(GET % b"/1" + POST + TRAILED, PROBE)
    assert listener.gateway.targets == ["/1", "/", "/", "/probe"]


async def test_a_full_queue_holds_back_what_is_behind_chunks() -> None:
    """The parser stops when so many requests wait, and may hold the beginning of the next."""
    go = asyncio.Event()

    async def handle(_client: Downstream, _head: RequestHead, _payload: Payload) -> bool:
        await go.wait()
        return True

    listener = Listener(handle)
    await turns()
    many = listener.client._max_msg_queue_size
    await listener.feed(GET % b"/" * many)
    await listener.feed(TRAILED + PROBE)
    go.set()
    await turns(200)
    assert listener.gateway.targets == ["/"] * (many + 1)
    assert all(b"X-Last" not in dict(head.fields) for head in listener.gateway.heads)


@pytest.mark.parametrize("count", range(30, 36))
async def test_requests_that_wait_behind_an_upload_are_all_answered(count: int) -> None:
    """The parser stops one request earlier then, and nobody may pass by what it holds."""
    listener = Listener(read_all)
    await turns()
    await listener.feed(POST[:-5], POST[-5:])
    many = [b"/%d" % number for number in range(count)]
    await listener.feed(b"".join(GET % target for target in many))
    await turns(200)
    assert listener.gateway.targets == ["/", *(each.decode() for each in many)]
    await listener.feed(PROBE)
    assert listener.gateway.targets[-1] == "/probe"


@pytest.mark.parametrize("count", range(28, 34))
async def test_what_the_parser_holds_behind_chunks_ends_the_connection(count: int) -> None:
    listener = Listener(read_all)
    await turns()
    await listener.feed(POST[:-5], POST[-5:])
    await listener.feed(GET % b"/" * count + TRAILED + PROBE)
    await turns(200)
    assert listener.gateway.targets == ["/"] * (count + 2)
    assert listener.transport.calls[-1] == "write_eof"


@pytest.mark.parametrize("size", [1, 30, 300])
@pytest.mark.parametrize("together", [True, False])
async def test_what_the_parser_still_holds_of_a_body_is_not_too_much_around_it(
    size: int, together: bool
) -> None:
    chunk = b"%x\r\n%b\r\n" % (size, b"x" * size)
    head, body = CHUNKED.split(b"1\r\nx")[0], chunk * (250_000 // len(chunk)) + b"0\r\n\r\n"
    listener = Listener(read_all)
    await turns()
    await listener.feed(*([head + body] if together else [head, body]))
    await turns(3000)
    await listener.feed(PROBE)
    assert listener.gateway.targets == ["/", "/probe"]


@pytest.mark.parametrize("chunks", [0, 1000])
async def test_what_is_around_a_body_is_bounded_once_all_was_looked_at(chunks: int) -> None:
    broken: list[BaseException] = []

    async def handle(client: Downstream, head: RequestHead, payload: Payload) -> bool:
        try:
            return await read_all(client, head, payload)
        except HeadTooLarge as error:
            broken.append(error)
            raise ConnectionError from error

    listener = Listener(handle)
    await turns()
    await listener.feed(CHUNKED.split(b"1\r\nx")[0])
    trailer = b"A: " + b"x" * 60_000 + b"\r\n"
    await listener.feed(b"1\r\nx\r\n" * chunks + b"0\r\n" + trailer * 2)
    await turns(100)
    assert not broken
    await listener.feed(trailer)
    assert len(broken) == 1


@pytest.mark.parametrize("version", ["RTSP/1.0", "RTSP/1.1"])
@pytest.mark.parametrize("cut", range(0, 24, 3))
@pytest.mark.parametrize("before", [b"", PROBE, POST, PROBE + POST], ids=len)
async def test_rtsp_is_not_http(version: str, cut: int, before: bytes) -> None:
    data = before + b"GET /x  " + version.encode() + b"\r\nHost: a\r\n\r\n"
    at = len(before) + cut
    listener = Listener(read_all)
    await turns()
    await listener.feed(data[:at], data[at:], PROBE)
    assert "/x" not in listener.gateway.targets
    assert [error.status for error in listener.gateway.errors] == [400]
    assert listener.gateway.targets == [head.target for head in listener.gateway.heads]
    assert len(listener.gateway.heads) == before.count(b"HTTP/1.1")


async def test_nothing_of_rtsp_is_served_whatever_comes_with_it() -> None:
    listener = Listener(read_all)
    await turns()
    await listener.feed(PROBE + b"GET /x RTSP/1.1\r\nHost: a\r\n\r\n" + PROBE, PROBE)
    assert listener.gateway.targets == ["/probe"]
    assert len(listener.gateway.errors) == 1


async def test_a_body_may_tell_of_rtsp() -> None:
    text = b"GET / RTSP/1.0\r\nCSeq: 1\r\n\r\n"
    listener = Listener(read_all)
    await turns()
    await listener.feed(
        b"POST /log HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(text) + text, PROBE
    )
    assert listener.gateway.targets == ["/log", "/probe"]


@pytest.mark.parametrize("before", [b"", PROBE, TRAILED], ids=len)
async def test_a_length_that_the_parser_does_not_count_is_none_behind_others(before: bytes) -> None:
    listener = Listener(read_all)
    await turns()
    head = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551615\r\n\r\n"
    await listener.feed(before + head, PROBE)
    assert "/x" not in listener.gateway.targets
    assert "/probe" not in listener.gateway.targets[before.count(PROBE) :]
