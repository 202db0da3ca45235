"""With the lane and without it, the same conversation, cut into pieces anywhere: the same bytes,
the same requests upstream, the same lines in the log.

The cuts are those of one seed in both runs. Where the kernel joins pieces again they differ, and
must not matter.
"""

from __future__ import annotations

import asyncio
import random
import re
from typing import Final

import pytest

from proxy.gateway.handler import Gateway
from proxy.gateway.passage import Passage
from tests.corridor.test_lane import without_ids
from tests.support.client import RawClient
from tests.support.upstream import Exchange, StubUpstream
from tests.support.worker import LocalGateway, request, settings, signed_in

BOTH_LOOPS = True


COOKIE: Final = signed_in("u-7")
LINES: Final = (COOKIE, "Origin: https://app.example.com")
GETS: Final = [
    *(request("GET", f"/api/{way}", *LINES) for way in ("whole", "chunks", "empty", "hinted")),
    request("GET", "/api/whole", *LINES),
    request("GET", "/api/unchanged", *LINES),
    request("HEAD", "/api/whole", *LINES),
]
OTHERS: Final = [
    request("POST", "/api/whole", *LINES, body=b"hello"),
    request("GET", "/api/whole", *LINES, body=b"GET /api/empty HTTP/1.1\r\n\r\n"),
    request("POST", "/api/empty", *LINES, body=b""),
    b"\r\n" + GETS[0],
    request("GET", "/nowhere", *LINES),
    request("GET", "/api/whole"),
]
CHUNKED: Final = (
    request("PUT", "/api/chunks", *LINES, "Transfer-Encoding: chunked")
    + b"3;a=b\r\nabc\r\n0\r\nX-T: 1\r\n\r\n"
)
HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
WAYS: Final = {
    "whole": HEAD + b"Content-Length: 11\r\n\r\nhello world",
    "empty": HEAD + b"Content-Length: 0\r\n\r\n",
    "unchanged": b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n\r\n',
    "chunks": HEAD + b"Transfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n2\r\nef\r\n0\r\n\r\n",
    "hinted": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    + HEAD
    + b"Content-Length: 2\r\n\r\nok",
}
_CHUNKS: Final = re.compile(rb"(?s)[0-9a-f]+\r\n(.*?)\r\n")


def cut(data: bytes, chance: random.Random, most: int) -> list[bytes]:
    """Return `data` in at most `most` pieces."""
    places = sorted({chance.randrange(1, len(data)) for _ in range(chance.randrange(most))})
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


async def in_pieces(exchange: Exchange, chance: random.Random) -> None:
    await exchange.read_body()
    data = WAYS[exchange.request.path.rpartition("/")[2]]
    if exchange.request.method == "HEAD":
        data = data.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    for piece in cut(data, chance, 3 if chance.random() < 0.4 else 1):
        await exchange.send(piece)
        for _ in range(4):
            await asyncio.sleep(0)


async def converse(client: RawClient, chance: random.Random) -> None:
    """Send the requests, some several at a time, and wait for all their answers."""
    methods: list[str] = []
    for _ in range(10):
        count = 1 if chance.random() < 0.9 else 3
        batch = [chance.choice(GETS if chance.random() < 0.85 else OTHERS) for _ in range(count)]
        if chance.random() < 0.05:
            batch.append(CHUNKED)  # what comes together with it would be dropped
        methods += [each.lstrip().partition(b" ")[0].decode() for each in batch]
        for piece in cut(b"".join(batch), chance, 3 if chance.random() < 0.3 else 1):
            await client.send(piece)
            for _ in range(3):
                await asyncio.sleep(0)
        answers = await client.read_answers(len(methods), methods=methods)
        assert len(answers) == len(methods)


def body_bytes(data: bytes) -> bytes:
    """Return `data` with the chunks of a body joined: where they were cut says nothing."""
    return without_ids(_CHUNKS.sub(rb"\1", data))


async def run(seed: int) -> tuple[bytes, list[bytes], list[tuple[object, ...]], list[str]]:
    """Return what client, endpoint, log and metrics saw of the conversation of `seed`."""
    told, chance = random.Random(seed), random.Random(seed)

    async def answer(exchange: Exchange) -> None:
        await in_pieces(exchange, told)

    async with StubUpstream() as upstream:
        upstream.default = answer
        config = settings(upstream.url, upstream={"pool_idle": "1m"})
        async with LocalGateway(config) as gateway:
            # Many connections: a message of unknown end closes the lane of its own.
            received = b""
            for _ in range(12):
                async with RawClient(gateway.port) as client:
                    await converse(client, chance)
                    received += client.received
            await gateway.until(lambda: gateway.status["requests_in_flight"] == 0)
            await gateway.until(lambda: gateway.status["connections"]["client"] == 0)
            counted = sum(gateway.worker.metrics.requests.values())
            await gateway.until(lambda: len(gateway.log_lines()) == counted)
            keys = ("method", "path", "route", "user", "status", "code", "attempts", "bytes_in")
            lines = [tuple(line.get(key) for key in keys) for line in gateway.log_lines()]
            text = gateway.worker.metrics.text()[0].decode()
        assert upstream.violations == []
        sent = [without_ids(bytes(each.raw)) for each in upstream.requests]
    return body_bytes(received), sent, lines, re.findall(r"\S+_(?:total|count)\{.*", text)


@pytest.mark.parametrize("seed", range(5))
async def test_the_same_conversation_both_ways(
    seed: int, passages: list[Passage], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Gateway, "enter", lambda *_: None)
        ordinary = await run(seed)
    assert passages == []
    short = await run(seed)
    assert len(passages) > 5
    for seen, expected in zip(short, ordinary, strict=True):
        assert seen == expected
