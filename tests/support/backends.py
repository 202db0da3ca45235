"""How backends read a request target: pure models of real servers and frameworks.

Each model says which path its router looks at, given the path that arrives, and the site below says
which handler that path leads to. Models of servers that are to be had are checked against them
(tests/e2e/test_backends.py, `make fuzz`); the others follow their documentation.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, unquote_to_bytes

GUARDED: Final = "guarded"
OPEN: Final = "open"
NOTHING: Final = "nothing"
REFUSED: Final = "refused"
"""The server answers with an error or a redirect of its own."""

Site = tuple[tuple[str, re.Pattern[str]], ...]
"""Handlers and the paths that they are for, in the order in which a router looks."""


def _site(below: str, flags: re.RegexFlag = re.DOTALL) -> Site:
    """Return what every backend serves; `below` is what may follow a handler's own path."""
    return tuple(
        (handler, re.compile(rf"{path}(?:{below})?", flags))
        for handler, path in (
            (GUARDED, "/admin"),
            (GUARDED, "/users/[^/]+/admin"),
            (OPEN, "/public"),
            (OPEN, "/users"),
        )
    )


SITE: Final = _site("/.*")
SITE_IN_ANY_CASE: Final = _site("/.*", re.DOTALL | re.IGNORECASE)
_SITE_OF_STARLETTE: Final = _site("/.*", re.NOFLAG)
_SITE_OF_WERKZEUG: Final = _site("/|/[^/].*", re.NOFLAG)


@dataclass(frozen=True, slots=True)
class Backend:
    """`read` makes the router's path of the one that arrives; None when the server refuses it."""

    name: str
    read: Callable[[str], str | None]
    site: Site = SITE

    @property
    def ignores_case(self) -> bool:
        """Whether `/ADMIN` is `/admin` to it."""
        return self.site is SITE_IN_ANY_CASE

    def handler(self, target: str) -> str:
        """Return which handler serves a request for `target`, which is in origin form."""
        path = self.read(target.partition("?")[0])
        return REFUSED if path is None else serve(path, self.site)


def serve(path: str, site: Site = SITE) -> str:
    """Return the handler of the site for a path as a router sees it."""
    return next((name for name, pattern in site if pattern.fullmatch(path)), NOTHING)


_MALFORMED: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")


def express(path: str) -> str | None:
    """path-to-regexp on the path as sent; a parameter that is no escaped UTF-8 is an error."""
    try:
        unquote_to_bytes(path).decode()
    except UnicodeDecodeError:
        return None
    return None if _MALFORMED.search(path) else path


def _latin1(path: str) -> str:
    """WSGI (PEP 3333): the bytes of the decoded path, as Latin-1 characters."""
    return unquote_to_bytes(path).decode("latin-1")


def starlette(path: str) -> str:
    """ASGI: the decoded path, what is no UTF-8 replaced. Routes are regular expressions without a
    flag that end in `$`, before which there may be a newline.
    """
    return unquote(path).removesuffix("\n")


def wsgiref(path: str) -> str:
    """http.server: one slash in the place of those that the path begins with; then WSGI."""
    return _latin1("/" + path.lstrip("/"))


def waitress(path: str) -> str:
    """WSGI; then one slash in the place of those that the path begins with."""
    return "/" + _latin1(path).lstrip("/")


def werkzeug(path: str) -> str:
    """The path of Werkzeug's router, which is Flask's, and begins with one slash."""
    return "/" + unquote(path).lstrip("/")


_DOT: Final = re.compile(r"\.|%2e", re.IGNORECASE)


def whatwg(path: str) -> str:
    """The URL Standard's path state, for http: dots in either spelling, `\\` is a slash."""
    segments = path.replace("\\", "/").split("/")[1:]
    kept: list[str] = []
    for index, segment in enumerate(segments):
        dots = _DOT.sub(".", segment)
        last = index == len(segments) - 1
        if dots == "..":
            del kept[-1:]
        if dots in {".", ".."}:
            if last:
                kept.append("")
        else:
            kept.append(segment)
    return "/" + "/".join(kept)


def nginx(path: str) -> str | None:
    """ngx_http_parse_complex_uri: decoded once, slashes merged, dots resolved, NUL refused."""
    text = _latin1(path)
    if "\0" in text or _MALFORMED.search(path):
        return None
    kept: list[str] = []
    segments = text.split("/")[1:]
    for index, segment in enumerate(segments):
        last = index == len(segments) - 1
        if segment == "..":
            if not kept:
                return None
            kept.pop()
        elif segment not in {"", "."}:
            kept.append(segment)
            continue
        if last:
            kept.append("")
    return "/" + "/".join(kept)


def go_mux(path: str) -> str | None:
    """net/http's ServeMux: a path that is not clean is redirected to the one that is."""
    if _MALFORMED.search(path):
        return None
    text = _latin1(path)
    clean = posixpath.normpath(text) if text else "/"
    clean = "/" + clean.lstrip("/")
    if text.endswith("/") and clean != "/":
        clean += "/"
    return text if clean == text else None


def go_clean(path: str) -> str | None:
    """A Go handler that cleans the path by itself, as http.FileServer does."""
    if _MALFORMED.search(path):
        return None
    return "/" + posixpath.normpath("/" + _latin1(path)).lstrip("/")


def tomcat(path: str) -> str | None:
    """Tomcat and Jetty: parameters cut, decoded, slashes merged, dots resolved."""
    cut = "/".join(segment.partition(";")[0] for segment in path.split("/"))
    text = _latin1(cut)
    return None if "\0" in text else _resolved(text)


def rack(path: str) -> str:
    """Rails' router: decoded, slashes merged, no trailing slash."""
    return "/" + "/".join(segment for segment in _latin1(path).split("/") if segment)


def iis(path: str) -> str:
    """ASP.NET on Windows: decoded, `\\` is a slash, dots resolved, trailing dots and spaces cut."""
    return _trimmed(_resolved(_latin1(path).replace("\\", "/")))


def everything(path: str) -> str:
    """All of it at once, which no server does; but decoded once, as by all of them."""
    text = _latin1(path).replace("\\", "/")
    cut = "/".join(segment.partition(";")[0] for segment in text.split("/"))
    return _trimmed(_resolved(cut)).removesuffix("/") or "/"


def _resolved(text: str) -> str:
    kept: list[str] = []
    for segment in text.split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment not in {"", "."}:
            kept.append(segment)
    return "/" + "/".join(kept) + ("/" if text.endswith("/") and kept else "")


def _trimmed(text: str) -> str:
    return "/".join(segment.rstrip(". ") for segment in text.split("/"))


REAL: Final = {
    backend.name: backend
    for backend in (
        Backend("nginx", nginx),
        Backend("node-url", whatwg),
        Backend("express", express, SITE_IN_ANY_CASE),
        Backend("express-strict", express),
        Backend("express4", express, SITE_IN_ANY_CASE),
        Backend("express4-strict", express),
        Backend("gunicorn", _latin1),
        Backend("waitress", waitress),
        Backend("werkzeug", werkzeug, _SITE_OF_WERKZEUG),
        Backend("wsgiref", wsgiref),
        Backend("starlette", starlette, _SITE_OF_STARLETTE),
        Backend("go-mux", go_mux),
        Backend("go-clean", go_clean),
    )
}
"""Models of servers that tests start, by name."""

MODELS: Final = (
    *REAL.values(),
    Backend("rack", rack),
    Backend("tomcat", tomcat),
    Backend("iis", iis, SITE_IN_ANY_CASE),
    Backend("everything", everything, SITE_IN_ANY_CASE),
)
