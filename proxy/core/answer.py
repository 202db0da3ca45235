"""The head that goes back to the client for an upstream's answer: its fields, cleaned, and ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from proxy.core.headers import (
    CACHE_CONTROL,
    CORS,
    DROP,
    EXPOSE,
    STATUS_LINES,
    ResponseFilter,
    nominated,
)

if TYPE_CHECKING:
    from proxy.core.exchange import Exchange

_GUARDED: Final = b"Vary: Cookie, Authorization\r\n"
_PRIVATE: Final = b"Cache-Control: private\r\n"


@dataclass(slots=True)
class Answer:
    """The head of an upstream's final answer.

    `length` is its Content-Length, `chunked` whether its body comes in chunks; neither: the body
    ends with the connection. `bodiless` is true where no body can follow (HEAD, 204, 304; RFC 9112
    section 6.3).
    """

    status: int
    fields: list[tuple[bytes, bytes]]
    connection: bytes | None
    length: int | None
    chunked: bool
    bodiless: bool


@dataclass(slots=True)
class AnswerHead:
    """What is written to the client: `data` up to the blank line; how the body is framed;
    whether we close.
    """

    data: bytes
    chunked: bool
    close: bool


def answer_head(
    x: Exchange, answer: Answer, rules: ResponseFilter, *, close: bool, upgrade: bool = False
) -> AnswerHead:
    """Build the head of the answer to the client of `x`; `upgrade` makes it a WebSocket's 101.

    A body of unknown length goes out in chunks, or to an HTTP/1.0 client until the connection
    closes.
    """
    framed = answer.bodiless or answer.length is not None
    chunked = not framed and x.head.minor == 1
    close = close or (not framed and not chunked)
    parts = [STATUS_LINES[answer.status]]
    _add_passing(parts, x, answer, rules)
    if chunked:
        parts.append(b"Transfer-Encoding: chunked\r\n")
    if upgrade:
        parts.append(b"Connection: Upgrade\r\nUpgrade: websocket\r\n")
    end = "Connection: close\r\n\r\n" if close else "\r\n"
    parts.append(f"X-Request-Id: {x.request_id}\r\n{end}".encode("ascii"))
    return AnswerHead(b"".join(parts), chunked, close)


def _add_passing(parts: list[bytes], x: Exchange, answer: Answer, rules: ResponseFilter) -> None:
    """Append the lines of the upstream's fields that pass, then CORS and cache lines of ours."""
    hop = nominated(answer.connection)
    cors, route = x.cors, x.route
    known = rules.memo.get
    exposed: bytes | None = None
    cached = False
    for name, value in answer.fields:
        kind = known(name)
        if kind is None:
            kind = rules.kind(name)
        if kind:
            if kind == DROP or (kind == CORS and cors.enabled):
                continue
            if kind == EXPOSE and cors.enabled:
                exposed = value if exposed is None else exposed + b", " + value
                continue
            cached = cached or kind == CACHE_CONTROL
        if hop and name.lower() in hop:
            continue
        parts += (name, b": ", value, b"\r\n")
    if cors.enabled:
        parts.append(
            cors.grant(x.head) if exposed is None else cors.grant_exposing(x.head, exposed)
        )
    if route is not None and route.policy.auth != "public":
        parts.append(_GUARDED)
        if not cached:
            parts.append(_PRIVATE)


def interim_head(x: Exchange, answer: Answer) -> bytes:
    """Return a 103 (RFC 8297) for the client; b"" for one of HTTP/1.0, which knows no interim
    answers.
    """
    if x.head.minor == 0:
        return b""
    links = [
        b"%b: %b\r\n" % (name, value) for name, value in answer.fields if name.lower() == b"link"
    ]
    return b"".join((STATUS_LINES[answer.status], *links, b"\r\n")) if links else b""
