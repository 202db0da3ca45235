"""What came from a client and is no request: the error that says so."""

from __future__ import annotations

from typing import Any, Final

from aiohttp.http_exceptions import BadHttpMessage, BadHttpMethod, InvalidURLError, LineTooLong

from proxy.core.framing import MAX_FIELDS
from proxy.errors import (
    BadRequest,
    BadTarget,
    HeadTooLarge,
    MethodUnknown,
    ProxyError,
    TargetTooLong,
)

_PROXY_PROTOCOL: Final = "a PROXY header that is not expected here (listen.proxy_protocol)"
_REQUEST_LINE_MAX: Final = 4096
"""A request line that ends within this many bytes is not what was too long."""
_NOT_HTTP: Final = {
    b"PROXY ": _PROXY_PROTOCOL,
    b"\r\n\r\n\0\r\nQUIT\n": _PROXY_PROTOCOL,
    b"\x16\x03": "a TLS handshake on a listener without TLS (listen.tls)",
    b"PRI * HTTP/2": "HTTP/2 without an upgrade; HTTP/1.1 is what is served",
}
"""How what is not HTTP/1 begins, and what to tell the operator."""


def as_proxy_error(message: Any, data: bytes, lines: int) -> ProxyError:
    """Return what a queued message that is no request says: an error of ours, or aiohttp's of its
    parser, which failed in `data` after `lines` lines of a head. The parser's text quotes the
    request, so only its kind is kept.
    """
    if isinstance(message, ProxyError):
        return message
    for beginning, what in _NOT_HTTP.items():
        if data.startswith(beginning):
            return BadRequest(what)
    error = message.exc
    # Its traceback leads to frames that lead back to it: a cycle that holds all of `data`.
    error.__traceback__ = None
    if isinstance(error, BadHttpMethod):
        return MethodUnknown("the method is not known")
    if isinstance(error, InvalidURLError):
        return BadTarget("the target is not a URL")
    if isinstance(error, LineTooLong):
        end = data.find(b"\n")
        if lines or 0 <= end < _REQUEST_LINE_MAX:
            return HeadTooLarge("a line of the head is too long")
        return TargetTooLong("the request line is too long")
    if type(error) is BadHttpMessage and lines + data.count(b"\n") > MAX_FIELDS:
        return HeadTooLarge(f"more than {MAX_FIELDS} fields")
    return BadRequest(f"the request is not valid HTTP ({type(error).__name__})")
