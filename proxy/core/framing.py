"""What a request's head says about its form: sizes, version, method, body, expectation, upgrade.

aiohttp's C parser has already refused what cannot be parsed; here is what can be, but must not be
forwarded.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Final

from proxy.errors import (
    BadRequest,
    BodyTooLarge,
    CodingUnknown,
    ExpectationFailed,
    HeadTooLarge,
    MethodUnknown,
    ProxyError,
    TargetTooLong,
)

if TYPE_CHECKING:
    from proxy.config.model import Limits
    from proxy.core.head import RequestHead

_METHODS: Final = frozenset(
    {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY"}
    # WebDAV (RFC 4918, RFC 3253, RFC 5323): forwarded like any other. CONNECT and TRACE are not in
    # the list: the one asks for a tunnel to anywhere, the other would echo the headers that we add.
    | {"PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "REPORT", "SEARCH"}
)
_CONTINUE: Final = b"100-continue"
MAX_FIELDS: Final = 256
"""Header lines in one head; browsers send about 20. Each costs time, so a flood of empty ones is
refused.
"""


def check(head: RequestHead, limits: Limits) -> None:
    """Refuse a head that is too large, or whose version, method, coding or expectation we do not
    serve.

    Raises TargetTooLong, HeadTooLarge, BadRequest, MethodUnknown, CodingUnknown, ExpectationFailed.
    """
    if len(head.target) > limits.target:
        raise TargetTooLong(
            f"target of {len(head.target)} bytes, at most {limits.target} (limits.target)"
        )
    fields = head.fields
    if head.size > limits.head or len(fields) > MAX_FIELDS:
        raise HeadTooLarge(
            f"head of {head.size} bytes in {len(fields)} fields, "
            f"at most {limits.head} (limits.head) in {MAX_FIELDS}"
        )
    if head.minor not in (0, 1):
        raise BadRequest("only HTTP/1.0 and HTTP/1.1 are served")
    if head.method not in _METHODS:
        raise MethodUnknown(f"method {head.method} is never forwarded")
    noted = head.noted
    if b"transfer-encoding" in noted:
        _check_coding(head)
    expected = head.get(b"expect") if b"expect" in noted and head.minor == 1 else None
    # RFC 9110 section 10.1.1: it is a list, so that an empty one expects nothing.
    if expected and expected.lower() != _CONTINUE:
        raise ExpectationFailed("an expectation other than 100-continue")


def is_served(head: RequestHead, limits: Limits) -> bool:
    """Whether `check` lets the head pass."""
    try:
        check(head, limits)
    except ProxyError as error:
        error.settle()
        return False
    return True


def _check_coding(head: RequestHead) -> None:
    """RFC 9112 section 6.1: chunked is the only coding we know, and HTTP/1.0 has none."""
    if head.minor == 0:
        raise BadRequest("Transfer-Encoding in an HTTP/1.0 request")
    if (head.get(b"transfer-encoding") or b"").lower() != b"chunked":
        raise CodingUnknown("a transfer coding other than chunked")


def content_length(head: RequestHead) -> int | None:
    """Return the declared length of the body in bytes; None when nothing is declared."""
    sent = head.noted.get(b"content-length")
    return None if sent is None else int(sent)


def is_chunked(head: RequestHead) -> bool:
    """Whether the body comes in chunks; `check` has seen to it that no other coding is there."""
    return b"transfer-encoding" in head.noted


def has_body(head: RequestHead) -> bool:
    """Whether a body follows the head (RFC 9112 section 6.3); one of declared length 0 does not."""
    return is_chunked(head) or bool(content_length(head))


def expects_continue(head: RequestHead) -> bool:
    """Whether the client waits for a 100 before it sends the body (RFC 9110 section 10.1.1)."""
    expected = head.noted.get(b"expect")
    return bool(expected) and head.minor == 1 and has_body(head)


def check_body(head: RequestHead, limit: int | None) -> None:
    """Refuse a body that is declared larger than `limit` bytes; one in chunks is counted as it
    comes.

    Raises BodyTooLarge.
    """
    if limit is None:
        return
    length = content_length(head)
    if length is not None and length > limit:
        raise BodyTooLarge(f"body of {length} bytes, at most {limit} (limits.body)")


def is_websocket(head: RequestHead) -> bool:
    """Whether the request is a valid opening handshake (RFC 6455 section 4.2.1)."""
    noted = head.noted
    if b"upgrade" not in noted or head.method != "GET" or head.minor != 1 or has_body(head):
        return False
    tokens = {token.strip(b" \t").lower() for token in noted.get(b"connection", b"").split(b",")}
    return (
        noted[b"upgrade"].lower() == b"websocket"
        and b"upgrade" in tokens
        and head.get(b"sec-websocket-version") == b"13"
        and _is_websocket_key(head.get(b"sec-websocket-key"))
    )


def _is_websocket_key(key: bytes | None) -> bool:
    """Section 4.1, point 7: 16 bytes in base64."""
    if key is None or len(key) != 24:
        return False
    try:
        return len(base64.b64decode(key, validate=True)) == 16
    except binascii.Error:
        return False
