"""Our own answers: the one place where an error becomes a response.

Errors are problem details (RFC 9457), 401s carry a challenge (RFC 6750 section 3), 429s what limit
was exceeded (draft-ietf-httpapi-ratelimit-headers-10). Nothing here repeats a byte of the request.
`now` is the Unix time at which an answer is made.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import orjson

from proxy.core.headers import STATUS_LINES
from proxy.errors import MethodRefused, ProxyError, RateLimited, Unauthorized

if TYPE_CHECKING:
    from proxy.core.decision import Reply
    from proxy.core.exchange import Exchange
    from proxy.core.head import RequestHead

_CLOSE: Final = b"Connection: close\r\n"
_PROBLEM: Final = (
    b"Content-Type: application/problem+json\r\n"
    b"Cache-Control: no-store\r\n"
    b"X-Content-Type-Options: nosniff\r\n"
)
_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = (
    *("Jan", "Feb", "Mar", "Apr", "May", "Jun"),
    *("Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
)
_CHALLENGE: Final = 'WWW-Authenticate: Bearer realm="gatelodge"'


def reply(x: Exchange, answer: Reply, now: float, *, close: bool) -> bytes:
    """Return the bytes of an answer that is no error: a granted preflight, a redirect."""
    cors = b"" if answer.status == 204 else x.cors.grant(x.head)
    length = b"" if answer.status == 204 else b"Content-Length: 0\r\nCache-Control: no-store\r\n"
    return b"".join(
        (
            STATUS_LINES[answer.status],
            date_line(now),
            cors,
            answer.lines,
            length,
            _names(x),
            _CLOSE if close else b"",
            b"\r\n",
        )
    )


def problem(x: Exchange, error: ProxyError, now: float, *, close: bool) -> bytes:
    """Return the bytes of the answer that tells the client of `x` about `error`; CORS headers
    included.
    """
    body = orjson.dumps(
        {
            "type": f"urn:gatelodge:error:{error.code}",
            "title": error.title,
            "status": error.status,
            "detail": error.detail,
            "code": error.code,
            "request_id": x.request_id,
        }
    )
    refused_preflight = error.code == "origin_refused" and x.head.method == "OPTIONS"
    return b"".join(
        (
            STATUS_LINES[error.status],
            date_line(now),
            b"" if refused_preflight else x.cors.grant(x.head),
            _PROBLEM,
            _about(error),
            b"Content-Length: %d\r\n" % len(body),
            _names(x),
            _CLOSE if close else b"",
            b"\r\n",
            b"" if x.head.method == "HEAD" else body,
        )
    )


def health(head: RequestHead, now: float, *, draining: bool, close: bool) -> bytes:
    """Return the bytes of the answer on `health_path`: 200, or 503 while draining."""
    body = b"draining\n" if draining else b"ok\n"
    return b"".join(
        (
            STATUS_LINES[503 if draining else 200],
            date_line(now),
            b"Content-Type: text/plain\r\nCache-Control: no-store\r\nContent-Length: %d\r\n"
            % len(body),
            _CLOSE if close else b"",
            b"\r\n",
            b"" if head.method == "HEAD" else body,
        )
    )


class _LastDate:
    """The line of the second that was asked for last: a flood of refusals has few seconds."""

    second = -1
    line = b""


def date_line(now: float) -> bytes:
    """Return the header `Date` (RFC 9110 sections 5.6.7 and 6.6.1)."""
    second = int(now)
    if _LastDate.second != second:
        at = datetime.fromtimestamp(second, UTC)
        day, month = _DAYS[at.weekday()], _MONTHS[at.month - 1]
        _LastDate.line = f"Date: {day}, {at:%d} {month} {at:%Y %H:%M:%S} GMT\r\n".encode("ascii")
        _LastDate.second = second
    return _LastDate.line


def _names(x: Exchange) -> bytes:
    return b"X-Request-Id: %b\r\n" % x.request_id.encode("ascii")


def _about(error: ProxyError) -> bytes:
    """Return the header lines that belong to the kind of error."""
    lines = []
    if isinstance(error, Unauthorized):
        details = (
            f', error="{error.error}", error_description="{error.detail}"' if error.error else ""
        )
        lines.append(f"{_CHALLENGE}{details}\r\n")
    if isinstance(error, MethodRefused):
        lines.append(f"Allow: {', '.join(error.allow)}\r\n")
    if isinstance(error, RateLimited) and error.policy:
        lines.append(f"RateLimit-Policy: {error.policy}\r\nRateLimit: {error.standing}\r\n")
    if error.retry_after is not None:
        lines.append(f"Retry-After: {error.retry_after}\r\n")
    return "".join(lines).encode("ascii")
