"""Reads one answer out of the bytes of an upstream connection. No I/O.

Facts about httptools' response parser (0.9, llhttp), each seen in an experiment; they shape this
file:
- it runs on into the bytes behind the end of a message and begins a next one;
- `on_message_complete` also fires after a 1xx head;
- it does not know of HEAD: the declared length would eat the next response;
- a body that is delimited by the connection's end never completes;
- an unknown Transfer-Encoding becomes "until the connection ends"; HTTP/0.9 and 2.0, status 099 and
  999 and heads of any size are accepted; trailers come through `on_header`.
So the framing is decided here (RFC 9112 section 6.3), and a reader serves one answer only.
"""

from __future__ import annotations

from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from proxy.core.answer import Answer
from proxy.errors import UpstreamProtocol

MAX_HEAD: Final = 64 * 1024
"""Bytes of the head, interim responses included; 60 KiB is Envoy's default, nginx's is 4-8 KiB."""
_END: Final = b"\r\n\r\n"
_BODILESS: Final = frozenset({101, 204, 304})
_FRAMING_LENGTHS: Final = frozenset(
    map(len, (b"connection", b"content-length", b"transfer-encoding"))
)


class ResponseReader:
    """One answer, from its first byte to its last.

    `interims` holds 103 heads not yet relayed, `answer` the final head once it is there, `chunks`
    the body bytes not yet taken (`held` bytes in all). `complete` says that the answer has ended,
    `overrun` that bytes came behind it, `tail` what came behind a 101.
    """

    # Defaults on the class, as most answers need none of them set: there is a reader for each.
    _error: UpstreamProtocol | None = None
    _head_bytes = 0
    _version = ""
    answer: Answer | None = None
    complete = False
    held = 0
    overrun = False
    started = False
    tail = b""

    def __init__(self, *, bodiless: bool, upgrade: bool) -> None:
        """`bodiless`: the request was a HEAD; `upgrade`: a 101 may come."""
        self._bodiless = bodiless
        self._upgrade = upgrade
        self._fields: list[tuple[bytes, bytes]] = []
        self._framing: dict[bytes, bytes] = {}
        self.interims: list[Answer] = []
        self.chunks: list[bytes] = []
        self._parser = HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        """Take in bytes of the connection. Raises UpstreamProtocol when they are not a valid
        answer.
        """
        if not self.started and not data.startswith(b"H"):
            # llhttp would also read RTSP and ICE, whose answers look alike.
            raise UpstreamProtocol("the answer is not HTTP")
        self.started = True
        if self.complete:
            if self.answer is not None and self.answer.status == 101:
                self.tail += data  # until the tunnel takes over, in a turn of the loop or two
            else:
                self.overrun = True
            return
        if self.answer is None:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            self.tail = data[upgrade.args[0] :]
        except HttpParserError as error:
            self._stopped(error)
        if self._bodiless and self._awaits_chunks and not _END.endswith(data[-4:]):
            self.overrun = True  # the beginning of a chunk, which the parser tells nobody of
        if self.answer is None:
            self._check_size(self._head_bytes)

    def _stopped(self, error: HttpParserError) -> None:
        """The parser could not go on: within the answer it is bad, behind it there is too much."""
        if not self.complete:
            raise self._error or UpstreamProtocol(f"the answer is not HTTP: {error}") from error
        self.overrun = True

    def feed_eof(self, *, orderly: bool = True) -> None:
        """The connection has ended, in an `orderly` way or not: if so, a body that has no other end
        is whole. Raises UpstreamProtocol if it is cut.
        """
        if self.complete:
            return
        answer = self.answer
        if answer is None:
            where = "within the head" if self.started else "before a byte"
            raise UpstreamProtocol(f"the connection ended {where} of the answer")
        if answer.chunked or answer.length is not None:
            raise UpstreamProtocol("the connection ended within the body of the answer")
        if not orderly:  # it may be cut (RFC 9112 section 9.8)
            raise UpstreamProtocol("the connection ended without close_notify, as did the answer")
        self.complete = True

    def take(self) -> bytes:
        """Return the body bytes that are held, and hold them no more."""
        chunks = self.chunks
        self.held = 0
        if len(chunks) == 1:
            return chunks.pop()
        data = b"".join(chunks)
        chunks.clear()
        return data

    def close(self) -> None:
        """Let go of the parser, which holds this object: otherwise each answer would be left to
        the collector. No harm if that was done.
        """
        self.__dict__.pop("_parser", None)

    # What httptools calls. An exception raised here ends the parsing and comes out of `feed` as
    # `_error`.

    def on_message_begin(self) -> None:
        if self.complete:
            self.overrun = True
            raise UpstreamProtocol("bytes behind the answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.answer is not None:
            # A trailer: dropped, as it could be merged into the head (RFC 9110 section 6.5.1).
            return
        if len(name) in _FRAMING_LENGTHS:
            lower = name.lower()
            joined = self._framing.get(lower)
            self._framing[lower] = value if joined is None else joined + b", " + value
        self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        try:
            answer = self._head()
        except UpstreamProtocol as error:
            self._error = error
            raise
        if answer.status >= 200 or answer.status == 101:
            self.answer = answer
            self.complete = answer.bodiless
            return
        if answer.status == 103:
            self.interims.append(answer)
        self._fields, self._framing = [], {}

    def on_body(self, data: bytes) -> None:
        if self.complete:
            self.overrun = True
            raise UpstreamProtocol("a body where none can be")
        self.chunks.append(data)
        self.held += len(data)

    def on_message_complete(self) -> None:
        if self._bodiless and self._awaits_chunks:
            self.overrun = True  # a last chunk behind the head
        if self.answer is not None:
            self.complete = True

    @property
    def _awaits_chunks(self) -> bool:
        """Whether the parser waits for chunks behind the answer, which is one to a HEAD."""
        answer = self.answer
        return self.complete and answer is not None and answer.chunked

    def _head(self) -> Answer:
        """Return the head that has just ended. Raises UpstreamProtocol for one that must not be
        passed on.
        """
        parser, framing = self._parser, self._framing
        status = parser.get_status_code()
        self._version = version = parser.get_http_version()
        if version != "1.1" and version != "1.0":
            raise UpstreamProtocol(f"the answer is HTTP/{version}")
        if not 100 <= status <= 599:
            raise UpstreamProtocol(f"the answer has status {status}")
        if status == 101 and not self._upgrade:
            raise UpstreamProtocol("a 101 to a request without Upgrade")
        if self._head_bytes > MAX_HEAD:
            self._check_size(sum(len(name) + len(value) + 4 for name, value in self._fields))
        coding = framing.get(b"transfer-encoding")
        if coding is not None and coding.strip(b" \t").lower() != b"chunked":
            raise UpstreamProtocol("the answer has a transfer coding other than chunked")
        length = framing.get(b"content-length")
        return Answer(
            status,
            self._fields,
            framing.get(b"connection"),
            None if length is None else int(length),
            coding is not None,
            self._bodiless or status in _BODILESS,
        )

    def _check_size(self, size: int) -> None:
        if size > MAX_HEAD:
            raise UpstreamProtocol(f"the head of the answer is over {MAX_HEAD} bytes")

    @property
    def keeps_alive(self) -> bool:
        """Whether the endpoint will take another request on this connection (RFC 9112 section
        9.3).
        """
        answer = self.answer
        if answer is None or not self.complete or self.overrun or answer.status == 101:
            return False
        if not (answer.bodiless or answer.chunked or answer.length is not None):
            return False
        if self._version == "1.0" and answer.chunked:
            return False  # RFC 9112 section 6.1: its framing is faulty
        if answer.connection is None:
            return self._version == "1.1"
        options = {option.strip(b" \t").lower() for option in answer.connection.split(b",")}
        if self._version == "1.0":
            return b"keep-alive" in options
        return b"close" not in options
