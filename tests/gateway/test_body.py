"""proxy/gateway/body.py: a request's body on its way in."""

from __future__ import annotations

import asyncio
from time import monotonic

import pytest
from aiohttp.web_protocol import RequestPayloadError

from proxy.core.head import RequestHead
from proxy.errors import BadRequest, BodyTooLarge, RequestTimeout
from proxy.gateway import body as body_module
from proxy.gateway.body import RequestBody
from proxy.upstream.deadlines import NEVER
from tests.gateway.fakes import FakeClient, FakePayload, turns
from tests.support.exchanges import head

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
EXPECTING = (("Content-Length", "3"), ("Expect", "100-continue"))


def body_of(
    payload: FakePayload,
    request: RequestHead | None = None,
    limit: int | None = None,
    rate: int | None = None,
) -> tuple[RequestBody, FakeClient]:
    client = FakeClient()
    body = RequestBody(client, payload, request or head())
    body.limit(limit, 10.0, rate)
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
    waited = monotonic() - client.waits_since
    await reading
    assert 0 < during <= 10
    assert 0 <= waited < 10
    assert (client.read_deadline, client.waits_since) == (NEVER, NEVER)


@pytest.mark.parametrize(
    ("pieces", "whole", "rest"),
    [
        ([b"ab", b"c"], b"abc", []),
        ([b"x" * 10_000, b"y" * 6_383], b"x" * 10_000 + b"y" * 6_383, []),
        ([b"x" * 10_000, b"y" * 6_384], None, [b"x" * 10_000 + b"y" * 6_384]),
        ([b"x" * 20_000, b"y", b"z"], None, [b"x" * 20_000, b"y", b"z"]),
    ],
    ids=["small", "just held", "just not", "large"],
)
async def test_the_beginning_of_a_body_is_taken_in_first(
    pieces: list[bytes], whole: bytes | None, rest: list[bytes]
) -> None:
    size = str(sum(map(len, pieces)))
    body, _ = body_of(FakePayload(*pieces), head(("Content-Length", size)))
    assert await body.beginning() == whole
    assert [await body.read() for _ in rest] == rest
    assert await body.read() == b""
    assert body.received == sum(map(len, pieces))


async def test_of_chunks_nothing_is_held_back() -> None:
    body, _ = body_of(FakePayload(b"ab", b"c"), head(("Transfer-Encoding", "chunked")))
    assert await body.beginning() is None
    assert [await body.read() for _ in range(3)] == [b"ab", b"c", b""]


async def test_the_beginning_is_bounded_too() -> None:
    body, _ = body_of(FakePayload(b"ab", b"c", b"d"), head(("Content-Length", "4")), limit=3)
    with pytest.raises(BodyTooLarge):
        await body.beginning()


class Ticking:
    """The time, as body.py asks for it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(body_module, "monotonic", lambda: self.now)

    def payload(self, *waits: tuple[float, bytes]) -> FakePayload:
        """Return a body whose pieces come after so many seconds each."""
        payload, ticking = FakePayload(*(piece for _, piece in waits)), iter(waits)
        readany = payload.readany

        async def wait() -> bytes:
            self.now += next(ticking, (0.0, b""))[0]
            return await readany()

        payload.readany = wait  # type: ignore[method-assign]  # one that takes its time
        return payload


async def patience(body: RequestBody, client: FakeClient, ticking: Ticking) -> float:
    """Begin to read; return how long the client has, once the next piece is here."""
    began = ticking.now
    reading = asyncio.ensure_future(body.read())
    await turns(1)
    given = client.read_deadline - began
    await reading
    return given


async def test_a_trickle_uses_up_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    ticking = Ticking(monkeypatch)
    payload = ticking.payload(*[(4.0, b"x")] * 4)
    body, client = body_of(payload, rate=10)
    given = [await patience(body, client, ticking) for _ in range(4)]
    assert given == pytest.approx([10.0, 6.1, 2.2, -1.7])


async def test_a_trickle_has_waited_as_long_as_it_is_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else a byte a second would never give way to anybody."""
    ticking = Ticking(monkeypatch)
    body, client = body_of(ticking.payload(*[(1.0, b"x")] * 4), rate=10)
    for _ in range(3):
        await body.read()
    began = ticking.now
    reading = asyncio.ensure_future(body.read())
    await turns(1)
    assert body.lag == pytest.approx(2.7)
    assert began - client.waits_since == pytest.approx(2.7)
    await reading


async def test_bytes_at_the_rate_give_the_time_back(monkeypatch: pytest.MonkeyPatch) -> None:
    ticking = Ticking(monkeypatch)
    body, client = body_of(ticking.payload(*[(4.0, b"x" * 40)] * 100), rate=10)
    given = [await patience(body, client, ticking) for _ in range(100)]
    assert given == pytest.approx([10.0] * 100)


async def test_no_burst_buys_more_than_the_idle_time(monkeypatch: pytest.MonkeyPatch) -> None:
    ticking = Ticking(monkeypatch)
    payload = ticking.payload((0.0, b"x" * 1_000_000), (9.0, b"x"), (0.0, b"x"))
    body, client = body_of(payload, rate=10)
    given = [await patience(body, client, ticking) for _ in range(3)]
    assert given == pytest.approx([10.0, 10.0, 1.1])


async def test_time_in_which_nobody_waits_for_the_client_is_not_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ticking = Ticking(monkeypatch)
    body, client = body_of(ticking.payload(*[(1.0, b"x")] * 3), rate=10)
    await patience(body, client, ticking)
    ticking.now += 3600
    assert await patience(body, client, ticking) == pytest.approx(9.1)


async def test_without_a_rate_each_piece_has_the_idle_time(monkeypatch: pytest.MonkeyPatch) -> None:
    ticking = Ticking(monkeypatch)
    body, client = body_of(ticking.payload(*[(9.0, b"x")] * 5))
    assert [await patience(body, client, ticking) for _ in range(5)] == [10.0] * 5


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
