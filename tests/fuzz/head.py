"""Request framing: what we make of a client's bytes, others make of them too, or nothing; and what
we send upstream is HTTP/1.1 to the letter.

Input: the size of the pieces in which the bytes come (0: one piece), then the bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from tests.fuzz import seeds as sources
from tests.fuzz.finding import Finding, require
from tests.fuzz.opinions import OPINIONS, by_h11
from tests.fuzz.strict import Fault, Request, Requests, read_requests, read_response, values
from tests.fuzz.wire import Handled, Line, Wire, cut, wire_for
from tests.support.exchanges import SECRET

CONFIG: Final = f"""
sessions: {{web: {{kind: authjs, secret: {SECRET}, bearer: true}}}}
cors: {{origins: ["https://app.example.test"]}}
limits: {{head: 4KiB, target: 1KiB, body: 2KiB}}
upstreams: {{api: {{endpoints: [http://127.0.0.1:9]}}}}
routes:
  - {{path: /api/**, upstream: api}}
  - {{path: /small/**, upstream: api, auth: public, limits: {{body: 4B}}}}
  - {{path: /**, upstream: api, auth: public}}
"""

_GET: Final = b"GET /public/x HTTP/1.1\r\nHost: api.example.test\r\n\r\n"
_POST: Final = b"POST /y HTTP/1.1\r\nHost: api.example.test\r\nContent-Length: 5\r\n\r\nhello"
_CHUNKED: Final = (
    b"POST /z HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5;x=y\r\nhello\r\n0\r\nX: y\r\n\r\n"
)
HEAD_BYTES: Final = 1
WORDS: Final = (
    *(b"\r\n", b"\n", b"\r", b"\r\n\r\n", b" ", b"\t", b":", b",", b";", b"\0", b"\x0b", b"\xff"),
    *(b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Content-Length: +5\r\n", b"0x5"),
    *(b"Content-Length : 5\r\n", b"content-length:5\r\n", b"Content-Length: 5, 5\r\n", b"5\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: identity\r\n", b"chunked, chunked"),
    *(b"Transfer-Encoding:\r\n chunked\r\n", b"transfer-encoding:chunked\r\n", b"xchunked"),
    *(b"Transfer-Encoding : chunked\r\n", b"Transfer-Encoding: \x0bchunked\r\n", b"0\r\n\r\n"),
    *(b"0\r\nX: y\r\n\r\n", b"00\r\n\r\n", b"5;a=b\r\n", b"5 \r\n", b"ffffffffffffffff\r\n"),
    *(
        b"0;\r\n\r\n",
        b"5\nhello\n",
        b"HTTP/1.0",
        b"HTTP/1.1",
        b"HTTP/2.0",
        b"HTTP/0.9",
        b"http/1.1",
    ),
    *(b"GET ", b"HEAD ", b"POST ", b"OPTIONS ", b"CONNECT ", b"PUT ", b"/api/x", b"/small/x", b"*"),
    *(b"Host: api.example.test\r\n", b"Host: a\r\n", b"Expect: 100-continue\r\n", b" folded\r\n"),
    *(b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"Connection: Upgrade\r\n"),
    *(b"Upgrade: websocket\r\n", b"Upgrade: h2c\r\n", b"Connection: Content-Length\r\n"),
    *(
        b"X-Request-Id: a\r\n",
        b"Cookie: a=1\r\n",
        b"http://api.example.test/",
        _GET,
        _POST,
        _CHUNKED,
    ),
)

_OURS: Final = frozenset(
    {
        *(b"host", b"x-request-id", b"traceparent", b"transfer-encoding", b"content-length"),
        *(b"cookie", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"),
        b"x-forwarded-port",
    }
)
"""Fields that the gateway writes itself, in lower case."""


def seeds() -> Iterable[bytes]:
    """Begin with what the attack cases send, in one piece and in small ones."""
    several = [_GET * 3, _POST + _GET, _CHUNKED + _POST + _GET, _GET + _CHUNKED, b"\r\n" + _GET]
    for data in (*several, *sources.sent()):
        yield b"\0" + data
        yield b"\x07" + data


class _Upstream:
    """Reads strictly what we send, and answers each request that is whole."""

    def __init__(self) -> None:
        self.received: dict[Line, bytes] = {}
        self.requests: dict[str, Request] = {}
        self._answered: dict[Line, int] = {}

    def __call__(self, line: Line, data: bytes) -> None:
        data = self.received[line] = self.received.get(line, b"") + data
        reading = read_requests(data)
        if reading.fault:
            return  # `check_valid` reports it
        done = self._answered.get(line, 0)
        for request in reading.requests[done:]:
            if request.body is not None:
                done += 1
                body = b"" if request.method == b"HEAD" else request.target
                line.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        self._answered[line] = done

    def check_valid(self) -> None:
        """Raise Finding unless all that came is HTTP/1.1, to h11 as well."""
        for data in self.received.values():
            reading, other = read_requests(data), by_h11(data)
            require(not reading.fault, f"upstream came {data!r}: {reading.fault}")
            require(not reading.rest, f"upstream came half a head: {data!r}")
            whole = [r for r in reading.requests if r.body is not None]
            theirs = [r for r in other.requests if r.body is not None]
            require(_same(whole, theirs), f"upstream came {data!r}, h11: {other.fault}")
            for request in whole:
                [name] = values(request.fields, b"x-request-id")
                self.requests[name.decode()] = request


def _same(ours: list[Request], theirs: list[Request]) -> bool:
    return [(r.method, r.target, r.body) for r in ours] == [
        (r.method, r.target, r.body) for r in theirs
    ]


def check(data: bytes, opinions: Iterable[str] = tuple(OPINIONS)) -> None:
    """Judge one input, comparing with these opinions. Raises Finding."""
    size, raw = (data[0] if data else 0), data[1:]
    upstream = _Upstream()

    async def story(wire: Wire) -> Line:
        wire.loop.upstream = upstream
        line = wire.client()
        await wire.feed(line, *cut(raw, size))
        return line

    wire = wire_for(CONFIG)
    line = wire.run(story)
    upstream.check_valid()
    handled = wire.gateway.handled
    _check_answers(bytes(line.written), handled)
    sent = [upstream.requests.get(each.id) for each in handled]
    for name in opinions:
        _compare(name, OPINIONS[name](raw), handled, sent)


def _check_answers(written: bytes, handled: list[Handled]) -> None:
    """Each request got one answer, in turn; one more may refuse what was no request."""
    methods = [each.method.encode() for each in handled] + [b"GET"]
    for method in methods:
        try:
            response = read_response(written, method=method)
        except Fault as fault:
            raise Finding(f"the client was sent {written!r}: {fault}") from None
        if response is None:
            break
        require(response.whole, f"the client was sent a part: {written!r}")
        written = response.left
    require(written in {b"", b"HTTP/1.1 100 Continue\r\n\r\n"}, f"one answer too many: {written!r}")


def _compare(
    name: str, opinion: Requests, handled: list[Handled], sent: list[Request | None]
) -> None:
    """What we took for a request is the same one to the other, or the other had stopped before."""
    for index, (ours, forwarded) in enumerate(zip(handled, sent, strict=True)):
        if index >= len(opinion.requests):
            if forwarded is not None and name == "RFC 9112":
                raise Finding(f"{name} has refused ({opinion.fault}) what we forwarded: {ours}")
            return
        theirs = opinion.requests[index]
        told = f"request {index}: we read {ours}, {name} reads {theirs}"
        require(theirs.method == ours.method.encode(), told)
        require(theirs.target == ours.target.encode("utf-8", "surrogateescape"), told)
        if forwarded is None:
            continue
        require(theirs.method == forwarded.method, f"another method went upstream; {told}")
        require(theirs.target.endswith(forwarded.target), f"another target went upstream; {told}")
        if theirs.fields:
            there = {(key.lower(), value) for key, value in theirs.fields}
            more = [f for f in forwarded.fields if (f[0].lower(), f[1]) not in there]
            more = [f for f in more if f[0].lower() not in _OURS]
            require(not more, f"upstream came {more}, which nobody sent; {told}")
        if theirs.body is not None or not opinion.fault:
            require(theirs.body == forwarded.body, f"another body went upstream; {told}")
        elif name == "RFC 9112":
            raise Finding(f"a body went upstream that is none ({opinion.fault}); {told}")


def describe(data: bytes) -> str:
    """Return an input for people."""
    size, raw = (data[0] if data else 0), data[1:]
    return f"{raw!r} in pieces of {size or 'all'}"
