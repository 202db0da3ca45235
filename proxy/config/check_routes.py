"""Does each route, by itself, make sense?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.config.browser import KNOWN_METHODS
from proxy.config.patterns import Pattern, check_host
from proxy.config.problems import Loc, did_you_mean
from proxy.config.units import is_host

if TYPE_CHECKING:
    from proxy.config.model import Config, RouteConfig
    from proxy.config.problems import Report


def check_routes(config: Config, report: Report) -> None:
    """Check names, patterns, and that what a route asks for can be asked there."""
    for position, route in enumerate(config.routes):
        loc: Loc = ("routes", position)
        _check_names(config, route, loc, report)
        _check_matching(route, loc, report)
        _check_policy(route, loc, report)
        _check_path_changes(route, loc, report)
    _check_sessions_exist(config, report)


def _check_names(config: Config, route: RouteConfig, loc: Loc, report: Report) -> None:
    if route.upstream not in config.upstreams:
        hint = did_you_mean(route.upstream, report.names("upstreams", config.upstreams))
        at = (*loc, "upstream")
        report.add(at, f"there is no upstream {report.shown(at)}{hint}")
    for position, name in enumerate(route.sessions or ()):
        if name not in config.sessions:
            at = (*loc, "sessions", position)
            hint = did_you_mean(name, report.names("sessions", config.sessions))
            report.add(at, f"there is no session {report.shown(at)}{hint}")


def _check_matching(route: RouteConfig, loc: Loc, report: Report) -> None:
    try:
        Pattern.parse(route.path)
    except ValueError as error:
        report.add((*loc, "path"), str(error))
    if route.host is not None:
        try:
            check_host(route.host)
        except ValueError as error:
            report.add((*loc, "host"), str(error))
    check_methods(route.methods or (), (*loc, "methods"), report)


def check_methods(methods: tuple[str, ...], loc: Loc, report: Report) -> None:
    """Refuse methods that are never forwarded, and lower-case ones, which are others."""
    for position, method in enumerate(methods):
        if method in KNOWN_METHODS:
            continue
        at = (*loc, position)
        hint = did_you_mean(method, KNOWN_METHODS) or "; CONNECT and TRACE are never forwarded"
        report.add(at, f"{report.shown(at)} is not a method that is forwarded{hint}")


def _check_policy(route: RouteConfig, loc: Loc, report: Report) -> None:
    require = route.require
    if route.auth == "public":
        if require.model_fields_set:
            message = "a public route looks at no session, so it can require nothing of the user"
            report.add((*loc, "require"), message, key=True)
        if route.sessions is not None:
            message = "a public route looks at no session, so it cannot name the ones that count"
            report.add((*loc, "sessions"), message, key=True)
    for path in require.claims:
        if "" in path.split("."):
            message = "a claim path is names with dots between them, as in org.plan"
            report.add((*loc, "require", "claims", path), message, key=True)
    for position, domain in enumerate(require.email_domains):
        if not is_host(domain) or domain.endswith("."):
            message = "must be a domain alone, as in example.com, without @ and wildcards"
            report.add((*loc, "require", "email_domains", position), message)


def _check_sessions_exist(config: Config, report: Report) -> None:
    if config.sessions:
        return
    for position, route in enumerate(config.routes):
        if route.auth != "public":
            report.add(
                ("routes", position),
                "this route needs a session, and none is configured: "
                "add one under sessions, or write auth: public",
            )
            return


def _check_path_changes(route: RouteConfig, loc: Loc, report: Report) -> None:
    if route.strip_prefix is not None and route.rewrite is not None:
        message = "rewrite says the whole path, so it does not go together with strip_prefix"
        report.add((*loc, "rewrite"), message, key=True)
        return
    try:
        path = Pattern.parse(route.path)
    except ValueError:
        return
    if route.strip_prefix is not None:
        _check_prefix(route.strip_prefix, path, (*loc, "strip_prefix"), report)
    if route.rewrite is not None:
        _check_rewrite(route.rewrite, path, (*loc, "rewrite"), report)


def _check_prefix(text: str, path: Pattern, loc: Loc, report: Report) -> None:
    try:
        prefix = Pattern.parse(text)
    except ValueError as error:
        report.add(loc, str(error))
        return
    length = len(prefix.segments)
    if not prefix.is_literal or "" in prefix.segments:
        report.add(
            loc, "a prefix is whole literal segments, as in /svc, without a slash at its end"
        )
    elif path.segments[:length] != prefix.segments:
        report.add(loc, "the path of this route does not begin with this prefix")


def _check_rewrite(text: str, path: Pattern, loc: Loc, report: Report) -> None:
    try:
        result = Pattern.parse(text)
    except ValueError as error:
        report.add(loc, str(error))
        return
    if result.wildcards != path.wildcards:
        wanted = " ".join(path.wildcards) or "no wildcards"
        report.add(loc, f"must have the wildcards of the path, in their order: {wanted}")
