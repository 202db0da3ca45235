"""What comes on a client's connection, as far as it can be counted from outside the parser.

aiohttp's parser bounds single lines; a head and what is around a body are bounded here. No I/O.
"""

from __future__ import annotations

from proxy.errors import HeadTooLarge, ProxyError, TargetTooLong


class Intake:
    """Counts what has come of the message under way.

    `head_bytes` and `head_lines` are of a head that has begun and not ended. `limit` is the size
    that a head may have; twice as much is read, so that most that is too large is judged whole,
    with the headers that our answer needs (CORS).
    """

    __slots__ = ("_body_bytes", "_limit", "head_bytes", "head_lines")

    def __init__(self, limit: int) -> None:
        self._limit = limit * 2
        self._body_bytes = 0
        self.head_bytes = 0
        self.head_lines = 0

    def __repr__(self) -> str:
        return f"<Intake head={self.head_bytes} body={self._body_bytes}>"

    def begin_body(self) -> None:
        """A head has ended: what comes next is its body, or the next head."""
        self.head_bytes = 0
        self._body_bytes = 0

    def add_to_head(self, data: bytes) -> ProxyError | None:
        """Count bytes of a head that has not ended; return the refusal when they are too many."""
        if not self.head_bytes:
            self.head_lines = 0
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
        if self._body_bytes - body <= self._limit + body * 8:
            return None
        return HeadTooLarge("more trailers than a head may have fields")
