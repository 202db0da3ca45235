"""Whatever endpoints and clients do, an answer reaches the request that it is for, or nobody.

Many clients share few upstream connections. Every request has a number, and all of its answer says
that number; endpoints cut, reset, run on, answer early or send what nobody asked for, and clients
leave when they like.

(What an endpoint sends unasked while the next request is already under way nobody can tell from its
answer; HTTP/1.1 has no numbers. No endpoint here does that.)
"""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import Awaitable, Callable

import pytest

from tests.support.answers import Answer
from tests.support.client import RawClient
from tests.support.upstream import Exchange, StubUpstream
from tests.support.worker import LocalGateway, request, settings, signed_in

BOTH_LOOPS = True

Way = Callable[[Exchange, bytes], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nX-Number: %b\r\n"
_LARGE = 500_000
"""Bytes of an answer that no buffer on its way holds."""


def body_of(number: bytes, size: int = 300) -> bytes:
    return (b"<%b>" % number) * size


def whole(number: bytes, size: int = 300) -> bytes:
    body = body_of(number, size)
    return OK % number + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


async def plain(exchange: Exchange, number: bytes) -> None:
    await exchange.read_body()
    head = exchange.request.method == "HEAD"
    data = whole(number)
    await exchange.send(data.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if head else data)


async def large(exchange: Exchange, number: bytes) -> None:
    await exchange.read_body()
    await exchange.send(whole(number, _LARGE // len(body_of(number, 1))))


async def chunked(exchange: Exchange, number: bytes) -> None:
    await exchange.read_body()
    await exchange.send(OK % number + b"Transfer-Encoding: chunked\r\n\r\n")
    for _ in range(3):
        piece = body_of(number, 100)
        await exchange.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        await asyncio.sleep(0)
    await exchange.send(b"0\r\n\r\n")


async def hinted(exchange: Exchange, number: bytes) -> None:
    await exchange.send(b"HTTP/1.1 103 X\r\nLink: </%b>\r\n\r\n" % number)
    await plain(exchange, number)


async def early(exchange: Exchange, number: bytes) -> None:
    await exchange.send(whole(number))


async def run_on(exchange: Exchange, number: bytes) -> None:
    await exchange.read_body()
    await exchange.send(whole(number) + whole(b"nobody"))


async def body_of_nothing(exchange: Exchange, number: bytes) -> None:
    await exchange.read_body()
    await exchange.send(b"HTTP/1.1 204 X\r\nX-Number: %b\r\n\r\n" % number + whole(b"nobody"))


async def until_close(exchange: Exchange, number: bytes) -> None:
    await exchange.read_body()
    await exchange.send(OK % number + b"\r\n" + body_of(number))
    exchange.close()


async def cut(exchange: Exchange, number: bytes) -> None:
    await exchange.read_body()
    await exchange.send(whole(number)[:-7])
    exchange.close()


async def gone(exchange: Exchange, _number: bytes) -> None:
    exchange.abort()


async def nonsense(exchange: Exchange, number: bytes) -> None:
    await exchange.read_body()
    await exchange.send(b"<%b>\r\n\r\n" % number)


async def impatient(exchange: Exchange, number: bytes) -> None:
    """Answer, keep the connection for a moment, and close it under the next request."""
    await plain(exchange, number)
    for _ in range(random.randrange(6)):
        await asyncio.sleep(0)
    exchange.close()


WAYS: dict[str, Way] = {
    each.__name__: each
    for each in (
        *(plain, large, chunked, hinted, early, run_on, body_of_nothing),
        *(until_close, cut, gone, nonsense, impatient),
    )
}


async def serve(exchange: Exchange) -> None:
    _, _, way, number = exchange.request.path.split("/")
    await WAYS[way](exchange, number.encode())


def check(answer: Answer, number: str, way: str) -> None:
    """Assert that `answer` is the one of the request `number`, or an error of the gateway's."""
    if answer.get("Content-Type") == "application/problem+json":
        assert answer.status in (502, 503)
        return
    assert answer.get("X-Number") == number, way
    body = answer.body
    assert body.replace(b"<%b>" % number.encode(), b"") == b"" or not answer.complete, way
    assert b"nobody" not in body, way


class Talker:
    """One client: sends some requests at once, reads some answers, and may leave in between."""

    def __init__(self, port: int, chance: random.Random, name: int) -> None:
        self._port = port
        self._chance = chance
        self._name = name

    async def talk(self) -> None:
        chance = self._chance
        for round_ in range(4):
            sent: list[tuple[str, str, str]] = []
            async with RawClient(self._port) as client:
                for index in range(chance.randrange(1, 5)):
                    way, number = chance.choice([*WAYS]), f"{self._name}-{round_}-{index}"
                    method = chance.choice(["GET", "GET", "HEAD", "POST", "PUT"])
                    sent.append((method, way, number))
                    await self._send(client, method, f"/api/{way}/{number}")
                if chance.random() < 0.25:
                    for _ in range(chance.randrange(20)):
                        await asyncio.sleep(0)
                    client.reset_connection()
                    continue
                methods = [method for method, _, _ in sent]
                answers = await client.read_answers(len(sent), methods=methods, deadline=30)
            for answer, (_, way, number) in zip(answers, sent, strict=False):
                check(answer, number, way)

    async def _send(self, client: RawClient, method: str, target: str) -> None:
        chance = self._chance
        if method not in ("POST", "PUT"):
            await client.send(request(method, target, signed_in()))
        elif chance.random() < 0.5:
            await client.send(request(method, target, signed_in(), body=b"x" * 2000))
        else:
            await client.send(request(method, target, signed_in(), "Transfer-Encoding: chunked"))
            for _ in range(3):
                await client.send(b"5\r\nhello\r\n")
                await asyncio.sleep(0)
            await client.send(b"0\r\n\r\n")


@pytest.mark.parametrize("seed", range(6))
async def test_no_answer_reaches_another_request(seed: int) -> None:
    chance = random.Random(seed)
    random.seed(seed)
    async with StubUpstream() as one, StubUpstream() as two:
        one.default = two.default = serve
        config = settings(one.url, two.url, upstream={"pool_idle": "1m"})
        async with LocalGateway(config) as gateway:
            talkers = [Talker(gateway.port, chance, name) for name in range(12)]
            await asyncio.gather(*(each.talk() for each in talkers))
            await gateway.until(lambda: gateway.status["connections"]["client"] == 0)
            await gateway.until(lambda: gateway.status["requests_in_flight"] == 0)
            for each in gateway.endpoints:
                assert each["open"] >= each["idle"] >= 0
            await gateway.until(lambda: all(e["open"] == e["idle"] for e in gateway.endpoints))
        assert not [each for each in one.violations + two.violations if "ended" not in each]
    gc.collect()
