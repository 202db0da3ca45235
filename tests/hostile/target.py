"""A proxy that is not ours to start: what must be so before a case can be run against it.

A target that is not there, does not forward to our upstream or refuses a good session would "pass"
every case that ends in a refusal. So all that is looked at first, and again whenever a case fails.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Self

from tests.hostile.arena import HASTE, PATIENCE, Place
from tests.hostile.engine import control_problems, controls
from tests.hostile.outcome import NotAsExpected
from tests.hostile.profiles import FENCE, HOST
from tests.hostile.scripts import Scripts
from tests.hostile.tokens import AUTHJS, SECRET, Kind
from tests.support.client import RawClient
from tests.support.upstream import StubUpstream

_READ_MORE: Final = "docs/conformance.md says what a target needs."


class CannotRun(Exception):
    """The suite cannot say anything about the target; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Address:
    """A host, by name or number, and a TCP port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read HOST:PORT or [IPV6]:PORT. Raises ValueError."""
        host, colon, port = text.rpartition(":")
        host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        bare_ipv6 = ":" in host and not text.startswith("[")
        if not (colon and host and port.isascii() and port.isdigit()) or bare_ipv6:
            raise ValueError(f"{text!r} is not HOST:PORT or [IPV6]:PORT")
        if int(port) > 65535:
            raise ValueError(f"{text!r} has no port between 0 and 65535")
        return cls(host, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Target:
    """A proxy, where it forwards to, which profiles it has and which kind of sessions it takes.

    `own_errors`: its errors must look as ours do.
    """

    address: Address
    upstream: Address
    profiles: tuple[str, ...]
    kind: Kind = AUTHJS
    own_errors: bool = False
    patience: float = PATIENCE


@asynccontextmanager
async def place_of(target: Target) -> AsyncIterator[Place]:
    """Listen as the target's upstream and give the place. Raises CannotRun."""
    host, peer = await _reached(target.address)
    upstream = StubUpstream(host=target.upstream.host, port=target.upstream.port)
    try:
        await upstream.__aenter__()
    except OSError as error:
        raise CannotRun(
            f"cannot listen on {target.upstream}, where the target is to forward to: {error}.\n"
            "End what listens there, or choose another address with UPSTREAM=host:port."
        ) from error
    try:
        place = Place(
            upstream,
            Scripts(upstream),
            target.address.port,
            host=host,
            kind=target.kind,
            pace=HASTE if "hasty" in target.profiles else 1.0,
            own_errors=target.own_errors,
            patience=target.patience,
            peer=peer,
        )
        await _look_at(place, target)
        yield place
    finally:
        await upstream.__aexit__(None, None, None)


async def _reached(address: Address) -> tuple[str, str]:
    """Connect; return the target's address as a number, and ours as it sees it.

    Raises CannotRun.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise CannotRun(f"no address for the target's host {address.host!r}: {error}") from error
    refused = ""
    for host in dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found):
        try:
            async with asyncio.timeout(PATIENCE), RawClient(address.port, host=host) as client:
                return host, client.own_host
        except TimeoutError:
            refused = f"no answer within {PATIENCE:.0f} s"
        except OSError as error:
            refused = str(error)
    raise CannotRun(f"cannot connect to the target {address}: {refused}.\nIs it running?")


async def _look_at(place: Place, target: Target) -> None:
    """Raise CannotRun unless the target forwards to us and takes a good session."""
    await _look_at_fence(place, target)
    for control in controls(target.profiles, target.kind):
        if problems := await control_problems(place, control):
            raise CannotRun(
                f"the target {target.address} does not take a good {target.kind.name} session "
                f"({control.name}): GET /api/x with the cookie {control.cookie}: {problems[0]}.\n"
                f"Its secret must be {SECRET}; a target that refuses everybody would pass every "
                f"case that ends in a refusal. {_READ_MORE}"
            )


async def _look_at_fence(place: Place, target: Target) -> None:
    asked = f"GET {FENCE} with Host: {HOST}"
    try:
        answer = await place.ask(
            f"GET {FENCE} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"
        )
    except (NotAsExpected, OSError) as problem:
        raise CannotRun(
            f"the target {target.address} does not answer {asked}: {problem}.\n{_READ_MORE}"
        ) from problem
    reached = [request.target for request in place.upstream.requests]
    if answer.status != 200 or FENCE not in reached:
        came = f"got {reached}" if reached else "got nothing"
        raise CannotRun(
            f"the target {target.address} must forward {asked} to http://{target.upstream}; "
            f"it answered {answer.status}, and the upstream {came}.\n{_READ_MORE}"
        )
    if not await place.fence():
        raise CannotRun(
            f"the target {target.address} forwards {asked}, but its answer is not what the "
            f"upstream said.\n{_READ_MORE}"
        )
