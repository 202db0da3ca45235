"""Are the identity headers names that only we can set, and values that a session can give?"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from proxy.config.problems import Loc, did_you_mean

if TYPE_CHECKING:
    from proxy.config.model import Config
    from proxy.config.problems import Report

_SOURCES: Final = ("id", "email", "name", "roles")
# Underscores and dots are what some servers turn into hyphens, so names with them are never ours.
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
# Names that mean something to HTTP or to a proxy; a user's name there would be taken for that.
_TAKEN: Final = re.compile(
    r"accept(-.*)?|access-control-.*|age|allow|authorization|cache-control|connection|content-.*"
    r"|cookie2?|date|expect|forwarded|from|host|http2-settings|if-.*|keep-alive|max-forwards|origin"
    r"|pragma|proxy(-.*)?|range|referer|sec-.*|server|set-cookie2?|te|trace(parent|state)|trailer"
    r"|transfer-encoding|upgrade|user-agent|vary|via|warning|www-authenticate|x-forwarded(-.*)?"
    r"|x-http-method(-override)?|x-original-.*|x-real-ip|x-request-id|x-rewrite-url",
)


def check_identity(config: Config, report: Report) -> None:
    """Check the names and values of the identity headers, at the top level and of upstreams."""
    _check_headers(config.identity.headers, ("identity", "headers"), report)
    for name, upstream in config.upstreams.items():
        if upstream.identity is not None:
            loc: Loc = ("upstreams", name, "identity", "headers")
            _check_headers(upstream.identity.headers, loc, report)


def _check_headers(headers: Mapping[str, str], loc: Loc, report: Report) -> None:
    seen: dict[str, Loc] = {}
    for name, source in headers.items():
        at = (*loc, name)
        folded = re.sub(r"[^a-z0-9]", "", name.lower())
        if not _NAME.fullmatch(name):
            message = "an identity header is made of letters, digits and hyphens, as in X-User-Id"
            report.add(at, message, key=True)
        elif _TAKEN.fullmatch(name.lower()):
            message = f"{report.shown_key(at)} has a meaning of its own in HTTP; choose an X- name"
            report.add(at, message, key=True)
        elif folded in seen:
            line = report.line(seen[folded])
            message = f"backends may read this name and the one {line} as the same"
            report.add(at, message, key=True)
        seen.setdefault(folded, at)
        _check_source(source, at, report)


def _check_source(source: str, loc: Loc, report: Report) -> None:
    if source in _SOURCES:
        return
    path = source.removeprefix("claims.")
    if path == source or "" in path.split("."):
        message = "must be id, email, name, roles, or claims. and a path, as in claims.org.id"
        report.add(loc, message + did_you_mean(source, _SOURCES))
