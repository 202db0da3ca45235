"""What holds for one route: its own keys where it has them, else its upstream's or the top level's.

`cors`, `csrf`, `limits` and `timeouts` are joined key by key, so a route that sets `cors.max_age`
keeps the origins of the top level.
"""

from __future__ import annotations

from typing import TypeVar

from proxy.config.model import (
    Config,
    CorsConfig,
    CsrfConfig,
    IdentityConfig,
    RateLimit,
    RouteConfig,
    Section,
    Timeouts,
)

S = TypeVar("S", bound=Section)


def _joined(below: S, above: S) -> S:
    given = {name: getattr(above, name) for name in above.model_fields_set}
    return below.model_copy(update=given)


def cors_for(config: Config, route: RouteConfig) -> CorsConfig | None:
    """Return the route's CORS rules, or None where CORS is off."""
    if route.cors == "off":
        return None
    if route.cors is None or config.cors is None:
        return route.cors or config.cors
    return _joined(config.cors, route.cors)


def csrf_for(config: Config, route: RouteConfig) -> CsrfConfig:
    """Return the route's origin check; where it names no `origins`, they are those of `cors`."""
    csrf = config.csrf if route.csrf is None else _joined(config.csrf, route.csrf)
    if csrf.origins is not None:
        return csrf
    cors = cors_for(config, route)
    return csrf.model_copy(update={"origins": cors.origins if cors else ()})


def body_limit_for(config: Config, route: RouteConfig) -> int | None:
    """Return the largest body in bytes, or None where the limit is off."""
    if "body" in route.limits.model_fields_set:
        return route.limits.body
    return config.limits.body


def body_idle_for(config: Config, route: RouteConfig) -> float:
    """Return how many seconds a body may stand still."""
    return route.limits.body_idle or config.limits.body_idle


def timeouts_for(config: Config, route: RouteConfig) -> Timeouts:
    """Return the timeouts towards the upstream."""
    below = config.upstreams[route.upstream].timeouts
    return below if route.timeouts is None else _joined(below, route.timeouts)


def attempts_for(config: Config, route: RouteConfig) -> int:
    """Return how many tries a request has in all."""
    return (route.retry or config.upstreams[route.upstream].retry).attempts


def sessions_for(config: Config, route: RouteConfig) -> tuple[str, ...]:
    """Return the names of the sessions that count on the route, in the order of the file."""
    if route.auth == "public":
        return ()
    if route.sessions is None:
        return tuple(config.sessions)
    return tuple(name for name in config.sessions if name in route.sessions)


def identity_for(config: Config, route: RouteConfig) -> IdentityConfig:
    """Return what the route's upstream is told about the user."""
    own = config.upstreams[route.upstream].identity
    if own is None:
        return config.identity
    return config.identity.model_copy(update={"headers": own.headers})


def login_url_for(config: Config, route: RouteConfig) -> str | None:
    """Return where a browser without a session is sent, or None for nowhere."""
    if route.login_url is None:
        return config.login_url
    return None if route.login_url == "off" else route.login_url


def rate_limits_for(config: Config, route: RouteConfig) -> tuple[bool, tuple[RateLimit, ...]]:
    """Return the limits of requests, and whether they are the route's own."""
    if route.rate_limit is None:
        return False, config.rate_limit
    return True, route.rate_limit


def is_shared(config: Config, limit: RateLimit) -> bool:
    """Say whether a limit is counted in Redis."""
    return config.redis is not None if limit.shared is None else limit.shared


def upgrades(route: RouteConfig) -> bool:
    """Say whether WebSockets may be opened on the route."""
    if route.upgrade is None:
        return route.auth != "public"
    return route.upgrade == "websocket"
