"""Who may read the admin listener.

Three attackers are meant. A web page in the operator's browser, which can reach 127.0.0.1: its
requests carry an `Origin` that is not ours. The same page after it has pointed its own name at our
address (DNS rebinding): then `Host` is a name that is not ours. And anybody in the network, where
the address is not loopback: they need the token for whatever tells more than health and metrics do.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from proxy.core.target import parse_host
from proxy.errors import BadHost

if TYPE_CHECKING:
    from pydantic import SecretStr

    from proxy.config.model import Address

_LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
MEANT: Final = "X-Gatelodge-Admin"
"""Header of requests that change the process, with any value: no form can send it, and no page of
another origin without a preflight, which is refused.
"""
_CHALLENGE: Final = 'Bearer realm="gatelodge admin"'


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request says about where it comes from; `hosts` and `origins` are all values of
    these fields. `changes`: it asks for a change of the process; `is_meant`: it carries MEANT.
    """

    hosts: Sequence[str]
    origins: Sequence[str]
    authorization: str | None = field(default=None, repr=False)
    changes: bool = False
    is_meant: bool = False


@dataclass(frozen=True, slots=True)
class Denial:
    """A request that is not answered: the status, the reason for a human, further headers."""

    status: int
    detail: str
    headers: Mapping[str, str] = field(default_factory=dict)


def judge(
    asked: Asked, address: Address, token: SecretStr | None, *, is_open: bool
) -> Denial | None:
    """Return why the request is denied, or None if it is not.

    `address` is where the listener is bound, `is_open` whether the page is for everybody who
    reaches it.
    """
    if not _is_our_host(asked.hosts, address):
        return Denial(421, "The Host header does not name this listener; use its IP address.")
    if not _is_our_origin(asked):
        return Denial(403, "Pages of other origins may not read this listener.")
    if asked.changes and (asked.origins or not asked.is_meant):
        return Denial(403, f"What changes the process takes the header {MEANT}, and no Origin.")
    if is_open or is_private(address):
        return None
    return _check_token(asked.authorization, token)


def is_private(address: Address) -> bool:
    """Whether only this machine can connect: a loopback address or a unix socket."""
    if address.path is not None or address.host == "localhost":
        return True
    return _is_ip(address.host) and ip_address(address.host).is_loopback


def _is_our_host(hosts: Sequence[str], address: Address) -> bool:
    """Whether `Host` is a name that only those use who mean us.

    No `Host` at all is HTTP/1.0, which no browser speaks and some probes do. A name without a dot,
    as container networks give, cannot be an attacker's: no public DNS name is without one.
    """
    if not hosts or address.path is not None:
        return True
    try:
        [sent] = hosts
        name = parse_host(sent.encode("latin-1", "replace")).name
    except (BadHost, ValueError):
        return False
    if name == _bracketed(address.host.lower()):
        return True
    if is_private(address):
        return name in _LOOPBACK_NAMES
    return _is_ip(name.strip("[]")) or "." not in name


def _is_our_origin(asked: Asked) -> bool:
    """Whether the request comes from no page, or from one of ours. The scheme is ours: there is
    no TLS here.
    """
    return {f"http://{host}" for host in asked.hosts}.issuperset(asked.origins)


def _check_token(authorization: str | None, token: SecretStr | None) -> Denial | None:
    if token is None:
        return Denial(
            403,
            "This listener is not on a loopback address, so this page needs a token, and the "
            "configuration has none: set admin_token, or bind admin to 127.0.0.1.",
        )
    scheme, _, sent = (authorization or "").partition(" ")
    expected = token.get_secret_value().encode()
    same = hmac.compare_digest(sent.strip().encode("utf-8", "surrogateescape"), expected)
    if same and scheme.lower() == "bearer":
        return None
    return Denial(401, "This page needs the admin token.", {"WWW-Authenticate": _CHALLENGE})


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
