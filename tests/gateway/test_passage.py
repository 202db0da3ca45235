"""proxy/gateway/passage.py over a real upstream; whole stories are told in tests/corridor/."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.gateway import passage as module
from proxy.gateway.passage import Passage
from tests.gateway.fakes import FakePayload
from tests.gateway.road import Road
from tests.support.exchanges import NOW, head
from tests.support.upstream import Exchange

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
RAW = b"the very bytes"


async def enter(road: Road) -> Passage:
    """Return a passage of a head that was learnt, on a pooled connection; its request is sent."""
    asked = replace(head(target="/public/x"), raw=RAW)
    x, permit = await road.permit(asked)
    for _ in range(2):
        road.snapshot.lane.learn(x, permit)
    await road.forward()
    road.client.writes.clear()
    road.client.head_sent = False
    road.client.whoever = x.client
    passage = road.gateway.enter(road.client, RAW)
    assert passage is not None
    return passage


async def silent_second(exchange: Exchange) -> None:
    """Answer the first request of a connection and nothing after it."""
    if len(exchange.connection.requests) == 1:
        await exchange.send(OK)
    else:
        await exchange.read()


@pytest.mark.parametrize("answer", [OK, CHUNKED], ids=["length", "chunks"])
async def test_a_whole_answer_is_passed_on_in_one_write(answer: bytes) -> None:
    async with Road(answer) as road:
        await enter(road)
        await road.until(lambda: bool(road.client.lane))
        assert road.client.lane == ["passed"]
        [written] = road.client.writes
        assert written.endswith(answer.partition(b"\r\n\r\n")[2])
        [x] = road.records
        assert (x.status, x.attempts, x.upstream, x.bytes_out) == (200, 1, "api", 2)
        assert x.route is not None
        assert x.endpoint == road.upstream.url
        assert road.pool.endpoints[0].idle == 1
        assert road.metrics.in_flight == 0


async def test_its_exchange_is_another_one_each_time() -> None:
    async with Road(OK) as road:
        first = await enter(road)
        await road.until(lambda: bool(road.client.lane))
        second = road.gateway.enter(road.client, RAW)
        assert second is not None
        assert second.x is not first.x
        assert second.x.now == NOW
        await road.until(lambda: len(road.client.lane) == 2)


async def test_nobody_enters_while_every_answer_is_the_last() -> None:
    async with Road(OK) as road:
        await enter(road)
        await road.until(lambda: bool(road.client.lane))
        road.gateway.closing = True
        assert road.gateway.enter(road.client, RAW) is None
        assert road.metrics.in_flight == 0


async def test_an_answer_that_is_the_last_goes_the_ordinary_way() -> None:
    async with Road(OK) as road:
        passage = await enter(road)
        road.client.closes = True
        await road.until(lambda: bool(road.client.lane))
        assert road.client.lane == [passage]
        assert road.client.writes == []
        assert not await passage.go_on(FakePayload())
        [x] = road.records
        assert (x.status, x.attempts) == (200, 1)
        assert b"Connection: close\r\n" in road.client.writes[0]


async def test_a_part_of_an_answer_goes_the_ordinary_way() -> None:
    async def in_two(exchange: Exchange) -> None:
        await exchange.send(OK[:-1])
        await road.until(lambda: len(exchange.connection.requests) == 1 or bool(road.client.lane))
        await exchange.send(OK[-1:])

    async with Road(in_two) as road:
        passage = await enter(road)
        await road.until(lambda: bool(road.client.lane))
        assert road.client.lane == [passage]
        assert await passage.go_on(FakePayload())
        assert b"".join(road.client.writes).endswith(b"ok")
        assert len(road.upstream.requests) == 2


async def test_an_endpoint_that_is_gone_is_tried_anew_by_the_ordinary_way() -> None:
    async def gone_at_second(exchange: Exchange) -> None:
        if len(exchange.connection.requests) == 2:
            exchange.abort()
        else:
            await exchange.send(OK)

    async with Road(gone_at_second) as road:
        passage = await enter(road)
        await road.until(lambda: bool(road.client.lane))
        assert await passage.go_on(FakePayload())
        [x] = road.records
        assert (x.status, x.attempts, x.code) == (200, 2, "")


async def test_a_client_that_leaves_takes_the_exchange_with_it() -> None:
    async with Road(silent_second) as road:
        passage = await enter(road)
        passage.client_gone()
        [x] = road.records
        assert (x.status, x.code) == (499, "client_gone")
        await road.until(lambda: road.pool.endpoints[0].open == 0)
        assert road.client.lane == []
        assert road.metrics.in_flight == 0


async def test_its_text_holds_no_more_than_the_endpoint() -> None:
    async with Road(silent_second) as road:
        passage = await enter(road)
        assert road.upstream.url in repr(passage)
        assert RAW.decode() not in repr(passage)
        passage.client_gone()


async def test_an_error_in_the_lane_is_answered_as_by_the_ordinary_way(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyError("nobody expected this")

    async with Road(OK) as road:
        passage = await enter(road)
        monkeypatch.setattr(module, "relay_first", fail)
        await road.until(lambda: bool(road.client.lane))
        assert road.client.lane == [passage]
        assert not await passage.go_on(FakePayload())
        [x] = road.records
        assert (x.status, x.code) == (500, "internal")
        assert road.client.writes[0].startswith(b"HTTP/1.1 500 ")
        assert road.metrics.in_flight == 0
        assert road.pool.endpoints[0].idle == 0
    assert "nobody expected this" in caplog.text


async def test_a_client_that_cannot_be_written_to_ends_the_exchange() -> None:
    async with Road(OK) as road:
        passage = await enter(road)
        road.client.gone = True
        await road.until(lambda: bool(road.client.lane))
        with pytest.raises(ConnectionResetError):
            await passage.go_on(FakePayload())
        [x] = road.records
        assert (x.status, x.code) == (499, "client_gone")
        assert road.metrics.in_flight == 0
