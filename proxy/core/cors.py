"""Cross-origin resource sharing: which page may read an answer, and what a preflight is told.

The law of this file: an origin that is not listed gets no Access-Control header at all, and a
listed one gets its own name back, never `*`. `Vary: Origin` is on every answer, also on those to
requests without an Origin: a cache that kept one of them would serve it to pages (Fetch, "CORS
protocol and HTTP caches").
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from proxy.core.origin import Origins, shown
from proxy.errors import OriginRefused

if TYPE_CHECKING:
    from proxy.config.model import CorsConfig
    from proxy.core.head import RequestHead

_VARY: Final = b"Vary: Origin\r\n"
_VARY_PREFLIGHT: Final = (
    b"Vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers\r\n"
)
_ALWAYS_EXPOSED: Final = ("X-Request-Id", "Retry-After", "RateLimit", "RateLimit-Policy")
_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 section 5.6.2

# A page of today asks for a dozen names. The answer repeats them, so that their number is bounded.
_ASKED_MAX_BYTES: Final = 2048

# Origin -> what it is granted; emptied when full, since wildcards match any number and strangers
# are many.
_MEMO_MAX: Final = 1024
_MEMO_ORIGIN_MAX_BYTES: Final = 300


def is_preflight(head: RequestHead) -> bool:
    """Whether the request is a CORS preflight (Fetch, "CORS-preflight request")."""
    return (
        head.method == "OPTIONS"
        and b"origin" in head.noted
        and b"access-control-request-method" in head.noted
    )


class Cors:
    """The CORS rules of a route.

    With no config, or no origins in it, CORS is off, and the upstream's business. Raises ValueError
    for an origin that is none.
    """

    __slots__ = ("_config", "_granted", "_methods", "_origins", "_preflight", "enabled", "expose")

    def __init__(self, config: CorsConfig | None) -> None:
        self._config = config if config is not None and config.origins else None
        self.enabled = self._config is not None
        self.expose: bytes | None = None
        """The value of Access-Control-Expose-Headers, for an upstream that sends none."""
        self._origins = Origins(() if self._config is None else self._config.origins)
        self._methods: frozenset[str] = frozenset()
        self._preflight = b""
        self._granted: dict[bytes, bytes] = {}
        if self._config is not None:
            names = [name.encode() for name in (*_ALWAYS_EXPOSED, *self._config.expose)]
            self.expose = b", ".join(_distinct(names))
            self._methods = frozenset(self._config.methods)
            self._preflight = _preflight_lines(self._config)

    def allows(self, origin: bytes) -> bool:
        """Whether `origin`, as a browser writes it, is listed."""
        return origin in self._origins

    def grant(self, head: RequestHead) -> bytes:
        """Return the lines, each ending CRLF, for any answer to `head`; b"" if CORS is off."""
        if not self.enabled:
            return b""
        origin = head.noted.get(b"origin")
        if origin is None or (head.repeated is not None and b"origin" in head.repeated):
            return _VARY
        granted = self._granted.get(origin)
        return self._grant(origin) if granted is None else granted

    def grant_exposing(self, head: RequestHead, upstream: bytes) -> bytes:
        """Return what `grant` does, with the upstream's list of exposed headers joined to ours."""
        lines = self.grant(head)
        if lines == _VARY or self.expose is None:
            return lines
        return lines.replace(_exposing(self.expose), _exposing(self.merge_expose(upstream)))

    def merge_expose(self, upstream: bytes) -> bytes:
        """Return our list and the upstream's as one; what is no name in it is left out."""
        theirs = (name.strip(b" \t") for name in upstream.split(b","))
        ours = [] if self.expose is None else self.expose.split(b", ")
        return b", ".join(_distinct([*ours, *(name for name in theirs if _TOKEN.fullmatch(name))]))

    def preflight(self, head: RequestHead) -> bytes:
        """Return the header lines of the 204 that answers the preflight `head`, each ending CRLF.

        They stand instead of what `grant` gives. A header that is not allowed is no reason to
        refuse: the browser finds it missing and tells its user. Raises OriginRefused for an origin
        or a method that is not listed and for header names that are none, BadRequest if a header
        that decides came twice.
        """
        origin = head.get(b"origin")
        method = head.get(b"access-control-request-method")
        asked = head.get(b"access-control-request-headers")
        private = head.get(b"access-control-request-private-network")
        if origin is None or not self.allows(origin):
            raise OriginRefused(f"preflight from {shown(origin or b'')}, not in cors.origins")
        if method is None or method.decode("latin-1") not in self._methods:
            raise OriginRefused("preflight for a method that is not in cors.methods")
        names = _asked_names(asked)
        lines = _allowing(origin) + self._preflight
        if self._config is not None and self._config.headers == "any" and names:
            lines += b"Access-Control-Allow-Headers: %b\r\n" % b", ".join(names)
        if self._config is not None and self._config.private_network and private == b"true":
            lines += b"Access-Control-Allow-Private-Network: true\r\n"
        return lines + _VARY_PREFLIGHT

    def _grant(self, origin: bytes) -> bytes:
        granted = _VARY
        if self.expose is not None and self.allows(origin):
            granted = _allowing(origin) + _exposing(self.expose) + _VARY
        if len(origin) <= _MEMO_ORIGIN_MAX_BYTES:
            if len(self._granted) >= _MEMO_MAX:
                self._granted.clear()
            self._granted[origin] = granted
        return granted

    def __eq__(self, other: object) -> bool:
        return self._config == other._config if isinstance(other, Cors) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._origins.entries)

    def __repr__(self) -> str:
        return f"<Cors {len(self._origins.entries)} origins>" if self.enabled else "<Cors off>"


def _allowing(origin: bytes) -> bytes:
    return b"Access-Control-Allow-Origin: %b\r\nAccess-Control-Allow-Credentials: true\r\n" % origin


def _exposing(names: bytes) -> bytes:
    return b"Access-Control-Expose-Headers: %b\r\n" % names


def _preflight_lines(config: CorsConfig) -> bytes:
    """Return what all granted preflights are told. With credentials, `*` would mean nothing."""
    lines = f"Access-Control-Allow-Methods: {', '.join(config.methods)}\r\n"
    if config.headers != "any":
        lines += f"Access-Control-Allow-Headers: {', '.join(config.headers)}\r\n"
    return f"{lines}Access-Control-Max-Age: {int(config.max_age)}\r\n".encode()


def _asked_names(asked: bytes | None) -> list[bytes]:
    """Return the names in Access-Control-Request-Headers. Raises OriginRefused if one is none."""
    if asked is None or not asked.strip(b" \t"):
        return []
    names = [name.strip(b" \t") for name in asked.split(b",")]
    if len(asked) > _ASKED_MAX_BYTES or not all(_TOKEN.fullmatch(name) for name in names):
        raise OriginRefused("preflight for what is not a list of header names")
    return names


def _distinct(names: Iterable[bytes]) -> list[bytes]:
    """Return `names` without those that differ from an earlier one by case alone."""
    seen: dict[bytes, bytes] = {}
    for name in names:
        seen.setdefault(name.lower(), name)
    return list(seen.values())
