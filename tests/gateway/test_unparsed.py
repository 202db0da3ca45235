"""proxy/gateway/unparsed.py: what is no request becomes an error that says so."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from aiohttp.http_exceptions import (
    BadHttpMessage,
    BadHttpMethod,
    BadStatusLine,
    InvalidURLError,
    LineTooLong,
)

from proxy.core.framing import MAX_FIELDS
from proxy.errors import (
    BadRequest,
    BadTarget,
    HeadTooLarge,
    MethodUnknown,
    ProxyError,
    TargetTooLong,
)
from proxy.gateway.unparsed import as_proxy_error

SECRET = "s3cret"
LONG = LineTooLong(SECRET.encode(), 10)


def error_of(error: Exception, data: bytes = b"GET / HTTP/1.1\r\n", lines: int = 0) -> ProxyError:
    return as_proxy_error(SimpleNamespace(exc=error), data, lines)


def test_an_error_of_ours_stays_what_it_is() -> None:
    error = HeadTooLarge("too much")
    assert as_proxy_error(error, b"", 0) is error


KINDS = {
    "method": (BadHttpMethod(SECRET), MethodUnknown),
    "target": (InvalidURLError(SECRET), BadTarget),
    "line": (BadStatusLine(SECRET), BadRequest),
    "anything": (BadHttpMessage(SECRET), BadRequest),
}


@pytest.mark.parametrize(("error", "kind"), KINDS.values(), ids=KINDS)
def test_the_kind_is_told_and_the_text_is_not(error: Exception, kind: type[ProxyError]) -> None:
    refusal = error_of(error)
    assert type(refusal) is kind
    assert SECRET not in str(refusal)


LINES = {
    "a request line that does not end": (b"GET /" + b"x" * 9000, 0, TargetTooLong),
    "a request line that ends late": (b"GET /" + b"x" * 9000 + b"\r\nHost: a", 0, TargetTooLong),
    "a field": (b"GET / HTTP/1.1\r\nX: " + b"y" * 9000, 0, HeadTooLarge),
    "a field in a later piece": (b"y" * 9000, 1, HeadTooLarge),
}


@pytest.mark.parametrize(("data", "lines", "kind"), LINES.values(), ids=LINES)
def test_which_line_was_too_long(data: bytes, lines: int, kind: type[ProxyError]) -> None:
    assert type(error_of(LONG, data, lines)) is kind


@pytest.mark.parametrize("lines", [0, MAX_FIELDS])
def test_more_fields_than_the_parser_takes(lines: int) -> None:
    data = b"X: y\r\n" * (MAX_FIELDS + 1 - lines)
    assert type(error_of(BadHttpMessage("many"), data, lines)) is HeadTooLarge
    assert type(error_of(BadHttpMessage("few"), data[:-12], lines)) is BadRequest


FOREIGN = {
    "PROXY v1": (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n", "PROXY"),
    "PROXY v2": (b"\r\n\r\n\0\r\nQUIT\n\x21\x11", "PROXY"),
    "TLS": (b"\x16\x03\x01\x02\x00", "TLS"),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/2"),
}


@pytest.mark.parametrize(("data", "name"), FOREIGN.values(), ids=FOREIGN)
def test_another_protocol_is_named(data: bytes, name: str) -> None:
    error = error_of(BadHttpMethod("x"), data)
    assert type(error) is BadRequest
    assert name in error.reason
