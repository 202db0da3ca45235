"""No answer of an upstream splits, doubles, or reaches another request, however it is cut.

Every answer is sent at once, byte by byte and cut at each place where something ends; to a request
that goes the ordinary way and to one that takes the lane (docs/decisions/0012). Then others ask on
the same gateway, and must get their own answers.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from typing import Final

import pytest
import pytest_asyncio

from proxy.gateway.passage import Passage
from tests.support.answers import Answer
from tests.support.client import RawClient
from tests.support.scripts import OK
from tests.support.upstream import Exchange, StubUpstream
from tests.support.worker import ORIGIN, LocalGateway, request, settings

FROM_APP: Final = f"Origin: {ORIGIN}"
POISON: Final = b"HTTP/1.1 200 OK\r\nX-Poison: 1\r\nContent-Length: 6\r\n\r\npoison"
HEAD: Final = b"HTTP/1.1 200 OK\r\n"
CHUNKED: Final = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
CHUNKS: Final = CHUNKED + b"2\r\nok\r\n0\r\n\r\n"
HINT: Final = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
SWITCH: Final = b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
_BOUNDARY: Final = re.compile(rb"(?<=[\r\n :])|(?=[\r\n :])")
_TURNS: Final = 3


def status(line: bytes) -> bytes:
    return line + b"\r\nContent-Length: 6\r\n\r\npoison"


def head(*lines: bytes, body: bytes = b"poison") -> bytes:
    return HEAD + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


# Answers that are none. All end in a 502, and nothing of them is seen by anybody.
BAD: Final = {
    "HTTP/0.9": b"<html>poison</html>\r\n",
    "HTTP/0.9 by name": status(b"HTTP/0.9 200 OK"),
    "HTTP/1.2": status(b"HTTP/1.2 200 OK"),
    "HTTP/2.0": status(b"HTTP/2.0 200 OK"),
    "HTTP/2": status(b"HTTP/2 200"),
    "frame of HTTP/2": b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64",
    "RTSP": status(b"RTSP/1.0 200 OK"),
    "ICY": status(b"ICY 200 OK"),
    "lower case": status(b"http/1.1 200 OK"),
    "a request": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "an empty line first": b"\r\n" + OK,
    "a space first": b" " + OK,
    "status 000": status(b"HTTP/1.1 000 X"),
    "status 099": status(b"HTTP/1.1 099 X"),
    "status 600": status(b"HTTP/1.1 600 X"),
    "status 999": status(b"HTTP/1.1 999 X"),
    "status 1000": status(b"HTTP/1.1 1000 X"),
    "status of two digits": status(b"HTTP/1.1 20 X"),
    "status with a sign": status(b"HTTP/1.1 -200 X"),
    "no status": status(b"HTTP/1.1 OK"),
    "CR in the reason": status(b"HTTP/1.1 200 a\rb"),
    "length and coding": head(b"Content-Length: 6", b"Transfer-Encoding: chunked"),
    "coding and length": head(b"Transfer-Encoding: chunked", b"Content-Length: 6"),
    "two lengths": head(b"Content-Length: 6", b"Content-Length: 2"),
    "a length twice": head(b"Content-Length: 6", b"Content-Length: 6"),
    "length in a list": head(b"Content-Length: 6, 6"),
    "length with a sign": head(b"Content-Length: +6"),
    "length below zero": head(b"Content-Length: -6"),
    "hexadecimal length": head(b"Content-Length: 0x6"),
    "empty length": head(b"Content-Length:"),
    "length of 2**64": head(b"Content-Length: 18446744073709551616"),
    "length of 30 digits": head(b"Content-Length: " + b"9" * 30),
    "length that is a word": head(b"Content-Length: six"),
    "gzip": head(b"Transfer-Encoding: gzip"),
    "gzip, chunked": head(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"),
    "chunked, gzip": head(b"Transfer-Encoding: chunked, gzip", body=b"0\r\n\r\n"),
    "chunked twice": head(b"Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n"),
    "two codings": head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
    "identity": head(b"Transfer-Encoding: identity"),
    "empty coding": head(b"Transfer-Encoding:"),
    "xchunked": head(b"Transfer-Encoding: xchunked"),
    "coding with a vertical tab": head(b"Transfer-Encoding: \x0bchunked"),
    "coding with a parameter": head(b"Transfer-Encoding: chunked;q=1"),
    "coding and a space before the colon": head(b"Transfer-Encoding : chunked"),
    "length and a space before the colon": head(b"Content-Length : 6"),
    "coding in a 204": b"HTTP/1.1 204 X\r\nTransfer-Encoding: gzip\r\n\r\n",
    "folded": head(b"A: b\r\n c", b"Content-Length: 6"),
    "folded first": head(b" A: b", b"Content-Length: 6"),
    "folded coding": head(b"Transfer-Encoding:\r\n chunked"),
    "NUL in a value": head(b"A: b\0c", b"Content-Length: 6"),
    "CR in a value": head(b"A: b\rc", b"Content-Length: 6"),
    "LF in a value": head(b"A: b\nc: d", b"Content-Length: 6"),
    "control in a value": head(b"A: b\x01c", b"Content-Length: 6"),
    "NUL in a name": head(b"A\0b: c", b"Content-Length: 6"),
    "space in a name": head(b"A b: c", b"Content-Length: 6"),
    "no name": head(b": c", b"Content-Length: 6"),
    "no colon": head(b"abc", b"Content-Length: 6"),
    "LF everywhere": head(b"Content-Length: 6").replace(b"\r\n", b"\n"),
    "LF as the empty line": HEAD + b"Content-Length: 6\r\n\npoison",
    "unasked 101": SWITCH + POISON,
    "unasked 101 behind a 100": b"HTTP/1.1 100 C\r\n\r\n" + SWITCH + POISON,
    "hint with a bad length": b"HTTP/1.1 103 E\r\nContent-Length: x\r\n\r\n" + POISON,
    "hint of HTTP/2": b"HTTP/2.0 103 E\r\n\r\n" + POISON,
}
# Large ones, which are not sent byte by byte.
FLOODS: Final = {
    "head of 64 KiB and a bit": head(b"A: " + b"x" * 65_536, b"Content-Length: 6"),
    "head without end": HEAD + b"A: b\r\n" * 20_000,
    "reason without end": b"HTTP/1.1 200 " + b"x" * 70_000,
    "hints without end": HINT * 3000,
    "continues without end": b"HTTP/1.1 100 C\r\n\r\n" * 6000,
    "unknown interims without end": b"HTTP/1.1 199 X\r\n\r\n" * 6000,
}
# Answers whose head is good. The client has it already when the rest turns out to be none.
BROKEN: Final = {
    "0x": b"0x2\r\nok\r\n0\r\n\r\n",
    "word": b"zz\r\nok\r\n",
    "minus": b"-2\r\nok\r\n0\r\n\r\n",
    "17 digits": b"fffffffffffffffff\r\nok",
    "space before the size": b" 2\r\nok\r\n0\r\n\r\n",
    "space behind the size": b"2 \r\nok\r\n0\r\n\r\n",
    "LF behind the size": b"2\nok\r\n0\r\n\r\n",
    "LF behind the chunk": b"2\r\nok\n0\r\n\r\n",
    "LF as the end": b"2\r\nok\r\n0\r\n\n",
    "too small": b"1\r\nok\r\n0\r\n\r\n",
    "too large": b"3\r\nok\r\n0\r\n\r\n",
    "empty line between": b"2\r\nok\r\n\r\n0\r\n\r\n",
    "NUL in an extension": b"2;a\0\r\nok\r\n0\r\n\r\n",
    "length as trailer": b"2\r\nok\r\n0\r\nContent-Length: 9\r\n\r\n",
    "NUL in a trailer": b"2\r\nok\r\n0\r\nA: b\0\r\n\r\n",
    "folded trailer": b"2\r\nok\r\n0\r\nA: b\r\n c\r\n\r\n",
    "an answer in between": b"2\r\nok\r\n" + POISON,
}
# Good answers, behind which something comes that is no next one: method, answer, status, body.
GOOD: Final = {
    "length": ("GET", HEAD + b"Content-Length: 2\r\n\r\nok", 200, b"ok"),
    "length 0": ("GET", HEAD + b"Content-Length: 0\r\n\r\n", 200, b""),
    "leading zeros": ("GET", HEAD + b"Content-Length: 002\r\n\r\nok", 200, b"ok"),
    "chunks": ("GET", CHUNKS, 200, b"ok"),
    "chunks with extensions": ("GET", CHUNKS.replace(b"2\r\n", b"2;a=b\r\n"), 200, b"ok"),
    "chunks with trailers": ("GET", CHUNKS[:-2] + b"X-Poison: 1\r\nB: c\r\n\r\n", 200, b"ok"),
    "HEAD with a length": ("HEAD", HEAD + b"Content-Length: 6\r\n\r\n", 200, b""),
    "HEAD with chunks": ("HEAD", CHUNKED, 200, b""),
    "HEAD with nothing": ("HEAD", HEAD + b"\r\n", 200, b""),
    "204": ("GET", b"HTTP/1.1 204 N\r\n\r\n", 204, b""),
    "204 with a length": ("GET", b"HTTP/1.1 204 N\r\nContent-Length: 6\r\n\r\n", 204, b""),
    "304 with a length": ("GET", b"HTTP/1.1 304 N\r\nContent-Length: 6\r\n\r\n", 304, b""),
    "304 with chunks": ("GET", b"HTTP/1.1 304 N\r\nTransfer-Encoding: chunked\r\n\r\n", 304, b""),
    "behind a 100": ("GET", b"HTTP/1.1 100 C\r\n\r\n" + OK, 200, b"ok"),
    "behind a 102": ("GET", b"HTTP/1.1 102 P\r\n\r\n" + OK, 200, b"ok"),
    "behind a 103": ("GET", HINT + OK, 200, b"ok"),
    "behind a 103 of 9": ("GET", b"HTTP/1.1 103 E\r\nContent-Length: 9\r\n\r\n" + OK, 200, b"ok"),
    "HEAD behind a 103": ("HEAD", HINT + HEAD + b"Content-Length: 6\r\n\r\n", 200, b""),
    "no reason": ("GET", b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
    # Reasons are not passed on: ours are from a table.
    "NUL in the reason": ("GET", OK.replace(b"OK", b"a\0b"), 200, b"ok"),
    "status 599": ("GET", b"HTTP/1.1 599 X\r\nContent-Length: 2\r\n\r\nok", 599, b"ok"),
}  # fmt: skip


@pytest_asyncio.fixture
async def hostile(upstream: StubUpstream) -> AsyncIterator[LocalGateway]:
    config = settings(upstream.url, upstream={"pool_idle": "1m"})
    async with LocalGateway(config) as gateway:
        yield gateway


class Server:
    """Answers by `pieces` where there are some, once, and plainly otherwise."""

    def __init__(self) -> None:
        self.pieces: Sequence[bytes] = ()
        self.end = ""

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.read_body()
        pieces, self.pieces = self.pieces, ()
        if not pieces:
            await exchange.send(OK[:-2] if exchange.request.method == "HEAD" else OK)
            return
        for piece in pieces:
            await exchange.send(piece)
            for _ in range(_TURNS):
                await asyncio.sleep(0)
        if self.end == "close":
            exchange.close()
        elif self.end == "reset":
            exchange.abort()


@pytest.fixture
def server(upstream: StubUpstream) -> Server:
    upstream.default = server = Server()
    return server


def segmentations(data: bytes, *, start: int = 0) -> list[list[bytes]]:
    """The ways in which `data` is sent; its first `start` bytes stay together."""
    places = sorted({found.start() for found in _BOUNDARY.finditer(data)} - {0, len(data)})
    return [
        [data],
        [data[:start], *(data[i : i + 1] for i in range(start, len(data)))][not start :],
        *([data[:place], data[place:]] for place in places if place > start),
    ]


class Asker:
    """A client that asks one thing again and again, by the lane or by the ordinary way."""

    def __init__(
        self, gateway: LocalGateway, lane: list[Passage] | None, server: Server, method: str = "GET"
    ) -> None:
        self._gateway = gateway
        self._lane = lane
        self._server = server
        self._method = method
        # What differs each time, in a place that is not one of those that may, is never known.
        self._number = 0

    def _request(self) -> bytes:
        self._number += 1
        query = "" if self._lane is not None else f"?{self._number}"
        return request(self._method, f"/public/x{query}", FROM_APP)

    async def ask(self, client: RawClient, pieces: Sequence[bytes]) -> int:
        """Send the request that is answered by `pieces`; return how many answers came before."""
        before = await self.plain(client, 0)
        while self._lane is not None and not self._lane:
            before = await self.plain(client, before)
        if self._lane is not None:
            self._lane.clear()
        self._server.pieces = pieces
        await client.send(self._request())
        return before

    async def plain(self, client: RawClient, before: int) -> int:
        """Ask for the plain answer; return how many there are with it and the `before` others."""
        await client.send(self._request())
        answers = await client.read_answers(before + 1, methods=[self._method] * 9)
        assert len(answers) == before + 1
        assert answers[-1].status == 200
        return before + 1

    def final(self, client: RawClient, before: int) -> Answer:
        """Return the only final answer behind the first `before`."""
        answers = client.answers([self._method] * 9)
        assert not answers.garbage
        assert answers.rest == b""
        [answer] = answers.final[before:]
        assert (self._lane is None) or self._lane, "the lane was not taken"
        return answer

    async def others_are_unharmed(self) -> None:
        """Two others ask, one after the other, for what they get every day."""
        for path in ("/public/y", "/public/z"):
            answer = await self._gateway.ask("GET", path)
            assert (answer.status, answer.body) == (200, b"ok")
            assert answer.get("X-Poison") is None


ways = pytest.mark.parametrize("lane", [False, True], ids=["corridor", "lane"])


@ways
@pytest.mark.parametrize("data", [*BAD.values(), *FLOODS.values()], ids=[*BAD, *FLOODS])
async def test_answer_that_is_none_is_502_and_nothing_of_it_is_seen(
    hostile: LocalGateway, server: Server, passages: list[Passage], data: bytes, lane: bool
) -> None:
    asker = Asker(hostile, passages if lane else None, server)
    whole = [[data], [data[:30_000], data[30_000:]]]
    for pieces in segmentations(data) if len(data) < 1000 else whole:
        async with RawClient(hostile.port) as client:
            before = await asker.ask(client, pieces)
            await client.read_answers(before + 1)
            answer = asker.final(client, before)
            assert (answer.status, answer.json()["code"]) == (502, "upstream_protocol"), pieces
            assert answer.get("Access-Control-Allow-Origin") == ORIGIN
            assert b"oison" not in client.received
        await hostile.until(lambda: hostile.endpoints[0]["open"] == hostile.endpoints[0]["idle"])
        await asker.others_are_unharmed()


@ways
@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN)
async def test_broken_chunks_end_in_502_or_a_reset_and_never_in_a_whole_answer(
    hostile: LocalGateway, server: Server, passages: list[Passage], body: bytes, lane: bool
) -> None:
    asker = Asker(hostile, passages if lane else None, server)
    for pieces in [*segmentations(CHUNKED + body, start=len(CHUNKED)), [CHUNKED, body]]:
        async with RawClient(hostile.port) as client:
            before = await asker.ask(client, pieces)
            await client.wait(lambda: client.eof or len(client.answers().final) > before)  # noqa: B023
            if client.eof:
                assert client.reset, pieces
                assert not any(each.complete for each in client.answers().final[before:])
            else:
                assert asker.final(client, before).status == 502, pieces
            assert client.received.count(b"X-Poison") == 0
        await asker.others_are_unharmed()


@ways
@pytest.mark.parametrize("behind", [b"", POISON, b"H", b"poison", b"\r\n\r\n" + POISON], ids=len)
@pytest.mark.parametrize(("method", "data", "status", "body"), GOOD.values(), ids=GOOD)
async def test_good_answer_comes_alone_whatever_is_behind_it(
    hostile: LocalGateway,
    upstream: StubUpstream,
    server: Server,
    passages: list[Passage],
    method: str,
    data: bytes,
    status: int,
    body: bytes,
    behind: bytes,
    lane: bool,
) -> None:
    asker = Asker(hostile, passages if lane else None, server, method)
    cuts = [[data + behind], [data, behind], [*(data[i : i + 1] for i in range(len(data))), behind]]
    for pieces in [*cuts, [data[:-1], data[-1:] + behind]]:
        connections = len(upstream.connections)
        async with RawClient(hostile.port) as client:
            before = await asker.ask(client, [piece for piece in pieces if piece])
            await client.read_answers(before + 1, methods=[method] * 9)
            answer = asker.final(client, before)
            assert (answer.status, answer.body, answer.complete) == (status, body, True), pieces
            assert answer.get("X-Poison") is None
            if behind:  # then the connection is never used again
                await hostile.until(lambda: hostile.endpoints[0]["open"] == 0)
            await asker.plain(client, before + 1)
        await asker.others_are_unharmed()
        if not behind:
            assert len(upstream.connections) == max(connections, 1), "a good one was given up"


ENDS: Final = {
    "in the status line": (b"HTTP/1.1 20", 502),
    "behind the status line": (HEAD, 502),
    "in a field": (HEAD + b"Content-Le", 502),
    "behind a hint": (HINT, 502),
    "in the empty line": (HEAD + b"Content-Length: 2\r\n\r", 502),
    "behind the head": (HEAD + b"Content-Length: 2\r\n\r\n", None),
    "in a body": (HEAD + b"Content-Length: 2\r\n\r\no", None),
    "behind the head of chunks": (CHUNKED, None),
    "in a size": (CHUNKED + b"2", None),
    "in a chunk": (CHUNKED + b"2\r\no", None),
    "behind a chunk": (CHUNKED + b"2\r\nok\r\n", None),
    "behind the last size": (CHUNKED + b"2\r\nok\r\n0\r\n", None),
    "in a trailer": (CHUNKED + b"2\r\nok\r\n0\r\nA: b\r\n", None),
}


@ways
@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize(("data", "status"), ENDS.values(), ids=ENDS)
async def test_answer_that_ends_too_early_is_never_whole(
    hostile: LocalGateway,
    server: Server,
    passages: list[Passage],
    data: bytes,
    status: int | None,
    end: str,
    lane: bool,
) -> None:
    asker = Asker(hostile, passages if lane else None, server)
    for pieces in segmentations(data)[:2]:
        server.end = end
        async with RawClient(hostile.port) as client:
            before = await asker.ask(client, pieces)
            await client.wait(lambda: client.eof or len(client.answers().final) > before)  # noqa: B023
            if status is None and client.eof:
                assert client.reset, pieces
                assert not any(each.complete for each in client.answers().final[before:])
            else:
                assert asker.final(client, before).status == 502, pieces
        server.end = ""
        await asker.others_are_unharmed()


@ways
async def test_body_until_the_end_of_the_connection_is_no_place_for_a_next_answer(
    hostile: LocalGateway, server: Server, passages: list[Passage], lane: bool
) -> None:
    asker = Asker(hostile, passages if lane else None, server)
    data = HEAD + b"\r\nbody" + POISON
    for pieces in segmentations(data):
        server.end = "close"
        async with RawClient(hostile.port) as client:
            before = await asker.ask(client, pieces)
            await client.read_answers(before + 1)
            answer = asker.final(client, before)
            assert (answer.status, answer.body) == (200, b"body" + POISON)
        server.end = ""
        await asker.others_are_unharmed()


async def test_answer_to_nobody_ends_its_connection(
    hostile: LocalGateway, upstream: StubUpstream
) -> None:
    """Bytes on an idle connection are the beginning of the answer to whoever comes next."""
    for data in (POISON, b"H", HINT, b"\r\n"):
        assert (await hostile.ask("GET", "/public/x")).status == 200
        [wire] = upstream._wires.values()
        wire.writer.write(data)
        await hostile.until(lambda: hostile.endpoints[0]["open"] == 0)
        answer = await hostile.ask("GET", "/public/x")
        assert (answer.status, answer.json()["target"]) == (200, "/public/x")


async def test_answer_before_the_end_of_the_request_ends_both_connections(
    hostile: LocalGateway, upstream: StubUpstream
) -> None:
    async def early(exchange: Exchange) -> None:
        await exchange.send(OK + POISON)
        async for _ in exchange.pieces():
            pass

    upstream.script("/public/early", early)
    async with RawClient(hostile.port) as client:
        # More than what is held back until an endpoint is asked.
        beginning = b"1" * 20_000
        await client.send(request("POST", "/public/early", "Content-Length: 20005") + beginning)
        await client.read_until_closed()
        [answer] = client.answers().all
        await client.send(b"67890" + request("GET", "/public/second"))
    assert (answer.status, answer.body, answer.get("Connection")) == (200, b"ok", "close")
    await upstream.wait(lambda: all(each.ended.is_set() for each in upstream.connections))
    assert [each.target for each in upstream.requests] == ["/public/early"]
    assert (await hostile.ask("GET", "/public/y")).status == 200


async def test_small_chunks_without_end_reach_a_client_that_reads_and_no_memory(
    hostile: LocalGateway, upstream: StubUpstream
) -> None:
    piece, rounds = b"1;" + b"x" * 60 + b"\r\ny\r\n", 2000

    async def flood(exchange: Exchange) -> None:
        await exchange.send(CHUNKED)
        for _ in range(rounds):
            await exchange.send(piece * 16)
        await exchange.send(b"0\r\n\r\n")

    upstream.script("/public/x", flood)
    answer = await hostile.ask("GET", "/public/x")
    assert (answer.complete, answer.body) == (True, b"y" * 16 * rounds)
