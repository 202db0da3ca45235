"""The decision: from the head of a request to leave to forward it, or to an answer of our own.

    RequestHead -> Target -> Route -> (Reply | Credential) -> Session -> Permit

`decide` is the only maker of a Permit, and nothing is forwarded without one. It looks at no clock,
socket or file: what may need the outside comes in as an argument: finding out whose a credential is
(`resolve`), and counting a request in its rate limits (`take`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from proxy.core import framing, trace
from proxy.core.cors import is_preflight
from proxy.core.limits import demands
from proxy.core.login import login_redirect
from proxy.core.target import Host, Target, canonicalise, parse_host
from proxy.errors import Refusal, SessionExpired, SessionMissing, SessionStoreDown, Unauthorized

if TYPE_CHECKING:
    from proxy.core.exchange import Exchange
    from proxy.core.head import RequestHead
    from proxy.core.limits import Demand, Limit
    from proxy.core.routing import Route
    from proxy.core.rules import Rules
    from proxy.core.session import Credential, Session

    Resolve = Callable[[Credential, float], Awaitable[Session]]
    """Credential and Unix time -> the session. Raises kinds of Unauthorized, and
    SessionStoreDown.
    """
    Take = Callable[[Sequence[Demand]], Awaitable[None]]
    """Count a request in its limits, now. Raises RateLimited and LimitStoreDown."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete answer of our own that is not an error; `lines` are header lines, each ending
    in CRLF.
    """

    status: int
    lines: bytes = b""


@dataclass(slots=True)
class Permit:
    """Leave to forward one request: by which route, with which target, for whom.

    `target` is the request target for the upstream, `prefix` the value of X-Forwarded-Prefix if a
    prefix was cut. `credential` is what the client presented, `session` what it turned out to be:
    None where nobody needs to be known. `upgrade` is leave to become a WebSocket.
    """

    route: Route
    target: str
    prefix: str | None
    credential: Credential | None = field(repr=False)
    session: Session | None = field(repr=False)
    upgrade: bool


async def decide(
    x: Exchange, rules: Rules, resolve: Resolve, take: Take | None = None
) -> Reply | Permit:
    """Judge the request of `x`. Raises every kind of Refusal, SessionStoreDown and LimitStoreDown.

    Without `take` no limit is asked, and nothing is counted.
    """
    head = x.head
    framing.check(head, rules.limits)
    x.client = rules.proxies.client(head)
    trace.name(x, *trace.sent(head))
    host = parse_host(head.get(b"host"))
    preflight = is_preflight(head)
    method = _routed_method(head, preflight=preflight)
    try:
        target = canonicalise(head.target, head.method, host)
        x.route = route = rules.routes.match(host.name, target, method)
    except Refusal:
        # The refusal of the request itself is what the page may read, and a browser takes an error
        # for a preflight that has failed (Fetch, "CORS-preflight fetch", step 7).
        if preflight and x.cors.enabled:
            return Reply(204, x.cors.preflight(head))
        raise
    x.cors = route.cors
    if preflight and route.cors.enabled:
        return Reply(204, route.cors.preflight(head))
    framing.check_body(head, route.body_limit)
    if take is not None and route.limits.early:  # before a flood costs cryptography or a database
        await take(counted(x, route, route.limits.early, None))
    upgrade = route.upgrade and framing.is_websocket(head)
    credential = session = None
    if route.policy.auth != "public" and not preflight:
        try:
            credential = rules.find_credential(route, head, x.client)
            session = await _admit(x, route, credential, host, resolve, upgrade=upgrade)
        except Unauthorized:
            location = login_redirect(head, route.login_url, rules.public_origin, target)
            if location is None:
                raise
            return Reply(302, b"Location: %b\r\n" % location.encode())
    if take is not None and route.limits.late:
        await take(counted(x, route, route.limits.late, session))
    path, prefix = _upstream_target(rules, route, head, target, host, method)
    return Permit(route, path, prefix, credential, session, upgrade)


async def _admit(
    x: Exchange,
    route: Route,
    credential: Credential | None,
    host: Host,
    resolve: Resolve,
    *,
    upgrade: bool,
) -> Session | None:
    """Return the session behind `credential` if it may use `route`; None for an admitted nobody.

    Where signing in is optional, a session that is missing or expired is nobody; any other fault is
    a refusal, so that a broken session is seen and not silently downgraded.
    """
    session = None
    try:
        if credential is None:
            raise SessionMissing
        x.session = credential.session
        if credential.source == "cookie":
            route.origin_check.check(x.head, host, x.client.scheme, upgrade)
        session = await resolve(credential, x.now)
        x.user, x.session_result = session.principal.id, "valid"
    except (Unauthorized, SessionStoreDown) as error:
        x.session_result = error.code
        nobody = isinstance(error, SessionMissing | SessionExpired)
        if not nobody or route.policy.auth != "optional":
            raise
    route.policy.admit(None if session is None else session.principal)
    return session


def counted(
    x: Exchange, route: Route, limits: tuple[Limit, ...], session: Session | None
) -> list[Demand]:
    """Return as whose request that of `x` counts in `limits` of `route`."""
    known = None if session is None else (x.session, session)
    return demands(limits, x.client.address, route.name, known)


def _routed_method(head: RequestHead, *, preflight: bool) -> str:
    """Return the method by which the route is chosen: for a preflight the one that it asks for."""
    if preflight:
        return head.noted[b"access-control-request-method"].decode("latin-1")
    return head.method


def _upstream_target(
    rules: Rules, route: Route, head: RequestHead, target: Target, host: Host, method: str
) -> tuple[str, str | None]:
    """Return the target for the upstream, and the prefix that was cut from it, if any."""
    if route.rewrite is None:
        return _sent_target(head.target, target), None
    path, prefix = route.rewrite.apply(target)
    seen = canonicalise(path, head.method, host)
    rules.routes.check_rewritten(route, host.name, seen, method)
    return path, prefix


def _sent_target(sent: str, target: Target) -> str:
    """Return the target in origin form (RFC 9112 section 3.2.1), with the very bytes that were
    sent.
    """
    if sent.startswith("/"):
        return sent
    return target.path if target.query is None else f"{target.path}?{target.query}"
