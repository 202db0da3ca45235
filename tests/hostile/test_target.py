"""What is looked at before a case is run against somebody else's proxy."""

from __future__ import annotations

import pytest

from tests.hostile.impostors import impostor
from tests.hostile.target import Address, CannotRun, Target, place_of
from tests.support.upstream import StubUpstream


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:80", "127.0.0.1", 80),
        ("[::1]:8080", "::1", 8080),
        ("proxy.test:0", "proxy.test", 0),
    ],
)
def test_address_is_read_and_written(text: str, host: str, port: int) -> None:
    address = Address.parse(text)
    assert (address.host, address.port) == (host, port)
    assert str(address) == text


@pytest.mark.parametrize("text", ["", "8080", ":80", "host:", "host:http", "::1:80", "a:65536"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not HOST:PORT|has no port"):
        Address.parse(text)


async def refused(target: Target) -> str:
    with pytest.raises(CannotRun) as error:
        async with place_of(target):
            pass
    return str(error.value)


def at(port: int) -> Address:
    return Address("127.0.0.1", port)


async def test_target_that_is_not_there() -> None:
    async with StubUpstream() as gone:
        port = gone.port
    said = await refused(Target(at(port), at(0), ("base",)))
    assert said.startswith(f"cannot connect to the target 127.0.0.1:{port}: ")


async def test_target_without_an_address() -> None:
    said = await refused(Target(Address("no-such-host.invalid", 1), at(0), ("base",)))
    assert said.startswith("no address for the target's host 'no-such-host.invalid'")


async def test_upstream_address_that_is_taken() -> None:
    async with StubUpstream() as taken:
        port = taken.port
        said = await refused(Target(at(port), at(port), ("base",)))
    assert said.startswith(f"cannot listen on 127.0.0.1:{port}, where the target is to forward to")
    assert "UPSTREAM=host:port" in said


async def test_target_that_forwards_to_somebody_else() -> None:
    async with StubUpstream() as other, impostor(bytes, other.port) as port:
        said = await refused(Target(at(port), at(0), ("base",)))
    assert "it answered 200, and the upstream got nothing" in said
