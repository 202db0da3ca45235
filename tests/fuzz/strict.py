"""A slow and strict reading of HTTP/1.1 (RFC 9112), without a line of the product's code.

It reads all bytes of a connection at once, as a recipient that accepts what the grammar allows and
refuses the rest. It is one of the opinions that our parsers are held against.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
# What is taken beyond the grammar, as llhttp takes it and it can do no harm: more spaces in a
# request line (RFC 9112 section 3 allows it), any CR and LF before one (section 2.2 speaks of empty
# lines) and behind an interim response, and anything in a reason phrase, which goes nowhere.
REQUEST_LINE: Final = re.compile(rb"(%b) +([\x21-\x7e]+) +HTTP/(\d)\.(\d)" % _TOKEN)
STATUS_LINE: Final = re.compile(rb"HTTP/(\d)\.(\d) (\d{3})(?: [^\r\n]*)?")
FIELD: Final = re.compile(rb"(%b):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*" % _TOKEN)
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?")
_DIGITS: Final = re.compile(rb"[0-9]{1,19}")
LENGTH_MAX: Final = 2**63 - 1


class Fault(Exception):
    """Not HTTP/1.1; the message says what is wrong."""


class Unfinished(Exception):
    """The bytes end within a message."""


class _InHead(Unfinished):
    """The bytes end within a head, of which so much has come."""

    def __init__(self, begun: bytes) -> None:
        super().__init__()
        self.begun = begun


Fields = list[tuple[bytes, bytes]]


@dataclass(slots=True)
class Request:
    """A request. `body` is None when it is not all there, or no body can be told from the head."""

    method: bytes
    target: bytes
    minor: int
    fields: Fields = field(repr=False)
    body: bytes | None = None


@dataclass(slots=True)
class Requests:
    """What a connection holds: requests, and why the reading stopped, if it did not at the end.
    `rest` is a head that has begun and not ended.
    """

    requests: list[Request]
    fault: str = ""
    rest: bytes = b""


def values(fields: Fields, name: bytes) -> list[bytes]:
    """Return the values of all fields called `name` (lower case), in order."""
    return [value for key, value in fields if key.lower() == name]


def options(fields: Fields) -> set[bytes]:
    """Return the connection options, in lower case."""
    joined = b",".join(values(fields, b"connection"))
    return {option.strip(b" \t").lower() for option in joined.split(b",")} - {b""}


class _Reader:
    """Takes lines and bytes off `data`."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    @property
    def left(self) -> bytes:
        return self.data[self.at :]

    def line(self) -> bytes:
        """Return the next line, which ends in CRLF and holds neither CR nor LF."""
        end = self.data.find(b"\n", self.at)
        line = self.left if end < 0 else self.data[self.at : end]
        bare = line.find(b"\r")
        if end < 0:
            if 0 <= bare < len(line) - 1:
                raise Fault("a bare CR")
            raise Unfinished
        if bare != len(line) - 1:
            raise Fault("a bare CR or LF")
        self.at = end + 1
        return line[:-1]

    def exactly(self, size: int) -> bytes:
        data = self.data[self.at : self.at + size]
        if len(data) < size:
            raise Unfinished
        self.at += size
        return data

    def pass_empty_lines(self) -> None:
        while self.left[:1] in {b"\r", b"\n"}:
            self.at += 1

    def fields(self) -> Fields:
        found: Fields = []
        while line := self.line():
            match = FIELD.fullmatch(line)
            if match is None:
                raise Fault(f"the line {line!r} is no field")
            found.append((match[1], match[2]))
        return found

    def chunks(self) -> bytes:
        body = b""
        while True:
            line = self.line()
            match = _CHUNK.fullmatch(line)
            if match is None:
                raise Fault(f"the chunk size {line!r}")
            size = int(match[1], 16)
            if not size:
                break
            body += self.exactly(size)
            if self.data[self.at : self.at + 2] != b"\r\n"[: len(self.data) - self.at]:
                raise Fault("a chunk that is longer than its size")
            self.exactly(2)
        self.fields()  # trailers
        return body


def declared_length(fields: Fields) -> int | None:
    """Return the one Content-Length. Raises Fault."""
    lengths = values(fields, b"content-length")
    if not lengths:
        return None
    if len(lengths) > 1 or not _DIGITS.fullmatch(lengths[0]) or int(lengths[0]) > LENGTH_MAX:
        raise Fault(f"the length {lengths!r}")
    return int(lengths[0])


def is_chunked(fields: Fields) -> bool:
    """Whether the one coding is chunked. Raises Fault for any other, and beside a length."""
    codings = values(fields, b"transfer-encoding")
    if not codings:
        return False
    if len(codings) > 1 or codings[0].lower() != b"chunked":
        raise Fault(f"the codings {codings!r}")
    if values(fields, b"content-length"):
        raise Fault("a length beside a coding")
    return True


def read_requests(data: bytes) -> Requests:
    """Read a client's bytes. One that ends within a request has that request last, without body."""
    reader, found = _Reader(data), Requests([])
    try:
        while reader.left:
            reader.pass_empty_lines()
            if reader.left:
                _request(reader, found.requests)
    except Fault as fault:
        found.fault = str(fault)
    except _InHead as head:
        found.rest = head.begun
    except Unfinished:
        pass
    return found


def _request(reader: _Reader, into: list[Request]) -> None:
    begun = reader.left
    try:
        line = reader.line()
        match = REQUEST_LINE.fullmatch(line)
        if match is None or match[3] != b"1" or match[4] not in b"01":
            raise Fault(f"the request line {line!r}")
        fields = reader.fields()
    except Unfinished:
        raise _InHead(begun) from None
    minor = int(match[4])
    request = Request(match[1], match[2], minor, fields)
    if is_chunked(fields):
        if minor == 0:
            raise Fault("a coding in HTTP/1.0")
        into.append(request)
        request.body = reader.chunks()
        return
    length = declared_length(fields)
    into.append(request)
    request.body = reader.exactly(length or 0)


@dataclass(slots=True)
class Response:
    """A final response. `body` may be cut; `whole` says that it is not.

    `reusable`: the connection may carry another exchange (section 9.3), if nothing is `left`.
    """

    status: int
    fields: Fields = field(repr=False)
    body: bytes
    whole: bool
    reusable: bool
    left: bytes
    interim: list[int]


def read_response(data: bytes, *, method: bytes = b"GET", ended: bool = False) -> Response | None:
    """Read the one response to a `method`; `ended`: the connection has ended behind `data`.

    None when its head is not all there. Raises Fault.
    """
    reader = _Reader(data)
    interim: list[int] = []
    while True:
        try:
            status, minor = _status(reader)
            fields = reader.fields()
        except Unfinished:
            return None
        chunked, length = is_chunked(fields), declared_length(fields)
        if status == 101:
            raise Fault("a 101 that nobody asked for")
        if status >= 200:
            break
        interim.append(status)
        reader.pass_empty_lines()
    persistent = b"keep-alive" in options(fields) if minor == 0 else b"close" not in options(fields)
    response = Response(status, fields, b"", False, persistent, b"", interim)
    if method == b"HEAD" or status in {204, 304}:
        response.whole = True
    elif chunked:
        response.reusable = persistent and minor == 1
        _chunked_body(reader, response)
    elif length is not None:
        response.body = reader.left[:length]
        reader.at += len(response.body)
        response.whole = len(response.body) == length
    else:
        response.body, response.whole, response.reusable = reader.left, ended, False
        reader.at = len(data)
    response.left = reader.left
    return response


def _status(reader: _Reader) -> tuple[int, int]:
    line = reader.line()
    match = STATUS_LINE.fullmatch(line)
    if match is None or match[1] != b"1" or match[2] not in b"01" or match[3][:1] not in b"12345":
        raise Fault(f"the status line {line!r}")
    return int(match[3]), int(match[2])


def _chunked_body(reader: _Reader, response: Response) -> None:
    start = reader.at
    try:
        response.body = reader.chunks()
        response.whole = True
    except Unfinished:
        reader.at = start
        response.body = _chunks_so_far(reader)


def _chunks_so_far(reader: _Reader) -> bytes:
    """Return what has come of a body that is cut."""
    body = b""
    try:
        while True:
            match = _CHUNK.fullmatch(reader.line())
            size = int(match[1], 16) if match else 0
            if not size:
                break
            piece = reader.left[:size]
            body += piece
            reader.exactly(size)
            reader.exactly(2)
    except Unfinished:
        pass
    reader.at = len(reader.data)
    return body
