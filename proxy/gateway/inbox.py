"""What comes from a client, made into messages by aiohttp's server protocol and C parser.

This file and listener.py are the only ones that know aiohttp's private parts;
`tests/gateway/test_aiohttp_contract.py` fails when one of them changes. What aiohttp 3.14 does, and
why `data_received` is ours:
- Its limits are per line and its errors are text that quotes the request. Ours: the parser's limits
  are set above `limits.head`, bytes are counted in intake.py, and whatever is wrong becomes a
  ProxyError that the gateway answers.
- An error in a body's framing is queued as if it were a next request, and the body's reader is
  never told.
- Behind an upgrade it goes on to parse HTTP. Here a connection that asked for an upgrade carries
  nothing after it.
- Its parser gives the last trailer of a body in chunks to the next request as a header: whoever
  shares the connection, the users of a proxy say, would get it. Here no parser outlives chunks.
- Its parser takes `RTSP/1.0` for a version of HTTP.
- Its parser stops when 32 requests wait, and goes on when the protocol, which counts for itself,
  says so. It counts one too many behind a request that was taken before its body had come.
"""

from __future__ import annotations

import re
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web
from aiohttp.http_parser import HttpRequestParser, RawRequestMessage
from aiohttp.http_writer import HttpVersion11
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestPayloadError

from proxy.core.framing import MAX_FIELDS
from proxy.core.head import RequestHead
from proxy.errors import BadRequest, ProxyError
from proxy.gateway.intake import Intake
from proxy.gateway.unparsed import as_proxy_error
from proxy.upstream.deadlines import NEVER

if TYPE_CHECKING:
    import asyncio

    from proxy.config.model import Limits
    from proxy.gateway.downstream import Begun, Splice

_CHUNKS: Final = 256
"""Chunks of a body that are parsed before others have their turn. A chunk is a microsecond, and one
read from the kernel can hold 40,000 of one byte each.
"""
_NOT_ALONE: tuple[RawRequestMessage | None, bytes] = None, b""
_RTSP: Final = b" RTSP/"


class Inbox(web.RequestHandler):
    """The incoming half of a client's connection.

    `read_deadline` is when the client must have sent something (time.monotonic). `passage` is the
    exchange that is in the lane, `tunnel` what everything is given to after an upgrade. `too_many`
    says why this is a connection too many, if it is one (crowd.py).
    """

    __slots__ = (
        "_alone",
        "_body",
        "_discarding",
        "_in_chunks",
        "_intake",
        "_limits",
        "_peer",
        "_tls",
        "passage",
        "read_deadline",
        "too_many",
        "tunnel",
    )

    def __init__(
        self,
        server: web.Server,
        loop: asyncio.AbstractEventLoop,
        limits: Limits,
        *,
        tls: bool,
    ) -> None:
        room = limits.head * 2 + 4096
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=0,
            access_log=None,  # type: ignore[arg-type]  # aiohttp's own loop asks for None too
            auto_decompress=False,
            max_line_size=room,
            max_field_size=room,
            max_headers=MAX_FIELDS + 64,
        )
        self._max_msg_queue_size -= 1  # where the parser may have stopped already
        self._limits = limits
        self._tls = tls
        self._peer = ""
        self._body: StreamReader = EMPTY_PAYLOAD
        self._alone = _NOT_ALONE
        self._intake = Intake(limits.head)
        self._discarding = False
        self._in_chunks = False
        self.passage: Begun | None = None
        self.tunnel: Splice | None = None
        self.read_deadline = NEVER
        self.too_many: ProxyError | None = None

    def _new_parser(self) -> HttpRequestParser:
        """Return a parser like the first one, which aiohttp has made."""
        return HttpRequestParser(
            self,
            self._loop,
            self._read_bufsize,
            max_line_size=self.max_line_size,
            max_field_size=self.max_field_size,
            max_headers=self.max_headers,
            payload_exception=RequestPayloadError,
            auto_decompress=False,
            max_msg_queue_size=self._max_msg_queue_size + 1,
        )

    def enter(self, data: bytes) -> bool:
        """Answer a request in the lane, if its head is known; return whether it is.

        Here there is no lane; the listener has one.
        """
        del data
        return False

    def data_received(self, data: bytes) -> None:
        if self.tunnel is not None:
            self.tunnel.from_client(data)
            return
        if self._discarding:
            return
        intake = self._intake
        if self.passage is not None:
            self.passage.leave()  # what has come is the next request, perhaps not all of it
        elif (
            intake.at_rest
            and self._waiter is not None
            and not self._messages
            and not self._paused
            and self.enter(data)
        ):
            return
        count = self._request_count
        in_body = not self._body.is_eof()
        super().data_received(data)
        if self._request_count != count:
            self._message_made(data, self._request_count - count)
        elif in_body:
            error = intake.add_to_body(data, self._body.total_bytes)
            if error and not self._reading_paused:  # else the parser holds some of what has come
                self._break_body(error)
        else:
            if data and not self._upgraded:
                self._part_of_head(data)
            return
        if self._body.is_eof() and not (self._discarding or self._upgraded):
            self._message_ended(data)

    def _message_made(self, data: bytes, count: int) -> None:
        """The parser has made `count` messages of `data` and what came before it."""
        message: Any
        message, payload = self._messages[-1]
        intake = self._intake
        if not isinstance(message, RawRequestMessage):
            self._is_no_request(message, payload, data)
            return
        whole = intake.since_rest(data)
        if self._in_chunks or count > 1:
            intake.lose(data)
            count = self._cut_behind_chunks(count)
            if not count:
                return
            message, payload = self._messages[-1]
            if _declared_length(message) == 0:
                intake.look_behind(data)
        elif self._upgraded:
            intake.lose()
        elif intake.end_head(data, _declared_length(message)):
            self._alone = message, data
        if payload is EMPTY_PAYLOAD and _declared_length(message):
            # The parser waits for 2**64 - 1 bytes, in which all that follows would be lost.
            self._refuse_last(1, "a Content-Length that no body can have")
        elif _RTSP in whole:
            self._refuse_rtsp(count, whole)
        self._in_chunks = message.chunked
        if message.chunked:
            payload._high_water_chunks, payload._low_water_chunks = _CHUNKS, _CHUNKS // 2
        self._body = payload

    def _refuse_rtsp(self, count: int, data: bytes) -> None:
        """Refuse those of the last `count` messages, made of `data`, that are not HTTP."""
        new: list[Any] = list(self._messages)[-count:]
        bad = next((at for at, (each, _) in enumerate(new) if _is_rtsp(each, data)), count)
        if bad < count:
            self._refuse_last(count - bad, "only HTTP is served")

    def _is_no_request(self, message: Any, payload: StreamReader, data: bytes) -> None:
        """The last message is an error of the parser: queue it as one of ours."""
        # Taken out in `start`, where it is told from a request by its type.
        before = self._intake.head_lines if self._intake.head_bytes else 0
        error: Any = as_proxy_error(message, data, before)
        self._messages[-1] = (error, payload)
        self._discarding = True
        if not self._body.is_eof():
            self._break_body(BadRequest("the body's framing is broken"))
        self._intake.lose()
        self._body = payload

    def _break_body(self, error: ProxyError) -> None:
        """Tell whoever reads the body that its end will not come; nothing more is read."""
        self._discarding = True
        body = self._body
        body.set_exception(error)
        # A reader that has just been woken, by the end of a chunk, only looks for bytes, and waits
        # again.
        self._loop.call_soon(body.set_exception, error)

    def _cut_behind_chunks(self, count: int) -> int:
        """Drop those of the last `count` messages that were made of bytes behind a body in chunks,
        whose last trailer the first of them may have got; return how many stay.
        """
        new: list[Any] = [self._messages.pop() for _ in range(count)][::-1]
        ends = self._in_chunks
        while new and not ends:
            self._messages.append(new[0])
            ends = new.pop(0)[0].chunked
        if new:
            self._discarding = True
        return count - len(new)

    def _message_ended(self, data: bytes) -> None:
        """The last message that was made has ended in `data`."""
        held_back = len(self._messages) >= self._max_msg_queue_size
        settled = self._intake.settle(data, held_back=held_back)
        if self._in_chunks:
            self._in_chunks = False
            if settled:
                self._parser = self._new_parser()  # what it has of the trailers goes with it
            else:
                self._discarding = True

    def _refuse_last(self, count: int, reason: str) -> None:
        """Take the last `count` messages that were made for none."""
        for _ in range(count):
            self._messages.pop()
        self._queue_error(BadRequest(reason))
        self._intake.lose()

    def _part_of_head(self, data: bytes) -> None:
        """A head has begun and not ended: start its deadline, and bound what it may hold."""
        prompt = self.too_many is not None  # its time has begun with the connection
        if not self._intake.head_bytes and self._waiter is not None and not prompt:
            self.read_deadline = monotonic() + self._limits.header_timeout
        if error := self._intake.add_to_head(data):
            self._queue_error(error)

    def _queue_error(self, error: ProxyError) -> None:
        """Let the loop answer `error` as it would answer a request; nothing more is read."""
        self._discarding = True
        self._queue(error)

    def _queue(self, message: ProxyError | Begun) -> None:
        """Let the task find `message` as it finds those that the parser has made."""
        self._messages.append((message, EMPTY_PAYLOAD))  # type: ignore[arg-type]  # taken out in _next
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def next_message(self, within: float | None = None) -> tuple[Any, StreamReader]:
        """Return the next message that the parser has made, waiting for it if there is none, for
        at most `within` seconds if that is given.
        """
        if not self._messages:
            limits = self._limits
            patience = limits.header_timeout if self._intake.head_bytes else within or limits.idle
            self.read_deadline = monotonic() + patience
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        self.read_deadline = NEVER
        message, payload = self._messages.popleft()
        if self._parser is not None and isinstance(message, RawRequestMessage):
            self._parser.message_consumed()
        if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
            self._resume_reading_if_drained()
        return message, payload

    def head_of(self, message: RawRequestMessage) -> RequestHead:
        """Return the head of a message that the parser has made."""
        raw = b""
        if self._alone[0] is message:
            raw, self._alone = self._alone[1], _NOT_ALONE
        version = message.version
        minor = 1 if version is HttpVersion11 else version.minor if version.major == 1 else -1
        return RequestHead(
            message.method,
            message.path,
            minor,
            message.raw_headers,
            self._peer,
            self._tls,
            raw,
        )

    def open_tunnel(self, tunnel: Splice) -> bytes:
        """Give everything that comes from now on to `tunnel`; return what has come since the
        head.
        """
        self.tunnel = tunnel
        tail, self._message_tail = self._message_tail, b""
        if self._buffer_paused:
            self._resume_reading_for_buffer()
        return tail


def _is_rtsp(message: RawRequestMessage, data: bytes) -> bool:
    """Whether `data`, in which its request line is, has the message as one of RTSP."""
    target = re.escape(message.path.encode("utf-8", "surrogateescape"))
    return re.search(rb"%b +%b +RTSP/" % (message.method.encode(), target), data) is not None


def _declared_length(message: RawRequestMessage) -> int | None:
    """Return the length of the body that the head declares, in bytes; None for chunks."""
    return None if message.chunked else int(message.headers.get("Content-Length", 0))
