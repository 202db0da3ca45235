"""proxy/worker/sockets.py: the addresses that a configuration names are opened."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from pathlib import Path

import pytest
import yaml

from proxy.config.load import loads
from proxy.config.model import Config, ListenTls
from proxy.config.units import Address
from proxy.worker.sockets import (
    bind,
    bind_both,
    bind_group,
    bound_address,
    has_callers,
    has_unread,
    refuse_useless,
    server_context,
)
from tests.support.certificates import Authority
from tests.support.worker import settings


def test_a_port_of_0_is_told_as_the_port_that_it_became() -> None:
    with bind(Address.parse("127.0.0.1:0")) as listener:
        assert bound_address(listener) == f"127.0.0.1:{listener.getsockname()[1]}"
        assert not listener.getblocking()


@pytest.mark.parametrize("text", ["[::1]:0", "[::]:0"])
def test_an_address_of_ipv6_has_brackets(text: str) -> None:
    with bind(Address.parse(text)) as listener:
        host = text.rpartition(":")[0]
        assert bound_address(listener) == f"{host}:{listener.getsockname()[1]}"


def test_all_addresses_of_ipv6_are_those_of_ipv4_too() -> None:
    with (
        bind(Address.parse("[::]:0")) as listener,
        socket.create_connection(("127.0.0.1", listener.getsockname()[1]), timeout=5) as client,
    ):
        assert client.getpeername()[0] == "127.0.0.1"


def test_an_address_in_use_is_named() -> None:
    with bind(Address.parse("127.0.0.1:0")) as taken:
        address = bound_address(taken)
        with pytest.raises(OSError, match=f"cannot listen on {address}: ") as caught:
            bind(Address.parse(address))
        assert caught.value.errno == errno.EADDRINUSE


def test_a_host_that_is_not_ours_is_named() -> None:
    with pytest.raises(OSError, match=r"cannot listen on 192\.0\.2\.1:0: "):
        bind(Address.parse("192.0.2.1:0"))


def connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with bind(Address.parse(f"unix:{path}")) as listener:
        assert bound_address(listener) == f"unix:{path}"
        assert connects(path)


def test_a_unix_socket_of_a_dead_process_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    bind(Address.parse(f"unix:{path}")).close()
    assert path.is_socket()
    with bind(Address.parse(f"unix:{path}")):
        assert connects(path)


def test_a_unix_socket_that_somebody_answers_on_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with bind(Address.parse(f"unix:{path}")):
        with pytest.raises(OSError, match=f"cannot listen on unix:{path}: "):
            bind(Address.parse(f"unix:{path}"))
        assert connects(path)


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("data", encoding="ascii")
    with pytest.raises(OSError, match="cannot listen on unix:"):
        bind(Address.parse(f"unix:{path}"))
    assert path.read_text(encoding="ascii") == "data"


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        bind(Address.parse(f"unix:{tmp_path}/none/s"))


# TLS.


def test_the_context_for_clients(tmp_path: Path) -> None:
    cert, key = Authority(tmp_path).issue("localhost")
    context = server_context(ListenTls.model_validate({"cert": str(cert), "key": str(key)}))
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_NONE


@pytest.mark.parametrize("broken", ["cert", "key"])
def test_a_file_that_is_no_certificate_or_key(tmp_path: Path, broken: str) -> None:
    cert, key = Authority(tmp_path).issue("localhost")
    {"cert": cert, "key": key}[broken].write_text("nothing", encoding="ascii")
    with pytest.raises(OSError, match=r"."):
        server_context(ListenTls.model_validate({"cert": str(cert), "key": str(key)}))


def test_a_key_of_another_certificate(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    cert, _ = authority.issue("one")
    _, key = authority.issue("two")
    with pytest.raises(ssl.SSLError):
        server_context(ListenTls.model_validate({"cert": str(cert), "key": str(key)}))


async def test_bytes_and_the_end_are_unread_until_the_loop_reads() -> None:
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    with theirs:
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
        assert not has_unread(transport)
        theirs.send(b"x")
        assert has_unread(transport)
        transport.abort()
        assert not has_unread(transport)
    assert not has_unread(None)


def test_nobody_waits_in_the_queue_of_a_socket_that_does_not_listen_yet() -> None:
    with socket.socket() as bound, socket.socket() as caller:
        bound.bind(("127.0.0.1", 0))
        assert not has_callers(bound)
        bound.listen()
        assert not has_callers(bound)
        caller.connect(bound.getsockname())
        assert has_callers(bound)


def test_a_group_shares_its_port_and_nobody_else_does() -> None:
    group = bind_group(Address.parse("127.0.0.1:0"), 3)
    try:
        [address] = {bound_address(each) for each in group}
        with pytest.raises(ConnectionRefusedError):  # nobody serves yet
            socket.create_connection(("127.0.0.1", group[0].getsockname()[1]))
        group[0].listen()
        with pytest.raises(OSError, match="cannot listen on"):
            bind(Address.parse(address))
        with pytest.raises(OSError, match="cannot listen on"):
            bind_group(Address.parse(address), 2)
    finally:
        for each in group:
            each.close()


def test_a_group_on_a_unix_socket_is_one_socket(tmp_path: Path) -> None:
    group = bind_group(Address.parse(f"unix:{tmp_path / 's'}"), 2)
    assert len({each.getsockname() for each in group}) == 1
    assert len({each.fileno() for each in group}) == 2
    for each in group:
        each.close()


@pytest.mark.parametrize("text", ["127.0.0.1:{}", "localhost:{}"])
def test_a_socket_that_is_given_is_used_for_its_address(text: str) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as given,
        bind(Address.parse("127.0.0.1:0")) as other,
    ):
        address = Address.parse(text.format(given.getsockname()[1]))
        assert bind(address, [other, given]) is given
        assert not given.getblocking()
        group = bind_group(address, 2, [given])
        assert {each.getsockname() for each in group} == {given.getsockname()}
        group[1].close()


def test_a_socket_that_is_given_for_another_address_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with (
        socket.create_server(("127.0.0.1", 0)) as given,
        bind(Address.parse(f"unix:{path}"), [given]) as bound,
        bind(Address.parse("127.0.0.1:0"), [bound, given]) as third,
    ):
        assert bound_address(bound) == f"unix:{path}"
        assert third is not given


def config_at(listen: str, admin: str) -> Config:
    text = yaml.safe_dump(settings("http://127.0.0.1:1", listen=listen, admin=admin))
    return loads(text, "test.yaml", {}).config


@pytest.mark.parametrize("text", ["0.0.0.0:{}", "[::]:{}"])
def test_a_socket_for_all_addresses_is_one_for_all_of_ipv4(text: str) -> None:
    """ListenStream=8080 of a socket unit is [::]:8080 and takes IPv4 as well."""
    with bind(Address.parse("[::]:0")) as given:
        config = config_at(text.format(given.getsockname()[1]), "127.0.0.1:0")
        main, admin = bind_both(config, [given])
        admin.close()
        assert main is given


def test_a_socket_for_ipv6_alone_is_none_for_ipv4() -> None:
    with socket.create_server(("::", 0), family=socket.AF_INET6) as given:
        config = config_at(f"0.0.0.0:{given.getsockname()[1]}", "127.0.0.1:0")
        with pytest.raises(OSError, match=r"it is at \[::\]:\d+, where neither listen \(0\.0\.0"):
            refuse_useless([given], config)


def test_a_socket_that_nobody_would_answer_on_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as given:
        config = config_at("127.0.0.1:0", "127.0.0.1:0")
        with pytest.raises(OSError, match="a socket was handed over that cannot be used: it is at"):
            bind_both(config, [given])


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_socket_that_does_not_listen_is_refused(kind: socket.SocketKind) -> None:
    """Accept=yes hands over a connection, whose address is that of the socket unit."""
    with socket.socket(socket.AF_INET, kind) as given:
        given.bind(("127.0.0.1", 0))
        config = config_at(bound_address(given), "127.0.0.1:0")
        with pytest.raises(OSError, match="it does not listen: the socket unit needs"):
            refuse_useless([given], config)


def test_the_admin_listeners_socket_may_be_handed_over_too(tmp_path: Path) -> None:
    with (
        bind(Address.parse(f"unix:{tmp_path / 's'}")) as first,
        bind(Address.parse("[::1]:0")) as second,
    ):
        config = config_at(bound_address(first), bound_address(second))
        assert bind_both(config, [second, first]) == (first, second)
