"""One attempt: one request at one endpoint, the upload that may go on beside the answer, and its
end.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from proxy.core import framing
from proxy.core.retry import max_idle
from proxy.core.upstream_head import upstream_head
from proxy.errors import Overloaded, ProxyError
from proxy.upstream.deadlines import NEVER

if TYPE_CHECKING:
    from proxy.config.model import Timeouts
    from proxy.core.decision import Permit
    from proxy.core.exchange import Exchange
    from proxy.core.rules import Rules
    from proxy.gateway.body import RequestBody
    from proxy.upstream.connection import UpstreamConnection
    from proxy.upstream.endpoint import Endpoint
    from proxy.upstream.pool import Pool

LAST_CHUNK: Final = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """Return `data` as one chunk (RFC 9112 section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class Attempt:
    """One try at one endpoint. `finish` or `abort` ends it; `erred`: its answer counts as a failure
    of the endpoint.
    """

    __slots__ = ("_counted", "_timeouts", "_upload", "connection", "endpoint", "erred")

    def __init__(
        self, endpoint: Endpoint, connection: UpstreamConnection, timeouts: Timeouts
    ) -> None:
        self.endpoint = endpoint
        endpoint.load += 1
        self._counted = True
        self.connection = connection
        self.erred = False
        self._timeouts = timeouts
        self._upload: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Attempt {self.endpoint.name} {self.connection!r}>"

    @classmethod
    async def connect(
        cls, x: Exchange, permit: Permit, pool: Pool, endpoint: Endpoint, *, replayable: bool
    ) -> Attempt:
        """Take a pooled connection that is young enough, or make one; `replayable`: the whole body
        is at hand. Raises the failures of connecting.

        A second try always takes a fresh one: where one pooled connection was stale, so may be the
        next.
        """
        timeouts = permit.route.timeouts
        connection = None
        if x.attempts == 1 and not permit.upgrade:
            age = max_idle(x.head.method, pool.pool_idle, replayable=replayable)
            connection = endpoint.take_idle(age)
        if connection is None:
            endpoint.load += 1
            try:
                connection = await endpoint.connect(timeouts.connect)
            finally:
                endpoint.load -= 1
        return cls(endpoint, connection, timeouts)

    def send(
        self,
        x: Exchange,
        permit: Permit,
        pool: Pool,
        rules: Rules,
        body: RequestBody,
        whole: bytes | None,
    ) -> None:
        """Write the request: head and body at once when the body is there, else the body as it
        comes.
        """
        connection, head = self.connection, x.head
        bodiless = head.method == "HEAD"
        host = self.endpoint.authority if pool.tells_own_host else head.noted[b"host"]
        data = upstream_head(x, permit, rules, host)
        chunked = framing.is_chunked(head)
        if whole is None:
            connection.begin(bodiless=bodiless, upgrade=permit.upgrade)
            connection.write(data)
            loop = asyncio.get_running_loop()
            self._upload = loop.create_task(self._send_body(body, chunked=chunked))
            return
        if chunked:
            whole = chunk(whole) + LAST_CHUNK if whole else LAST_CHUNK
        self.send_head(data + whole, bodiless=bodiless, upgrade=permit.upgrade)

    def send_head(self, data: bytes, *, bodiless: bool, upgrade: bool = False) -> None:
        """Write a request that is whole; the endpoint is to answer in time from now on.

        `bodiless`: it is a HEAD; `upgrade`: it may be answered by a 101.
        """
        connection = self.connection
        connection.begin(bodiless=bodiless, upgrade=upgrade)
        connection.write(data)
        connection.read_deadline = connection.after(self._timeouts.first_byte)

    async def _send_body(self, body: RequestBody, *, chunked: bool) -> None:
        """Pass the body on as it comes. What goes wrong ends the connection, so whoever reads
        from it learns why.
        """
        connection, timeouts = self.connection, self._timeouts
        try:
            while True:
                with connection.waiting(self._give_way, lag=body.lag):
                    data = await body.read()
                if not data:
                    break
                connection.write(chunk(data) if chunked else data)
                await connection.drain(timeouts.stream_idle)
                await asyncio.sleep(0)  # what is there at once may be a flood of small chunks
            if chunked:
                connection.write(LAST_CHUNK)
        except ProxyError as error:
            connection.fail(error)
        except ConnectionError:
            connection.abort()  # the client is gone, and with it the exchange
        else:
            if not connection.answered:
                connection.read_deadline = connection.after(timeouts.first_byte)

    def _give_way(self) -> bool:
        """End an upload that waits for its client, so that somebody else can have the place."""
        self.connection.fail(Overloaded("a slow body gave way (upstreams.*.connections)"))
        return True

    async def read(self) -> bytes:
        """Return the next bytes of the answer's body, b"" at its end. Raises UpstreamProtocol,
        UpstreamTimeout.
        """
        connection = self.connection
        connection.read_deadline = connection.after(self._timeouts.stream_idle)
        try:
            return await connection.read()
        finally:
            connection.read_deadline = NEVER

    @property
    def uploading(self) -> bool:
        """Whether part of the request is still to be sent."""
        return self._upload is not None and not self._upload.done()

    def finish(self) -> None:
        """The answer has been read: keep the connection for another request, if it can carry
        one.
        """
        self.went_well()
        if self.uploading:
            self.abort()
            return
        endpoint = self.endpoint
        self._counted = False
        endpoint.load -= 1
        if endpoint.apart:
            endpoint.rejoin(self.connection)
        endpoint.give_back(self.connection)

    def went_well(self) -> None:
        """Note that the endpoint has answered, unless its answer counts as a failure."""
        standing = self.endpoint.standing
        if standing.failing and not self.erred:
            standing.succeed()

    def abort(self) -> None:
        """Give up: end the upload and the connection."""
        if self._upload is not None:
            self._upload.cancel()
            self._upload = None  # its CancelledError would lead back here
        self._uncount()
        self.connection.abort()

    def set_apart(self) -> None:
        """The answer is a stream, or a tunnel: it may last for hours."""
        self.endpoint.set_apart(self.connection)

    def _uncount(self) -> None:
        if self._counted:
            self._counted = False
            self.endpoint.load -= 1
            self.endpoint.rejoin(self.connection)

    def judge(self, status: int) -> None:
        """Note the status of the answer, if by configuration it counts as a failure."""
        if self.endpoint.standing.errs(status):
            self.erred = True
            self.endpoint.failed(f"status {status}")
