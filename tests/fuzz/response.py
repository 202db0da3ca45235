"""What a hostile upstream says: the client gets exactly one answer, the one that others read too,
or the end of its connection; and no connection is used again on which anything is left.

Each input goes either on a fresh upstream connection, or on one that was used before, and there
once more in the lane, where the client must see what it sees without.

Input: a byte that chooses the request and the connection's end, the size of the pieces in which the
bytes come (0: one piece), then the bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import h11

from tests.fuzz import seeds as sources
from tests.fuzz.finding import Finding, require
from tests.fuzz.head import is_identity
from tests.fuzz.strict import Fault, Fields, Response, options, read_requests, read_response
from tests.fuzz.wire import Line, Wire, cut, wire_for
from tests.support.exchanges import SECRET

HEAD_BYTES: Final = 2
CONFIG: Final = f"""
sessions: {{web: {{kind: authjs, secret: {SECRET}, bearer: true}}}}
upstreams: {{api: {{endpoints: [http://127.0.0.1:9], pool_idle: 1h}}}}
routes:
  - {{path: /**, upstream: api, auth: public}}
"""

_LINES: Final = b" HTTP/1.1\r\nHost: api.example.test\r\n"
REQUESTS: Final = (
    (b"GET /x" + _LINES + b"\r\n", b""),
    (b"HEAD /x" + _LINES + b"\r\n", b""),
    (b"GET /x HTTP/1.0\r\nHost: api.example.test\r\n\r\n", b""),
    (b"POST /x" + _LINES + b"Content-Length: 5\r\n\r\nhello", b""),
    (b"POST /x" + _LINES + b"Content-Length: 10\r\n\r\nhello", b"world"),
    (b"POST /x" + _LINES + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", b"0\r\n\r\n"),
    (b"PUT /x" + _LINES + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n", b"hello"),
    (b"GET /x" + _LINES + b"Connection: close\r\n\r\n", b""),
)
"""Requests, with what of them the client sends only when the answer has come."""
_IN_THE_LANE: Final = (REQUESTS[0][0], REQUESTS[1][0])
_OTHER: Final = b"GET /other" + _LINES + b"\r\n"
_NEXT: Final = b"GET /next" + _LINES + b"\r\n"
_CLOSES: Final = 8
_RESETS: Final = 16
_FRESH: Final = 32

_OURS: Final = frozenset(
    {b"x-request-id", b"content-length", b"transfer-encoding", b"connection", b"date"}
)
_HOP: Final = _OURS | {b"keep-alive", b"proxy-connection", b"te", b"trailer", b"upgrade"}
_ID: Final = re.compile(
    rb"X-Request-Id: [0-9a-f]{32}|\r\nDate: [^\r]*|\"request_id\":\"[0-9a-f]{32}\""
)

_OK: Final = b"HTTP/1.1 200 OK\r\n"
WORDS: Final = (
    *(_OK, b"HTTP/1.0 200 OK\r\n", b"HTTP/1.1 204 No Content\r\n", b"HTTP/1.1 304\r\n"),
    *(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"),
    *(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",),
    *(
        b"HTTP/2.0 200\r\n",
        b"HTTP/0.9 200\r\n",
        b"HTTP/1.1 99 \r\n",
        b"HTTP/1.1 999 \r\n",
        b"ICY 200",
    ),
    *(b"Content-Length: 2\r\n", b"Content-Length: 0\r\n", b"Content-Length: 2, 2\r\n", b"-1\r\n"),
    *(b"Content-Length: +2\r\n", b"Content-Length:\r\n", b"content-length: 10\r\n", b"0x2\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n", b"identity"),
    *(b"Transfer-Encoding:\r\n", b"Transfer-Encoding: \x0bchunked\r\n", b"Connection: close\r\n"),
    *(b"Connection: keep-alive\r\n", b"Connection: Content-Length\r\n", b"Keep-Alive: 1\r\n"),
    *(b"2\r\nok\r\n", b"0\r\n\r\n", b"0\r\nX: y\r\n\r\n", b"2;a=b\r\nok\r\n", b"ok", b"1\r\nx\r\n"),
    *(
        b"ffffffffffffffff\r\n",
        b"2\nok\n",
        b"0\n\n",
        b"Set-Cookie: a=1\r\n",
        b"X: y\r\n",
        b" f\r\n",
    ),
    *(b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\0", b"\xff", b":", b" ", b"\t", b"X-User-Id: a\r\n"),
    *(b"\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nPOISON", b"X-Request-Id: x\r\n"),
    *(b"Content-Type: application/problem+json\r\n", b"Upgrade: h2c\r\n", b"Trailer: X\r\n"),
)


def seeds() -> Iterable[bytes]:
    """Begin with the attack cases' upstreams and good answers of every framing."""
    good = [
        _OK + b"Content-Length: 2\r\n\r\nok",
        _OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        _OK + b"Transfer-Encoding: chunked\r\n\r\n2;x=y\r\nok\r\n1\r\n!\r\n0\r\nX: y\r\n\r\n",
        _OK + b"\r\nok",
        _OK + b"Connection: close\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\nETag: x\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + _OK + b"Content-Length: 2\r\n\r\nok",
        b"HTTP/1.1 100 Continue\r\n\r\n" + _OK + b"Content-Length: 0\r\n\r\n",
        _OK + b"Content-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nPOISON",
        b"",
    ]
    # Behind the answer to a HEAD: a chunk that has begun, and the last one.
    chunked = _OK + b"Transfer-Encoding: chunked\r\n\r\n"
    good += [chunked + more for more in (b"2", b"2\r\n", b"0\r\n\r\n")]
    for answer in (*good, *sources.answers()):
        for choice in (*range(24), *range(_FRESH, _FRESH + 24)):
            yield bytes([choice, 0]) + answer
        yield bytes([0, 1]) + answer
        yield bytes([_CLOSES, 5]) + answer


@dataclass(slots=True)
class Case:
    """An input taken apart. `closes` and `resets` say how the upstream ends the connection, which
    is a `fresh` one or not; `rest` is what the client sends of its request afterwards.
    """

    request: bytes
    rest: bytes
    fresh: bool
    closes: bool
    resets: bool
    pieces: list[bytes]
    raw: bytes

    @property
    def method(self) -> bytes:
        """The request's method."""
        return self.request.partition(b" ")[0]


def case_of(data: bytes) -> Case:
    """Return what an input means."""
    choice, size, raw = (data[0] if data else 0), (data[1:2] or b"\0")[0], data[2:]
    resets = bool(choice & _RESETS)
    closes = bool(choice & _CLOSES) or resets
    request, rest = REQUESTS[choice % len(REQUESTS)]
    return Case(request, rest, bool(choice & _FRESH), closes, resets, cut(raw, size), raw)


class _Upstream:
    """Answers well, but once: the request behind `next_is_hostile` gets what the case says."""

    def __init__(self, case: Case) -> None:
        self.hostile: Line | None = None
        self.next_is_hostile = False
        self.tries = 0
        self._case = case
        self._seen: dict[Line, tuple[bytes, int]] = {}

    def __call__(self, line: Line, data: bytes) -> None:
        before, done = self._seen.get(line, (b"", 0))
        reading = read_requests(before + data)
        require(not reading.fault, f"upstream came {before + data!r}")
        for request in reading.requests[done:]:
            if request.body is None and not self.next_is_hostile:
                break
            done += 1
            if request.target == b"/x":
                self.tries += 1
            self._answer(line, request.method, request.target)
        self._seen[line] = before + data, done

    def _answer(self, line: Line, method: bytes, target: bytes) -> None:
        if self.next_is_hostile:
            self.next_is_hostile, self.hostile = False, line
            for piece in self._case.pieces:
                line.say(piece)
            if self._case.closes:
                line.hang_up(ConnectionResetError() if self._case.resets else None)
            return
        body = b"" if method == b"HEAD" else target
        line.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(target), body))


@dataclass(slots=True)
class Seen:
    """What the client and the pool were left with.

    `early`: the answer was there before the end of the request.
    `busy`: the gateway has not done with it. `retried`: a fresh connection was asked once more.
    `kept`: the hostile connection may be used again. `lane`: the request went by the lane.
    """

    written: bytes
    aborted: bool
    ended: bool
    early: bool
    busy: bool
    retried: bool
    kept: bool
    lane: bool
    later: list[bytes] = field(default_factory=list)


def _tell(case: Case, warm: tuple[bytes, ...]) -> Seen:
    """Tell the story of one case, behind requests that warm up pool and lane."""
    upstream = _Upstream(case)

    async def story(wire: Wire) -> Seen:
        wire.loop.upstream = upstream
        line = wire.client()
        await wire.feed(line, *warm)
        start = len(line.written)
        upstream.tries, upstream.next_is_hostile = 0, True
        await wire.feed(line, case.request)
        answered = not wire.busy
        await wire.feed(line, *cut(case.rest, 0))
        seen = Seen(
            written=bytes(line.written[start:]),
            aborted=line.aborted,
            ended=line.ended,
            early=answered and bool(case.rest),
            busy=wire.busy,
            retried=upstream.tries > 1,
            kept=upstream.hostile is not None and not upstream.hostile.is_closing(),
            lane=wire.gateway.handled[-1].lane,
        )
        upstream.next_is_hostile = False
        if seen.kept:
            other = wire.client()
            await wire.feed(other, _OTHER)
            seen.later.append(bytes(other.written))
        if not line.ended and _is_whole(seen, case):
            start = len(line.written)
            await wire.feed(line, _NEXT)
            seen.later.append(bytes(line.written[start:]))
        return seen

    return wire_for(CONFIG).run(story)


def _is_whole(seen: Seen, case: Case) -> bool:
    """Whether the client has its answer."""
    try:
        response = read_response(seen.written, method=case.method)
    except Fault:
        return False
    return response is not None and response.whole


def check(data: bytes) -> None:
    """Judge one input. Raises Finding."""
    case = case_of(data)
    truth = _truth(case)
    if case.fresh:
        _check(case, truth, _tell(case, ()))
        return
    used = _tell(case, (_OTHER,))
    _check(case, truth, used)
    if case.request in _IN_THE_LANE:
        lane = _tell(case, (case.request,) * 2)
        require(lane.lane, "the request has not gone by the lane")
        _check(case, truth, lane)
        for name in ("written", "aborted", "ended", "kept", "later"):
            ours, theirs = getattr(used, name), getattr(lane, name)
            if name == "written":
                ours, theirs = _ID.sub(b"", ours), _ID.sub(b"", theirs)
            if name == "later":
                ours, theirs = ([_ID.sub(b"", each) for each in both] for both in (ours, theirs))
            require(ours == theirs, f"{name}: {ours!r} in the corridor, {theirs!r} in the lane")


def _truth(case: Case) -> Response | str:
    """Return how the strict reading takes the upstream's bytes, or why it does not."""
    try:
        ended = case.closes and not case.resets
        response = read_response(case.raw, method=case.method, ended=ended)
    except Fault as fault:
        return str(fault)
    return "not a whole head" if response is None else response


def _check(case: Case, truth: Response | str, seen: Seen) -> None:
    for later in seen.later:
        good = later.endswith((b"\r\n\r\n/other", b"\r\n\r\n/next"))
        require(good, f"the next request was answered {later!r}")
    got = _client_reads(case, seen)
    if got is None:
        require(seen.aborted or seen.busy, "the client got no answer, and gets none")
        return
    if seen.early:
        require(seen.ended and not seen.kept, "an answer before the end of a request ended nothing")
    whole = got.whole and not (seen.aborted and not _is_framed(got))
    if whole and (_is_problem(got) or seen.retried):
        _check_kept(truth, seen)
        return
    require(isinstance(truth, Response) or not whole, f"passed on what is none ({truth}): {got}")
    if isinstance(truth, Response):
        require(got.status == truth.status, f"another status: {got}, {truth}")
        require(truth.body.startswith(got.body), f"another body: {got}, {truth}")
        if whole:
            require(truth.whole and got.body == truth.body, f"a part for the whole: {got}, {truth}")
        require(_passing(got.fields, truth) == _passing(truth.fields, truth), f"{got}, {truth}")
    require(whole or seen.aborted or seen.busy, f"a cut answer is taken for a whole one: {got}")
    require(not (whole and seen.busy), f"a whole answer has no end: {got}")
    _check_kept(truth, seen)


def _check_kept(truth: Response | str, seen: Seen) -> None:
    """A connection is kept only if nothing is left on it, and while it is waited for."""
    if not seen.kept or not seen.written:
        return
    if isinstance(truth, Response) and truth.whole:
        # llhttp passes over empty lines behind an answer, which the next reader does not see.
        left = truth.left.strip(b"\r\n")
        require(truth.reusable and not left, f"a connection was kept behind {truth}")


def _client_reads(case: Case, seen: Seen) -> Response | None:
    """Return the one answer that the client got, as the strict reading and h11 agree to read it."""
    ended = seen.ended and not seen.aborted
    minor = b"HTTP/1.0" not in case.request
    try:
        got = read_response(seen.written, method=case.method, ended=ended)
    except Fault as fault:
        raise Finding(f"the client was sent {seen.written!r}: {fault}") from None
    if got is None:
        waits = seen.busy and seen.written.endswith(b"\r\n\r\n")  # behind an interim answer
        good = not seen.written or seen.aborted or waits
        require(good, f"the client was sent half a head {seen.written!r}")
        return None
    told = [name for name, _ in got.fields if is_identity(name)]
    require(not told, f"the client is told {told}")
    require(got.left == b"", f"more than one answer: {seen.written!r}")
    allowed = {103, 100} if b"Expect" in case.request else {103}
    require(set(got.interim) <= allowed and (minor or not got.interim), f"interim {got.interim}")
    if got.whole:
        _check_by_h11(case, seen.written, got, ended=ended)
    return got


def _check_by_h11(case: Case, written: bytes, got: Response, *, ended: bool) -> None:
    client = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    client.send(h11.Request(method=case.method, target="/x", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    body, status = b"", 0
    try:
        client.receive_data(written)
        if ended:
            client.receive_data(b"")
        while not isinstance(event := client.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA or event is h11.PAUSED:
                raise Finding(f"h11 waits for more than {written!r}")
            if isinstance(event, h11.Response):
                status = event.status_code
            if isinstance(event, h11.Data):
                body += bytes(event.data)
    except h11.RemoteProtocolError as error:
        raise Finding(f"the client was sent {written!r}, which h11 refuses: {error}") from None
    require((status, body) == (got.status, got.body), f"h11 reads {status} {body!r}, not {got}")


def _is_framed(got: Response) -> bool:
    return any(name.lower() in {b"content-length", b"transfer-encoding"} for name, _ in got.fields)


def _is_problem(got: Response) -> bool:
    """Whether it is the gateway's own error."""
    ours = got.status in {502, 504} and b'"code":"upstream_' in got.body
    return ours or (got.status in {502, 504} and (b"Cache-Control", b"no-store") in got.fields)


def _passing(fields: Fields, truth: Response) -> Fields:
    """Return the fields that pass, of those that came or of those that arrived."""
    dropped = _HOP | (options(truth.fields) - {b"content-length"})
    return [
        (name, value)
        for name, value in fields
        if name.lower() not in dropped and not is_identity(name)
    ]


def describe(data: bytes) -> str:
    """Return an input for people."""
    case = case_of(data)
    end = "reset" if case.resets else "closed" if case.closes else "left open"
    return f"{case.method.decode()} answered by {case.pieces!r}, then {end}"
