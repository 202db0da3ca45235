"""Request framing: what we make of a client's bytes, others make of them too, or nothing; and what
we send upstream is HTTP/1.1 to the letter.

However the bytes are cut (known heads that come alone go by the lane), the same goes upstream, and
the backend is told who it is by the gateway alone.

Input: the size of the pieces in which the bytes come (see wire.cut), then the bytes.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from proxy.core.cookies import AUTO
from tests.fuzz import seeds as sources
from tests.fuzz.cookies import decoded, owner, slow_find, slow_pairs
from tests.fuzz.finding import Finding, require
from tests.fuzz.opinions import OPINIONS, PURE, by_h11
from tests.fuzz.strict import Fault, Fields, Request, Requests, read_requests, read_response, values
from tests.fuzz.wire import HEADS, Handled, Line, Wire, cut, wire_for
from tests.support import mint
from tests.support.exchanges import COOKIE, NOW, SECRET

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


def _token(user: str) -> str:
    """Return the token of a user, the same one each time, since inputs hold it."""
    times = {"iat": int(NOW) - 60, "exp": int(NOW) + 3600}
    claims = {"sub": user, "email": f"{user}@example.test", "roles": [f"role-{user}"], **times}
    header = {"alg": "dir", "enc": "A256CBC-HS512"}
    return mint.seal(header, claims, mint.v5_key(SECRET), iv=bytes(16))


_USERS: Final[dict[str, Fields]] = {
    _token(name): [
        (b"X-User-Id", name.encode()),
        (b"X-User-Email", f"{name}@example.test".encode()),
        (b"X-User-Roles", f"role-{name}".encode()),
    ]
    for name in ("u-1", "u-2")
}
"""Session tokens, and what the backend is to be told of their users."""
_GUARDED: Final = re.compile(rb"/api(?:[/?]|\Z)")
_SESSION, _OTHER_SESSION = (
    b"Cookie: a=1; %b=%b\r\n" % (COOKIE.encode(), each.encode()) for each in _USERS
)
_BEARER, _OTHER_BEARER = (b"Authorization: Bearer %b\r\n" % each.encode() for each in _USERS)
_BEARER_VALUE: Final = re.compile(rb"bearer[ \t]+(\S+)", re.IGNORECASE)
_LINES: Final = b" HTTP/1.1\r\nHost: api.example.test\r\n"
_SIGNED_IN: Final = b"GET /api/x" + _LINES + _SESSION
_TRACE: Final = b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"

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
        *(b"x-forwarded-port", b"x-user-id", b"x-user-email", b"x-user-roles"),
    }
)
"""Fields that the gateway writes itself, in lower case."""


def seeds() -> Iterable[bytes]:
    """Begin with what the attack cases send, in one piece and in small ones."""
    several = [_GET * 3, _POST + _GET, _CHUNKED + _POST + _GET, _GET + _CHUNKED, b"\r\n" + _GET]
    known = [
        (_SIGNED_IN + b"\r\n") * 4 + _GET,
        *((_SIGNED_IN + _TRACE + b"b3: %b\r\n\r\n" % more) * 3 for more in (b"1", b"a\r\nX: y")),
        b"".join(_SIGNED_IN + b"X-Request-Id: %d\r\n\r\n" % n for n in range(4)),
        (b"GET /api/x" + _LINES + _BEARER + b"\r\n") * 4,
        (_SIGNED_IN + b"\r\n" + b"GET /api/x" + _LINES + _OTHER_SESSION + b"\r\n") * 3,
        _GET * 3 + (b"HEAD /x" + _LINES + b"\r\n") * 3,
    ]
    for data in (*several, *known, *sources.sent()):
        yield b"\0" + data
        yield b"\x07" + data
        yield bytes([HEADS]) + data


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


@dataclass(slots=True)
class Seen:
    """What a client's bytes have led to: requests that were read, answers, requests upstream."""

    handled: list[Handled]
    written: bytes
    upstream: dict[str, Request]

    @property
    def sent(self) -> list[Request | None]:
        """For each request that was read what of it is whole upstream."""
        return [self.upstream.get(each.id) for each in self.handled]


def _tell(raw: bytes, size: int) -> Seen:
    """Send `raw` in pieces of `size` to a fresh gateway."""
    upstream = _Upstream()

    async def story(wire: Wire) -> bytes:
        wire.loop.upstream = upstream
        line = wire.client()
        await wire.feed(line, *cut(raw, size))
        return bytes(line.written)

    wire = wire_for(CONFIG)
    written = wire.run(story)
    upstream.check_valid()
    return Seen(wire.gateway.handled, written, upstream.requests)


def check(data: bytes, opinions: Iterable[str] | None = None) -> None:
    """Judge one input, comparing with these opinions; None is all, Node for one input of four, as
    each question to it waits for another process. Raises Finding.
    """
    if opinions is None:
        opinions = PURE if zlib.crc32(data) % 4 else OPINIONS
    size, raw = (data[0] if data else 0), data[1:]
    seen = _tell(raw, size)
    _check_answers(seen.written, seen.handled)
    strictly = read_requests(raw).requests
    for forwarded, sent in zip(seen.sent, strictly, strict=False):
        if forwarded is not None:
            _check_identity(forwarded, sent)
    for name in opinions:
        _compare(name, OPINIONS[name](raw), seen.handled, seen.sent)
    if size:
        whole = [request for request in _tell(raw, 0).sent if request is not None]
        pieces = [request for request in seen.sent if request is not None]
        # One may have been refused before the other: a head that is too large is cut short.
        for one, other in zip(whole, pieces, strict=False):
            require(one == other, f"in one piece {one} went upstream, in several {other}")


_IDENTITY: Final = frozenset(
    {b"xuserid", b"xuseremail", b"xusername", b"xuserroles", b"xuserassertion"}
)


def is_identity(name: bytes) -> bool:
    """Whether a field is one that tells who the user is: ours in any spelling, or another X-User-*,
    whatever stands for the hyphens.
    """
    folded = bytes(byte for byte in name.lower() if chr(byte).isalnum())
    if folded in _IDENTITY:
        return True
    return (
        re.match(rb"x[^a-z0-9]user[^a-z0-9]", name.lower()) is not None and folded != b"xuseragent"
    )


def _user(request: Request) -> Fields | None:
    """Return what is to be told of the user of a client's request; None for nobody."""
    header = b"; ".join(values(request.fields, b"cookie"))
    found = slow_find(header, AUTO, secure=False)
    if isinstance(found, tuple):
        return _USERS.get(found[1])
    bearers = [_BEARER_VALUE.fullmatch(v) for v in values(request.fields, b"authorization")]
    return _USERS.get(decoded(bearers[0][1]) or "") if bearers and bearers[0] else None


def _check_identity(forwarded: Request, sent: Request) -> None:
    """The backend learns who it is from the gateway alone, and sees no session."""
    told = [field for field in forwarded.fields if is_identity(field[0])]
    expected = _user(sent) if _GUARDED.match(forwarded.target) else []
    require(told == expected, f"{forwarded.target!r} came with {told}, not {expected}")
    for header in values(forwarded.fields, b"cookie"):
        names = [name for name, _ in slow_pairs(header) if owner(name, AUTO) is not None]
        require(not names, f"a session goes upstream: {header!r}")


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
