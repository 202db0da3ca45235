"""Which web origins are listed, and the check that no other site rides on a session cookie.

Facts: browsers send `Sec-Fetch-Site` since 2019 (Chrome) to 2023 (Safari), and `Origin` with every
unsafe request since about 2020; a page can forge neither. The scheme counts: a page on http://,
which anybody on the network may have written, is not our page on https://. Browsers write origins
in lower case and without default ports (RFC 6454 section 6.2), so origins are compared byte for
byte.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from proxy.errors import OriginRefused

if TYPE_CHECKING:
    from proxy.core.head import RequestHead
    from proxy.core.target import Host

_LABELS: Final = r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*"
_PATTERN: Final = re.compile(
    rf"([a-z][a-z0-9+.-]*)://(\*\.)?({_LABELS}|\[[0-9a-f:.]+\])(?::([0-9]{{1,5}}))?"
)
_LABELS_BELOW: Final = re.compile(_LABELS.encode())
_SERIALISED: Final = re.compile(rb"null|[a-z][a-z0-9+.-]*://[A-Za-z0-9_.:\[\]-]{1,255}")
_REFERER: Final = re.compile(rb"[a-z][a-z0-9+.-]*://[^/?#]*")
_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}

# RFC 9110 section 9.2.1.
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


class Origins:
    """A set of origins.

    Entries are `https://app.example.com`, `https://*.example.com` (any names below) and `null`.
    Raises ValueError for an entry that is none of these.
    """

    __slots__ = ("_below", "_exact", "entries")

    def __init__(self, entries: Iterable[str]) -> None:
        self.entries = frozenset(entries)
        exact: set[bytes] = set()
        below: set[tuple[bytes, bytes]] = set()
        for entry in self.entries:
            scheme, star, rest = _read(entry)
            if star:
                below.add((f"{scheme}://".encode(), f".{rest}".encode()))
            else:
                exact.add(entry.encode() if scheme == "" else f"{scheme}://{rest}".encode())
        self._exact = frozenset(exact)
        self._below = tuple(below)

    def __contains__(self, origin: bytes) -> bool:
        return origin in self._exact or any(
            origin.startswith(scheme)
            and origin.endswith(rest)
            and _LABELS_BELOW.fullmatch(origin, len(scheme), len(origin) - len(rest))
            for scheme, rest in self._below
        )


def _read(entry: str) -> tuple[str, bool, str]:
    """Return scheme ("" for `null`), whether it is a wildcard, and host with its port."""
    if entry == "null":
        return "", False, entry
    parts = _PATTERN.fullmatch(entry.lower())
    if parts is None:
        raise ValueError(
            "an origin is scheme://host[:port], or scheme://*.host[:port], without a path"
        )
    scheme, star, host, port = parts.groups()
    if port is None or port == _DEFAULT_PORTS.get(scheme):
        return scheme, star is not None, host
    return scheme, star is not None, f"{host}:{port}"


def shown(origin: bytes) -> str:
    """Return an origin that a client sent in a form that is safe in a log."""
    return origin.decode() if _SERIALISED.fullmatch(origin) else "a malformed origin"


class OriginCheck:
    """The defence against cross-site request forgery, for requests whose session came in a cookie.

    `origins` may send them (entries as in `Origins`), and so may our own pages: those of
    `public_origin`, if it is known, and of the scheme and host by which the request reached us.
    Raises ValueError for a bad entry.
    """

    __slots__ = ("_enabled", "_origins")

    def __init__(self, enabled: bool, origins: Iterable[str], public_origin: str | None) -> None:
        self._enabled = enabled
        self._origins = Origins([*origins, *([] if public_origin is None else [public_origin])])

    def check(self, head: RequestHead, host: Host, scheme: str, upgrade: bool) -> None:
        """Raise OriginRefused if another site may have sent this request with the user's cookie.

        `host` and `scheme` are those by which the client reached us. Safe methods pass, unless the
        request would become a WebSocket (`upgrade`), which no preflight guards and which any page
        may then read. Raises BadRequest if a header that decides came twice.
        """
        if not self._enabled or (head.method in _SAFE_METHODS and not upgrade):
            return
        site = head.get(b"sec-fetch-site")
        if site in (b"same-origin", b"none"):
            return
        origin = head.get(b"origin")
        if origin is not None:
            if not self._is_ours(origin, host, scheme):
                raise OriginRefused(f"the session cookie came from {shown(origin)}, not listed")
        elif site is not None:
            raise OriginRefused("Sec-Fetch-Site says another site, and there is no Origin")
        else:
            self._check_referer(head.get(b"referer"), host, scheme)

    def _check_referer(self, referer: bytes | None, host: Host, scheme: str) -> None:
        # None of the three: no browser of today, but a script or a server component with the user's
        # cookie.
        if referer is None:
            return
        origin = _REFERER.match(referer)
        if origin is None or not self._is_ours(origin[0], host, scheme):
            raise OriginRefused("there is no Origin, and the Referer is of another site")

    def _is_ours(self, origin: bytes, host: Host, scheme: str) -> bool:
        return origin in self._origins or origin == host.origin(scheme).encode()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, OriginCheck):
            return NotImplemented
        return self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    @property
    def _key(self) -> tuple[object, ...]:
        return self._enabled, self._origins.entries

    def __repr__(self) -> str:
        state = f"{len(self._origins.entries)} origins" if self._enabled else "off"
        return f"<OriginCheck {state}>"
