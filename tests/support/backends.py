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

SITE: Final = (
    (GUARDED, re.compile(r"/admin(?:/.*)?", re.DOTALL)),
    (GUARDED, re.compile(r"/users/[^/]+/admin(?:/.*)?", re.DOTALL)),
    (OPEN, re.compile(r"/public(?:/.*)?", re.DOTALL)),
    (OPEN, re.compile(r"/users(?:/.*)?", re.DOTALL)),
)
"""What every backend serves: handler and paths, in the order in which it looks for one."""
SITE_FOLDED: Final = tuple((name, re.compile(p.pattern, p.flags | re.I)) for name, p in SITE)


@dataclass(frozen=True, slots=True)
class Backend:
    """`read` makes the router's path of the one that arrives; None when the server refuses it.

    `ignores_case`: the router takes `/ADMIN` for `/admin`.
    """

    name: str
    read: Callable[[str], str | None]
    ignores_case: bool = False

    def handler(self, target: str) -> str:
        """Return which handler serves a request for `target`, which is in origin form."""
        path = self.read(target.partition("?")[0])
        return REFUSED if path is None else serve(path, ignores_case=self.ignores_case)


def serve(path: str, *, ignores_case: bool = False) -> str:
    """Return the handler of the site for a path as a router sees it."""
    for name, pattern in SITE_FOLDED if ignores_case else SITE:
        if pattern.fullmatch(path):
            return name
    return NOTHING


def _as_sent(path: str) -> str:
    return path


def _latin1(path: str) -> str:
    """WSGI (PEP 3333): the bytes of the decoded path, as Latin-1 characters."""
    return unquote_to_bytes(path).decode("latin-1")


def _utf8(path: str) -> str:
    """ASGI: the decoded path, what is no UTF-8 replaced."""
    return unquote(path)


def _wsgiref(path: str) -> str:
    """http.server makes one slash of those that a path begins with; the rest is WSGI."""
    return unquote("/" + path.lstrip("/") if path.startswith("//") else path, "iso-8859-1")


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
    if "\0" in text:
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
    text = _utf8_strict(path)
    clean = posixpath.normpath(text) if text else "/"
    clean = "/" + clean.lstrip("/")
    if text.endswith("/") and clean != "/":
        clean += "/"
    return text if clean == text else None


def go_clean(path: str) -> str:
    """A Go handler that cleans the path by itself, as http.FileServer does."""
    return "/" + posixpath.normpath("/" + _utf8_strict(path)).lstrip("/")


def _utf8_strict(path: str) -> str:
    return unquote_to_bytes(path).decode("latin-1")


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
    "nginx": Backend("nginx", nginx),
    "node-url": Backend("node-url", whatwg),
    "express": Backend("express", _as_sent, ignores_case=True),
    "express-strict": Backend("express-strict", _as_sent),
    "gunicorn": Backend("gunicorn", _latin1),
    "waitress": Backend("waitress", _latin1),
    "werkzeug": Backend("werkzeug", _latin1),
    "wsgiref": Backend("wsgiref", _wsgiref),
    "starlette": Backend("starlette", _utf8),
    "go-mux": Backend("go-mux", go_mux),
    "go-clean": Backend("go-clean", go_clean),
}
"""Models of servers that tests start, by name."""

MODELS: Final = (
    *REAL.values(),
    Backend("rack", rack),
    Backend("tomcat", tomcat),
    Backend("iis", iis, ignores_case=True),
    Backend("everything", everything, ignores_case=True),
)
