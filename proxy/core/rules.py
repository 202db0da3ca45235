"""Everything that decides, compiled from the configuration once: one value, no I/O, shared by every
request.

`run`, `explain`, `routes` and the config's own `tests:` all use the same Rules and the same
`decide`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxy.config import inherit
from proxy.core.client import Client, TrustedProxies
from proxy.core.cors import Cors
from proxy.core.headers import RequestFilter, ResponseFilter
from proxy.core.identity import IdentityHeaders
from proxy.core.limits import Limit, RouteLimits
from proxy.core.origin import OriginCheck
from proxy.core.policy import Policy
from proxy.core.routing import Rewrite, Route, RouteTable, route_name
from proxy.core.session import SessionRule

if TYPE_CHECKING:
    from proxy.config.model import Config, Limits, RouteConfig, SessionConfig
    from proxy.core.head import RequestHead
    from proxy.core.session import Credential


@dataclass(frozen=True, slots=True)
class Rules:
    """The compiled configuration. `cors` is for answers to requests that match no route."""

    routes: RouteTable
    cors: Cors
    proxies: TrustedProxies
    sessions: Mapping[str, SessionRule]
    request_filter: RequestFilter
    response_filter: ResponseFilter
    limits: Limits
    public_origin: str | None

    @property
    def rate_limits(self) -> list[Limit]:
        """All rate limits, each once."""
        every = (limit for route in self.routes.rows() for limit in route.limits.listed)
        return list(dict.fromkeys(every))

    def find_credential(self, route: Route, head: RequestHead, client: Client) -> Credential | None:
        """Return what the client presents for the first of the route's sessions, in the order of
        the file.

        The first session whose cookie or bearer is present decides; there is no falling through to
        the next when it turns out to be bad. Raises SessionAmbiguous, SessionInvalid and BadCookie.
        """
        secure = client.scheme == "https" or (
            self.public_origin is not None and self.public_origin.startswith("https:")
        )
        for name in route.sessions:
            credential = self.sessions[name].find(head, secure)
            if credential is not None:
                return credential
        return None


class RuleError(ValueError):
    """A value that only shows its fault when it is used; `loc` is where in the file it stands."""

    def __init__(self, loc: tuple[str | int, ...], message: str) -> None:
        super().__init__(f"{'.'.join(map(str, loc))}: {message}")
        self.loc = loc
        self.message = message


def compile_rules(config: Config) -> Rules:
    """Compile a configuration that `proxy.config.load` has accepted. Raises RuleError."""
    sessions = {name: _session(name, session) for name, session in config.sessions.items()}
    owned = _owned_names(config)
    cookies = [cookie for rule in sessions.values() for cookie in rule.cookie_names]
    return Rules(
        routes=_routes(config),
        cors=Cors(config.cors),
        proxies=TrustedProxies(config.trusted_proxies, config.trusted_headers),
        sessions=sessions,
        request_filter=RequestFilter(
            owned, cookies, keep_session_cookie=config.identity.forward_session_cookie
        ),
        response_filter=ResponseFilter(owned),
        limits=config.limits,
        public_origin=config.public_origin,
    )


def _session(name: str, config: SessionConfig) -> SessionRule:
    try:
        return SessionRule.compile(name, config)
    except ValueError as error:
        raise RuleError(("sessions", name), str(error)) from error


def _owned_names(config: Config) -> frozenset[bytes]:
    """Return the folded names of every identity header that the configuration sets anywhere."""
    mappings = [config.identity.headers]
    mappings += [
        upstream.identity.headers for upstream in config.upstreams.values() if upstream.identity
    ]
    return frozenset(name for mapping in mappings for name in IdentityHeaders(mapping).names)


def _routes(config: Config) -> RouteTable:
    routes = []
    for position, route in enumerate(config.routes):
        try:
            routes.append(_route(route, config))
        except ValueError as error:
            raise RuleError(("routes", position), str(error)) from error
    try:
        return RouteTable(routes)
    except ValueError as error:
        raise RuleError(("routes",), str(error)) from error


def _route(route: RouteConfig, config: Config) -> Route:
    """Compile one route: its own settings over its upstream's over the top level's."""
    cors, csrf = inherit.cors_for(config, route), inherit.csrf_for(config, route)
    name = route_name(route.path, route.host, route.methods)
    return Route(
        name=name,
        path=route.path,
        host=route.host,
        methods=None if route.methods is None else frozenset(route.methods),
        upstream=route.upstream,
        policy=Policy(
            route.auth, route.require.roles, route.require.claims, route.require.email_domains
        ),
        cors=Cors(cors),
        origin_check=OriginCheck(csrf.check_origin, csrf.origins or (), config.public_origin),
        sessions=inherit.sessions_for(config, route),
        identity=IdentityHeaders(inherit.identity_for(config, route).headers),
        body_limit=inherit.body_limit_for(config, route),
        body_idle=inherit.body_idle_for(config, route),
        timeouts=inherit.timeouts_for(config, route),
        attempts=inherit.attempts_for(config, route),
        upgrade=inherit.upgrades(route),
        rewrite=_rewrite(route),
        encoded_slashes=route.encoded_slashes == "allow",
        case_sensitive=route.case_sensitive,
        strict_slash=route.strict_slash,
        login_url=inherit.login_url_for(config, route),
        limits=_limits(name, route, config),
    )


def _limits(name: str, route: RouteConfig, config: Config) -> RouteLimits:
    own, limits = inherit.rate_limits_for(config, route)
    return RouteLimits.of(
        [
            Limit(
                scope=name if own else "",
                by=limit.by,
                rate=limit.rate,
                burst=limit.burst or limit.rate.count,
                shared=inherit.is_shared(config, limit),
            )
            for limit in limits
        ],
        public=route.auth == "public",
    )


def _rewrite(route: RouteConfig) -> Rewrite | None:
    if route.strip_prefix is not None:
        return Rewrite.strip(route.path, route.strip_prefix)
    return None if route.rewrite is None else Rewrite.replace(route.path, route.rewrite)
