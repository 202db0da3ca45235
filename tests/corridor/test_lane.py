"""The lane changes nothing but the price: every story ends as it does by the ordinary way.

Each story is told twice over real sockets, with the lane and without it, and everything that can be
seen from outside is compared: the bytes to the client, the bytes to the endpoint, the access log.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pytest

from proxy.core.client import Client
from proxy.gateway.handler import Gateway
from proxy.gateway.passage import Passage
from tests.support.client import RawClient
from tests.support.scripts import OK, Held, silent
from tests.support.upstream import Exchange, Script, StubUpstream
from tests.support.worker import LocalGateway, request, settings, signed_in

BOTH_LOOPS = True

COOKIE_LINE: Final = signed_in("u-7", roles=["admin"])
GET: Final = request("GET", "/api/x?q=1", COOKIE_LINE, "Origin: https://app.example.com")
_IDS: Final = re.compile(
    rb'(?i)(x-request-id: |"request_id":")[0-9a-f]{32}|(traceparent: 00-)[0-9a-f]{32}-[0-9a-f]{16}'
)
_DATE: Final = re.compile(rb"(?<=Date: )[A-Z][a-z]{2}, [0-9]{2} [^\r\n]{18}GMT")
_NEW_IDS: Final = re.compile(
    rb"(?<=X-Request-Id: )[0-9a-f]{32}"
    rb"|(?<=00-)[0-9a-f]{32}-[0-9a-f]{16}(?=-00)|(?<=-)[0-9a-f]{16}(?=-01)"
)
_OF_THE_MOMENT: Final = frozenset(
    {"time", "request_id", "trace_id", "client", "endpoint", "duration", "upstream_duration"}
)


@dataclass
class Seen:
    """What a story looks like from outside, without what is another one each time."""

    client: bytes
    client_reset: bool
    upstream: list[bytes]
    log: list[dict[str, Any]]


def without_ids(data: bytes) -> bytes:
    data = _DATE.sub(b"DATE", data)
    return _IDS.sub(lambda found: (found[1] or found[2]) + b"ID", data)


class Scripted:
    """Answers the first requests plainly, and then by `script`."""

    def __init__(self, script: Script, plain: int) -> None:
        self._script = script
        self._plain = plain

    async def __call__(self, exchange: Exchange) -> None:
        if self._plain:
            self._plain -= 1
            head = exchange.request.method == "HEAD"
            await exchange.send(OK[:-2] if head else OK)
        else:
            await self._script(exchange)


Act = Callable[[RawClient, StubUpstream, LocalGateway], Awaitable[None]]
"""What the client does once its request is on the way."""


def answered(method: str = "GET") -> Act:
    """Return the act of a client that waits for its answer, or for the end of the connection."""

    async def act(client: RawClient, _upstream: StubUpstream, _gateway: LocalGateway) -> None:
        await client.read_answers(4, methods=[method] * 4)

    return act


async def tell(
    data: bytes,
    script: Script,
    act: Act,
    *,
    lane: bool,
    monkeypatch: pytest.MonkeyPatch,
    **sections: Any,
) -> Seen:
    """Warm the lane up with three requests, then tell the story of a fourth."""
    with monkeypatch.context() as patch:
        if not lane:
            patch.setattr(Gateway, "enter", lambda *_: None)
        async with StubUpstream() as upstream:
            upstream.default = Scripted(script, 3)
            async with LocalGateway(settings(upstream.url, **sections)) as gateway:
                async with RawClient(gateway.port) as client:
                    for number in range(1, 4):
                        await client.send(data)
                        await client.read_answers(number, methods=[_method(data)] * number)
                    before = client.size
                    await client.send(data)
                    await act(client, upstream, gateway)
                await gateway.until(lambda: gateway.status["requests_in_flight"] == 0)
                await gateway.until(lambda: gateway.status["connections"]["client"] == 0)
            lines = [
                {key: value for key, value in line.items() if key not in _OF_THE_MOMENT}
                for line in gateway.log_lines()
            ]
            sent = [without_ids(bytes(recorded.raw)) for recorded in upstream.requests]
        return Seen(without_ids(client.received[before:]), client.reset, sent, lines)


def _method(data: bytes) -> str:
    return data.partition(b" ")[0].decode()


async def both(
    data: bytes,
    script: Script,
    act: Act,
    passages: Sequence[Passage],
    monkeypatch: pytest.MonkeyPatch,
    **sections: Any,
) -> Seen:
    """Tell the story both ways, and return it when they are the same."""
    ordinary = await tell(data, script, act, lane=False, monkeypatch=monkeypatch, **sections)
    assert passages == []
    short = await tell(data, script, act, lane=True, monkeypatch=monkeypatch, **sections)
    assert passages, "the lane was not taken"
    assert short == ordinary
    return short


def pieces(*data: bytes, end: str = "keep") -> Script:
    """Return a script that sends these pieces, each in a packet of its own."""

    async def script(exchange: Exchange) -> None:
        for piece in data:
            await exchange.send(piece)
            for _ in range(5):
                await asyncio.sleep(0.001)
        if end == "close":
            exchange.close()
        elif end == "reset":
            exchange.abort()

    return script


HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
CHUNKED: Final = b"Transfer-Encoding: chunked\r\n\r\n"
HINT: Final = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
ANSWERS: Final = {
    "whole": pieces(HEAD + b"Content-Length: 5\r\nX-Total-Count: 1\r\n\r\nhello"),
    "empty": pieces(HEAD + b"Content-Length: 0\r\n\r\n"),
    "no-content": pieces(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "not-modified": pieces(b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n\r\n'),
    "error": pieces(b"HTTP/1.1 500 Oops\r\nContent-Length: 2\r\n\r\nno"),
    "whole-chunked": pieces(HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"),
    "head-in-two": pieces(HEAD, b"Content-Length: 5\r\n\r\nhello"),
    "body-in-two": pieces(HEAD + b"Content-Length: 5\r\n\r\nhe", b"llo"),
    "chunks": pieces(
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", b"1\r\nc\r\n0\r\n\r\n"
    ),
    "hinted": pieces(HINT + HEAD + b"Content-Length: 2\r\n\r\nok"),
    "hinted-before": pieces(HINT, HEAD + b"Content-Length: 2\r\n\r\nok"),
    "continue": pieces(b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD + b"Content-Length: 2\r\n\r\nok"),
    "until-close": pieces(HEAD + b"\r\nhello", end="close"),
    "closing": pieces(HEAD + b"Connection: close\r\nContent-Length: 2\r\n\r\nok", end="close"),
    "old": pieces(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", end="close"),
    "run-on": pieces(HEAD + b"Content-Length: 2\r\n\r\nok" + OK),
    "large": pieces(HEAD + b"Content-Length: 300000\r\n\r\n" + b"x" * 300_000),
    "nonsense": pieces(b"HELLO\r\n\r\n"),
    "refused-101": pieces(b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"),
    "closed": pieces(end="close"),
    "reset": pieces(end="reset"),
    "cut-in-the-head": pieces(HEAD, end="close"),
    "cut-in-the-body": pieces(HEAD + b"Content-Length: 5\r\n\r\nhe", end="close"),
    "reset-in-the-body": pieces(HEAD + b"Content-Length: 5\r\n\r\nhe", end="reset"),
    "cors-of-its-own": pieces(
        HEAD + b"Access-Control-Allow-Origin: *\r\nVary: X\r\nX-User-Id: me\r\n"
        b"Access-Control-Expose-Headers: A\r\nContent-Length: 0\r\n\r\n"
    ),
}


@pytest.mark.parametrize(
    ("method", "name"),
    [
        *(("GET", name) for name in ANSWERS),
        *(("HEAD", name) for name in ("whole", "error", "not-modified", "whole-chunked", "closed")),
        *(("PATCH", name) for name in ("whole", "closed", "reset")),
    ],
)
async def test_every_answer_comes_as_by_the_ordinary_way(
    name: str, method: str, passages: list[Passage], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = request(method, "/api/x?q=1", COOKIE_LINE, "Origin: https://app.example.com")
    story = await both(data, ANSWERS[name], answered(method), passages, monkeypatch)
    assert len(story.log) == 4


@pytest.mark.parametrize("target", ["/public/x", "/optional/x", "/api/x", "/admin/x"])
@pytest.mark.parametrize(
    "lines",
    [
        (),
        ("Origin: https://app.example.com",),
        ("Origin: https://evil.example",),
        ("X-User-Id: forged", "X_User_Id: forged", "X-Custom: a", "X-Custom: b"),
        ("Connection: keep-alive", "tracestate: a=b"),
        ("traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate: a=b"),
        ("X-Request-Id: mine", "X-Forwarded-For: 192.0.2.9", "X-Forwarded-Prefix: /p"),
    ],
    ids=["bare", "origin", "foreign", "forged", "state", "traced", "proxied"],
)
@pytest.mark.parametrize("trusted", [False, True], ids=["client", "proxy"])
async def test_every_head_goes_up_as_by_the_ordinary_way(
    target: str,
    lines: tuple[str, ...],
    trusted: bool,
    passages: list[Passage],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = request("GET", target, COOKIE_LINE, *lines)
    sections = {"trusted_proxies": ["127.0.0.1/32"]} if trusted else {}
    story = await both(data, ANSWERS["whole"], answered(), passages, monkeypatch, **sections)
    assert [line["status"] for line in story.log] == [200] * 4


def proxied(number: int) -> bytes:
    """Return a request as it comes through a load balancer that numbers and traces requests."""
    traced = "zz" if number % 3 == 2 else "00"  # now and then something that is no traceparent
    return request(
        "GET",
        "/api/x",
        COOKIE_LINE,
        f"X-Amzn-Trace-Id: Root=1-6560c5a7-{number:024x}",
        "tracestate: vendor=1",
        f"traceparent: {traced}-{number + 1:032x}-b7ad6b7169203331-01",
        f"X-Request-Id: req-{number:04d}",
        f"CF-Ray: 8f{number:014x}-FRA",
    )


@pytest.mark.parametrize("trusted", [False, True], ids=["client", "proxy"])
async def test_ids_of_each_request_go_up_as_by_the_ordinary_way(
    trusted: bool, passages: list[Passage], monkeypatch: pytest.MonkeyPatch
) -> None:
    sections = {"trusted_proxies": ["127.0.0.1/32"]} if trusted else {}
    heads: list[list[bytes]] = []
    for lane in (False, True):
        with monkeypatch.context() as patch:
            if not lane:
                patch.setattr(Gateway, "enter", lambda *_: None)
            async with StubUpstream() as upstream:
                config = settings(upstream.url, **sections)
                async with LocalGateway(config) as gateway, RawClient(gateway.port) as client:
                    for number in range(12):
                        await client.send(proxied(number))
                        await client.read_answers(number + 1)
                heads.append([_NEW_IDS.sub(b"NEW", bytes(each.raw)) for each in upstream.requests])
    assert heads[0] == heads[1]
    assert len(passages) >= 3  # each change between a trace and none is learnt anew
    for number, head in enumerate(heads[1]):
        assert b"X-Amzn-Trace-Id: Root=1-6560c5a7-%024x\r\n" % number in head
        assert b"CF-Ray: 8f%014x-FRA\r\n" % number in head
        assert (b"X-Request-Id: req-%04d\r\n" % number in head) is trusted
        assert (b"tracestate" in head) is (number % 3 != 2)
        assert (b"traceparent: 00-%032x-" % (number + 1) in head) is (number % 3 != 2)


async def test_an_id_that_comes_twice_is_never_taken_for_the_other(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    async with RawClient(gateway.port) as client:
        for number, second in enumerate((5, 5, 5, 6, 7), 1):
            await client.send(request("GET", "/api/x", COOKIE_LINE, "b3:5", f"b3: {second}"))
            await client.read_answers(number)
    seen = [bytes(each.raw) for each in upstream.requests]
    for second, head in zip((5, 5, 5, 6, 7), seen, strict=True):
        assert b"\r\nb3: 5\r\nb3: %d\r\n" % second in head


async def test_an_identity_header_with_the_name_of_an_id_is_never_filled_by_the_client(
    passages: list[Passage],
) -> None:
    identity = {"headers": {"X-Correlation-Id": "id"}}
    async with StubUpstream() as upstream:
        config = settings(upstream.url, identity=identity)
        async with LocalGateway(config) as gateway, RawClient(gateway.port) as client:
            for number, sent in enumerate(("u-7", "u-7", "u-7", "u-8", "u-9"), 1):
                line = f"X-Correlation-Id: {sent}"
                await client.send(request("GET", "/api/x", COOKIE_LINE, line))
                await client.read_answers(number)
    assert passages
    for each in upstream.requests:
        assert bytes(each.raw).count(b"X-Correlation-Id: ") == 1
        assert b"\r\nX-Correlation-Id: u-7\r\n" in bytes(each.raw)


async def test_a_second_attempt_has_the_ids_of_its_own_request(passages: list[Passage]) -> None:
    async def gone(exchange: Exchange) -> None:
        if len(exchange.connection.requests) > 1:
            exchange.abort()
        else:
            await exchange.send(OK)

    async with StubUpstream() as upstream:
        upstream.default = Scripted(gone, 3)
        config = settings(upstream.url, trusted_proxies=["127.0.0.1/32"])
        async with LocalGateway(config) as gateway, RawClient(gateway.port) as client:
            for count, number in enumerate((0, 1, 3, 4), 1):
                await client.send(proxied(number))
                await client.read_answers(count)
            await gateway.until(lambda: len(gateway.log_lines()) == 4)
            line = gateway.log_lines()[-1]
    assert passages
    assert line["attempts"] == 2
    first, second = (bytes(each.raw) for each in upstream.requests[-2:])
    assert first == second
    assert b"X-Amzn-Trace-Id: Root=1-6560c5a7-%024x\r\n" % 4 in second
    assert b"CF-Ray: 8f%014x-FRA\r\n" % 4 in second


async def test_the_access_log_names_requests_as_by_the_ordinary_way(
    passages: list[Passage], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = ("req-0001", "req-0002", "req-0003", "req;0004", "a" * 128, "a" * 129, "req-0007")
    named: list[list[tuple[str, str, str]]] = []
    for lane in (False, True):
        with monkeypatch.context() as patch:
            if not lane:
                patch.setattr(Gateway, "enter", lambda *_: None)
            async with StubUpstream() as upstream:
                config = settings(upstream.url, trusted_proxies=["127.0.0.1/32"])
                async with LocalGateway(config) as gateway, RawClient(gateway.port) as client:
                    for number, sent in enumerate(ids, 1):
                        traced = f"traceparent: 00-{number:032x}-b7ad6b7169203331-01"
                        lines = (f"X-Request-Id: {sent}", traced, "X-Forwarded-For: 192.0.2.9")
                        await client.send(request("GET", "/api/x", COOKIE_LINE, *lines))
                        await client.read_answers(number)
                    await gateway.until(lambda: len(gateway.log_lines()) == len(ids))
                    lines_seen = gateway.log_lines()
            named.append(
                [(line["request_id"], line["trace_id"], line["client"]) for line in lines_seen]
            )
    assert len(passages) >= 2
    for seen in named:
        for number, (sent, name) in enumerate(zip(ids, seen, strict=True), 1):
            sane = ";" not in sent and len(sent) <= 128
            assert (name[0] == sent) is sane
            assert len(name[0]) == 32 or sane
            assert name[1:] == (f"{number:032x}", "192.0.2.9")


async def test_a_silent_endpoint_is_a_timeout(
    passages: list[Passage], monkeypatch: pytest.MonkeyPatch
) -> None:
    timeouts = {"timeouts": {"first_byte": "300ms"}}
    story = await both(GET, silent, answered(), passages, monkeypatch, upstream=timeouts)
    assert story.client.startswith(b"HTTP/1.1 504 ")


async def leave(client: RawClient, upstream: StubUpstream, gateway: LocalGateway) -> None:
    await upstream.wait(lambda: len(upstream.requests) == 4)
    client.reset_connection()
    await gateway.until(lambda: gateway.status["requests_in_flight"] == 0)
    await gateway.until(lambda: gateway.status["connections"]["upstream"] == 0)


async def test_a_client_that_leaves_ends_its_exchange(
    passages: list[Passage], monkeypatch: pytest.MonkeyPatch
) -> None:
    story = await both(GET, silent, leave, passages, monkeypatch)
    assert (story.log[-1]["status"], story.log[-1]["code"]) == (499, "client_gone")


def sending(*data: bytes, answers: int) -> tuple[Script, Act]:
    """Let the client send more while the endpoint holds its answer."""
    held = Held()

    async def act(client: RawClient, upstream: StubUpstream, _: LocalGateway) -> None:
        await upstream.wait(lambda: len(upstream.requests) >= 4)
        for piece in data:
            await client.send(piece)
            await asyncio.sleep(0.01)
        held.go.set()
        await client.read_answers(answers)

    return held, act


@pytest.mark.parametrize(
    ("data", "answers"),
    [
        ((GET,), 5),
        ((GET, GET), 6),
        ((GET + GET,), 6),
        ((GET[:20], GET[20:]), 5),
        ((request("POST", "/api/x", COOKIE_LINE, body=b"hello"), GET), 6),
        ((b"nonsense\r\n\r\n",), 5),
        ((b"\r\n",), 4),
    ],
    ids=["one", "two", "two-at-once", "in-pieces", "a-post", "nonsense", "a-blank-line"],
)
async def test_requests_that_come_meanwhile_are_answered_in_their_order(
    data: tuple[bytes, ...],
    answers: int,
    passages: list[Passage],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []
    for lane in (False, True):
        script, act = sending(*data, answers=answers)
        seen.append(await tell(GET, script, act, lane=lane, monkeypatch=monkeypatch))
    assert passages
    assert seen[0] == seen[1]


async def test_a_session_ends_in_the_lane_too(
    gateway: LocalGateway, upstream: StubUpstream, passages: list[Passage]
) -> None:
    clock = gateway.worker._gateway
    async with RawClient(gateway.port) as client:
        for number in range(1, 5):
            await client.send(GET)
            await client.read_answers(number)
        assert len(passages) >= 1
        real = clock._clock
        clock._clock = lambda: real() + 40 * 86400
        await client.send(GET)
        answers = await client.read_answers(5)
    assert answers[-1].json()["code"] == "session_expired"
    assert len(upstream.requests) == 4


async def test_what_one_peer_may_another_may_not_without_being_asked(
    gateway: LocalGateway, passages: list[Passage]
) -> None:
    lane = gateway.worker._gateway.snapshot.lane
    async with RawClient(gateway.port) as client:
        for number in range(1, 4):
            await client.send(GET)
            await client.read_answers(number)
        [connection] = gateway.clients
        now = gateway.worker._gateway._clock()
        assert lane.find(GET, connection.whoever, now) is not None
        here = connection.whoever
        for other in (
            Client("192.0.2.1", here.scheme, trusted=False),
            Client(here.address, "https", trusted=False),
        ):
            assert lane.find(GET, other, now) is None
    assert passages


async def test_a_drain_is_told_to_the_client_of_an_exchange_in_the_lane(
    passages: list[Passage],
) -> None:
    held = Held()
    async with StubUpstream() as upstream:
        upstream.default = Scripted(held, 3)
        async with (
            LocalGateway(settings(upstream.url)) as gateway,
            RawClient(gateway.port) as client,
        ):
            for number in range(1, 4):
                await client.send(GET)
                await client.read_answers(number)
            await client.send(GET)
            await upstream.wait(lambda: len(upstream.requests) == 4)
            drained = asyncio.create_task(gateway.drain())
            await gateway.until(lambda: gateway.worker._gateway.closing)
            held.go.set()
            answers = await client.read_answers(4)
            await client.read_until_closed()
            await drained
    assert passages
    assert [answer.status for answer in answers] == [200] * 4
    assert answers[-1].get("Connection") == "close"


async def test_only_what_came_twice_is_learnt(
    gateway: LocalGateway, upstream: StubUpstream, passages: list[Passage]
) -> None:
    async with RawClient(gateway.port) as client:
        for number in range(20):
            await client.send(request("GET", f"/api/{number}", COOKIE_LINE))
            await client.read_answers(number + 1)
    assert len(upstream.requests) == 20
    assert passages == []
    assert repr(gateway.worker._gateway.snapshot.lane) == "<Lane heads=0>"


@pytest.mark.parametrize(
    "between",
    [
        request("POST", "/api/x", COOKIE_LINE, body=b"hello"),
        request("POST", "/api/x", COOKIE_LINE, body=b""),
    ],
    ids=["a-body", "an-empty-body"],
)
async def test_the_lane_is_open_again_behind_a_body_of_known_length(
    gateway: LocalGateway, between: bytes, passages: list[Passage]
) -> None:
    async with RawClient(gateway.port) as client:
        for number in range(1, 4):
            await client.send(GET)
            await client.read_answers(number)
        await client.send(between[:-2])
        await asyncio.sleep(0.01)
        await client.send(between[-2:])
        await client.read_answers(4)
        before = len(passages)
        await client.send(GET)
        await client.read_answers(5)
    assert len(passages) == before + 1


@pytest.mark.parametrize(
    "lines",
    [
        ("Connection: close",),
        ("Connection: X-User-Id",),
        ("Proxy-Connection: close",),
        ("Content-Length: 0",),
        ("Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings"),
        ("Expect: 100-continue",),
    ],
    ids=lambda lines: lines[0],
)
async def test_what_asks_for_more_than_an_answer_never_takes_it(
    gateway: LocalGateway, lines: tuple[str, ...], passages: list[Passage]
) -> None:
    data = request("GET", "/api/x", COOKIE_LINE, *lines)
    for _ in range(4):
        async with RawClient(gateway.port) as client:
            await client.send(data)
            [answer] = await client.read_answers(1)
            assert answer.status == 200
    assert passages == []


async def test_refusals_are_never_learnt(
    gateway: LocalGateway, upstream: StubUpstream, passages: list[Passage]
) -> None:
    for target, status in (("/api/x", 401), ("/nowhere", 404)):
        async with RawClient(gateway.port) as client:
            for number in range(1, 5):
                await client.send(request("GET", target))
                answer = (await client.read_answers(number))[-1]
                assert answer.status == status
    assert upstream.requests == []
    assert passages == []


async def test_counts_are_those_of_the_ordinary_way(
    passages: list[Passage], monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = []
    for lane in (False, True):
        with monkeypatch.context() as patch:
            if not lane:
                patch.setattr(Gateway, "enter", lambda *_: None)
            async with StubUpstream() as upstream, LocalGateway(settings(upstream.url)) as gateway:
                async with RawClient(gateway.port) as client:
                    for number in range(1, 11):
                        await client.send(GET)
                        await client.read_answers(number)
                text = gateway.worker.metrics.text()[0].decode()
                texts.append(re.findall(r"\S+_(?:total|count)\{.*", text))
    assert passages
    assert texts[0] == texts[1]
