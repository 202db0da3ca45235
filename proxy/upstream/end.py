"""What the end of a connection to an endpoint means for the exchange that was under way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxy.errors import (
    ConnectionCut,
    ConnectionGone,
    ConnectionStale,
    ProxyError,
    UpstreamProtocol,
    UpstreamUnreachable,
)
from proxy.upstream.handshake import refused

if TYPE_CHECKING:
    from proxy.upstream.response import ResponseReader


@dataclass(frozen=True, slots=True)
class End:
    """How a connection ended: `orderly` if the endpoint had said that no more comes, over TLS by
    close_notify; by the failure `exc`, which may also come behind that, while we still write.
    """

    exc: Exception | None
    orderly: bool

    def failure(self, reader: ResponseReader | None, *, sent: bool, reused: bool) -> ProxyError:
        """Tell `reader`, who reads the answer if one is awaited, and return what it means for who
        goes on with the connection. `sent`: something of the request had left; `reused`: it was
        not the connection's first.
        """
        exc = self.exc
        told = refused(exc)
        if told is not None and not reused and (reader is None or not reader.started):
            return told
        if reader is not None:
            if not reader.started:
                return self._unanswered(sent=sent, reused=reused)
            if exc is not None and not self.orderly and not reader.complete:
                return UpstreamProtocol("the connection was reset")  # the end of no body
            try:
                reader.feed_eof(orderly=self.orderly)
            except UpstreamProtocol as error:
                return error
        return UpstreamProtocol("the connection has ended")

    def _unanswered(self, *, sent: bool, reused: bool) -> ProxyError:
        if not sent:
            how = ConnectionGone if reused else UpstreamUnreachable
            return how("the connection had ended before the request left")
        if reused:
            return ConnectionStale("the pooled connection had ended")
        end = "ended" if self.exc is None else "was reset"
        return ConnectionCut(f"the connection {end} before a byte of the answer")
