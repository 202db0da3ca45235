"""What comes on a client's connection, as far as it can be told from outside the parser.

aiohttp's parser bounds single lines; a head and what is around a body are bounded here. And the
parser does not tell where it stands, so that is reckoned here: the lane (lane.py), which passes the
parser by, may only be taken while it stands between two messages. No I/O.
"""

from __future__ import annotations

from typing import Final

from proxy.errors import HeadTooLarge, ProxyError, TargetTooLong

_END: Final = b"\r\n\r\n"


class Intake:
    """Counts what has come of the message under way.

    `head_bytes` and `head_lines` are of a head that has begun and not ended. `limit` is the size
    that a head may have; twice as much is read, so that most that is too large is judged whole,
    with the headers that our answer needs (CORS).

    `at_rest` says that the bytes so far end where a message ends. That is certain when a head began
    at rest and the sum is right: it ends at its first empty line, and its body is as long as
    declared. Where it is not certain (chunks, pipelined requests), it stays false for good.
    """

    __slots__ = (
        "_began_at_rest",
        "_begun",
        "_body_bytes",
        "_left",
        "_limit",
        "at_rest",
        "head_bytes",
        "head_lines",
    )

    def __init__(self, limit: int) -> None:
        self._limit = limit * 2
        self._body_bytes = 0
        self.head_bytes = 0
        self.head_lines = 0
        self.at_rest = True
        self._began_at_rest = False
        self._begun = b""
        self._left: int | None = None

    def __repr__(self) -> str:
        return f"<Intake head={self.head_bytes} body={self._body_bytes}>"

    def end_head(self, data: bytes, declared: int | None) -> bool:
        """The parser has made one request, and nothing else, of `data` and what came before it.

        `declared` is the length of the request's body, or None when it declares none (chunks).
        Return whether `data` is exactly that request's head, which has no body.
        """
        whole = data if self.at_rest else self._begun + data if self._began_at_rest else b""
        alone = self.at_rest
        self.lose()
        if not whole or declared is None:
            return False
        end = whole.find(_END)
        if end < 0:
            return False
        left = end + len(_END) + declared - len(whole)
        self.at_rest = left == 0
        self._left = left if left > 0 else None
        return alone and self.at_rest and not declared

    def lose(self) -> None:
        """A head has ended, and it is not certain where in the data."""
        self.at_rest = self._began_at_rest = False
        self.head_bytes = self._body_bytes = 0
        self._begun = b""
        self._left = None

    def add_to_head(self, data: bytes) -> ProxyError | None:
        """Count bytes of a head that has not ended; return the refusal when they are too many."""
        if not self.head_bytes:
            self.head_lines = 0
            self._began_at_rest, self.at_rest = self.at_rest, False
        if self._began_at_rest:
            self._begun += data
        self.head_bytes += len(data)
        self.head_lines += data.count(b"\n")
        if self.head_bytes <= self._limit:
            return None
        reason = f"over {self._limit} bytes of a head that does not end"
        return HeadTooLarge(reason) if self.head_lines else TargetTooLong(reason)

    def add_to_body(self, size: int, body: int) -> ProxyError | None:
        """Count `size` bytes more of a message whose body has `body` bytes so far.

        The parser would keep trailers of any size until they end, so what is around a body is
        bounded: a body in chunks of one byte each has five bytes of framing for each of its own.
        """
        self._body_bytes += size
        if size:
            left = self._left
            self.at_rest = left == size
            self._left = left - size if left is not None and left > size else None
        if self._body_bytes - body <= self._limit + body * 8:
            return None
        return HeadTooLarge("more trailers than a head may have fields")
