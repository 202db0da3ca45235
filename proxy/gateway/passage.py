"""One exchange in the lane: its request has been sent by what was known, its answer is awaited.

The lane ends where the ordinary way has a choice: an answer that does not come whole, a failure, a
drain, bytes of the client's next request. Then the connection's task goes on with the exchange as
if it had begun it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING

from proxy.core import trace
from proxy.core.exchange import CLIENT_GONE
from proxy.core.upstream_head import names
from proxy.gateway.forward import relay_first
from proxy.gateway.volatile import fill, restore

if TYPE_CHECKING:
    from proxy.core.exchange import Exchange
    from proxy.core.head import RequestHead
    from proxy.gateway.attempt import Attempt
    from proxy.gateway.downstream import Downstream, Payload
    from proxy.gateway.lane import Known
    from proxy.gateway.snapshot import Snapshot
    from proxy.telemetry.recorder import Recorder

    GoOn = Callable[[Downstream, RequestHead, Payload, "Passage"], Awaitable[bool]]
    """The ordinary way, for an exchange that has begun."""


class Passage:
    """Implements `proxy.gateway.downstream.Begun`."""

    __slots__ = (
        "_client",
        "_failure",
        "_go_on",
        "_recorder",
        "_values",
        "attempt",
        "permit",
        "snapshot",
        "x",
    )

    def __init__(
        self,
        x: Exchange,
        known: Known,
        values: dict[bytes, bytes],
        attempt: Attempt,
        snapshot: Snapshot,
        client: Downstream,
        recorder: Recorder,
        go_on: GoOn,
    ) -> None:
        """Send the request of `x`, of which all is known but its names and volatile `values`."""
        self.x, self.permit, self.attempt = x, known.permit, attempt
        self.snapshot = snapshot
        self._client = client
        self._recorder = recorder
        self._go_on = go_on
        self._values = values
        self._failure: Exception | None = None
        _fill_in(x, known, attempt)
        trace.name(x, *known.sent(values))
        data = fill(known.opening, values) + names(x)
        attempt.send_head(data, bodiless=x.head.method == "HEAD")
        attempt.connection.notify = self._moved

    def __repr__(self) -> str:
        return f"<Passage {self.attempt!r}>"

    def _moved(self) -> None:
        """Something has come from the endpoint, or its connection has ended."""
        client, answer = self._client, self.attempt.connection.whole
        if answer is None or client.closes:
            self.leave()
            return
        x, filters = self.x, self.snapshot.rules.response_filter
        self.attempt.connection.notify = None
        try:
            relay_first(x, answer, filters, client, self.attempt, close=False)
        except Exception as error:  # noqa: BLE001 - it goes where every error goes (handler.py)
            self._failure = error
            self.attempt.abort()
            client.take_back(self)
            return
        self.attempt.finish()
        client.passed()
        self._end()

    def leave(self) -> None:
        """Give the exchange to the connection's task, which goes on with it by the ordinary way."""
        self.attempt.connection.notify = None
        self._client.take_back(self)

    def check(self) -> None:
        """Raise what went wrong in the lane, if something did."""
        failure, self._failure = self._failure, None
        if failure is not None:
            try:
                raise failure
            finally:
                del failure  # else this frame, which the error keeps, would keep the error

    async def go_on(self, payload: Payload) -> bool:
        """Go on by the ordinary way; return whether the client's connection can carry another
        request.

        A second attempt is written from the head, which is that of the request that was learnt
        until here: it is given the values of this one.
        """
        x = self.x
        if self._values:
            x.head = replace(x.head, fields=restore(x.head.fields, self._values), raw=b"")
        return await self._go_on(self._client, x.head, payload, self)

    def client_gone(self) -> None:
        """The client's connection has ended: so does the exchange."""
        self.attempt.connection.notify = None
        self.attempt.abort()
        self.x.status, self.x.code = CLIENT_GONE, "client_gone"
        self._end()

    def _end(self) -> None:
        now = monotonic()
        self.x.upstream_seconds = now - self.x.upstream_started
        self._recorder.end(self.x, now)


def _fill_in(x: Exchange, known: Known, attempt: Attempt) -> None:
    """Note on the exchange what the stages of the corridor would have noted."""
    like = known.x
    x.client, x.route, x.cors = like.client, like.route, like.cors
    x.session, x.session_result, x.user = like.session, like.session_result, like.user
    x.upstream, x.endpoint, x.attempts = known.permit.route.upstream, attempt.endpoint.name, 1
    x.upstream_started = x.started
