"""An endpoint dies at each point of its answer: the client sees a clean error or an aborted
connection, never a truncated success, and what must not be repeated is executed once.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.support.certificates import Authority
from tests.support.client import RawClient
from tests.support.upstream import Exchange, StubUpstream
from tests.support.worker import LocalGateway, request, settings

BOTH_LOOPS = True

LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@dataclass(frozen=True)
class Point:
    """How far an answer comes before the end. `begun`: at least its head has come; `whole`: all."""

    said: bytes
    begun: bool = True
    whole: bool = False


POINTS = {
    "before the head": Point(b"", begun=False),
    "in the first byte": Point(b"H", begun=False),
    "in the status line": Point(b"HTTP/1.1 2", begun=False),
    "in the head": Point(LENGTH[:30], begun=False),
    "before the head's end": Point(LENGTH[:-2], begun=False),
    "behind hints": Point(b"HTTP/1.1 103 \r\nLink: </a>\r\n\r\n", begun=False),
    "behind the head": Point(LENGTH),
    "in the body": Point(LENGTH + b"hello"),
    "before the last byte": Point(LENGTH + b"helloworl"),
    "behind the body": Point(LENGTH + b"helloworld", whole=True),
    "before the first chunk": Point(CHUNKED),
    "in a chunk's size": Point(CHUNKED + b"5"),
    "in a chunk": Point(CHUNKED + b"5\r\nhel"),
    "behind a chunk": Point(CHUNKED + b"5\r\nhello"),
    "between chunks": Point(CHUNKED + b"5\r\nhello\r\n"),
    "in the last chunk": Point(CHUNKED + b"5\r\nhello\r\n0"),
    "before the trailers' end": Point(CHUNKED + b"5\r\nhello\r\n0\r\n"),
    "behind the chunks": Point(CHUNKED + b"5\r\nhello\r\n0\r\n\r\n", whole=True),
}


class Dying:
    """Answers `healthy` requests wholly, and dies in the answer to the next one."""

    def __init__(self, point: Point, ending: str, healthy: int) -> None:
        self._point = point
        self._ending = ending
        self._healthy = healthy
        self.executed = 0

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.read_body()
        self.executed += 1
        if self.executed <= self._healthy:
            await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            return
        if self._point.said:
            await exchange.send(self._point.said)
        if self._ending == "fin":
            exchange.close()
        else:
            exchange.abort()


async def told(gateway: LocalGateway, method: str, healthy: int) -> RawClient:
    """Send the healthy requests and then the one that finds the endpoint dying."""
    client = RawClient(gateway.port)
    async with client:
        body = b"x" if method == "POST" else None
        for number in range(healthy + 1):
            await client.send(request(method, "/public/x", body=body))
            await client.read_answers(number + 1)
        last = healthy + 1
        await client.wait(lambda: client.eof or client.answers().settled)
        assert len(client.answers().final) <= last
    return client


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("healthy", [0, 3], ids=["at once", "in the lane"])
@pytest.mark.parametrize("ending", ["fin", "rst"])
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("point", POINTS.values(), ids=POINTS)
async def test_no_answer_is_cut_and_taken_for_whole(
    authority: Authority, point: Point, method: str, ending: str, healthy: int, tls: bool
) -> None:
    dying = Dying(point, ending, healthy)
    trust = {"tls": {"ca": str(authority.ca)}} if tls else {}
    async with StubUpstream(tls=authority.server() if tls else None) as upstream:
        upstream.script("/public/x", dying)
        async with LocalGateway(settings(upstream.url, upstream=trust)) as gateway:
            client = await told(gateway, method, healthy)
    # A pooled connection that ends without a word is taken for one that was closed meanwhile.
    stale = healthy and method == "GET" and not point.said
    assert dying.executed == healthy + (2 if stale else 1)
    answers = client.answers()
    assert not answers.garbage
    assert [each.status for each in answers.final[:healthy]] == [200] * healthy
    rest = answers.final[healthy:]
    if point.whole:
        [answer] = rest
        assert (answer.status, answer.complete) == (200, True)
        assert answer.body in (b"helloworld", b"hello")
        return
    if rest and rest[0].status != 200:
        [answer] = rest
        assert (answer.status, answer.complete) == (502, True)
        pooled = healthy and not point.said and not stale
        code = "upstream_unreachable" if pooled else "upstream_protocol"
        assert answer.json()["code"] == code
        return
    # A reset may come before the head that was to be passed on: then there is no answer at all.
    assert point.begun
    assert client.eof
    assert client.reset
    assert not any(answer.complete for answer in rest)


@pytest.mark.parametrize("ending", ["fin", "rst"])
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("point", POINTS.values(), ids=POINTS)
async def test_another_endpoint_answers_what_may_be_repeated_and_only_that(
    upstream: StubUpstream, point: Point, method: str, ending: str
) -> None:
    dying = Dying(point, ending, 0)
    upstream.script("/public/x", dying)
    async with StubUpstream() as other:
        async with LocalGateway(settings(upstream.url, other.url)) as gateway:
            client = await told(gateway, method, 0)
        executed = dying.executed + len(other.requests)
    may = method == "GET" and not point.said
    assert executed == (2 if may else 1)
    if may:
        assert client.answers().final[0].status == 200
    if not point.whole and not may:
        assert not any(each.status == 200 and each.complete for each in client.answers().final)
