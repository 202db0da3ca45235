"""Reading the address of a PostgreSQL database, as web apps have it in DATABASE_URL.

Law of the file: an error says what must be there and never repeats what was there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote

SSL_MODES: Final = ("disable", "prefer", "require", "verify-ca", "verify-full")
DEFAULT_PORT: Final = 5432

_SHAPE: Final = "must be postgres://USER:PASSWORD@HOST:PORT/DATABASE"
_SPECIAL: Final = f"{_SHAPE}: in user and password, : / ? # @ are %3A %2F %3F %23 %40"
_SCHEME: Final = re.compile(r"postgres(?:ql)?://")
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_V6: Final = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::([0-9]{1,5}))?")
_HOST: Final = re.compile(r"([A-Za-z0-9._%~-]+)(?::([0-9]{1,5}))?")
_TARGETS: Final = ("any", "primary", "standby", "read-write", "read-only", "prefer-standby")
_MEANT: Final = (
    *("host", "port", "user", "password", "dbname", "sslmode", "sslrootcert"),
    *("schema", "pgbouncer", "target_session_attrs", "channel_binding"),
)
# Parameters of Prisma's, node-postgres' and libpq's that change nothing for a look-up; what they
# set has keys of our own.
_IGNORED: Final = frozenset(
    {
        *("application_name", "connect_timeout", "connection_limit", "fallback_application_name"),
        *("gssencmode", "keepalives", "keepalives_count", "keepalives_idle", "keepalives_interval"),
        *("pool_timeout", "pool_mode", "socket_timeout", "statement_cache_size"),
        *("client_encoding", "max_idle_connection_lifetime", "max_connection_lifetime"),
    }
)


@dataclass(frozen=True, slots=True)
class Dsn:
    """Where a database is, and as whom we come.

    `hosts` are tried in order, each a host (or the folder of a unix socket) and a port. `schemas`
    take the place of the server's search_path, `pooled` is Prisma's word for a pooler that keeps no
    prepared statements. None: the URL does not say.
    """

    hosts: tuple[tuple[str, int], ...] = field(repr=False)
    user: str = field(repr=False)
    password: str | None = field(repr=False)
    database: str = field(repr=False)
    sslmode: str | None = None
    sslrootcert: str | None = None
    schemas: tuple[str, ...] | None = None
    pooled: bool = False
    target: str | None = None


def parse_dsn(text: str) -> Dsn:
    """Read a URL. Raises ValueError with what must be there."""
    scheme = _SCHEME.match(text)
    if scheme is None:
        raise ValueError(_SHAPE)
    if "#" in text or not text.isprintable() or " " in text:
        raise ValueError("must be a URL: write # as %23 and a space as %20, and have no newline")
    if _BAD_ESCAPE.search(text):
        raise ValueError("must be a URL: a % that is meant as such is written %25")
    rest, _, query = text[scheme.end() :].partition("?")
    authority, _, path = rest.partition("/")
    if "@" not in authority and "@" in path:
        raise ValueError(_SPECIAL)
    userinfo, _, hosts = authority.rpartition("@")
    user, colon, password = userinfo.partition(":")
    given = _parameters(query)
    owner = given.get("user") or _decoded(user)
    if not owner:
        raise ValueError(f"{_SHAPE}: it names no user")
    return Dsn(
        hosts=_hosts(hosts, given),
        user=owner,
        password=given.get("password") or (_decoded(password) if colon else None),
        database=given.get("dbname") or _decoded(path) or owner,
        sslmode=_one_of("sslmode", SSL_MODES, given),
        sslrootcert=_absolute("sslrootcert", given),
        schemas=(given["schema"],) if given.get("schema") else None,
        pooled=given.get("pgbouncer") == "true",
        target=_one_of("target_session_attrs", _TARGETS, given),
    )


def _decoded(text: str) -> str:
    try:
        value = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ValueError("must be a URL in UTF-8") from None
    if "\0" in value:
        raise ValueError("must not hold %00")
    return value


def _parameters(query: str) -> Mapping[str, str]:
    given: dict[str, str] = {}
    for pair in filter(None, query.split("&")):
        name, _, value = pair.partition("=")
        if name in _IGNORED:
            continue
        if name not in _MEANT:
            raise ValueError(
                f"the URL has a parameter that is not known; known are {', '.join(_MEANT)}"
            )
        given[name] = _decoded(value)
    if given.get("channel_binding") == "require":
        raise ValueError(
            "channel_binding=require is not possible here: leave it out, and write "
            "sslmode=verify-full, which keeps impostors out as well"
        )
    return given


def _hosts(authority: str, given: Mapping[str, str]) -> tuple[tuple[str, int], ...]:
    """Return hosts and ports: those of the URL proper, else those of its parameters."""
    if authority:
        return tuple(_host(each) for each in authority.split(","))
    names = [name for name in given.get("host", "").split(",") if name]
    ports = given.get("port", "").split(",")
    if not names or len(ports) not in (1, len(names)):
        raise ValueError(f"{_SHAPE}: it names no host, or not a port for each")
    if len(ports) == 1:
        ports *= len(names)
    return tuple(zip(names, (_port(port) for port in ports), strict=True))


def _host(text: str) -> tuple[str, int]:
    found = _V6.fullmatch(text) or _HOST.fullmatch(text)
    if found is None:
        raise ValueError(_SPECIAL)
    return _decoded(found[1]), _port(found[2])


def _port(text: str | None) -> int:
    if not text:
        return DEFAULT_PORT
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise ValueError("the port must be a number from 1 to 65535")
    return int(text)


def _one_of(name: str, values: tuple[str, ...], given: Mapping[str, str]) -> str | None:
    value = given.get(name)
    if value is not None and value not in values:
        raise ValueError(f"the URL's {name} must be one of {', '.join(values)}")
    return value


def _absolute(name: str, given: Mapping[str, str]) -> str | None:
    value = given.get(name)
    if value is not None and value != "system" and not value.startswith("/"):
        raise ValueError(
            f"the URL's {name} must be an absolute path; the key {name} takes one that is "
            "relative to this file"
        )
    return None if value == "system" else value
