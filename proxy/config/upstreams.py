"""The section about the services behind the gateway."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, StrictInt, WithJsonSchema, model_validator

from proxy.config.fields import (
    Count,
    CountOrOff,
    DnsText,
    Duration,
    DurationOrOff,
    DurationOrZero,
    EndpointText,
    FileName,
    Flag,
    Section,
    Text,
    listed,
    off_to_none,
    one_or_more,
)
from proxy.config.sessions import UpstreamIdentity
from proxy.config.units import Endpoint

_Few = Annotated[StrictInt, Field(ge=1, le=100)]
_Status = Annotated[StrictInt, Field(ge=100, le=599)]
_STATUS = {"type": "integer", "minimum": 100, "maximum": 599}
_STATUSES_SCHEMA = WithJsonSchema(
    {"anyOf": [_STATUS, {"type": "array", "items": _STATUS, "minItems": 1}]}
)


def _statuses(value: object) -> object:
    if value in ([], ()):
        raise ValueError("must not be empty")
    return None if value is None else one_or_more(value)


class EndpointConfig(Section):
    """One endpoint. In the file, a URL alone stands for `{url: ...}`."""

    url: EndpointText
    """http://HOST:PORT, https://HOST:PORT or unix:/path."""
    weight: _Few = 1
    """Its share of the requests, compared with the other endpoints."""

    @model_validator(mode="before")
    @classmethod
    def _url_alone(cls, value: object) -> object:
        return {"url": value} if isinstance(value, str | Endpoint) else value


class DnsConfig(Section):
    """A name whose addresses are the endpoints. In the file, a name alone stands for
    `{name: ...}`.
    """

    name: DnsText
    """HOST:PORT, with https:// before it for TLS."""
    interval: Duration = 10.0
    """How long until the name is looked up again."""

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: object) -> object:
        return {"name": value} if isinstance(value, str | Endpoint) else value


class HealthConfig(Section):
    """How each endpoint is asked whether it is well, beside the requests."""

    path: Text
    """Where a GET is sent, as it is: a path, and a query if there is one."""
    interval: Duration = 10.0
    """From the end of one check to the next; a tenth more or less, by chance."""
    timeout: Duration = 2.0
    """For a whole check: connect, TLS, the head of the answer."""
    rise: _Few = 2
    """Good checks in a row that bring an endpoint back."""
    fall: _Few = 3
    """Bad checks in a row that take it out."""
    status: Annotated[tuple[_Status, ...] | None, BeforeValidator(_statuses), _STATUSES_SCHEMA] = (
        None
    )
    """The status of a good answer, or a list; left out, 200 to 299."""
    host: Text | None = None
    """The `Host` of a check; left out, the endpoint's."""


class EjectConfig(Section):
    """When an endpoint that fails requests is left out for a while."""

    failures: _Few = 5
    """Requests that failed in a row: no connection, no answer in time, no valid answer."""
    window: Duration = 10.0
    """The time within which these must have failed."""
    base: Duration = 10.0
    """How long it is left out the first time; the second time in a row twice as long, and so on,
    up to 5 minutes.
    """
    max_percent: Annotated[StrictInt, Field(ge=1, le=100)] = 50
    """No more endpoints than this are left out at the same time, rounded down."""
    server_errors: Flag = False
    """A status of 500 or above is a failure too."""


class Timeouts(Section):
    """How long we wait for an upstream. Longer is 504, or an aborted response once it has begun."""

    connect: Duration = 2.0
    """To be connected, TLS included."""
    first_byte: DurationOrOff = 60.0
    """From the end of the request to the first byte of the response. `off` waits for ever."""
    stream_idle: DurationOrOff = 300.0
    """Between two pieces of a response, or of a WebSocket. `off` waits for ever."""


class RouteRetry(Section):
    """How often a request is tried."""

    attempts: Annotated[StrictInt, Field(ge=1, le=10)] = 2
    """Tries in all, where a request can be sent once more."""


class Retry(RouteRetry):
    """When a request is tried again."""

    budget_percent: Annotated[StrictInt, Field(ge=0, le=100)] = 20
    """Further tries, in percent of the requests of the last 10 seconds, with 10 to spare."""


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

    endpoints: Annotated[
        tuple[EndpointConfig, ...], BeforeValidator(listed), Field(min_length=1)
    ] = ()
    """Where it is: http://HOST:PORT, https://HOST:PORT or unix:/path; several are balanced."""
    dns: DnsConfig | None = None
    """Instead of `endpoints`: a name, each of whose addresses is an endpoint."""
    balance: Literal["round_robin", "least_requests", "hash(user)", "hash(ip)"] = "round_robin"
    """How an endpoint is picked."""
    health: Annotated[HealthConfig | None, BeforeValidator(off_to_none)] = None
    """Active checks: each endpoint is asked whether it is well. `off`: none."""
    eject: Annotated[EjectConfig | None, BeforeValidator(off_to_none)] = None
    """Passive checks: who fails requests is left out for a while. `off`: nobody is."""
    slow_start: DurationOrOff = None
    """How long an endpoint that comes back gets less than its share, more and more of it."""
    panic: Literal["refuse", "forward"] = "refuse"
    """Without a usable endpoint: `refuse` with 503 at once, or `forward` to any of them."""
    retry: Retry = Retry()
    """When a request is tried again."""
    timeouts: Timeouts = Timeouts()
    """How long to wait."""
    pool_idle: DurationOrZero = 1.5
    """How long an idle connection may be used again. `0s`: each request has its own connection."""
    connections: Count = 512
    """Connections to one endpoint at the same time, those of streams and WebSockets left out."""
    pending: Annotated[StrictInt, Field(ge=0, le=100_000)] = 128
    """Requests that may wait for one of these, for up to `timeouts.connect`; more is 503."""
    requests: CountOrOff = None
    """Requests under way at the same time, streams and WebSockets left out; more is 503."""
    tls: UpstreamTls | None = None
    """TLS towards https endpoints."""
    host: Literal["client", "upstream"] = "client"
    """The `Host` that the upstream sees: as the client sent it, or the endpoint's."""
    identity: UpstreamIdentity | None = None
    """Identity headers for this upstream instead of the top level's."""
