"""The names of an exchange: its request id and its traceparent, kept from the peer or newly
made.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from proxy.core.exchange import Exchange
    from proxy.core.head import RequestHead

# What is kept of somebody else's request id: it goes into logs and headers.
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")
# W3C Trace Context, section 3.2.2: version 00, no other fields; other versions may carry more.
_TRACEPARENT: Final = re.compile(
    rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
)
_NO_TRACE: Final = b"0" * 32
_NO_PARENT: Final = b"0" * 16


def name(x: Exchange, sent_id: bytes | None, sent_trace: bytes | None) -> None:
    """Give the exchange of a known client its request id and its traceparent, by those sent."""
    x.request_id = request_id(sent_id, x.client.trusted, x.seed)
    x.traceparent = traceparent(sent_trace, x.seed)


def sent(head: RequestHead) -> tuple[bytes | None, bytes | None]:
    """Return the X-Request-Id and the traceparent of `head`; what came twice names nothing."""
    twice = head.repeated or ()
    noted = head.noted
    return (
        None if b"x-request-id" in twice else noted.get(b"x-request-id"),
        None if b"traceparent" in twice else noted.get(b"traceparent"),
    )


def request_id(sent: bytes | None, trusted: bool, seed: str) -> str:
    """Return the id of this request: the sent one if its sender is trusted and it is sane, else
    new.
    """
    if trusted and sent is not None and _REQUEST_ID.fullmatch(sent):
        return sent.decode()
    return seed[:32]


def traceparent(sent: bytes | None, seed: str) -> str:
    """Continue the trace that the client sent, with a parent id of ours, or start one.

    An invalid traceparent restarts the trace (W3C Trace Context, section 4.3). The sampled flag is
    the client's; a trace that begins here is not sampled, because nothing here records spans.
    """
    parent = seed[32:48]
    match = None if sent is None else _TRACEPARENT.fullmatch(sent)
    if match is not None and _is_valid(match):
        return f"00-{match[2].decode()}-{parent}-{int(match[4], 16) & 1:02x}"
    return f"00-{seed[:32]}-{parent}-00"


def is_continued(sent: bytes) -> bool:
    """Whether the trace of this traceparent is continued, and not restarted."""
    match = _TRACEPARENT.fullmatch(sent)
    return match is not None and _is_valid(match)


def _is_valid(match: re.Match[bytes]) -> bool:
    version, trace, parent, rest = match[1], match[2], match[3], match[5]
    if version == b"ff" or (version == b"00" and rest is not None):
        return False
    return trace != _NO_TRACE and parent != _NO_PARENT
