"""The endpoints of one upstream, and which of them gets the next request."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from proxy.config.model import UpstreamTls
from proxy.upstream.endpoint import ConnectSettings, Endpoint

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from proxy.config.model import UpstreamConfig
    from proxy.upstream.connection import UpstreamConnection
    from proxy.upstream.deadlines import Deadlines


class Pool:
    """One upstream: its endpoints take turns (round robin)."""

    def __init__(
        self,
        name: str,
        config: UpstreamConfig,
        loop: asyncio.AbstractEventLoop,
        deadlines: Deadlines,
    ) -> None:
        settings = ConnectSettings(
            pool_idle=config.pool_idle,
            max_connections=config.connections,
            tls=tls_context(config),
            server_name=None if config.tls is None else config.tls.server_name,
        )
        self.name = name
        self.tls = settings.tls
        self.pool_idle = config.pool_idle
        self.tells_own_host = config.host == "upstream"
        self.endpoints = [
            Endpoint(address, settings, loop, deadlines) for address in config.endpoints
        ]
        self._turn = 0

    def __repr__(self) -> str:
        return f"<Pool {self.name} {self.endpoints!r}>"

    def pick(self, tried: Sequence[Endpoint]) -> Endpoint:
        """Return the endpoint whose turn it is; after a failed try the next one that was not tried.

        Only a first try takes a turn: otherwise each retry would give the endpoint that is down the
        next request as well.
        """
        endpoints = self.endpoints
        if not tried:
            endpoint = endpoints[self._turn]
            self._turn = (self._turn + 1) % len(endpoints)
            return endpoint
        last = endpoints.index(tried[-1])
        others = endpoints[last + 1 :] + endpoints[: last + 1]
        return next((other for other in others if other not in tried), others[0])

    def take_idle(self, max_age: float) -> tuple[Endpoint, UpstreamConnection] | None:
        """Return the endpoint whose turn it is with an idle connection of at most `max_age`
        seconds; its turn is over.

        None, and it is still its turn, when it has no such connection.
        """
        endpoint = self.endpoints[self._turn]
        connection = endpoint.take_idle(max_age)
        if connection is None:
            return None
        self._turn = (self._turn + 1) % len(self.endpoints)
        return endpoint, connection

    def close_idle(self) -> None:
        """Close the connections that wait for a request."""
        for endpoint in self.endpoints:
            endpoint.close_idle()


def tls_context(config: UpstreamConfig) -> ssl.SSLContext | None:
    """Return the context for https endpoints: certificates are always verified, HTTP/1.1 is what we
    speak.

    None where no endpoint is https, because reading the system's roots takes 50 ms. Raises OSError
    (ssl.SSLError among them) when a file cannot be used.
    """
    if not any(endpoint.scheme == "https" for endpoint in config.endpoints):
        return None
    tls = config.tls or UpstreamTls()
    context = ssl.create_default_context(cafile=tls.ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if tls.cert is not None:
        # Without a password OpenSSL would ask for an encrypted key's on the terminal, and wait.
        context.load_cert_chain(tls.cert, tls.key, password=lambda: "")
    return context
