"""Opening the addresses that the configuration names."""

from __future__ import annotations

import errno
import logging
import os
import select
import socket
import ssl
import stat
import sys
from typing import TYPE_CHECKING, Final

from proxy.config.model import Address

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from proxy.config.model import Config, ListenTls

_log = logging.getLogger("gatelodge.worker")

BACKLOG: Final = 2048
"""Connections that the kernel holds for us while we are busy; it caps this at
net.core.somaxconn.
"""

_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2: forward secrecy and authenticated encryption, as all of TLS 1.3 has (Mozilla's
"intermediate", without the DHE that we have no parameters for).
"""


def bind(address: Address, given: Sequence[socket.socket] = ()) -> socket.socket:
    """Return a listening socket on `address`, one of those that are `given` if it is there.

    Raises OSError, with the address in its text.
    """
    for each in given:
        if _is_at(each, address):
            each.setblocking(False)
            return each
    try:
        return _bind_unix(address.path) if address.path is not None else _bind_tcp(address)
    except OSError as error:
        raise OSError(error.errno, f"cannot listen on {address}: {error.strerror}") from error


def _is_at(bound: socket.socket, address: Address) -> bool:
    """Whether a socket listens where `address` says."""
    if address.path is not None or bound.family == socket.AF_UNIX:
        return bool(bound.getsockname() == address.path)
    if bound.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    host = address.host
    if host == "0.0.0.0" and _is_dual(bound):  # noqa: S104 - compared with, not bound to
        host = "::"
    try:
        found = socket.getaddrinfo(
            host, address.port, bound.family, socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except socket.gaierror:  # the host has no address of this family
        return False
    return any(where[:2] == bound.getsockname()[:2] for *_, where in found)


def _is_dual(bound: socket.socket) -> bool:
    """Whether a socket of IPv6 takes IPv4 as well, as `ListenStream=8080` makes it."""
    if bound.family != socket.AF_INET6:
        return False
    return not bound.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)


def refuse_useless(given: Sequence[socket.socket], config: Config) -> None:
    """Raise OSError for a socket that was handed over and that nobody would answer on: whoever
    connects to it would wait in vain, since it is open already.
    """
    for each in given:
        if each.type != socket.SOCK_STREAM or not _listens(each):
            problem = "it does not listen: the socket unit needs ListenStream and Accept=no"
        elif not any(_is_at(each, address) for address in (config.listen.address, config.admin)):
            problem = (
                f"it is at {bound_address(each)}, where neither listen "
                f"({config.listen.address}) nor admin ({config.admin}) is"
            )
        else:
            continue
        raise OSError(errno.EINVAL, f"a socket was handed over that cannot be used: {problem}")


def _listens(bound: socket.socket) -> bool:
    return bool(bound.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def bind_both(
    config: Config, given: Sequence[socket.socket] = ()
) -> tuple[socket.socket, socket.socket]:
    """Return the main and the admin listener's sockets, or neither. Raises OSError."""
    refuse_useless(given, config)
    main = bind(config.listen.address, given)
    try:
        return main, bind(config.admin, given)
    except OSError:
        main.close()
        raise


def bind_group(
    address: Address, count: int, given: Sequence[socket.socket] = ()
) -> list[socket.socket]:
    """Return `count` sockets on `address`, among which the kernel spreads connections.

    None of them listens before its worker does: the kernel would give it connections to hold, and
    load balancers, whom another worker answers, would believe that these are served.
    Where it cannot do that, as with a unix socket, one that is `given`, or outside Linux, all are
    the same socket. Raises OSError, with the address in its text.
    """
    first = bind(address, given)
    if address.path is not None or first in given or sys.platform != "linux":
        return [first, *(first.dup() for _ in range(count - 1))]
    # Now the address is known to be free of others, who could share it too, unnoticed.
    port = first.getsockname()[1]
    first.close()
    group: list[socket.socket] = []
    try:
        while len(group) < count:
            group.append(_bind_tcp(Address(host=address.host, port=port), share=True))
    except OSError as error:
        for bound in group:
            bound.close()
        raise OSError(error.errno, f"cannot listen on {address}: {error.strerror}") from error
    return group


def _bind_tcp(address: Address, *, share: bool = False) -> socket.socket:
    family, kind, protocol, _, where = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if share:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            # [::] takes IPv4 as well, as mapped addresses, on every system.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(where)
        if not share:  # who serves one of a group listens
            listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def _bind_unix(path: str) -> socket.socket:
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(path)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def _remove_stale(path: str) -> None:
    """Remove a socket that a dead process left behind; one that somebody answers on is left
    alone.
    """
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)


def bound_address(listener: socket.socket) -> str:
    """Return where a socket listens, in the form of the configuration."""
    if listener.family == socket.AF_UNIX:
        return f"unix:{listener.getsockname()}"
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def announce(listener: str, bound: socket.socket) -> str:
    """Log where a listener is, and return it."""
    address = bound_address(bound)
    _log.info("listening", extra={"listener": listener, "address": address})
    return address


def has_unread(transport: asyncio.BaseTransport | None) -> bool:
    """Whether bytes of the peer, or its end, are here that the event loop has not read yet."""
    if transport is None or transport.is_closing():
        return False
    poll = select.poll()
    poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
    return bool(poll.poll(0))


def has_callers(listener: socket.socket) -> bool:
    """Whether connections wait in the queue of a listening socket; of one that does not listen yet
    there are none (it polls as POLLHUP).
    """
    poll = select.poll()
    poll.register(listener.fileno(), select.POLLIN)
    return any(events & select.POLLIN for _, events in poll.poll(0))


def server_context(tls: ListenTls) -> ssl.SSLContext:
    """Return the context for clients. Raises OSError (ssl.SSLError among them) when a file
    cannot be used.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    # A client that negotiates anew within a connection makes us pay for each time.
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    # Without a password OpenSSL would ask for an encrypted key's on the terminal, and wait.
    context.load_cert_chain(tls.cert, tls.key, password=lambda: "")
    return context
