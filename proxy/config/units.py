"""Durations, sizes, addresses and endpoints: from the words in the file to numbers and back.

Law of the file: no message repeats the text that it was given, which may hold a password.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final, Literal
from urllib.parse import SplitResult, urlsplit

_DURATION: Final = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)(ms|s|m|h|d)")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
# Ten years. Event loops refuse to wait for much longer, and nobody means to.
_DURATION_MAX: Final = 3650 * 86400.0

_SIZE: Final = re.compile(r"([0-9]{1,19})(B|KiB|MiB|GiB|TiB)")
_BYTES: Final = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_SIZE_MAX: Final = 1 << 60

_RATE: Final = re.compile(r"([1-9][0-9]{0,7})/([smhd])")
_RATE_EXAMPLE: Final = "must be a number and a unit of time, such as 10/s, 100/m, 1000/h or 5000/d"
# The shortest time between two requests that is reckoned with is ten microseconds.
_PER_SECOND_MAX: Final = 100_000

# RFC 1123 section 2.1; the underscore is there because container networks use it in service names.
_HOST_LABEL: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_PORT: Final = re.compile(r"[0-9]{1,5}")
# sun_path of sockaddr_un holds 108 bytes on Linux, 104 on macOS, both with a final NUL.
_UNIX_PATH_MAX: Final = 103

Scheme = Literal["http", "https", "unix"]


def parse_duration(text: str) -> float:
    """Return the seconds in a text such as `1500ms`, `5s`, `10m` or `30d`; else ValueError."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError("must be a duration with its unit, such as 1500ms, 5s, 10m, 2h or 30d")
    # Milliseconds are divided, since 1500 * 0.001 is not 1.5 in binary for every number.
    number, unit = float(match[1]), match[2]
    seconds = number / 1000 if unit == "ms" else number * _SECONDS[unit]
    if seconds > _DURATION_MAX:
        raise ValueError("must not be longer than 3650d")
    return seconds


def format_duration(seconds: float) -> str:
    """Return the shortest text that `parse_duration` reads as these seconds."""
    for unit in ("d", "h", "m", "s"):
        if seconds and seconds % _SECONDS[unit] == 0:
            return f"{int(seconds / _SECONDS[unit])}{unit}"
    milliseconds = f"{seconds * 1000:.3f}".rstrip("0").rstrip(".")
    return f"{milliseconds}ms" if seconds else "0s"


def parse_size(text: str) -> int:
    """Return the bytes in a text such as `64KiB` or `10MiB`; else ValueError."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError("must be a size with its unit, such as 512B, 64KiB, 10MiB or 5GiB")
    size = int(match[1]) * _BYTES[match[2]]
    if size > _SIZE_MAX:
        raise ValueError("must not be larger than 1048576TiB")
    return size


def format_size(size: int) -> str:
    """Return the shortest text that `parse_size` reads as this many bytes."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size and size % _BYTES[unit] == 0:
            return f"{size // _BYTES[unit]}{unit}"
    return f"{size}B"


@dataclass(frozen=True, slots=True)
class Rate:
    """So many (`count`) in so many `seconds`."""

    count: int
    seconds: int

    @classmethod
    def parse(cls, text: str) -> Rate:
        """Read 10/s, 100/m, 1000/h or 5000/d; else ValueError."""
        match = _RATE.fullmatch(text)
        if match is None:
            raise ValueError(_RATE_EXAMPLE)
        rate = cls(int(match[1]), int(_SECONDS[match[2]]))
        if rate.count > _PER_SECOND_MAX * rate.seconds:
            raise ValueError(f"must be at most {_PER_SECOND_MAX}/s")
        return rate

    def __str__(self) -> str:
        unit = next(unit for unit, seconds in _SECONDS.items() if seconds == self.seconds)
        return f"{self.count}/{unit}"


def is_host(text: str) -> bool:
    """Say whether the text is a host name or an IPv4 address (no brackets, no port)."""
    labels = text.removesuffix(".").split(".")
    if len(text) > 253 or not all(_HOST_LABEL.fullmatch(label) for label in labels):
        return False
    # A name whose last label is a number is read as an address (WHATWG URL, "ends in a number").
    return not labels[-1].isdigit() or _is_ipv4(text)


def _is_ipv4(text: str) -> bool:
    try:
        IPv4Address(text)
    except AddressValueError:
        return False
    return True


def is_ipv6(text: str) -> bool:
    """Say whether the text is an IPv6 address, without brackets and without a zone."""
    try:
        IPv6Address(text)
    except AddressValueError:
        return False
    return "%" not in text


def parse_port(text: str, *, lowest: int) -> int:
    """Return the port number, or raise ValueError when it is outside `lowest`-65535."""
    if not _PORT.fullmatch(text) or not lowest <= int(text) <= 65535:
        raise ValueError(f"the port must be a number from {lowest} to 65535")
    return int(text)


def parse_unix_path(text: str) -> str:
    """Return the path of a unix socket, or raise ValueError when it is not usable as one."""
    if not text.startswith("/"):
        raise ValueError("a unix socket needs an absolute path, as in unix:/run/api.sock")
    if "\x00" in text or len(text.encode()) > _UNIX_PATH_MAX:
        raise ValueError(f"the path of a unix socket has at most {_UNIX_PATH_MAX} bytes")
    return text


@dataclass(frozen=True)
class Address:
    """Where to listen: `host` and `port`, or `path` of a unix socket (then host is "" and port 0).

    `host` carries no brackets. Port 0 asks the system for a free one.
    """

    host: str = ""
    port: int = 0
    path: str | None = None

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read HOST:PORT, [V6]:PORT or unix:/path; else ValueError."""
        if text.startswith("unix:"):
            return cls(path=parse_unix_path(text.removeprefix("unix:")))
        host, colon, port = text.rpartition(":")
        if not colon:
            raise ValueError("must be HOST:PORT, [V6]:PORT or unix:/path")
        if host in ("", "*"):
            raise ValueError("must name a host: 0.0.0.0 for all of IPv4, [::] for all addresses")
        if host.startswith("[") and host.endswith("]") and is_ipv6(host[1:-1]):
            return cls(host=host[1:-1], port=parse_port(port, lowest=0))
        if ":" in host:
            raise ValueError("an IPv6 address goes in brackets, as in [::1]:8080")
        if not is_host(host):
            raise ValueError("must be HOST:PORT, [V6]:PORT or unix:/path")
        return cls(host=host, port=parse_port(port, lowest=0))

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Endpoint:
    """One address of an upstream: `host` (no brackets) and `port`, or `path` of a unix socket."""

    scheme: Scheme
    host: str = ""
    port: int = 0
    path: str | None = None

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """Read http://HOST[:PORT], https://HOST[:PORT] or unix:/path; else ValueError."""
        if text.startswith("unix:"):
            return cls("unix", path=parse_unix_path(text.removeprefix("unix:")))
        url = _split_url(text)
        if url.path or url.query or url.fragment or text.endswith(("?", "#")):
            raise ValueError("must end after the host and port: no path, not even /, and no query")
        scheme: Scheme = "https" if url.scheme == "https" else "http"
        host, port = _split_netloc(url.netloc)
        default = 443 if scheme == "https" else 80
        return cls(scheme, host, default if port is None else parse_port(port, lowest=1))

    @classmethod
    def parse_name(cls, text: str) -> Endpoint:
        """Read HOST:PORT, http://HOST[:PORT] or https://HOST[:PORT], where HOST is a name that DNS
        knows; else ValueError.
        """
        if text.startswith("unix:"):
            raise ValueError("a unix socket is no name; list it in endpoints")
        if "://" not in text and not text.rpartition(":")[2].isdigit():
            raise ValueError("must be HOST:PORT, or https://HOST:PORT")
        endpoint = cls.parse(text if "://" in text else f"http://{text}")
        if is_ipv6(endpoint.host) or _is_ipv4(endpoint.host):
            raise ValueError("must be a name; list an address in endpoints")
        return endpoint

    @property
    def authority(self) -> str:
        """What goes into `Host` for this endpoint: without the scheme's default port."""
        if self.scheme == "unix":
            return "localhost"
        host = f"[{self.host}]" if ":" in self.host else self.host
        is_default = self.port == (443 if self.scheme == "https" else 80)
        return host if is_default else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"unix:{self.path}" if self.path is not None else f"{self.scheme}://{self.authority}"


def _split_url(text: str) -> SplitResult:
    if not text.isascii() or any(char <= " " or char == "\x7f" or char == "\\" for char in text):
        raise ValueError("must be plain ASCII without spaces or backslashes")
    if not text.startswith(("http://", "https://")):
        raise ValueError("must be http://HOST:PORT, https://HOST:PORT or unix:/path")
    try:
        return urlsplit(text)
    except ValueError:
        raise ValueError("must be http://HOST:PORT, https://HOST:PORT or unix:/path") from None


def _split_netloc(netloc: str) -> tuple[str, str | None]:
    if "@" in netloc:
        raise ValueError("must not carry a user name or password")
    host, colon, port = netloc.rpartition(":")
    if not colon or netloc.endswith("]"):
        host, port = netloc, ""
    if host.startswith("[") and host.endswith("]") and is_ipv6(host[1:-1]):
        return host[1:-1].lower(), port if colon and not netloc.endswith("]") else None
    if not is_host(host):
        raise ValueError("must name a host, and an IPv6 address goes in brackets")
    return host.lower(), port if colon else None
