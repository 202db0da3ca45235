"""What comes on a client's connection, as far as it can be told from outside the parser.

aiohttp's parser bounds single lines; a head and what is around a body are bounded here. And the
parser does not tell where it stands, so that is reckoned here: the lane (lane.py), which passes the
parser by, may only be taken while it stands between two messages. No I/O.
"""

from __future__ import annotations

from typing import Final

from proxy.errors import HeadTooLarge, ProxyError, TargetTooLong

_END: Final = b"\r\n\r\n"
_END_RESTS: Final = (b"\n\r\n", b"\r\n", b"\n")


class Intake:
    """Counts what has come of the message under way.

    `head_bytes` and `head_lines` are of a head that has begun and not ended. `limit` is the size
    that a head may have; twice as much is read, so that most that is too large is judged whole,
    with the headers that our answer needs (CORS).

    `at_rest` says that the bytes so far end where a message ends. That is certain when a head began
    at rest and the sum is right: it ends at its first empty line, and its body is as long as
    declared. Where it is not certain (chunks, pipelined requests), it stays false for good.

    A head may begin in the same data in which the message before it ends. Behind chunks or several
    requests that is told by the empty line, which no head holds but at its end.
    """

    __slots__ = (
        "_began_at_rest",
        "_begun",
        "_body_bytes",
        "_chunked",
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
        self._chunked = False
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
        if left < 0:
            self._begin_head(data[left:])
        return alone and self.at_rest and not declared

    def end_heads(self, data: bytes, declared: int | None, *, complete: bool) -> None:
        """The parser has made requests of `data` and what came before it, and it is not certain
        where the last of them ended.

        `declared` is the length of its body, None for chunks; `complete`: all of it has come.
        """
        self.lose()
        self._chunked = declared is None
        if complete and not declared:
            self._begin_head(_behind(data))

    @property
    def sure(self) -> bool:
        """Whether it is known where the message under way ends, or that another head has begun."""
        return self.at_rest or self._left is not None or self.head_bytes > 0

    def lose(self) -> None:
        """A head has ended, and it is not certain where in the data."""
        self.at_rest = self._began_at_rest = False
        self.head_bytes = self._body_bytes = 0
        self._begun = b""
        self._chunked = False
        self._left = None

    def _begin_head(self, data: bytes) -> None:
        """`data` is of a head that began with it, and not at rest."""
        self.head_bytes = len(data)
        self.head_lines = data.count(b"\n")

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

    def add_to_body(self, data: bytes, body: int, *, complete: bool) -> ProxyError | None:
        """Count `data` as more of a message whose body has `body` bytes so far; `complete`: that is
        all of it, and what is left of `data` begins a head.

        The parser would keep trailers of any size until they end, so what is around a body is
        bounded: a body in chunks of one byte each has five bytes of framing for each of its own.
        """
        size = len(data)
        self._body_bytes += size
        if size:
            left = self._left
            self.at_rest = left == size
            self._left = left - size if left is not None and left > size else None
            if left is not None and left < size:
                self._begin_head(data[left:])
            elif complete and self._chunked:
                self._begin_head(_behind(data))
        if self._body_bytes - body <= self._limit + body * 8:
            return None
        return HeadTooLarge("more trailers than a head may have fields")


def _behind(data: bytes) -> bytes:
    """Return what stands in `data` behind the last end of a message, which is an empty line and may
    have begun before `data`; more empty lines behind it are not part of it.
    """
    end = data.rfind(_END)
    if end >= 0:
        return data[len(data[:end].rstrip(b"\r\n")) + len(_END) :]
    return next((data[len(rest) :] for rest in _END_RESTS if data.startswith(rest)), b"")
