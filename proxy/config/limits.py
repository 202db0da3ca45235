"""The sections about rate limits, and about the server that gateways share to count together."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, BeforeValidator, PlainSerializer

from proxy.config.fields import Count, Duration, FileName, Flag, Name, RateText, Section
from proxy.config.secret import Secret

_SHAPE: Final = "must be {by: ip, rate: 100/m}, a list of such limits, or off"


class RateLimit(Section):
    """How many requests one user, one address or one route may have. More is 429."""

    by: Literal["user", "ip", "route"]
    """Whose requests are counted together: a user's, an address's, or all of a route."""
    rate: RateText
    """How many on average: NUMBER/s, /m, /h or /d."""
    burst: Count | None = None
    """How many at once; left out, the number in `rate`."""
    shared: Flag | None = None
    """Count in Redis, together with other gateways; left out, if `redis` is configured."""


def _limits(value: object) -> object:
    if value == "off":
        return ()
    if isinstance(value, dict | BaseModel):
        return (value,)
    if not isinstance(value, list | tuple):
        raise ValueError(_SHAPE)
    if isinstance(value, list) and not value:
        raise ValueError("must not be empty; off is for no limit")
    return value


_LIMITS_OUT: Final = PlainSerializer(
    lambda value: [each.model_dump(mode="json") for each in value] if value else "off",
    when_used="json",
)
RateLimits = Annotated[tuple[RateLimit, ...], BeforeValidator(_limits), _LIMITS_OUT]


class RedisConfig(Section):
    """A Redis or Valkey server in which several gateways count together."""

    url: Secret
    """redis://HOST:PORT/DATABASE, rediss:// for TLS, or unix:///path; user and password may be in
    it.
    """
    password: Secret | None = None
    """The password, when it is not to stand in the URL."""
    ca: FileName | None = None
    """File with the roots that the server's certificate is checked against, PEM."""
    prefix: Name = "gatelodge"
    """What its keys begin with; gateways that are to count together have the same."""
    timeout: Duration = 0.1
    """How long a request waits for its answer."""
    on_failure: Literal["local", "allow", "deny"] = "local"
    """While it does not answer: count in each process alone, admit everything, or answer 503."""
