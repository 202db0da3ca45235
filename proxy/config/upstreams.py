"""The section about the services behind the gateway."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, StrictInt

from proxy.config.fields import (
    Count,
    Duration,
    DurationOrOff,
    DurationOrZero,
    EndpointText,
    FileName,
    NotBuilt,
    Section,
    Text,
    listed,
)
from proxy.config.sessions import UpstreamIdentity


class Timeouts(Section):
    """How long we wait for an upstream. Longer is 504, or an aborted response once it has begun."""

    connect: Duration = 2.0
    """To be connected, TLS included."""
    first_byte: DurationOrOff = 60.0
    """From the end of the request to the first byte of the response. `off` waits for ever."""
    stream_idle: DurationOrOff = 300.0
    """Between two pieces of a response, or of a WebSocket. `off` waits for ever."""


class Retry(Section):
    """When a request is tried again."""

    attempts: Annotated[StrictInt, Field(ge=1, le=10)] = 2
    """Tries in all: after a failed connect, or a kept connection that turned out to be closed."""


class UpstreamTls(Section):
    """TLS towards the upstream. Without it, https is checked against the system's roots."""

    ca: FileName | None = None
    """File with the roots to trust instead of the system's, PEM."""
    cert: FileName | None = None
    """File with our client certificate, PEM."""
    key: FileName | None = None
    """File with its private key, PEM, not encrypted."""
    server_name: Text | None = None
    """The name that the upstream's certificate must hold, instead of the endpoint's host."""


class UpstreamConfig(Section):
    """A service that requests are forwarded to."""

    endpoints: Annotated[tuple[EndpointText, ...], BeforeValidator(listed), Field(min_length=1)]
    """Where it is: http://HOST:PORT, https://HOST:PORT or unix:/path; several are balanced."""
    balance: Literal["round_robin"] = "round_robin"
    """How an endpoint is picked."""
    health: NotBuilt = None
    """Active health checks. Not built yet; only `off`."""
    eject: NotBuilt = None
    """Passive health checks. Not built yet; only `off`."""
    retry: Retry = Retry()
    """When a request is tried again."""
    timeouts: Timeouts = Timeouts()
    """How long to wait."""
    pool_idle: DurationOrZero = 1.5
    """How long an idle connection may be used again. `0s`: each request has its own connection."""
    connections: Count = 512
    """Connections to one endpoint at the same time; more is 503."""
    tls: UpstreamTls | None = None
    """TLS towards https endpoints."""
    host: Literal["client", "upstream"] = "client"
    """The `Host` that the upstream sees: as the client sent it, or the endpoint's."""
    identity: UpstreamIdentity | None = None
    """Identity headers for this upstream instead of the top level's."""
