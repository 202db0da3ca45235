"""The whole configuration as typed, frozen values; the one list of what may be configured.

Names are those of the file. Durations are float seconds, sizes int bytes, lists tuples, `off` is
None, and secrets are `SecretStr`. The sections live in files of their own; all are named here.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from proxy.config.browser import METHODS, CorsConfig, CsrfConfig
from proxy.config.cases import AsUser, Expect, TestCase
from proxy.config.database import (
    DatabaseConfig,
    DatabaseTimeouts,
    SessionTable,
    Tables,
    UserTable,
)
from proxy.config.fields import (
    AddressText,
    Flag,
    Name,
    Section,
    Text,
    Texts,
    listed,
    off_to_none,
)
from proxy.config.limits import RateLimit, RateLimits, RedisConfig
from proxy.config.routes import Require, RouteConfig, RouteLimits
from proxy.config.secret import Secret
from proxy.config.server import Drain, Limits, Listen, ListenTls, LogConfig, Workers
from proxy.config.sessions import (
    CacheConfig,
    IdentityConfig,
    JwtOptions,
    PrincipalPaths,
    SessionConfig,
    UpstreamIdentity,
)
from proxy.config.units import Address, Endpoint, Rate
from proxy.config.upstreams import (
    DnsConfig,
    EjectConfig,
    EndpointConfig,
    HealthConfig,
    Retry,
    RouteRetry,
    Timeouts,
    UpstreamConfig,
    UpstreamTls,
)

__all__ = [
    "METHODS",
    "Address",
    "AsUser",
    "CacheConfig",
    "Config",
    "CorsConfig",
    "CsrfConfig",
    "DatabaseConfig",
    "DatabaseTimeouts",
    "DnsConfig",
    "Drain",
    "EjectConfig",
    "Endpoint",
    "EndpointConfig",
    "Expect",
    "HealthConfig",
    "IdentityConfig",
    "JwtOptions",
    "Limits",
    "Listen",
    "ListenTls",
    "LogConfig",
    "PrincipalPaths",
    "Rate",
    "RateLimit",
    "RedisConfig",
    "Require",
    "Retry",
    "RouteConfig",
    "RouteLimits",
    "RouteRetry",
    "Section",
    "SessionConfig",
    "SessionTable",
    "Tables",
    "TestCase",
    "Timeouts",
    "UpstreamConfig",
    "UpstreamIdentity",
    "UpstreamTls",
    "UserTable",
]


class Config(Section):
    """A Gatelodge configuration."""

    listen: Listen = Listen(address=Address(host="0.0.0.0", port=8080))  # noqa: S104 - the public port
    """Where clients connect."""
    admin: AddressText = Address(host="127.0.0.1", port=9090)
    """Where health, metrics and status are served. Never the public port."""
    admin_token: Secret | None = None
    """Bearer token that the admin listener asks for when its address is not loopback."""
    workers: Workers = 1
    """Processes on the port; `auto` is one for each core that may be used."""
    watch: Flag = False
    """Reload when this file, or one that it names, changes."""
    health_path: Text | None = None
    """Path on the main listener that we answer ourselves, before routing, for load balancers."""
    public_origin: Text | None = None
    """What browsers call us, when TLS ends before us and no proxy is trusted."""
    trusted_proxies: Texts = ()
    """Peers whose forwarding headers are believed: addresses, networks, or `unix`."""
    trusted_headers: Texts = ("X-Forwarded-For", "X-Forwarded-Proto")
    """The forwarding headers that are believed."""
    sessions: dict[Name, SessionConfig] = Field(default_factory=dict)
    """Ways to be logged in, in order: the first whose cookie or bearer is present decides."""
    identity: IdentityConfig = IdentityConfig()
    """What the upstream is told about the user."""
    cors: Annotated[CorsConfig | None, BeforeValidator(off_to_none)] = None
    """Which other origins may call from a browser. `off`: the upstream answers for itself."""
    csrf: CsrfConfig = CsrfConfig()
    """Whether the origin of requests that change something is checked."""
    limits: Limits = Limits()
    """What one request and one connection may take."""
    rate_limit: RateLimits = ()
    """How many requests are served; of routes that have no limit of their own."""
    redis: RedisConfig | None = None
    """A server in which several gateways count together."""
    upstreams: Annotated[dict[Name, UpstreamConfig], Field(min_length=1)]
    """The services behind the gateway, by name."""
    routes: Annotated[tuple[RouteConfig, ...], BeforeValidator(listed), Field(min_length=1)]
    """What is served. The most specific route wins, whatever the order."""
    login_url: Text | None = None
    """Where a browser that navigates without a session is sent to sign in."""
    log: LogConfig = LogConfig()
    """What is written to standard error."""
    drain: Drain = Drain()
    """How the process stops."""
    tests: Annotated[tuple[TestCase, ...], BeforeValidator(listed)] = ()
    """Requests and what should come of them; `gatelodge check` runs them."""
