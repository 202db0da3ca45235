"""The endpoints of one upstream, and which of them gets the next request."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from proxy.upstream.endpoint import ConnectSettings, Endpoint

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Collection

    from proxy.config.model import UpstreamConfig, UpstreamTls
    from proxy.upstream.deadlines import Deadlines


class Pool:
    """One upstream: its endpoints take turns (round robin)."""

    def __init__(
        self, name: str, config: UpstreamConfig, loop: asyncio.AbstractEventLoop, deadlines: Deadlines
    ) -> None:
        settings = ConnectSettings(
            pool_idle=config.pool_idle,
            max_connections=config.connections,
            tls=_tls_context(config.tls),
            server_name=None if config.tls is None else config.tls.server_name,
        )
        self.name = name
        self.pool_idle = config.pool_idle
        self.tells_own_host = config.host == "upstream"
        self.endpoints = [Endpoint(address, settings, loop, deadlines) for address in config.endpoints]
        self._turn = 0

    def __repr__(self) -> str:
        return f"<Pool {self.name} {self.endpoints!r}>"

    def pick(self, tried: Collection[Endpoint]) -> Endpoint:
        """Return the endpoint whose turn it is: one that was not tried for this request, if there is any."""
        endpoints = self.endpoints
        for _ in endpoints:
            endpoint = endpoints[self._turn]
            self._turn = (self._turn + 1) % len(endpoints)
            if endpoint not in tried:
                break
        return endpoint

    def close_idle(self) -> None:
        """Close the connections that wait for a request."""
        for endpoint in self.endpoints:
            endpoint.close_idle()


def _tls_context(tls: UpstreamTls | None) -> ssl.SSLContext:
    """Return the context for https endpoints: certificates are always verified, HTTP/1.1 is what we speak."""
    context = ssl.create_default_context(cafile=None if tls is None or tls.ca is None else str(tls.ca))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if tls is not None and tls.cert is not None:
        context.load_cert_chain(str(tls.cert), None if tls.key is None else str(tls.key))
    return context
