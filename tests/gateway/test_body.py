"""proxy/gateway/body.py: a request's body on its way in."""

from __future__ import annotations

import asyncio
from time import monotonic

import pytest
from aiohttp.web_protocol import RequestPayloadError

from proxy.core.head import RequestHead
from proxy.errors import BadRequest, BodyTooLarge, RequestTimeout
from proxy.gateway.body import RequestBody
from proxy.upstream.deadlines import NEVER
from tests.gateway.fakes import FakeClient, FakePayload, turns
from tests.support.exchanges import head

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
EXPECTING = (("Content-Length", "3"), ("Expect", "100-continue"))


def body_of(
    payload: FakePayload, request: RequestHead | None = None, limit: int | None = None
) -> tuple[RequestBody, FakeClient]:
    client = FakeClient()
    body = RequestBody(client, payload, request or head())
    body.limit(limit, 10.0)
    return body, client


async def test_a_body_comes_piece_by_piece() -> None:
    body, client = body_of(FakePayload(b"ab", b"c"))
    assert [await body.read() for _ in range(3)] == [b"ab", b"c", b""]
    assert body.received == 3
    assert body.complete
    assert client.written == b""


def test_a_body_that_is_there_comes_whole() -> None:
    body, _ = body_of(FakePayload(b"ab", b"c", eof=True))
    assert body.whole() == b"abc"
    assert body.received == 3


def test_no_body_is_whole_and_empty() -> None:
    assert body_of(FakePayload())[0].whole() == b""


def test_a_body_that_is_under_way_is_not_whole() -> None:
    body, _ = body_of(FakePayload(b"ab"))
    assert body.whole() is None
    assert body.received == 0


def test_a_whole_body_is_bounded() -> None:
    assert body_of(FakePayload(b"abc", eof=True), limit=3)[0].whole() == b"abc"
    with pytest.raises(BodyTooLarge):
        body_of(FakePayload(b"abcd", eof=True), limit=3)[0].whole()


async def test_a_body_is_bounded_as_it_comes() -> None:
    body, _ = body_of(FakePayload(b"ab", b"c", b"d"), limit=3)
    assert [await body.read(), await body.read()] == [b"ab", b"c"]
    with pytest.raises(BodyTooLarge):
        await body.read()


async def test_who_waits_to_be_asked_is_asked_once_and_only_when_the_body_is_wanted() -> None:
    body, client = body_of(FakePayload(b"ab", b"c"), head(*EXPECTING))
    before = bytes(client.written)
    assert [await body.read() for _ in range(3)] == [b"ab", b"c", b""]
    assert [before, bytes(client.written)] == [b"", CONTINUE]


@pytest.mark.parametrize(
    "request_head",
    [head(*EXPECTING, minor=0), head(*EXPECTING[:1]), head(*EXPECTING[1:])],
    ids=["HTTP/1.0", "no expectation", "no body"],
)
async def test_nobody_else_is_asked(request_head: RequestHead) -> None:
    body, client = body_of(FakePayload(b"abc"), request_head)
    await body.read()
    assert client.written == b""


def test_a_body_that_came_unasked_is_not_asked_for() -> None:
    body, client = body_of(FakePayload(b"abc", eof=True), head(*EXPECTING))
    assert body.whole() == b"abc"
    assert client.written == b""


async def test_a_read_has_a_deadline_as_long_as_it_lasts() -> None:
    body, client = body_of(FakePayload(b"abc"))
    reading = asyncio.ensure_future(body.read())
    await turns(1)
    during = client.read_deadline - monotonic()
    await reading
    assert 0 < during <= 10
    assert client.read_deadline == NEVER


async def test_the_deadline_of_a_connection_that_closes_is_left_alone() -> None:
    body, client = body_of(FakePayload(b"abc"))
    reading = asyncio.ensure_future(body.read())
    await turns(1)
    client.read_deadline = 5.0
    await reading
    assert client.read_deadline == 5.0


async def test_broken_framing_is_a_bad_request() -> None:
    body, client = body_of(FakePayload(b"a", RequestPayloadError("cut")))
    await body.read()
    with pytest.raises(BadRequest):
        await body.read()
    assert client.read_deadline == NEVER


async def test_an_error_of_ours_passes_as_it_is() -> None:
    body, _ = body_of(FakePayload(RequestTimeout("late")))
    with pytest.raises(RequestTimeout):
        await body.read()


def test_its_text_tells_no_content() -> None:
    assert repr(body_of(FakePayload(b"abc"))[0]) == "<RequestBody received=0 complete=False>"
