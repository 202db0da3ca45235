"""`gatelodge healthcheck`: asks the admin listener whether the process lives. For a container's
HEALTHCHECK.

The question is "does it live", not "is it ready": a container that starts or drains must not be
killed for it. Nothing heavy is imported; this runs every few seconds beside the gateway and on the
same cores.
"""

from __future__ import annotations

import argparse
import os
import socket
from time import monotonic
from typing import Final

from proxy.cli.output import UsageError, complain
from proxy.config.units import Address

VARIABLE: Final = "GATELODGE_ADMIN"
DEFAULT: Final = "127.0.0.1:9090"
_PATH: Final = "/-/healthy"
# A listener on all addresses is asked on the loopback one.
_ANY: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not bound to
_STATUS_LINE_MAX: Final = 256


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--admin",
        metavar="ADDRESS",
        help=f"the admin listener, HOST:PORT or unix:/path (default: ${VARIABLE}, else {DEFAULT})",
    )
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=3.0,
        metavar="SECONDS",
        help="how long the answer may take in all (default: 3)",
    )


def run(args: argparse.Namespace) -> int:
    """Return 0 if the gateway answers 200, else 1 after one line that says what happened."""
    text = args.admin or os.environ.get(VARIABLE) or DEFAULT
    try:
        address = Address.parse(text)
    except ValueError as error:
        raise UsageError(f"'{text}' is no address: {error}") from None
    try:
        status = _ask(address, monotonic() + args.timeout)
    except TimeoutError:
        complain("healthcheck", f"no answer from {address} within {args.timeout:g} s")
        return 1
    except OSError as error:
        complain("healthcheck", f"{address} cannot be asked: {error.strerror or error}")
        return 1
    if status.split()[1:2] != ["200"]:
        complain("healthcheck", f"{address} answered {status!r}")
        return 1
    return 0


def _ask(address: Address, deadline: float) -> str:
    """Return the status line. Raises OSError; TimeoutError when `deadline` (monotonic) passes."""
    with _connect(address, deadline) as connection:
        connection.sendall(
            f"GET {_PATH} HTTP/1.1\r\nHost: {_host(address)}\r\nConnection: close\r\n\r\n".encode()
        )
        received = b""
        while b"\r\n" not in received and len(received) < _STATUS_LINE_MAX:
            connection.settimeout(_left(deadline))
            data = connection.recv(_STATUS_LINE_MAX)
            if not data:
                break
            received += data
    return received.partition(b"\r\n")[0].decode("latin-1")


def _connect(address: Address, deadline: float) -> socket.socket:
    if address.path is None:
        host = _ANY.get(address.host, address.host)
        return socket.create_connection((host, address.port), timeout=_left(deadline))
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(_left(deadline))
        connection.connect(address.path)
    except BaseException:
        connection.close()
        raise
    return connection


def _host(address: Address) -> str:
    """Return what goes into `Host`: the address that is connected to, which the listener answers
    to.
    """
    if address.path is not None:
        return "localhost"
    return str(Address(_ANY.get(address.host, address.host), address.port))


def _left(deadline: float) -> float:
    left = deadline - monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 3600:
        raise argparse.ArgumentTypeError("must be a number of seconds above 0")
    return seconds
