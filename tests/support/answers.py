"""Reads what a server sent as HTTP/1.x answers (RFC 9112), strictly, without any HTTP library.

What the parser cannot read it does not repair: `Answers.garbage` holds it, so that a test can say
that there is none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2}) ([^\x00-\x08\x0a-\x1f\x7f]*)")
_FIELD: Final = re.compile(
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*?)[ \t]*"
)
_CHUNK_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,8})(?:;[^\r\n]*)?")


class MalformedAnswer(ValueError):
    """The bytes are not HTTP/1.x."""


@dataclass(slots=True)
class Answer:
    """One answer; `complete` is false when the connection ended before the body did."""

    status: int
    minor: int
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""
    complete: bool = False

    def values(self, name: str) -> list[str]:
        """Return the values of all fields called `name`, in order."""
        wanted = name.lower().encode()
        return [value.decode("latin-1") for key, value in self.headers if key.lower() == wanted]

    def get(self, name: str) -> str | None:
        """Return the one value of `name`, or None. Raises AssertionError when there are more."""
        values = self.values(name)
        assert len(values) <= 1, f"{name} comes {len(values)} times"
        return values[0] if values else None

    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)

    @property
    def interim(self) -> bool:
        """Whether it is a 1xx that another answer follows; 101 is final (RFC 9110, 15.2.2)."""
        return self.status < 200 and self.status != 101


@dataclass(slots=True)
class Answers:
    """What a connection said, in order.

    `rest` is what is not yet an answer, or no longer one (after a 101). `lacking` is how many bytes
    at least must still come before there can be another answer.
    """

    all: list[Answer] = field(default_factory=list)
    rest: bytes = b""
    garbage: bool = False
    lacking: int = 0

    @property
    def final(self) -> list[Answer]:
        """The answers that are not interim."""
        return [answer for answer in self.all if not answer.interim]

    @property
    def settled(self) -> bool:
        """Whether there is a final answer, the last is whole, and nothing has begun behind it."""
        if not self.final or self.rest:
            return False
        return self.all[-1].complete and not self.all[-1].interim


def parse_answers(data: bytes | bytearray, *, eof: bool, methods: Sequence[str] = ()) -> Answers:
    """Read `data` as answers to requests with these `methods` (GET for all that are not named).

    `eof` says that the connection has ended: what is unfinished then comes out as not complete.
    """
    answers = Answers()
    at = final = 0
    while at < len(data):
        method = methods[final] if final < len(methods) else "GET"
        end = data.find(b"\r\n\r\n", at)
        if end < 0:
            answers.garbage = eof or not b"HTTP/1.".startswith(bytes(data[at : at + 7]))
            break
        answer = _parse_head(bytes(data[at:end]))
        if answer is None:
            answers.garbage = True
            break
        try:
            used = _parse_body(answer, data, end + 4, eof=eof, method=method)
        except MalformedAnswer:
            answers.garbage = True
            break
        if not answer.complete and not eof:
            answers.lacking = max(0, end + 4 + used - len(data))
            break
        answers.all.append(answer)
        final += not answer.interim
        at = end + 4 + used
        if answer.status == 101 or not answer.complete:
            break
    answers.rest = bytes(data[at:])
    return answers


def _parse_head(head: bytes) -> Answer | None:
    first, *lines = head.split(b"\r\n")
    status = _STATUS_LINE.fullmatch(first)
    fields = [_FIELD.fullmatch(line) for line in lines]
    if status is None or None in fields:
        return None
    headers = [(f[1], f[2]) for f in fields if f is not None]
    return Answer(int(status[2]), int(status[1]), headers)


def _parse_body(answer: Answer, data: bytes | bytearray, at: int, *, eof: bool, method: str) -> int:
    """Fill in body and `complete` from `data[at:]`; return how many bytes belong to the body.

    Of a body with a length that is not whole, and may become it, nothing is filled in.
    """
    codings, lengths = answer.values("Transfer-Encoding"), answer.values("Content-Length")
    if len(codings) + len(lengths) > 1 or codings not in ([], ["chunked"]):
        raise MalformedAnswer(f"Transfer-Encoding {codings}, Content-Length {lengths}")
    if answer.status < 200 or answer.status in (204, 304) or method == "HEAD":
        answer.complete = True
        return 0
    if codings:
        answer.body, used, answer.complete = dechunk(bytes(data[at:]))
        return used
    if not lengths:
        answer.body, answer.complete = bytes(data[at:]), eof
        return len(data) - at
    if not re.fullmatch("[0-9]+", lengths[0]):
        raise MalformedAnswer(f"Content-Length {lengths[0]}")
    length = int(lengths[0])
    answer.complete = len(data) - at >= length
    if not answer.complete and not eof:
        return length
    answer.body = bytes(data[at : at + length])
    return len(answer.body)


def dechunk(data: bytes) -> tuple[bytes, int, bool]:
    """Return body, bytes used and whether the last chunk was seen (RFC 9112 section 7.1).

    Raises MalformedAnswer, for trailers too: nobody here expects any.
    """
    body, at = bytearray(), 0
    while True:
        line_end = data.find(b"\r\n", at)
        if line_end < 0:
            return bytes(body), len(data), False
        size_line = _CHUNK_SIZE.fullmatch(data, at, line_end)
        if size_line is None:
            raise MalformedAnswer(f"chunk size {data[at:line_end]!r}")
        size = int(size_line[1], 16)
        at = line_end + 2
        if size == 0:
            end = data.find(b"\r\n", at)
            if end > at:
                raise MalformedAnswer("a trailer")
            return bytes(body), len(data) if end < 0 else end + 2, end == at
        body += data[at : at + size]
        if len(data) < at + size + 2:
            return bytes(body), len(data), False
        if data[at + size : at + size + 2] != b"\r\n":
            raise MalformedAnswer("a chunk that is longer than its size")
        at += size + 2
