"""What happened to a request, step by step, as JSON can hold it; `explain` prints it.

Law of the file: what was decided is read from the trial, which the gateway's own `decide` made.
What is worked out here (which cookies were passed over, whether an origin is listed) only tells
why, and decides nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxy.cli.advice import ADVICE
from proxy.cli.cookies import CookieReader
from proxy.cli.masking import masked
from proxy.core.balance import Ring, key_of
from proxy.core.cookies import CookieNames
from proxy.core.cors import is_preflight
from proxy.core.decision import Permit, Reply
from proxy.core.origin import shown
from proxy.core.session import Session
from proxy.core.target import canonicalise, parse_host
from proxy.core.upstream_head import upstream_head
from proxy.errors import Forbidden, OriginRefused, ProxyError, Refusal

if TYPE_CHECKING:
    from proxy.cli.trial import Trial
    from proxy.config.model import Config, RouteConfig
    from proxy.core.head import RequestHead
    from proxy.core.routing import Route
    from proxy.core.rules import Rules
    from proxy.core.session import Credential

Step = dict[str, Any]


def explanation(config: Config, rules: Rules, trial: Trial) -> Step:
    """Return every step of a trial; those that it did not come to are None."""
    x = trial.x
    route = None if x.route is None else config_of(config, x.route)
    return {
        "request": {
            "method": x.head.method,
            "target": readable(x.head.target),
            **_target(x.head),
        },
        "client": {
            "address": x.client.address,
            "scheme": x.client.scheme,
            "trusted_proxy": x.client.trusted,
        },
        "route": None if x.route is None else _route(x.route),
        "cors": _cors(trial),
        **_session_steps(rules, trial),
        "policy": None if route is None else _policy(route, trial),
        "rate_limits": None if x.route is None else _rate_limits(x.route, trial),
        "upstream": None if route is None else _upstream(config, route, trial),
        "head": _head(config, rules, trial),
        "outcome": _outcome(trial),
    }


def readable(target: str) -> str:
    """Return a request target with the bytes escaped that are no UTF-8."""
    return target.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def config_of(config: Config, route: Route) -> RouteConfig:
    """Return the route as the file has it. Host, path and methods tell routes apart."""
    return next(
        written
        for written in config.routes
        if (written.host, written.path) == (route.host, route.path)
        and (None if written.methods is None else frozenset(written.methods)) == route.methods
    )


def requirements(route: RouteConfig) -> Step:
    """Return what the route's `require` asks for; empty if nothing."""
    require = route.require.model_dump(mode="json")
    return {kind: wanted for kind, wanted in require.items() if wanted}


def _target(head: RequestHead) -> Step:
    """Return host and path as they are routed, as far as they can be read."""
    read: Step = {"host": None, "path": None, "folded": None}
    try:
        host = parse_host(head.get(b"host"))
        read["host"] = host.name
        target = canonicalise(head.target, head.method, host)
    except Refusal:
        return read
    return read | {"path": target.path, "folded": target.folded}


def _route(route: Route) -> Step:
    return {
        "name": route.name,
        "host": route.host,
        "path": route.path,
        "methods": None if route.methods is None else sorted(route.methods),
        "sessions": list(route.sessions),
    }


def _cors(trial: Trial) -> Step:
    x = trial.x
    origin = x.head.noted.get(b"origin")
    preflight = is_preflight(x.head)
    # A refused preflight is answered without any of them.
    refused = preflight and isinstance(trial.outcome, OriginRefused)
    return {
        "enabled": x.cors.enabled,
        "origin": None if origin is None else shown(origin),
        "listed": None if origin is None or not x.cors.enabled else x.cors.allows(origin),
        "preflight": preflight,
        "headers": [] if refused else _lines(x.cors.grant(x.head)),
    }


def _session_steps(rules: Rules, trial: Trial) -> Step:
    x = trial.x
    steps: Step = {"session": None, "cookies_ignored": [], "principal": None}
    if x.route is None:
        return steps
    found, steps["session"] = _session(rules, trial)
    secure = x.client.scheme == "https" or (rules.public_origin or "").startswith("https:")
    reader = CookieReader(rules.sessions, x.route, found, secure=secure)
    steps["cookies_ignored"] = [
        {"name": cookie.name, "reason": cookie.reason}
        for cookie in reader.ignored(x.head.noted.get(b"cookie", b""))
    ]
    finding = trial.finding
    if finding is not None and not isinstance(finding, ProxyError):
        principal = finding.principal
        steps["principal"] = {
            "id": principal.id,
            "email": principal.email,
            "name": principal.name,
            "roles": list(principal.roles),
        }
    return steps


def _session(rules: Rules, trial: Trial) -> tuple[Credential | None, Step]:
    """Return what the client presents, and what came of it."""
    x, finding = trial.x, trial.finding
    if x.route is None or x.route.policy.auth == "public" or is_preflight(x.head):
        return None, {"state": "not looked at"}
    try:
        found = rules.find_credential(x.route, x.head, x.client)
    except Refusal as refusal:
        return None, {"state": "refused", **_refusal(refusal)}
    if found is None:
        return None, {"state": "missing"}
    place = {"session": found.session, "source": found.source, "cookie": found.name or None}
    if finding is None:
        return found, {"state": "not verified", **place}
    if isinstance(finding, ProxyError):
        return found, {"state": "refused", **place, **_refusal(finding)}
    valid = {"kind": finding.kind, "expires": finding.expires}
    return found, {"state": "valid", **place, **valid}


def _policy(route: RouteConfig, trial: Trial) -> Step:
    met: bool | None = None
    if isinstance(trial.outcome, Permit):
        # A preflight that is left to the upstream passes without a look at the policy.
        met = None if is_preflight(trial.x.head) else True
    elif isinstance(trial.outcome, Forbidden) and not isinstance(trial.outcome, OriginRefused):
        met = False
    return {"auth": route.auth, "require": requirements(route), "met": met}


def limits_of(route: Route) -> list[Step]:
    """Return the rate limits of a route; `scope` is None for those of all routes together."""
    return [
        {
            "scope": limit.scope or None,
            "by": limit.by,
            "rate": str(limit.rate),
            "burst": limit.burst,
            "shared": limit.shared,
        }
        for limit in route.limits.listed
    ]


def _rate_limits(route: Route, trial: Trial) -> list[Step]:
    """Return the limits that would be asked, and as whose request this one would count."""
    x = trial.x
    if is_preflight(x.head) and x.cors.enabled:
        return []
    known = trial.finding if isinstance(trial.finding, Session) else None
    return [
        {
            **told,
            "counted_by": told["by"] if told["by"] != "user" or known is not None else "ip",
        }
        for told in limits_of(route)
    ]


def _upstream(config: Config, route: RouteConfig, trial: Trial) -> Step:
    """Return the endpoints that the request may go to; `preferred` is the one that a hash
    chooses as long as it can be used and has room.
    """
    upstream = config.upstreams[route.upstream]
    preferred = None
    if upstream.endpoints and upstream.balance.startswith("hash"):
        ring = Ring(tuple((str(each.url), each.weight) for each in upstream.endpoints))
        owner = ring.owner(key_of(upstream.balance, trial.x))
        preferred = str(upstream.endpoints[owner].url)
    return {
        "name": route.upstream,
        "endpoints": [str(each.url) for each in upstream.endpoints],
        "dns": None if upstream.dns is None else str(upstream.dns.name),
        "balance": upstream.balance,
        "preferred": preferred,
    }


def _head(config: Config, rules: Rules, trial: Trial) -> list[str] | None:
    if not isinstance(trial.outcome, Permit):
        return None
    upstream = config.upstreams[trial.outcome.route.upstream]
    host = trial.x.head.noted[b"host"]
    if upstream.host == "upstream":
        first = upstream.endpoints[0].url if upstream.dns is None else upstream.dns.name
        host = first.authority.encode()
    head = upstream_head(trial.x, trial.outcome, rules, host)
    names = [name for rule in rules.sessions.values() for name in rule.cookie_names]
    return masked(head, CookieNames(names))


def _outcome(trial: Trial) -> Step:
    outcome = trial.outcome
    if isinstance(outcome, Permit):
        return {"verdict": "forwarded", "websocket": outcome.upgrade}
    if isinstance(outcome, Reply):
        return {
            "verdict": "answered",
            "status": outcome.status,
            "headers": _lines(outcome.lines),
        }
    return {
        "verdict": "refused",
        "status": outcome.status,
        **_refusal(outcome),
        "advice": ADVICE.get(outcome.code, ""),
    }


def _refusal(error: ProxyError) -> Step:
    return {"code": error.code, "reason": error.reason or error.detail}


def _lines(lines: bytes) -> list[str]:
    return lines.decode(errors="backslashreplace").splitlines()
