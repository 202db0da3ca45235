"""Web origins and URLs as the configuration writes them, and what may be wrong with them.

Law of the file: no message repeats the text that it was given, which may hold a password.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from proxy.config.units import is_host, is_ipv6, parse_port

if TYPE_CHECKING:
    from publicsuffixlist import PublicSuffixList

# Browsers' own schemes (https, http) and those of apps (capacitor, tauri, chrome-extension).
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*")


def check_origin(text: str) -> None:
    """Refuse what is not scheme://host[:port], `null`, or scheme://*.domain[:port]: ValueError."""
    if text == "null":
        return
    if text == "*":
        raise ValueError(
            "* is refused, because these origins may send the user's cookies; name the origins"
        )
    scheme, host, port = _split(text)
    if port is not None:
        parse_port(port, lowest=1)
    if not host.startswith("*."):
        _check_name(host)
        return
    if scheme not in ("http", "https"):
        raise ValueError("a wildcard is for https:// and http:// only")
    _check_wildcard(host.removeprefix("*."))


def check_exact_origin(text: str) -> None:
    """Refuse what is not http(s)://host[:port]: ValueError."""
    scheme, host, port = _split(text)
    if scheme not in ("http", "https"):
        raise ValueError("must begin with https:// or http://")
    if port is not None:
        parse_port(port, lowest=1)
    _check_name(host)


def check_url(text: str) -> None:
    """Refuse what is not an absolute http(s) URL, or has a user or a fragment: ValueError."""
    if not text.isascii() or not text.isprintable() or set(text) & set(' "<>\\^`{|}'):
        raise ValueError("must be a URL in ASCII, with other characters escaped")
    if not text.startswith(("https://", "http://")):
        raise ValueError("must be an absolute URL that begins with https:// or http://")
    scheme, slashes, rest = text.partition("://")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    check_exact_origin(f"{scheme}{slashes}{authority}")
    if urlsplit(text).fragment:
        raise ValueError("must have no fragment (#)")


def _split(text: str) -> tuple[str, str, str | None]:
    """Return scheme, host (with brackets) and port of an origin, in lower case."""
    scheme, slashes, rest = text.lower().partition("://")
    if not slashes or not _SCHEME.fullmatch(scheme):
        raise ValueError("must be scheme://host or scheme://host:port, as in https://example.com")
    if rest.endswith("/") and "/" not in rest[:-1]:
        raise ValueError("an origin ends after the host and port: take the / off")
    if set(rest) & set("/?#\\"):
        raise ValueError("an origin ends after the host and port: take the path off")
    if "@" in rest:
        raise ValueError("must not carry a user name or password")
    if not rest.isascii():
        raise ValueError("must be ASCII; write an international name in its xn-- form")
    host, colon, port = rest.rpartition(":")
    if not colon or rest.endswith("]"):
        return scheme, rest, None
    return scheme, host, port


def _check_name(host: str) -> None:
    if "*" in host:
        raise ValueError("* stands for whole labels in front of a domain: https://*.example.com")
    if host.startswith("[") and host.endswith("]") and is_ipv6(host[1:-1]):
        return
    if host.endswith(".") or not is_host(host):
        raise ValueError("must name a host after ://, as in https://app.example.com")


def _check_wildcard(domain: str) -> None:
    """Refuse a domain below which anybody may have a page: `com`, `co.uk`, `github.io`."""
    _check_name(domain)
    if domain.rpartition(".")[2].isdigit():
        raise ValueError("an address has no names below it")
    if _suffixes().privatesuffix(domain) is None:
        raise ValueError(
            "anybody may register a name below that domain; a wildcard needs a domain of your own, "
            "as in https://*.example.com"
        )


@cache
def _suffixes() -> PublicSuffixList:
    # Reading the list takes a moment, and most configurations have no wildcard.
    from publicsuffixlist import PublicSuffixList

    return PublicSuffixList()
