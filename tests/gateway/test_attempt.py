"""proxy/gateway/attempt.py: one try at one endpoint."""

from __future__ import annotations

import asyncio

import pytest

from proxy.core.head import RequestHead
from proxy.errors import RequestTimeout, UpstreamProtocol
from proxy.gateway.attempt import Attempt, chunk
from proxy.gateway.body import RequestBody
from proxy.upstream.deadlines import NEVER
from tests.gateway.fakes import FakeClient, FakePayload, turns
from tests.gateway.road import Road
from tests.support.exchanges import UPGRADE, head
from tests.support.upstream import Exchange, Recorded

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SIZED = ("Content-Length", "5")
CHUNKED = ("Transfer-Encoding", "chunked")


def test_a_chunk_has_its_size_in_hexadecimal() -> None:
    assert chunk(b"x" * 31) == b"1f\r\n" + b"x" * 31 + b"\r\n"


async def sent(road: Road, request: RequestHead, payload: FakePayload) -> tuple[Attempt, Recorded]:
    """Send `request`; return the attempt, and what the upstream got of it before it answered."""
    x, permit = await road.permit(request)
    x.attempts = 1
    body = RequestBody(FakeClient(), payload, request)
    body.limit(None, 10.0, None)
    attempt = await Attempt.connect(x, permit, road.pool, road.pool.pick(x), replayable=True)
    attempt.send(x, permit, road.pool, road.snapshot.rules, body, body.whole())
    await attempt.connection.answer()
    return attempt, road.upstream.requests[-1]


def post(*fields: tuple[str, str]) -> RequestHead:
    return head(*fields, method="POST", target="/public/x")


BODIES = {
    "sized, whole": (SIZED, FakePayload(b"ab", b"cde", eof=True), b"\r\n\r\nabcde"),
    "sized, in pieces": (SIZED, FakePayload(b"ab", b"cde"), b"\r\n\r\nabcde"),
    "chunked, whole": (
        CHUNKED,
        FakePayload(b"ab", b"cde", eof=True),
        b"\r\n\r\n5\r\nabcde\r\n0\r\n\r\n",
    ),
    "chunked, in pieces": (
        CHUNKED,
        FakePayload(b"ab", b"cde"),
        b"\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n",
    ),
    "chunked, empty": (CHUNKED, FakePayload(), b"\r\n\r\n0\r\n\r\n"),
}


@pytest.mark.parametrize(("framing", "payload", "end"), BODIES.values(), ids=BODIES)
async def test_a_body_is_framed_as_the_client_framed_it(
    framing: tuple[str, str], payload: FakePayload, end: bytes
) -> None:
    async with Road(OK) as road:
        attempt, request = await sent(road, post(framing), payload)
        assert request.raw.endswith(end)
        assert request.values(framing[0]) == [framing[1]]
        while await attempt.read():
            pass
        attempt.finish()
        assert road.pool.endpoints[0].idle == 1
        assert road.upstream.violations == []


async def test_waiting_for_an_answer_has_a_deadline_and_reading_it_too() -> None:
    async with Road(OK) as road:
        attempt, _ = await sent(road, head(target="/public/x"), FakePayload())
        assert attempt.connection.read_deadline < NEVER
        assert await attempt.read() == b"ok"
        assert attempt.connection.read_deadline == NEVER
        attempt.finish()


async def test_a_fault_of_the_body_reaches_whoever_waits_for_the_answer() -> None:
    async with Road() as road:
        payload = FakePayload(b"ab", RequestTimeout("late"))
        with pytest.raises(RequestTimeout):
            await sent(road, post(SIZED), payload)
        await turns()
        assert road.pool.endpoints[0].open == 0


async def test_a_client_that_leaves_ends_the_connection() -> None:
    async with Road() as road:
        payload = FakePayload(b"ab", ConnectionResetError())
        with pytest.raises(UpstreamProtocol):
            await sent(road, post(SIZED), payload)
        await turns()
        assert road.pool.endpoints[0].open == 0


async def test_an_answer_before_the_end_of_the_body_gives_the_connection_up() -> None:
    class Endless(FakePayload):
        async def readany(self) -> bytes:
            await asyncio.get_running_loop().create_future()
            return b""

    async with Road() as road:

        async def early(exchange: Exchange) -> None:
            await exchange.send(OK)

        road.upstream.script("/public/x", early)
        attempt, _ = await sent(road, post(SIZED), Endless(b"never"))
        uploading = [attempt.uploading]
        attempt.finish()
        await turns()
        assert [*uploading, attempt.uploading] == [True, False]
        assert road.pool.endpoints[0].open == 0


async def pooled(road: Road) -> None:
    """Leave one idle connection in the pool."""
    attempt, _ = await sent(road, head(target="/public/x"), FakePayload())
    while await attempt.read():
        pass
    attempt.finish()
    assert road.pool.endpoints[0].idle == 1


@pytest.mark.parametrize(
    ("method", "replayable", "attempts", "age", "reused"),
    [
        ("GET", True, 1, 0.0, True),
        ("GET", True, 1, 1.2, True),
        ("GET", True, 2, 0.0, False),
        ("POST", True, 1, 0.0, True),
        ("POST", True, 1, 1.2, False),
        ("PUT", False, 1, 0.0, True),
        ("PUT", False, 1, 1.2, False),
    ],
    ids=[
        "first try",
        "old",
        "second try",
        "young, not repeatable",
        "old, not repeatable",
        "young, body on its way",
        "old, body on its way",
    ],
)
async def test_which_request_takes_a_pooled_connection(
    method: str, replayable: bool, attempts: int, age: float, reused: bool
) -> None:
    async with Road(OK) as road:
        await pooled(road)
        endpoint = road.pool.endpoints[0]
        endpoint._idle[0].idle_since -= age
        x, permit = await road.permit(head(method=method, target="/public/x"))
        x.attempts = attempts
        attempt = await Attempt.connect(x, permit, road.pool, endpoint, replayable=replayable)
        assert attempt.connection.reused is reused
        attempt.abort()
        await turns()


async def test_an_upgrade_gets_a_connection_of_its_own() -> None:
    async with Road(OK, route="upgrade: websocket") as road:
        await pooled(road)
        x, permit = await road.permit(head(*UPGRADE, target="/public/x"))
        x.attempts = 1
        attempt = await Attempt.connect(
            x, permit, road.pool, road.pool.endpoints[0], replayable=True
        )
        assert not attempt.connection.reused
        attempt.abort()
        await turns()
