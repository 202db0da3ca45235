"""What RFC 9112 calls an error is refused once, the connection ends, and no upstream hears of it.

Every case is sent in several pieces: at once with a second request behind it, byte by byte, and cut
at each place where something ends. And on two kinds of connection: a fresh one, and one that has
just been in the lane (docs/decisions/0012), where the parser was passed by. Where a case is split,
the second request behind it is the one that an attacker would smuggle.
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
from tests.support.upstream import StubUpstream
from tests.support.worker import COOKIE, HOST, LocalGateway, request, settings, signed_in

SECOND: Final = request("GET", "/public/second")
KNOWN: Final = request("GET", "/public/known")
_HOST_LINE: Final = f"Host: {HOST}\r\n".encode()
_BOUNDARY: Final = re.compile(rb"(?<=[\r\n :;,])|(?=[\r\n :;,])")
CHUNKS: Final = b"5\r\nhello\r\n0\r\n\r\n"
CHUNKED: Final = b"Transfer-Encoding: chunked\r\n"
_TURNS: Final = 3
"""Turns of the loop after each byte, in which the gateway reads it before the next one comes."""


def get(line: bytes = b"GET /public/x HTTP/1.1", fields: bytes = _HOST_LINE) -> bytes:
    return line + b"\r\n" + fields + b"\r\n"


def post(fields: bytes, body: bytes = b"") -> bytes:
    return get(b"POST /public/x HTTP/1.1", _HOST_LINE + fields) + body


def length(value: bytes, body: bytes = b"hello") -> bytes:
    return post(b"Content-Length: " + value + b"\r\n", body)


def coding(value: bytes) -> bytes:
    return post(b"Transfer-Encoding: " + value + b"\r\n", CHUNKS)


def host(value: bytes) -> bytes:
    return get(fields=b"Host: " + value + b"\r\n")


def version(text: str) -> bytes:
    return get(f"GET /public/x {text}".encode())


def field(line: bytes) -> bytes:
    return get(fields=_HOST_LINE + line + b"\r\n")


# Heads that are refused before anything of them can go upstream: what is sent, and the status.
LENGTHS: Final = {
    "length and coding": (post(b"Content-Length: 5\r\n" + CHUNKED, CHUNKS), 400),
    "coding and length": (post(CHUNKED + b"Content-Length: 5\r\n", CHUNKS), 400),
    "length 0 and coding": (post(b"Content-Length: 0\r\n" + CHUNKED, CHUNKS), 400),
    "two lengths": (post(b"Content-Length: 5\r\nContent-Length: 6\r\n", b"hello!"), 400),
    "a length twice": (post(b"Content-Length: 5\r\nContent-Length: 5\r\n", b"hello"), 400),
    "plus": (length(b"+5"), 400),
    "minus": (length(b"-5"), 400),
    "list": (length(b"5, 5"), 400),
    "two in a list": (length(b"5,6"), 400),
    "hexadecimal": (length(b"0x5"), 400),
    "decimal point": (length(b"5.0"), 400),
    "empty": (length(b""), 400),
    "inner space": (length(b"5 5"), 400),
    "word": (length(b"five"), 400),
    "thirty digits": (length(b"9" * 30), 400),
    "2**64": (length(b"18446744073709551616"), 400),
    "2**64-1": (length(b"18446744073709551615"), 400),
    "2**63": (length(b"9223372036854775808"), 413),
    "other digits": (length("\u0665".encode()), 400),
    "underscore": (length(b"1_0"), 400),
    "vertical tab": (length(b"5\x0b"), 400),
    "quoted": (length(b'"5"'), 400),
    "parameter": (length(b"5;x"), 400),
    "space before the colon": (post(b"Content-Length : 5\r\n", b"hello"), 400),
}
CODINGS: Final = {
    # llhttp takes an empty one for none: the chunks would be the next request.
    "empty": (coding(b""), 501),
    "twice": (coding(b"chunked, chunked"), 400),
    "gzip and chunked": (coding(b"gzip, chunked"), 501),
    "gzip": (coding(b"gzip"), 400),
    "identity": (coding(b"identity"), 400),
    "chunked and identity": (coding(b"chunked, identity"), 400),
    "two words": (coding(b"x chunked"), 400),
    "xchunked": (coding(b"xchunked"), 400),
    "chunkedx": (coding(b"chunkedx"), 400),
    "vertical tab": (coding(b"\x0bchunked"), 400),
    "comma behind": (coding(b"chunked,"), 400),
    "comma before": (coding(b",chunked"), 501),
    "parameter": (coding(b"chunked;q=1"), 400),
    "quoted": (coding(b'"chunked"'), 400),
    "NUL": (coding(b"chunked\0"), 400),
    "bare CR": (coding(b"chun\rked"), 400),
    "high byte": (coding(b"chunked\xff"), 400),
    "folded": (coding(b"\r\n chunked"), 400),
    "folded with a tab": (coding(b"\r\n\tchunked"), 400),
    "folded behind": (coding(b"chunked\r\n ,identity"), 400),
    "two lines": (post(CHUNKED + CHUNKED, CHUNKS), 400),
    "two lines, identity last": (post(CHUNKED + b"Transfer-Encoding: identity\r\n", CHUNKS), 400),
    "two lines, identity first": (post(b"Transfer-Encoding: identity\r\n" + CHUNKED, CHUNKS), 400),
    "HTTP/1.0": (get(b"POST /public/x HTTP/1.0", _HOST_LINE + CHUNKED) + CHUNKS, 400),
    "HTTP/1.0 kept alive": (
        get(b"POST /public/x HTTP/1.0", _HOST_LINE + b"Connection: keep-alive\r\n" + CHUNKED)
        + CHUNKS,
        400,
    ),
    "space before the colon": (post(b"Transfer-Encoding : chunked\r\n", CHUNKS), 400),
    "tab before the colon": (post(b"Transfer-Encoding\t: chunked\r\n", CHUNKS), 400),
}
FIELDS: Final = {
    "folded": (field(b"X: a\r\n b"), 400),
    "folded to nothing": (field(b"X: a\r\n "), 400),
    "space before the first": (get(fields=b" X: y\r\n" + _HOST_LINE), 400),
    "tab before the last": (get(fields=_HOST_LINE + b"\tX: y\r\n"), 400),
    "no colon": (field(b"abc"), 400),
    "no name": (field(b": abc"), 400),
    "space in the name": (field(b"a b: c"), 400),
    "NUL in the name": (field(b"a\0b: c"), 400),
    "high byte in the name": (field(b"a\xffb: c"), 400),
    "bracket in the name": (field(b"a(b): c"), 400),
    "NUL in the value": (field(b"a: b\0c"), 400),
    "bare CR in the value": (field(b"a: b\rc"), 400),
    "bare LF in the value": (field(b"a: b\nc: d"), 400),
    "control in the value": (field(b"a: b\x01c"), 400),
    "DEL in the value": (field(b"a: b\x7fc"), 400),
}
LINE_ENDS: Final = {
    "LF everywhere": (get().replace(b"\r\n", b"\n"), 400),
    "LF behind the request line": (get().replace(b"\r\n", b"\n", 1), 400),
    "LF as the empty line": (get()[:-2] + b"\n", 400),
    "LF behind a field": (get()[:-4] + b"\n\r\n", 400),
    "CR CR LF behind a field": (get()[:-4] + b"\r\r\n\r\n", 400),
    "CR CR LF as the empty line": (get()[:-2] + b"\r\r\n", 400),
    "CR everywhere": (get().replace(b"\r\n", b"\r"), 400),
}
REQUEST_LINES: Final = {
    "HTTP/0.9 without a version": (b"GET /public/x\r\n\r\n", 400),
    **{
        text: (version(text), 400)
        for text in (
            *("HTTP/0.9", "HTTP/1.2", "HTTP/2.0", "HTTP/2", "HTTP/3.0", "HTTP/1", "HTTP/1.10"),
            *("HTTP/01.1", "http/1.1", "HTTP/1.1x", "HTTP /1.1", "HTTP/1,1", "HTTPS/1.1"),
            *("RTSP/1.0", "RTSP/1.1", "ICE/1.0", "HTTP/9.9", "HTTP/-1.1", "HTTP/1.1 x"),
            *("HTTP/1.1\t", "HTTP/1.1 "),
        )
    },
    "preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "tabs between": (get(b"GET\t/public/x\tHTTP/1.1"), 501),
    "space before": (get(b" GET /public/x HTTP/1.1"), 501),
    "vertical tab": (get(b"GET\x0b/public/x HTTP/1.1"), 501),
    "space in the target": (get(b"GET /public/x y HTTP/1.1"), 400),
    "no target": (get(b"GET HTTP/1.1"), 400),
    "NUL in the target": (get(b"GET /public/\0 HTTP/1.1"), 400),
    "CR in the target": (get(b"GET /public/\rx HTTP/1.1"), 400),
    "high byte in the target": (get(b"GET /public/\xff HTTP/1.1"), 400),
    "UTF-8 in the target": (get("GET /public/é HTTP/1.1".encode()), 400),
    "fragment": (get(b"GET /public/x#y HTTP/1.1"), 400),
    "method in lower case": (get(b"get /public/x HTTP/1.1"), 501),
    "unknown method": (get(b"BREW /public/x HTTP/1.1"), 501),
    "NUL in the method": (get(b"GE\0T /public/x HTTP/1.1"), 501),
    "CONNECT": (get(b"CONNECT api.example.com:443 HTTP/1.1", b"Host: a:443\r\n"), 501),
    "CONNECT with a path": (get(b"CONNECT /public/x HTTP/1.1"), 501),
    "TRACE": (get(b"TRACE /public/x HTTP/1.1"), 501),
    "OPTIONS *": (get(b"OPTIONS * HTTP/1.1"), 400),
    "OPTIONS of a host": (get(b"OPTIONS http://api.example.com HTTP/1.1"), 400),
    "GET *": (get(b"GET * HTTP/1.1"), 400),
    "authority form": (get(b"GET api.example.com:80 HTTP/1.1"), 400),
    "another authority": (get(b"GET http://evil.test/public/x HTTP/1.1"), 400),
    "another port": (get(b"GET http://api.example.com:8080/public/x HTTP/1.1"), 400),
    "port of the other scheme": (get(b"GET https://api.example.com:80/public/x HTTP/1.1"), 400),
    "user before the authority": (get(b"GET http://u:p@api.example.com/public/x HTTP/1.1"), 400),
    "empty authority": (get(b"GET http:///public/x HTTP/1.1"), 400),
    "another scheme": (get(b"GET ftp://api.example.com/public/x HTTP/1.1"), 400),
    "scheme of a file": (get(b"GET file:///public/x HTTP/1.1"), 400),
}
HOSTS: Final = {
    "missing": (get(fields=b""), 400),
    "missing in HTTP/1.0": (get(b"GET /public/x HTTP/1.0", b""), 400),
    "twice": (get(fields=_HOST_LINE + _HOST_LINE), 400),
    "two": (get(fields=_HOST_LINE + b"Host: evil.test\r\n"), 400),
    "folded": (get(fields=b"Host:\r\n api.example.com\r\n"), 400),
    **{
        name: (host(value), 400)
        for name, value in {
            "empty": b"",
            "spaces": b"   ",
            "user": b"u@api.example.com",
            "path": b"api.example.com/x",
            "comma": b"api.example.com,evil.test",
            "space": b"api.example.com evil.test",
            "port out of range": b"api.example.com:99999",
            "port that is none": b"api.example.com:abc",
            "empty port": b"api.example.com:",
            "hash": b"a#b",
            "question mark": b"a?b",
            "NUL": b"a\0b",
            "high byte": b"\xff",
            "tab": b"a\tb",
            "URL": b"http://api.example.com",
            "backslash": b"a\\b",
            "percent": b"a%2eb",
            "IPv6 without brackets": b"::1",
        }.items()
    },
}
EXPECTATIONS: Final = {
    "unknown": (post(b"Expect: x\r\nContent-Length: 5\r\n", b"hello"), 417),
    "one of two unknown": (
        post(b"Expect: 100-continue, x\r\nContent-Length: 5\r\n", b"hello"),
        417,
    ),
    "twice": (
        post(b"Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 5\r\n", b"hello"),
        400,
    ),
    "with a parameter": (post(b"Expect: 100-continue;q=1\r\n" + CHUNKED, CHUNKS), 417),
}
HEADS: Final = {
    f"{kind}: {name}": case
    for kind, cases in {
        "length": LENGTHS,
        "coding": CODINGS,
        "field": FIELDS,
        "line end": LINE_ENDS,
        "request line": REQUEST_LINES,
        "host": HOSTS,
        "expect": EXPECTATIONS,
    }.items()
    for name, case in cases.items()
}
# Chunks that are none. Their head may have gone upstream; no end of their body does.
BODIES: Final = {
    "0x": b"0x5\r\nhello\r\n0\r\n\r\n",
    "17 digits": b"fffffffffffffffff\r\nhello",
    "space before the size": b" 5\r\nhello\r\n0\r\n\r\n",
    "space behind the size": b"5 \r\nhello\r\n0\r\n\r\n",
    "tab behind the size": b"5\t\r\nhello\r\n0\r\n\r\n",
    "LF behind the size": b"5\nhello\r\n0\r\n\r\n",
    "CR behind the size": b"5\rhello\r\n0\r\n\r\n",
    "LF behind the chunk": b"5\r\nhello\n0\r\n\r\n",
    "LF behind the last size": b"5\r\nhello\r\n0\n\r\n",
    "LF as the end": b"5\r\nhello\r\n0\r\n\n",
    "minus": b"-5\r\nhello\r\n0\r\n\r\n",
    "plus": b"+5\r\nhello\r\n0\r\n\r\n",
    "underscore": b"0_5\r\nhello\r\n0\r\n\r\n",
    "no size": b"\r\nhello\r\n0\r\n\r\n",
    "word": b"xyz\r\nhello\r\n0\r\n\r\n",
    "too small": b"4\r\nhello\r\n0\r\n\r\n",
    "too large": b"6\r\nhello\r\n0\r\n\r\n",
    "empty line between": b"5\r\nhello\r\n\r\n0\r\n\r\n",
    "LF in an extension": b"5;a=b\nhello\r\n0\r\n\r\n",
    "CR in an extension": b"5;a\rb\r\nhello\r\n0\r\n\r\n",
    "NUL in an extension": b"5;a\0b\r\nhello\r\n0\r\n\r\n",
    "CR LF in a quoted extension": b'5;a="b\r\n"\r\nhello\r\n0\r\n\r\n',
    "extension without a name": b"5;\r\nhello\r\n0\r\n\r\n",
    "space before an extension": b"5 ;a\r\nhello\r\n0\r\n\r\n",
    "length as trailer": b"5\r\nhello\r\n0\r\nContent-Length: 9\r\n\r\n",
    "coding as trailer": b"5\r\nhello\r\n0\r\nTransfer-Encoding: gzip\r\n\r\n",
    "space in the name of a trailer": b"5\r\nhello\r\n0\r\na b: c\r\n\r\n",
    "NUL in a trailer": b"5\r\nhello\r\n0\r\na: b\0\r\n\r\n",
    "LF behind a trailer": b"5\r\nhello\r\n0\r\na: b\n\r\n",
    "folded trailer": b"5\r\nhello\r\n0\r\na: b\r\n c\r\n\r\n",
}


@pytest_asyncio.fixture
async def lenient(upstream: StubUpstream) -> AsyncIterator[LocalGateway]:
    config = settings(upstream.url, upstream={"pool_idle": "1m"})
    async with LocalGateway(config) as gateway:
        yield gateway


def segmentations(data: bytes) -> list[list[bytes]]:
    """The ways in which `data` is sent, each a list of pieces."""
    places = sorted({found.start() for found in _BOUNDARY.finditer(data)} - {0, len(data)})
    return [
        [data + SECOND],
        [data],
        [data[i : i + 1] for i in range(len(data))],
        *([data[:place], data[place:] + SECOND] for place in places),
    ]


async def send(client: RawClient, pieces: Sequence[bytes]) -> None:
    """Send the pieces so that each is read alone, as far as a kernel can be made to do that."""
    for piece in pieces:
        client.post(piece)
        if piece is not pieces[-1]:
            for _ in range(_TURNS):
                await asyncio.sleep(0)


async def take_the_lane(client: RawClient, lane: list[Passage]) -> None:
    """Ask for what is known by now, until an answer has come through the lane."""
    for number in range(1, 5):
        await client.send(KNOWN)
        await client.read_answers(number)
        if lane:
            return
    raise AssertionError("the lane was not taken")


def finals(client: RawClient) -> list[Answer]:
    """All that the client got, which is answers to the last byte."""
    answers = client.answers()
    assert not answers.garbage
    assert answers.rest == b""
    return answers.final


async def refused(client: RawClient, before: int) -> Answer:
    """Return the one answer that came behind `before` others, after which the connection ended."""
    await client.read_until_closed()
    answers = finals(client)
    assert len(answers) == before + 1
    answer = answers[-1]
    assert answer.get("Content-Type") == "application/problem+json"
    assert answer.get("Connection") == "close"
    return answer


@pytest.mark.parametrize(("data", "status"), HEADS.values(), ids=HEADS)
async def test_head_is_refused_and_nothing_of_it_goes_upstream(
    lenient: LocalGateway,
    upstream: StubUpstream,
    passages: list[Passage],
    data: bytes,
    status: int,
) -> None:
    for pieces in segmentations(data):
        async with RawClient(lenient.port) as client:
            await send(client, pieces)
            assert (await refused(client, 0)).status == status, pieces
        assert upstream.received == b"", pieces
    for pieces in segmentations(data)[:3]:
        async with RawClient(lenient.port) as client:
            passages.clear()
            await take_the_lane(client, passages)
            before, seen = len(client.answers().final), upstream.received
            await send(client, pieces)
            assert (await refused(client, before)).status == status, pieces
            assert upstream.received == seen, pieces
    assert (await lenient.ask("GET", "/public/after")).status == 200


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_body_with_broken_chunks_is_refused_and_its_end_never_goes_upstream(
    lenient: LocalGateway, upstream: StubUpstream, body: bytes
) -> None:
    head = post(CHUNKED)
    for pieces in [[head, *rest] for rest in segmentations(body)] + [[head + body + SECOND]]:
        upstream.forget()
        async with RawClient(lenient.port) as client:
            await send(client, pieces)
            if pieces[-1] != SECOND:
                client.post(SECOND)  # a body that is cut short is not wrong before more comes
            assert (await refused(client, 0)).status == 400, pieces
        await lenient.until(lambda: lenient.status["requests_in_flight"] == 0)
        await upstream.wait(lambda: all(c.ended.is_set() for c in upstream.connections))
        assert not any(each.complete for each in upstream.requests), pieces
        assert SECOND.partition(b"\r\n")[0] not in upstream.received, pieces
    assert (await lenient.ask("GET", "/public/after")).status == 200


# What is passed: what is sent, and what the upstream gets of its body.
PASSED: Final = {
    "leading zeros of a length": (length(b"0005"), b"hello"),
    "tabs around a length": (length(b"\t5\t"), b"hello"),
    "tab before a coding": (coding(b"\tchunked"), b"hello"),
    "spaces behind a coding": (coding(b"chunked  "), b"hello"),
    "coding in capitals": (coding(b"CHUNKED"), b"hello"),
    "field that only looks like a coding": (post(b"Transfer_Encoding: chunked\r\n"), b""),
    "several spaces in the request line": (get(b"GET  /public/x   HTTP/1.1"), b""),
    "empty lines before": (b"\r\n\r\n" + get(), b""),
    "absolute form": (get(b"GET http://api.example.com/public/x HTTP/1.1"), b""),
    "absolute form with its port": (get(b"GET http://API.example.com:80/public/x HTTP/1.1"), b""),
    "chunk extension": (post(CHUNKED, b'5;a=b;c="d"\r\nhello\r\n0;e\r\n\r\n'), b"hello"),
    "leading zeros of a size": (post(CHUNKED, b"0" * 16 + b"5\r\nhello\r\n000\r\n\r\n"), b"hello"),
    "coding named in Connection": (
        post(b"Connection: transfer-encoding, host\r\n" + CHUNKED, CHUNKS),
        b"hello",
    ),
    "length named in Connection": (
        post(b"Connection: content-length\r\nContent-Length: 5\r\n", b"hello"),
        b"hello",
    ),
    "expectation that nobody has to meet": (field(b"Expect: 100-continue"), b""),
    "empty expectation": (post(b"Expect:\r\nContent-Length: 5\r\n", b"hello"), b"hello"),
    "upgrade that Connection does not name": (field(b"Upgrade: h2c"), b""),
    "trailer": (post(CHUNKED, CHUNKS[:-2] + b"X: y\r\n\r\n"), b"hello"),
}


@pytest.mark.parametrize(("data", "body"), PASSED.values(), ids=PASSED)
async def test_request_is_passed_as_one(
    lenient: LocalGateway, upstream: StubUpstream, data: bytes, body: bytes
) -> None:
    for pieces in [[*pieces, SECOND] for pieces in segmentations(data)[1:3]]:
        upstream.forget()
        async with RawClient(lenient.port) as client:
            await send(client, pieces[:-1])
            await client.read_answers(1)
            await client.send(SECOND)
            await client.read_answers(2)
            assert [each.status for each in finals(client)] == [200, 200], pieces
        first, second = upstream.requests
        assert (first.target, bytes(first.body)) == ("/public/x", body)
        assert (second.target, bytes(second.body)) == ("/public/second", b"")


# Trailers.

TRAILERS: Final = {
    "identity": b"X-User-Id: forged",
    "session": f"Cookie: {COOKIE}=".encode() + b"forged",
    "bearer": b"Authorization: Bearer forged",
    "forwarding": b"X-Forwarded-For: 192.0.2.66",
    "host": b"Host: evil.test",
    "close": b"Connection: close",
    "upgrade": b"Connection: Upgrade\r\nUpgrade: h2c",
    "expect": b"Expect: x",
    "origin": b"Origin: https://evil.example",
    "trailer": b"Trailer: x",
}


@pytest.mark.parametrize("trusted", [False, True], ids=["client", "proxy"])
@pytest.mark.parametrize("trailer", TRAILERS.values(), ids=TRAILERS)
async def test_trailer_has_no_effect_on_its_request_and_on_the_next(
    upstream: StubUpstream, passages: list[Passage], trailer: bytes, trusted: bool
) -> None:
    """A proxy's connection carries the requests of many users, one after the other."""
    config = settings(upstream.url, trusted_proxies=["127.0.0.1/32"] if trusted else [])
    lines = (signed_in("u-1"), "X-Forwarded-For: 192.0.2.1", "Origin: https://app.example.com")
    first = request("POST", "/api/x", *lines, "Transfer-Encoding: chunked")
    chunks = b"5\r\nhello\r\n0\r\nA: b\r\n" + trailer + b"\r\n\r\n"
    next_one = request("GET", "/api/next", *lines)
    async with LocalGateway(config) as gateway:
        async with RawClient(gateway.port) as client:
            for number, pieces in enumerate([[first + chunks], [first, chunks[:-9], chunks[-9:]]]):
                await send(client, pieces)
                await client.read_answers(4 * number + 1)
                for more in range(3):
                    await client.send(next_one)
                    await client.read_answers(4 * number + 2 + more)
        assert len(passages) >= 2  # by the lane, too, behind the chunks
    assert [each.target for each in upstream.requests] == (["/api/x"] + ["/api/next"] * 3) * 2
    for seen in upstream.requests:
        assert seen.get("X-User-Id") == "u-1"
        assert b"forged" not in bytes(seen.raw)
        assert b"evil" not in bytes(seen.raw)
        assert b"192.0.2.66" not in bytes(seen.raw)
        assert (seen.get("Host"), seen.values("Connection")) == (HOST, [])


async def test_trailers_are_bounded(lenient: LocalGateway, upstream: StubUpstream) -> None:
    line = b"X: " + b"y" * 1000 + b"\r\n"
    async with RawClient(lenient.port) as client:
        await client.send(post(CHUNKED, b"5\r\nhello\r\n0\r\n"))
        sent = 0
        while not client.size:
            await client.send(line)
            sent += len(line)
            await asyncio.sleep(0)
        assert (await refused(client, 0)).status == 431
    # Twice the head's limit, and what the loop and the kernel take at once.
    assert sent < 2 * 64 * 1024 + (1 << 20)
    assert not any(each.complete for each in upstream.requests)


async def test_size_of_a_chunk_is_no_promise_to_take_it(
    upstream: StubUpstream,
) -> None:
    """16 digits are 16 EiB. What comes is counted as it comes."""
    config = settings(upstream.url, limits={"body": "64KiB"})
    async with LocalGateway(config) as gateway, RawClient(gateway.port) as client:
        await client.send(post(CHUNKED, b"ffffffffffffffff\r\n"))
        await client.send(b"x" * 65_536)
        await client.send(SECOND)
        assert (await refused(client, 0)).status == 413
    assert not any(each.complete for each in upstream.requests)
    assert [each.target for each in upstream.requests] == ["/public/x"]


# Upgrades and expectations.

UPGRADES: Final = {
    "h2c": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
    "half a handshake": b"Connection: Upgrade\r\nUpgrade: websocket\r\n",
    "websocket on a public route": (
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    ),
    "TLS": b"Connection: Upgrade\r\nUpgrade: TLS/1.3\r\n",
}


@pytest.mark.parametrize("body", [b"", b"hello"], ids=["no body", "body"])
@pytest.mark.parametrize("fields", UPGRADES.values(), ids=UPGRADES)
async def test_nothing_behind_an_upgrade_is_a_request(
    lenient: LocalGateway, upstream: StubUpstream, fields: bytes, body: bytes
) -> None:
    sized = b"Content-Length: %d\r\n" % len(body) if body else b""
    data = post(fields + sized, body) if body else get(fields=_HOST_LINE + fields)
    for pieces in segmentations(data):
        upstream.forget()
        async with RawClient(lenient.port) as client:
            await send(client, pieces)
            client.post(SECOND)
            await client.read_until_closed()
            [answer] = finals(client)
        assert (answer.status, answer.get("Connection")) == (200, "close")
        [seen] = upstream.requests
        assert (seen.target, bytes(seen.body)) == ("/public/x", body)
        assert seen.values("Upgrade") + seen.values("Connection") == []


# Pipelining.


async def test_client_that_reads_nothing_cannot_ask_for_ever(upstream: StubUpstream) -> None:
    """It may ask a thousand million times: what we hold is a queue of heads and one read."""
    config = settings(upstream.url)
    async with LocalGateway(config) as gateway, RawClient(gateway.port, window=4096) as client:

        def stuck() -> bool:
            each = gateway.clients[0]
            return each.stalled and each._buffer_paused and not each.busy

        await gateway.until(lambda: len(gateway.clients) == 1)
        while not stuck():
            client.post(KNOWN * 1000)
            for _ in range(50):
                await asyncio.sleep(0)
        [connection] = gateway.clients
        answered = len(upstream.requests)
        assert len(connection._messages) <= connection._max_msg_queue_size
        for _ in range(100):
            await asyncio.sleep(0)
        assert len(upstream.requests) == answered
        client.read_on()
        await client.wait(lambda: len(upstream.requests) > answered)


async def test_pipelined_requests_before_a_wrong_one_are_answered(
    lenient: LocalGateway, upstream: StubUpstream
) -> None:
    for wrong, _ in list(HEADS.values())[::7]:
        upstream.forget()
        async with RawClient(lenient.port) as client:
            client.post(KNOWN)
            await upstream.wait(lambda: len(upstream.requests) == 1)
            client.post(KNOWN)
            await asyncio.sleep(0)
            await client.send(wrong)
            await client.read_until_closed()
            answers = finals(client)
        assert [each.status for each in answers][:1] == [200]
        assert answers[-1].status >= 400
        assert all(each.target == "/public/known" for each in upstream.requests)
