"""Asking the admin listener of a gateway that runs, with little more than a socket."""

from __future__ import annotations

import argparse
import os
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from proxy.cli.output import UsageError, complain
from proxy.config.units import Address

VARIABLE: Final = "GATELODGE_ADMIN"
DEFAULT: Final = "127.0.0.1:9090"
# A listener on all addresses is asked on the loopback one.
_ANY: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not bound to
_STATUS_LINE_MAX: Final = 256
_ANSWER_MAX: Final = 4096


@dataclass(frozen=True, slots=True)
class Question:
    """A request without a body, how many seconds the answer may take in all, and what must be in
    it: other listeners, our public one too, say 200 to much.
    """

    line: str
    timeout: float
    headers: tuple[str, ...] = field(default=(), repr=False)
    expects: bytes = b""


def add_options(parser: argparse.ArgumentParser, *, default: str = DEFAULT) -> None:
    """Add `--admin` and `--timeout`."""
    parser.add_argument(
        "--admin",
        metavar="ADDRESS",
        help=f"the admin listener, HOST:PORT or unix:/path (default: ${VARIABLE}, else {default})",
    )
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=3.0,
        metavar="SECONDS",
        help="how long the answer may take in all (default: 3)",
    )


def address_of(args: argparse.Namespace) -> Address | None:
    """Return the address that the option or the variable names. Raises UsageError."""
    text = args.admin or os.environ.get(VARIABLE)
    return parse(text) if text else None


def parse(text: str) -> Address:
    """Return what `text` names. Raises UsageError."""
    try:
        return Address.parse(text)
    except ValueError as error:
        raise UsageError(f"'{text}' is no address: {error}") from None


def succeeds(command: str, address: Address, question: Question) -> bool:
    """Return whether the answer is 200; else say what happened, in one line."""
    try:
        answer = _ask(address, question)
    except TimeoutError:
        complain(command, f"no answer from {address} within {question.timeout:g} s")
        return False
    except OSError as error:
        complain(command, f"{address} cannot be asked: {error.strerror or error}")
        return False
    status = _status(answer)
    if not _is_good(status):
        complain(command, f"{address} answered {status!r}")
        return False
    if question.expects not in answer:
        complain(command, f"{address} answered {status!r}, but is no gateway's admin listener")
        return False
    return True


def _ask(address: Address, question: Question) -> bytes:
    """Return the answer, as far as it is of interest. Raises OSError; TimeoutError when the time is
    over.
    """
    deadline = monotonic() + question.timeout
    lines = [f"{question.line} HTTP/1.1", f"Host: {_host(address)}", "Connection: close"]
    head = "\r\n".join([*lines, *question.headers, "", ""])
    with _connect(address, deadline) as connection:
        connection.sendall(head.encode("latin-1"))
        received = bytearray()
        _receive(connection, received, b"\r\n", _STATUS_LINE_MAX, deadline)
        if question.expects and _is_good(_status(received)):
            # Whoever does not say it may leave the connection open, or reset it.
            with suppress(OSError):
                _receive(connection, received, question.expects, _ANSWER_MAX, deadline)
    return bytes(received)


def _receive(
    connection: socket.socket, received: bytearray, end: bytes, most: int, deadline: float
) -> None:
    """Add to what was received until `end` is in it, or no more comes. Raises OSError."""
    while end not in received and len(received) < most:
        connection.settimeout(_left(deadline))
        data = connection.recv(_STATUS_LINE_MAX)
        if not data:
            return
        received += data


def _status(answer: bytes | bytearray) -> str:
    return answer.partition(b"\r\n")[0].decode("latin-1")


def _is_good(status: str) -> bool:
    return status.split()[1:2] == ["200"]


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
