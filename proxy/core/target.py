"""Request targets and hosts: the one reading of each that everything else works with.

The law of this file: nothing is repaired. A target is refused or goes upstream with the bytes it
came with; the folded path is for comparing only.

Facts about backends, each of which reads one resource under several paths: Express and ASP.NET
ignore case and a trailing slash; WSGI, CGI and Rack decode every escape; Tomcat cuts `;params` off
each segment; Windows ignores trailing dots and spaces; nginx and Apache collapse slashes. Folding
does all of it at once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv6Address
from typing import Final

from proxy.errors import AmbiguousPath, BadHost, BadTarget

# A target whose path folds to its lower case without a trailing slash: no escapes, no `;`, no empty
# segment, and none that ends in a dot (so no dot segment either). Linear: within a segment nothing
# is given back. The group itself is not possessive, because Python up to 3.11.4 then matches `/a/.`
# (CPython issue 106052).
_PLAIN: Final = re.compile(
    r"""((?:/[A-Za-z0-9\-_~!$&'()*+,=:@\[\]{}|^.]*+(?<![/.]))+/?|/)(?:\?([!-"$-~]*+))?"""
)
_VISIBLE: Final = re.compile(r"""[!-"$-~]+""")
_ABSOLUTE: Final = re.compile(r"(https?)://([^/?]*)(.*)", re.IGNORECASE)

_FORBIDDEN: Final = re.compile(r'["<>`]|%(?![0-9A-Fa-f]{2})')
# A backslash is a slash to Windows and to browsers; escapes of control characters, `#`, `?` and `\`
# end or split the path for backends that decode first and parse after.
_DIVISIVE: Final = re.compile(r"\\|%(?:[01][0-9a-f]|7f|23|3f|5c)", re.IGNORECASE)

_ESCAPE: Final = re.compile(r"%[0-9A-Fa-f]{2}")
_ENCODED_SLASH: Final = "%2f"
# Lower-case escape -> character, for all visible ASCII and the space. Not `%25`, which would decode
# twice, and not the slash, of which the caller decides.
_DECODED: Final = {f"%{code:02x}": chr(code) for code in range(0x20, 0x7F) if chr(code) not in "%/"}


@dataclass(slots=True)
class Target:
    """A request target that may be routed.

    `path` and `query` are the bytes that came; the query is None where there is no `?`. `folded` is
    the path as the most forgiving backend reads it (see `fold`), the very same object as `path`
    where nothing had to be folded. `encoded_slash` says that the path holds `%2f`.
    """

    path: str
    query: str | None = field(repr=False)
    folded: str
    encoded_slash: bool


@dataclass(frozen=True, slots=True)
class Host:
    """A host in canonical form: lower case, no trailing dot, IPv6 in brackets; a port if named."""

    name: str
    port: int | None

    def port_at(self, scheme: str) -> int:
        """Return the port that the host means with `scheme` (http or https)."""
        return self.port if self.port is not None else _DEFAULT_PORTS[scheme]

    def origin(self, scheme: str) -> str:
        """Return the origin as browsers write it, without a default port (RFC 6454 section 6.2)."""
        port = self.port_at(scheme)
        named = "" if port == _DEFAULT_PORTS[scheme] else f":{port}"
        return f"{scheme}://{self.name}{named}"


_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def canonicalise(target: str, method: str, host: Host) -> Target:
    """Read the target of a request line whose `Host` is `host`.

    Raises BadTarget for what is no path of a URL, and AmbiguousPath for a path that two servers
    would not split alike (RFC 9112 section 3.2, RFC 3986 section 3.3).
    """
    plain = _PLAIN.fullmatch(target)
    if plain is not None:
        path, query = plain.groups()
        folded = path.lower().removesuffix("/") or "/"
        return Target(path, query, path if folded == path else folded, False)
    if not _VISIBLE.fullmatch(target):
        raise BadTarget("the target is empty or holds a fragment or bytes outside visible ASCII")
    if not target.startswith("/"):
        target = _origin_form(target, method, host)
    path, mark, query = target.partition("?")
    check_path(path)
    folded = fold(path)
    return Target(
        path,
        query if mark else None,
        path if folded == path else folded,
        _ENCODED_SLASH in path.lower(),
    )


def _origin_form(target: str, method: str, host: Host) -> str:
    """Return path and query of a target in absolute form, which must name the host of `Host`."""
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        raise BadTarget("the target is neither a path nor an http URL")
    scheme, authority, rest = absolute.groups()
    try:
        named = parse_host(authority.encode())
    except BadHost:
        raise BadTarget("the authority of the target is not a host") from None
    scheme = scheme.lower()
    if named.name != host.name or named.port_at(scheme) != host.port_at(scheme):
        raise BadTarget("the authority of the target is not that of Host")
    if not rest and method == "OPTIONS":
        raise BadTarget("the target stands for the whole server (RFC 9112 section 3.2.4)")
    return rest if rest.startswith("/") else f"/{rest}"


def check_path(path: str) -> None:
    """Refuse a path, made of visible ASCII, that servers would split or end at different places.

    Raises BadTarget and AmbiguousPath. Among the refused are dot segments in every disguise: any
    segment of which folding leaves nothing would be there for one server and not for the next.
    """
    if path.startswith("//"):
        raise AmbiguousPath("the path begins with two slashes, which some read as a host")
    if _FORBIDDEN.search(path):
        raise BadTarget("the path holds a malformed escape or a character that must be escaped")
    if _DIVISIVE.search(path):
        raise AmbiguousPath("the path holds a backslash, or an escaped control character or #?\\")
    segments = _decode(path).replace(_ENCODED_SLASH, "/").split("/")
    if any(segment and not _trim(segment) for segment in segments):
        raise AmbiguousPath("the path holds a dot segment, or one of only parameters or spaces")


def fold(
    path: str,
    *,
    case_sensitive: bool = False,
    strict_slash: bool = False,
    keep_encoded_slash: bool = False,
) -> str:
    """Return a checked path as the most forgiving backend reads it.

    Escapes of visible ASCII are decoded (but `%25`), `;params` and trailing dots and spaces are cut
    off each segment, empty segments and a trailing slash dropped, letters made lower case. The
    flags leave out a part.
    """
    text = _decode(path)
    if not keep_encoded_slash:
        text = text.replace(_ENCODED_SLASH, "/")
    if not case_sensitive:
        text = text.lower()
    folded = "/".join([_trim(segment) for segment in text.split("/") if segment])
    return f"/{folded}/" if strict_slash and folded and text.endswith("/") else f"/{folded}"


def _decode(text: str) -> str:
    return _ESCAPE.sub(_meaning, text) if "%" in text else text


def _meaning(escape: re.Match[str]) -> str:
    spelling = escape[0].lower()
    return _DECODED.get(spelling, spelling)


def _trim(segment: str) -> str:
    return segment.partition(";")[0].rstrip(". ")


_HOST: Final = re.compile(
    rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?)(?::([0-9]{1,5}))?"
)
_NAME_MAX: Final = 255  # RFC 1035 section 3.1

# Value of `Host` -> what it means. Emptied when full: a client may invent hosts.
_HOSTS: dict[bytes, Host] = {}
_HOSTS_MAX: Final = 1024


def parse_host(value: bytes | None) -> Host:
    """Read the value of `Host`: a name or address, perhaps with a port (RFC 9112 section 3.2).

    Raises BadHost, for None too: without a host nothing can be routed.
    """
    if value is None:
        raise BadHost("there is no Host header")
    host = _HOSTS.get(value)
    if host is None:
        host = _parse_host(value)
        if len(_HOSTS) >= _HOSTS_MAX:
            _HOSTS.clear()
        _HOSTS[value] = host
    return host


def _parse_host(value: bytes) -> Host:
    parts = _HOST.fullmatch(value) if len(value) <= _NAME_MAX + len(".:65535") else None
    if parts is None:
        raise BadHost("Host is not a name or address with an optional port")
    name = parts[1].decode().lower().removesuffix(".")
    if len(name) > _NAME_MAX:
        raise BadHost("the name in Host is too long")
    if name.startswith("["):
        try:
            name = f"[{IPv6Address(name[1:-1])}]"
        except AddressValueError:
            raise BadHost("the address in Host is not an IPv6 address") from None
    port = None if parts[2] is None else int(parts[2])
    if port is not None and not 1 <= port <= 65535:
        raise BadHost("the port in Host is out of range")
    return Host(name, port)
