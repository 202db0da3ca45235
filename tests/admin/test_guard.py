"""Who may read the admin listener."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from proxy.admin.guard import Asked, Denial, is_private, judge
from proxy.config.model import Address

LOOPBACK = Address.parse("127.0.0.1:9090")
EVERYWHERE = Address.parse("0.0.0.0:9090")
SOCKET = Address.parse("unix:/run/admin.sock")
TOKEN = SecretStr("the right token")


def status(denial: Denial | None) -> int | None:
    return None if denial is None else denial.status


@pytest.mark.parametrize(
    ("address", "private"),
    [
        ("127.0.0.1:9090", True),
        ("127.8.0.1:9090", True),
        ("[::1]:9090", True),
        ("localhost:9090", True),
        ("unix:/run/admin.sock", True),
        ("0.0.0.0:9090", False),
        ("[::]:9090", False),
        ("10.0.0.1:9090", False),
        ("admin.internal:9090", False),
    ],
)
def test_loopback_and_unix_sockets_are_private(address: str, private: bool) -> None:
    assert is_private(Address.parse(address)) is private


@pytest.mark.parametrize(
    ("address", "host", "expected"),
    [
        ("127.0.0.1:9090", "127.0.0.1:9090", None),
        ("127.0.0.1:9090", "127.0.0.1", None),
        ("127.0.0.1:9090", "LOCALHOST:1", None),
        ("127.0.0.1:9090", "localhost.", None),
        ("127.0.0.1:9090", "[::1]:9090", None),
        ("127.0.0.1:9090", "[0:0::1]:9090", None),
        ("127.0.0.2:9090", "127.0.0.2:9090", None),
        ("localhost:9090", "localhost:9090", None),
        ("127.0.0.1:9090", "10.0.0.1:9090", 421),
        ("127.0.0.1:9090", "gatelodge:9090", 421),
        ("127.0.0.1:9090", "evil.example:9090", 421),
        ("127.0.0.1:9090", "localhost.evil.example", 421),
        ("127.0.0.1:9090", "127.0.0.1.evil.example", 421),
        ("127.0.0.1:9090", "127.0.0.1@evil.example", 421),
        ("127.0.0.1:9090", "", 421),
        ("127.0.0.1:9090", "localhost:99999", 421),
        ("0.0.0.0:9090", "10.1.2.3:9090", None),
        ("0.0.0.0:9090", "[fd00::1]:9090", None),
        ("0.0.0.0:9090", "localhost:9090", None),
        ("0.0.0.0:9090", "gatelodge:9090", None),
        ("0.0.0.0:9090", "evil.example", 421),
        ("admin.internal:9090", "admin.internal", None),
        ("Admin.internal:9090", "admin.INTERNAL:1", None),
        ("admin.internal:9090", "evil.example", 421),
        ("[fd00::1]:9090", "[fd00::1]", None),
        ("unix:/run/admin.sock", "anything.example", None),
    ],
)
def test_host_must_be_ours(address: str, host: str, expected: int | None) -> None:
    asked = Asked([host], [])
    assert status(judge(asked, Address.parse(address), None, is_open=True)) == expected


def test_a_request_without_host_is_answered() -> None:
    assert judge(Asked([], []), LOOPBACK, None, is_open=False) is None


def test_two_hosts_are_refused() -> None:
    assert status(judge(Asked(["localhost"] * 2, []), LOOPBACK, None, is_open=True)) == 421


@pytest.mark.parametrize(
    ("origins", "expected"),
    [
        ([], None),
        (["http://localhost:9090"], None),
        (["https://localhost:9090"], 403),
        (["http://localhost"], 403),
        (["http://evil.example"], 403),
        (["null"], 403),
        ([""], 403),
        (["http://localhost:9090", "http://evil.example"], 403),
    ],
)
@pytest.mark.parametrize("address", [LOOPBACK, EVERYWHERE, SOCKET], ids=str)
def test_pages_of_other_origins_are_refused(
    address: Address, origins: list[str], expected: int | None
) -> None:
    asked = Asked(["localhost:9090"], origins)
    assert status(judge(asked, address, None, is_open=True)) == expected


def test_an_origin_without_a_host_is_refused() -> None:
    assert status(judge(Asked([], ["http://"]), LOOPBACK, None, is_open=True)) == 403
    assert status(judge(Asked([], ["http://localhost"]), LOOPBACK, None, is_open=True)) == 403


@pytest.mark.parametrize("address", [LOOPBACK, SOCKET], ids=str)
def test_no_token_is_needed_on_this_machine(address: Address) -> None:
    assert judge(Asked(["localhost"], []), address, TOKEN, is_open=False) is None


def test_open_pages_need_no_token() -> None:
    assert judge(Asked(["10.0.0.1"], []), EVERYWHERE, TOKEN, is_open=True) is None


@pytest.mark.parametrize(
    ("authorization", "expected"),
    [
        ("Bearer the right token", None),
        ("bearer the right token", None),
        ("Bearer  the right token ", None),
        (None, 401),
        ("", 401),
        ("Bearer", 401),
        ("Bearer ", 401),
        ("Bearer the right toke", 401),
        ("Bearer the right token2", 401),
        ("Basic the right token", 401),
        ("the right token", 401),
        ("Bearer th\udce9 right token", 401),
    ],
)
def test_the_network_needs_the_token(authorization: str | None, expected: int | None) -> None:
    denial = judge(Asked(["10.0.0.1"], [], authorization), EVERYWHERE, TOKEN, is_open=False)
    assert status(denial) == expected
    if denial is not None:
        assert denial.headers["WWW-Authenticate"].startswith("Bearer ")


def test_without_a_configured_token_the_network_is_told_what_to_do() -> None:
    denial = judge(Asked(["10.0.0.1"], [], "Bearer "), EVERYWHERE, None, is_open=False)
    assert denial is not None
    assert denial.status == 403
    assert "admin_token" in denial.detail


def test_the_token_is_not_in_a_repr() -> None:
    assert "secret" not in repr(Asked([], [], "Bearer secret"))
