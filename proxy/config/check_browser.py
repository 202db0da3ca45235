"""Are origins and URLs what browsers know by these names?"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from proxy.config.check_routes import check_methods
from proxy.config.inherit import cors_for
from proxy.config.origins import check_exact_origin, check_origin, check_url
from proxy.config.problems import Loc

if TYPE_CHECKING:
    from proxy.config.model import Config, CorsConfig, CsrfConfig
    from proxy.config.problems import Report

_NO_ORIGINS = "origins are missing here; name those that may call, or write cors: off"


def check_browser(config: Config, report: Report) -> None:
    """Check `cors`, `csrf`, `public_origin` and `login_url`, at the top level and of routes."""
    if config.public_origin is not None:
        _try(check_exact_origin, config.public_origin, ("public_origin",), report)
    if config.login_url is not None:
        _try(check_url, config.login_url, ("login_url",), report)
    if config.cors is not None:
        _check_cors(config.cors, ("cors",), report)
        if not config.cors.origins:
            report.add(("cors",), _NO_ORIGINS, key=True)
    _check_csrf(config.csrf, ("csrf",), report)
    _check_routes(config, report)


def _check_routes(config: Config, report: Report) -> None:
    for position, route in enumerate(config.routes):
        loc: Loc = ("routes", position)
        if route.login_url not in (None, "off"):
            _try(check_url, str(route.login_url), (*loc, "login_url"), report)
        if route.csrf is not None:
            _check_csrf(route.csrf, (*loc, "csrf"), report)
        if route.cors is None or route.cors == "off":
            continue
        _check_cors(route.cors, (*loc, "cors"), report)
        joined = cors_for(config, route)
        if joined is not None and not joined.origins and config.cors is None:
            report.add((*loc, "cors"), _NO_ORIGINS, key=True)


def _check_cors(cors: CorsConfig, loc: Loc, report: Report) -> None:
    for position, origin in enumerate(cors.origins):
        _try(check_origin, origin, (*loc, "origins", position), report)
    check_methods(cors.methods, (*loc, "methods"), report)
    if cors.headers != "any":
        _check_stars(cors.headers, (*loc, "headers"), "write headers: any", report)
    _check_stars(cors.expose, (*loc, "expose"), "name the headers", report)


def _check_stars(names: tuple[str, ...], loc: Loc, instead: str, report: Report) -> None:
    for position, name in enumerate(names):
        if name == "*":
            message = f"* means nothing to a browser that sends credentials; {instead}"
            report.add((*loc, position), message)


def _check_csrf(csrf: CsrfConfig, loc: Loc, report: Report) -> None:
    for position, origin in enumerate(csrf.origins or ()):
        _try(check_origin, origin, (*loc, "origins", position), report)


def _try(check: Callable[[str], None], text: str, loc: Loc, report: Report) -> None:
    try:
        check(text)
    except ValueError as error:
        report.add(loc, str(error))
