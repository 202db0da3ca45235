"""The head that goes back to the client for an upstream's answer: its fields, cleaned, and ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from proxy.core.headers import (
    CACHE_CONTROL,
    CORS,
    DATE,
    DROP,
    EXPOSE,
    LENGTH,
    STATUS_LINES,
    ResponseFilter,
    nominated,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.core.exchange import Exchange

_LENGTHLESS: Final = frozenset({101, 204})
"""Statuses with which a Content-Length must not be sent (RFC 9110 section 8.6)."""
_DROPPED: Final = {
    (cors, lengthless): frozenset(
        {DROP} | ({CORS, EXPOSE} if cors else set()) | ({LENGTH} if lengthless else set())
    )
    for cors in (True, False)
    for lengthless in (True, False)
}
"""Kinds that do not pass, by whether CORS is ours and whether the status can have a length."""
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


_STREAMS: Final = frozenset(
    {b"text/event-stream", b"multipart/x-mixed-replace", b"application/x-ndjson"}
)


def is_stream(answer: Answer) -> bool:
    """Whether the body of the answer is one that goes on for as long as somebody listens, by its
    type.
    """
    for name, value in answer.fields:
        if len(name) == 12 and name.lower() == b"content-type":
            return value.partition(b";")[0].strip().lower() in _STREAMS
    return False


@dataclass(slots=True)
class AnswerHead:
    """What is written to the client: `data` up to the blank line; how the body is framed;
    whether we close.
    """

    data: bytes
    chunked: bool
    close: bool


def answer_head(
    x: Exchange,
    answer: Answer,
    rules: ResponseFilter,
    *,
    close: bool,
    upgrade: bool = False,
    date: Callable[[Exchange], bytes] | None = None,
) -> AnswerHead:
    """Build the head of the answer to the client of `x`; `upgrade` makes it a WebSocket's 101.

    `date` returns the line of this moment for an answer without a `Date` of its own (RFC 9110
    section 6.6.1); 1xx need none.

    A body of unknown length goes out in chunks, or to an HTTP/1.0 client until the connection
    closes.
    """
    framed = answer.bodiless or answer.length is not None
    chunked = not framed and x.head.minor == 1
    close = close or (not framed and not chunked)
    parts = [STATUS_LINES[answer.status]]
    dated = _add_passing(parts, x, answer, rules)
    if not dated and date is not None:
        parts.append(date(x))
    if chunked:
        parts.append(b"Transfer-Encoding: chunked\r\n")
    if upgrade:
        parts.append(b"Connection: Upgrade\r\nUpgrade: websocket\r\n")
    end = "Connection: close\r\n\r\n" if close else "\r\n"
    parts.append(f"X-Request-Id: {x.request_id}\r\n{end}".encode("ascii"))
    return AnswerHead(b"".join(parts), chunked, close)


def _add_passing(parts: list[bytes], x: Exchange, answer: Answer, rules: ResponseFilter) -> bool:
    """Append the lines of the upstream's fields that pass, then CORS and cache lines of ours;
    return whether a Date is among them.
    """
    hop = nominated(answer.connection)
    dropped = _DROPPED[x.cors.enabled, answer.status in _LENGTHLESS]
    known = rules.memo.get
    special: list[tuple[int, bytes]] = []
    dated = False
    for name, value in answer.fields:
        kind = known(name)
        if kind is None:
            kind = rules.kind(name)
        if hop and name.lower() in hop:
            continue
        if kind == DATE:
            dated = True
        elif kind:
            special.append((kind, value))
            if kind in dropped:
                continue
        parts += (name, b": ", value, b"\r\n")
    _add_ours(parts, x, special)
    return dated


def _add_ours(parts: list[bytes], x: Exchange, special: list[tuple[int, bytes]]) -> None:
    cors, route = x.cors, x.route
    if cors.enabled:
        exposed = b", ".join(value for kind, value in special if kind == EXPOSE)
        parts.append(cors.grant_exposing(x.head, exposed) if exposed else cors.grant(x.head))
    if route is not None and route.policy.auth != "public":
        parts.append(_GUARDED)
        if not any(kind == CACHE_CONTROL and value.strip(b" \t,") for kind, value in special):
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
