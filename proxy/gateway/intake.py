"""What comes on a client's connection, as far as it can be told from outside the parser.

aiohttp's parser bounds single lines; a head and what is around a body are bounded here. And the
parser does not tell where it stands, so that is reckoned here: the lane (lane.py), which passes the
parser by, may only be taken while it stands between two messages, and only then can another parser
take its place. No I/O.
"""

from __future__ import annotations

from typing import Final

from proxy.errors import HeadTooLarge, ProxyError, TargetTooLong

_END: Final = b"\r\n\r\n"
_TAIL_MAX: Final = 4096
"""Bytes that are kept of what came before a head of which it is not certain where it began: enough
for its request line. A connection that waits keeps them.
"""


class Intake:
    """Counts what has come of the message under way.

    `head_bytes` and `head_lines` are of a head that has begun and not ended. `limit` is the size
    that a head may have; twice as much is read, so that most that is too large is judged whole,
    with the headers that our answer needs (CORS).

    `at_rest` says that the bytes so far end where a message ends. That is certain in two cases:
    - A head began at rest and the sum is right: it ends at its first empty line, and its body is as
      long as declared.
    - A message has ended in the bytes that came last, and these end with an empty line (`settle`).
      Behind the message there is nothing then but the beginning of a next one; a beginning that has
      an empty line in it is a whole head, and the parser would have made one more message of it.
      What is left are empty lines alone, which a parser passes over while it waits.
    """

    __slots__ = (
        "_began_at_rest",
        "_begun",
        "_body_bytes",
        "_left",
        "_limit",
        "_tail",
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
        self._begun = bytearray()
        self._left: int | None = None
        self._tail = b""

    def __repr__(self) -> str:
        return f"<Intake head={self.head_bytes} body={self._body_bytes}>"

    def since_rest(self, data: bytes) -> bytes:
        """Return `data` with the beginning of a head that came before it, if one did."""
        return bytes(self._begun) + data if self._begun else data

    def end_head(self, data: bytes, declared: int | None) -> bool:
        """The parser has made one request, and nothing else, of `data` and what came before it.

        `declared` is the length of the request's body, or None when it declares none (chunks).
        Return whether `data` is exactly that request's head, which has no body.
        """
        alone = self.at_rest
        whole = self.since_rest(data) if alone or self._began_at_rest else b""
        self.lose(data)
        if not whole or declared is None:
            return False
        end = whole.find(_END)
        if end < 0:
            return False
        left = end + len(_END) + declared - len(whole)
        self.at_rest = left == 0
        self._left = left if left > 0 else None
        return alone and self.at_rest and not declared

    def lose(self, data: bytes = b"") -> None:
        """A head has ended in `data`, and it is not certain where."""
        self.at_rest = self._began_at_rest = False
        self.head_bytes = self._body_bytes = 0
        self._begun.clear()
        self._left = None
        self._tail = data[-len(_END) :]

    def settle(self, data: bytes, *, held_back: bool) -> bool:
        """A message has ended in `data`; return whether it is certain that the parser is at rest.

        `held_back`: the parser may hold bytes that it has not looked at.
        """
        self.at_rest = not held_back and (self.at_rest or self._tail == _END)
        if not self.at_rest:
            self._begun[:] = data[-_TAIL_MAX:]  # the beginning of the next head is in it
        return self.at_rest

    def add_to_head(self, data: bytes) -> ProxyError | None:
        """Count bytes of a head that has not ended; return the refusal when they are too many."""
        if not self.head_bytes:
            self.head_lines = 0
            self._began_at_rest, self.at_rest = self.at_rest, False
        if self._began_at_rest or len(self._begun) < _TAIL_MAX:
            self._begun += data
        self.head_bytes += len(data)
        self.head_lines += data.count(b"\n")
        if self.head_bytes <= self._limit:
            return None
        reason = f"over {self._limit} bytes of a head that does not end"
        return HeadTooLarge(reason) if self.head_lines else TargetTooLong(reason)

    def add_to_body(self, data: bytes, body: int) -> ProxyError | None:
        """Count `data` as part of a message whose body has `body` bytes so far.

        The parser would keep trailers of any size until they end, so what is around a body is
        bounded: a body in chunks of one byte each has five bytes of framing for each of its own.
        """
        size = len(data)
        self._body_bytes += size
        if size:
            left = self._left
            self.at_rest = left == size
            self._left = left - size if left is not None and left > size else None
            self._tail = (self._tail + data[-len(_END) :])[-len(_END) :]
        if self._body_bytes - body <= self._limit + body * 8:
            return None
        return HeadTooLarge("more trailers than a head may have fields")
