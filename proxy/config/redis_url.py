"""Reading the address of a Redis or Valkey server, as REDIS_URL has it.

Law of the file: an error says what must be there and never repeats what was there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote

from proxy.config.units import is_host, is_ipv6, parse_port, parse_unix_path

DEFAULT_PORT: Final = 6379

_SHAPE: Final = "must be redis://HOST:PORT/DATABASE, rediss://HOST:PORT/DATABASE or unix:///path"
_SPECIAL: Final = f"{_SHAPE}: in user and password, : / ? # @ are %3A %2F %3F %23 %40"
_DATABASE: Final = re.compile(r"[0-9]{1,5}")
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """Where the server is, and as whom we come; `path` is that of a unix socket."""

    host: str = field(default="", repr=False)
    port: int = 0
    path: str | None = field(default=None, repr=False)
    tls: bool = False
    database: int = 0
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)


def parse_redis_url(text: str) -> RedisAddress:
    """Read a URL. Raises ValueError with what must be there."""
    if not text.isascii() or not text.isprintable() or " " in text or _BAD_ESCAPE.search(text):
        raise ValueError("must be a URL: write a space as %20, a % as %25, and have no newline")
    scheme, mark, rest = text.partition("://")
    if not mark or scheme not in ("redis", "rediss", "unix"):
        raise ValueError(_SHAPE)
    if "?" in rest or "#" in rest:
        raise ValueError(f"{_SPECIAL}; there are no parameters: the keys beside url set the rest")
    if scheme == "unix":
        return RedisAddress(path=parse_unix_path(unquote(rest)))
    authority, _, path = rest.partition("/")
    if "@" in path:
        raise ValueError(_SPECIAL)
    userinfo, _, server = authority.rpartition("@")
    if "@" in userinfo:
        raise ValueError(_SPECIAL)
    user, _, password = userinfo.partition(":")
    host, port = _server(server)
    if path and not _DATABASE.fullmatch(path):
        raise ValueError(f"{_SHAPE}, where DATABASE is a number")
    return RedisAddress(
        host=host,
        port=port,
        tls=scheme == "rediss",
        database=int(path or 0),
        user=unquote(user) or None,
        password=unquote(password) or None,
    )


def _server(text: str) -> tuple[str, int]:
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        if not bracket or not is_ipv6(host) or (port and not port.startswith(":")):
            raise ValueError(_SHAPE)
        port = port[1:]
    else:
        host, _, port = text.partition(":")
        if not is_host(host):
            raise ValueError(_SPECIAL)
    return host, parse_port(port, lowest=1) if port else DEFAULT_PORT
