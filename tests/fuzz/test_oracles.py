"""The fuzz targets: what they begin with holds, and each of their oracles finds what is broken."""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterator
from functools import partial
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core import cookies as cookies_module
from proxy.core import encoding, jwe
from proxy.core import proxy_protocol as proxy_protocol_module
from proxy.core import target as target_module
from proxy.core.routing import RouteTable
from proxy.core.upstream_head import upstream_head
from proxy.gateway import attempt, forward
from proxy.upstream.response import ResponseReader
from tests.fuzz import (
    cookies,
    head,
    opinions,
    proxy_protocol,
    response,
    target,
    targets,
    token,
)
from tests.fuzz.finding import Finding
from tests.fuzz.mutate import Mutator
from tests.fuzz.strict import Request, Requests
from tests.fuzz.wire import Handled, forget_wires
from tests.support import mint

Check = Callable[[bytes], None]

CHECKS: dict[str, Check] = {
    "target": target.check,
    "cookies": cookies.check,
    "token": token.check,
    "head": partial(head.check, opinions=opinions.PURE),  # Node is asked in tests/e2e
    "response": response.check,
    "proxy_protocol": proxy_protocol.check,
}


def test_every_target_is_tried() -> None:
    assert set(CHECKS) == set(targets.NAMES)


@pytest.mark.parametrize("name", targets.NAMES)
def test_what_a_target_begins_with_holds(name: str) -> None:
    loaded = targets.load(name)
    for data in loaded.seeds():
        CHECKS[name](data)
        assert loaded.describe(data)


@pytest.mark.parametrize("name", targets.NAMES)
def test_what_the_mutator_makes_of_it_holds(name: str) -> None:
    loaded, random = targets.load(name), Random(20_261_125)
    pool = list(loaded.seeds())
    mutate = Mutator(pool, loaded.WORDS, head=loaded.HEAD_BYTES)
    for _ in range(150):
        CHECKS[name](mutate(random.choice(pool), 1024, random))


PATHS = st.lists(st.sampled_from(target.WORDS), max_size=8).map(b"".join)


@given(table=st.integers(0, len(target.TABLES) - 1), path=PATHS)
def test_no_backend_serves_a_stranger_what_is_guarded(table: int, path: bytes) -> None:
    target.check(bytes([table]) + b"/" + path)


@pytest.fixture(autouse=True)
def _fresh_wires() -> Iterator[None]:
    """What is broken in one test must not have been compiled before, nor stay."""
    forget_wires()
    yield
    forget_wires()


def table(name: str) -> bytes:
    """Return the byte that chooses the first routing table whose name begins so."""
    number = next(n for n, each in enumerate(target.TABLES) if each.name.startswith(name))
    return bytes([number])


NEVER = re.compile(r"(?!)")


@pytest.mark.parametrize(
    ("where", "attribute", "broken", "data"),
    [
        (target_module, "_DIVISIVE", NEVER, table("rest open") + b"/x\\..\\admin"),
        (target_module, "_DIVISIVE", NEVER, table("rest open") + b"/admin%0a"),
        (RouteTable, "_check_readings", lambda *_: None, table("rest open") + b"/ADMIN"),
        (RouteTable, "_check_readings", lambda *_: None, table("rest open") + b"/%61dmin"),
        (
            RouteTable,
            "_check_readings",
            lambda *_: None,
            table("encoded slashes, rest open") + b"/admin%2fx",
        ),
        (
            RouteTable,
            "check_rewritten",
            lambda *_: None,
            table("rewritten into what") + b"/v1/admin",
        ),
        (RouteTable, "check_rewritten", lambda *_: None, table("stripped to what") + b"/svc/admin"),
        (target_module, "_trim", lambda segment: segment, table("rest open") + b"/admin;x"),
    ],
    ids=range(8),
)
def test_a_target_that_leads_elsewhere_is_found(
    monkeypatch: pytest.MonkeyPatch, where: Any, attribute: str, broken: Any, data: bytes
) -> None:
    try:
        target.check(data)
    except Finding:
        pytest.fail("it is found in what is whole")
    monkeypatch.setattr(where, attribute, broken)
    with pytest.raises(Finding):
        target.check(data)


SID = bytes([cookies.NAMES.index(("sid",)) * 2])


@pytest.mark.parametrize(
    ("where", "attribute", "broken", "header"),
    [
        (cookies_module.CookieNames, "_distant_slot", lambda *_: None, b"sid.64=x"),
        (cookies_module, "_join", lambda _: "T", b"sid.1=B"),
        (cookies_module, "decode_value", lambda value: value.decode("latin-1"), b"sid=%41"),
        (cookies_module, "decode_value", lambda value: value.decode("latin-1"), b"sid=\xff"),
        (cookies, "strip", lambda header, _: header, b"sid=T; a=1"),
        (cookies, "strip", lambda *_: b"", b"sid=T; a=1"),
        (cookies, "parse", lambda _: [], b"a=1"),
    ],
    ids=range(7),
)
def test_another_reading_of_cookies_is_found(
    monkeypatch: pytest.MonkeyPatch, where: Any, attribute: str, broken: Any, header: bytes
) -> None:
    cookies.check(SID + header)
    monkeypatch.setattr(where, attribute, broken)
    with pytest.raises(Finding):
        cookies.check(SID + header)


TWICE = b'{"sub":"a","sub":"b","exp":1800000060}'
STRANGE = mint.compact_json({"alg": "dir", "enc": "A256GCM", "apu": "x"})


@pytest.mark.parametrize(
    ("where", "attribute", "broken", "data"),
    [
        (encoding, "_DECODER", json.JSONDecoder(), bytes([token.PAYLOAD, 0]) + TWICE),
        (jwe, "_MEMBERS", frozenset({"alg", "enc", "apu"}), bytes([token.HEADER, 0]) + STRANGE),
    ],
    ids=["a member twice", "a member that is not allowed"],
)
def test_a_token_with_two_meanings_is_found(
    monkeypatch: pytest.MonkeyPatch, where: Any, attribute: str, broken: Any, data: bytes
) -> None:
    token.check(data)
    monkeypatch.setattr(where, attribute, broken)
    with pytest.raises((Finding, TypeError)):
        token.check(data)


def test_a_second_spelling_of_a_token_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    # The tag's 32 bytes leave two bits of its last character unused.
    [number] = [n for n, v in enumerate(token.vectors()) if v.name == "na5-basic-secure"]
    vector = token.vectors()[number]
    end, alphabet = (
        len(vector.token) - 1,
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
    )
    other = alphabet[alphabet.index(vector.token[-1]) ^ 1]
    data = bytes([token.FORGE, number, 0, end >> 8, end & 255, ord(other)])
    assert token.forged(vector, data[2:]) == vector.token[:-1] + other
    token.check(data)
    monkeypatch.setattr(
        jwe, "b64url_decode", lambda text: urlsafe_b64decode(text + "=" * (-len(text) % 4))
    )
    with pytest.raises(Finding, match="nobody made"):
        token.check(data)


GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED = b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("where", "attribute", "broken", "raw"),
    [
        (attempt, "chunk", lambda data: b"1\r\n%b\r\n" % data, CHUNKED),
        (attempt, "LAST_CHUNK", b"0\r\n\r\nX", CHUNKED),
        (attempt, "upstream_head", lambda *_: b"GET /x HTTP/1.1\nHost: a\n\n", GET),
    ],
    ids=["chunk", "bytes behind the body", "bare LF"],
)
def test_a_request_upstream_that_is_none_is_found(
    monkeypatch: pytest.MonkeyPatch, where: Any, attribute: str, broken: Any, raw: bytes
) -> None:
    CHECKS["head"](b"\0" + raw)
    monkeypatch.setattr(where, attribute, broken)
    with pytest.raises(Finding, match="upstream came"):
        CHECKS["head"](b"\0" + raw)


def test_a_field_that_nobody_sent_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = upstream_head
    monkeypatch.setattr(
        attempt, "upstream_head", lambda *args: whole(*args)[:-2] + b"X-Role: admin\r\n\r\n"
    )
    with pytest.raises(Finding, match="nobody sent"):
        CHECKS["head"](b"\0" + GET)


OURS = Handled("POST", "/x", lane=False, id="1")
SENT = Request(b"POST", b"/x", 1, [], b"hello")


@pytest.mark.parametrize(
    "opinion",
    [
        Requests([Request(b"GET", b"/x", 1, [], b"hello")]),
        Requests([Request(b"POST", b"/y", 1, [], b"hello")]),
        Requests([Request(b"POST", b"/x", 1, [], b"hell")]),
        Requests([Request(b"POST", b"/x", 1, [], None)]),
        Requests([], "refused"),
        Requests([Request(b"POST", b"/x", 1, [], None)], "a broken chunk"),
    ],
    ids=["method", "target", "body", "no body yet", "no request", "broken body"],
)
def test_another_reading_of_a_request_is_found(opinion: Requests) -> None:
    head._compare("RFC 9112", Requests([SENT]), [OURS], [SENT])
    with pytest.raises(Finding):
        head._compare("RFC 9112", opinion, [OURS], [SENT])


OK = b"HTTP/1.1 200 OK\r\n"
EXTRA = OK + b"Content-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n"
GET_KEPT, GET_CLOSED, FRESH = b"\0\0", bytes([response._CLOSES, 0]), bytes([response._FRESH, 0])


@pytest.mark.parametrize(
    ("where", "attribute", "broken", "data"),
    [
        (ResponseReader, "keeps_alive", True, GET_KEPT + EXTRA),
        (
            ResponseReader,
            "keeps_alive",
            True,
            FRESH + OK + b"Content-Length: 0\r\nConnection: close\r\n\r\n",
        ),
        (
            ResponseReader,
            "feed_eof",
            lambda self: setattr(self, "complete", True),
            GET_CLOSED + OK + b"Content-Length: 3\r\n\r\nok",
        ),
        (
            forward,
            "LAST_CHUNK",
            b"",
            GET_CLOSED + OK + b"\r\nok",
        ),
        (forward, "chunk", lambda data: data, GET_CLOSED + OK + b"\r\nok"),
    ],
    ids=["leftover", "close", "cut body", "no last chunk", "no chunk"],
)
def test_an_answer_that_others_read_otherwise_is_found(
    monkeypatch: pytest.MonkeyPatch, where: Any, attribute: str, broken: Any, data: bytes
) -> None:
    response.check(data)
    monkeypatch.setattr(where, attribute, broken)
    with pytest.raises(Finding):
        response.check(data)


def test_an_answer_that_is_none_is_found_when_it_is_passed_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = ResponseReader._head

    def lenient(self: ResponseReader) -> Any:
        self._framing.pop(b"transfer-encoding", None)
        return whole(self)

    data = FRESH + OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"
    response.check(data)
    monkeypatch.setattr(ResponseReader, "_head", lenient)
    with pytest.raises(Finding):
        response.check(data)


V1 = b"PROXY TCP4 192.0.2.7 192.0.2.1 "
V2 = proxy_protocol.SIGNATURE


@pytest.mark.parametrize(
    ("attribute", "broken", "data"),
    [
        ("_LINE", re.compile(rb"PROXY TCP4 (\S+) (\S+)(x)?(x)? (\d+) (\d+)"), V1 + b"01 2\r\n"),
        ("_LINE_MAX", 120, b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n"),
        ("_canonical", str, b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n"),
        ("_check_start", lambda *_: None, V2 + b"\x31\x11\0\x0c" + bytes(12)),
        ("_check_start", lambda *_: None, V2 + b"\x21\x11\x0f\xff" + bytes(4095)),
        ("_check_values", lambda *_, **__: None, V2 + b"\x21\x11\0\x0d" + bytes(13)),
        ("_check_sum", lambda *_: None, V2 + b"\x20\0\0\x07\x03\0\x04abcd"),
        ("_V2_START", 17, V2 + b"\x20\0\0\0"),
    ],
    ids=range(8),
)
def test_a_header_that_is_read_otherwise_is_found(
    monkeypatch: pytest.MonkeyPatch, attribute: str, broken: Any, data: bytes
) -> None:
    proxy_protocol.check(data)
    monkeypatch.setattr(proxy_protocol_module, attribute, broken)
    with pytest.raises(Finding):
        proxy_protocol.check(data)
