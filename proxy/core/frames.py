"""Where WebSocket frames begin and end (RFC 6455 section 5.2), without looking at what they
carry.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Final

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
SESSION_ENDED: Final = 1008
"""Close code (RFC 6455 section 7.4.1, "policy violation"): the session of the connection has
ended.
"""
RESTART: Final = 1012
"""Close code (IANA registry, "service restart"): come back, at another instance."""


def accept_key(key: bytes) -> bytes:
    """Return the Sec-WebSocket-Accept that answers this Sec-WebSocket-Key (section 4.2.2, point
    5.4).
    """
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())


def close_frame(code: int) -> bytes:
    """Return a server's Close frame with this code and no reason (section 5.5.1)."""
    return b"\x88\x02" + code.to_bytes(2, "big")


class FrameTracker:
    """Follows the frames of one direction, to know when none is begun and one of ours may be put
    in.
    """

    __slots__ = ("_head", "_left")

    def __init__(self) -> None:
        self._head = b""
        self._left = 0

    def __repr__(self) -> str:
        return f"<FrameTracker between={self.between}>"

    @property
    def between(self) -> bool:
        """Whether every frame that has begun has also ended."""
        return not self._left and not self._head

    def feed(self, data: bytes) -> None:
        """Take note of bytes that pass."""
        position, end = 0, len(data)
        while position < end:
            if self._left:
                step = min(self._left, end - position)
                self._left -= step
                position += step
                continue
            missing = _head_size(self._head) - len(self._head)
            self._head += data[position : position + missing]
            position += missing
            if len(self._head) == _head_size(self._head):
                self._left = _payload_size(self._head)
                self._head = b""


def _head_size(head: bytes) -> int:
    """Return how long the frame's head is, as far as its first bytes tell."""
    if len(head) < 2:
        return 2
    extended = {126: 2, 127: 8}.get(head[1] & 0x7F, 0)
    masked = 4 if head[1] & 0x80 else 0
    return 2 + extended + masked


def _payload_size(head: bytes) -> int:
    short = head[1] & 0x7F
    if short == 126:
        return int.from_bytes(head[2:4], "big")
    if short == 127:
        return int.from_bytes(head[2:10], "big")
    return short
