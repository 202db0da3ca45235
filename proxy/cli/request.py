"""A request as an operator or a test writes it, made into the head that would arrive."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from proxy.core.head import RequestHead

if TYPE_CHECKING:
    from proxy.config.model import Config

PEER: Final = "127.0.0.1"
"""Where a request comes from unless somebody says otherwise: what stands in front of a sidecar."""

_URL: Final = re.compile(r"(https?)://([^/?#]*)(.*)", re.IGNORECASE)
# RFC 9110 section 5.6.2 for names; section 5.5 for values, whose bytes above 127 are the sender's.
_COOKIE_NAME: Final = "cookie:"
_HEADER: Final = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\x00-\x08\x0a-\x1f\x7f]*)")


@dataclass(frozen=True, slots=True)
class Url:
    """A URL taken apart and not changed; scheme and host are "" for a path alone."""

    scheme: str
    host: str
    target: str

    @classmethod
    def parse(cls, text: str) -> Url:
        """Read `https://host/path` or `/path`. Raises ValueError for anything else."""
        # Clients keep the fragment to themselves.
        text = text.partition("#")[0]
        if set(text) & set(" \t\r\n"):
            raise ValueError("a URL holds no spaces and line ends; clients send a space as %20")
        if text.startswith("/"):
            return cls("", "", text)
        match = _URL.fullmatch(text)
        if match is None or not match[2]:
            raise ValueError("a URL is http://HOST/PATH, https://HOST/PATH or /PATH")
        target = match[3] if match[3].startswith("/") else f"/{match[3]}"
        return cls(match[1].lower(), match[2], target)


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked, by whom."""

    method: str
    url: Url
    headers: Sequence[tuple[str, str]] = field(default=(), repr=False)
    peer: str = PEER

    def head(self, config: Config) -> RequestHead:
        """Return the head as it would arrive at a gateway with this configuration."""
        # What the terminal sent and is no UTF-8 arrives as the bytes that it is (PEP 383).
        fields = [
            (name.encode(), value.encode("utf-8", "surrogateescape"))
            for name, value in self.headers
        ]
        if not any(name.lower() == b"host" for name, _ in fields):
            fields.insert(
                0,
                (b"Host", (self.url.host or usual_host(config)).encode("utf-8", "surrogateescape")),
            )
        return RequestHead(
            self.method,
            self.url.target,
            1,
            tuple(fields),
            self.peer,
            tls=config.listen.tls is not None,
        )


def parse_header(text: str) -> tuple[str, str]:
    """Read `Name: value`. Raises ValueError for what no HTTP parser lets through."""
    match = _HEADER.fullmatch(text)
    if match is None:
        raise ValueError("a header is 'Name: value'")
    name, value = match[1], match[2].strip(" \t")
    if name.lower() == "content-length" and not (value.isascii() and value.isdigit()):
        raise ValueError("Content-Length is a number")
    return name, value


def bare_cookies(text: str) -> str:
    """Return cookies without the name of their header, which comes along when they are copied."""
    return text[len(_COOKIE_NAME) :].strip() if text.lower().startswith(_COOKIE_NAME) else text


def parse_method(text: str) -> str:
    """Return a method in capitals. Raises ValueError for what no HTTP parser takes for one."""
    if not (text.isascii() and text.isalpha()):
        raise ValueError("a method is a word such as GET")
    return text.upper()


def parse_peer(text: str) -> str:
    """Return the address of a peer. Raises ValueError unless it is an IP address or `unix`."""
    return text if text == "unix" else str(ip_address(text))


def cookie_header(cookies: Mapping[str, str]) -> tuple[str, str]:
    """Return the header that carries these cookies."""
    return "Cookie", "; ".join(f"{name}={value}" for name, value in cookies.items())


def usual_host(config: Config) -> str:
    """Return the host that requests have unless one is named: ours, or one that the routes ask
    for.
    """
    if config.public_origin is not None:
        return config.public_origin.partition("://")[2]
    hosts = [route.host for route in config.routes]
    named = [host for host in hosts if host is not None]
    if len(named) < len(hosts):
        return "localhost"
    return named[0].replace("*", "any")
