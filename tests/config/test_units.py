"""Durations, sizes, addresses, endpoints: what they mean and what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.units import (
    Address,
    Endpoint,
    Rate,
    format_duration,
    format_size,
    is_host,
    is_ipv6,
    parse_duration,
    parse_port,
    parse_size,
    parse_unix_path,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1500ms", 1.5),
        ("1ms", 0.001),
        ("5s", 5.0),
        ("0.5s", 0.5),
        ("10m", 600.0),
        ("2h", 7200.0),
        ("30d", 2_592_000.0),
        ("0s", 0.0),
    ],
)
def test_a_duration_is_a_number_and_a_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "s",
        "5 s",
        "-5s",
        "+5s",
        "5S",
        "5min",
        "1h30m",
        "1e3s",
        "5s ",
        ".5s",
        "\u0665s",
        "3651d",
    ],
)
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must"):
        parse_duration(text)


@given(st.integers(1, 3650 * 86400 * 1000))
def test_a_duration_that_was_written_is_read_back(milliseconds: int) -> None:
    seconds = milliseconds / 1000
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, rel=1e-5)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0s"), (1.5, "1500ms"), (60.0, "1m"), (90.0, "90s"), (86400.0, "1d")],
)
def test_a_duration_is_written_short(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "size"),
    [("512B", 512), ("64KiB", 65536), ("10MiB", 10 << 20), ("5GiB", 5 << 30), ("1TiB", 1 << 40)],
)
def test_a_size_is_a_number_and_a_unit(text: str, size: int) -> None:
    assert parse_size(text) == size
    assert format_size(size) == text


@pytest.mark.parametrize(
    "text", ["", "512", "64KB", "64kib", "1.5MiB", "-1B", "1 KiB", "2097152TiB"]
)
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must"):
        parse_size(text)


@given(st.integers(0, 1 << 60))
def test_a_size_that_was_written_is_read_back(size: int) -> None:
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0.0.0.0:8080", Address("0.0.0.0", 8080)),
        ("localhost:0", Address("localhost", 0)),
        ("[::1]:8080", Address("::1", 8080)),
        ("unix:/run/gate.sock", Address(path="/run/gate.sock")),
    ],
)
def test_an_address_is_read_and_written(text: str, address: Address) -> None:
    assert Address.parse(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    [
        "8080",
        ":8080",
        "*:8080",
        "::1:8080",
        "[::1]",
        "[::1%eth0]:80",
        "[1.2.3.4]:80",
        "host:",
        "host:http",
        "host:65536",
        "host:-1",
        "ho st:80",
        "http://host:80",
        "unix:run/gate.sock",
        "unix:",
        "unix:/" + "x" * 110,
        "1.2.3:80",
        "",
    ],
)
def test_other_addresses_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(must|an|a|the)\b"):
        Address.parse(text)


@pytest.mark.parametrize(
    ("text", "endpoint", "authority"),
    [
        ("http://127.0.0.1:8000", Endpoint("http", "127.0.0.1", 8000), "127.0.0.1:8000"),
        ("http://api", Endpoint("http", "api", 80), "api"),
        ("https://API.internal", Endpoint("https", "api.internal", 443), "api.internal"),
        ("https://[::1]:8443", Endpoint("https", "::1", 8443), "[::1]:8443"),
        ("http://[::1]", Endpoint("http", "::1", 80), "[::1]"),
        ("http://my_api:80", Endpoint("http", "my_api", 80), "my_api"),
        ("unix:/run/api.sock", Endpoint("unix", path="/run/api.sock"), "localhost"),
    ],
)
def test_an_endpoint_is_read(text: str, endpoint: Endpoint, authority: str) -> None:
    assert Endpoint.parse(text) == endpoint
    assert endpoint.authority == authority
    assert Endpoint.parse(str(endpoint)) == endpoint


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1:8000",
        "ftp://api",
        "HTTP://api",
        "http://",
        "http:///x",
        "http://api/",
        "http://api/v1",
        "http://api?x",
        "http://api?",
        "http://api#",
        "http://api:",
        "http://api:0",
        "http://api:99999",
        "http://u:hunter2@api",
        "http://u@api",
        "http://a b",
        "http://a\\b",
        "http://a\nb",
        "http://apí",
        "http://[::1",
        "http://::1",
        "http://[::1]x",
        "http://1.2.3",
        "unix:api.sock",
    ],
)
def test_other_endpoints_are_refused_without_a_word_of_them(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(must|a|the)\b") as caught:
        Endpoint.parse(text)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("api:8000", Endpoint("http", "api", 8000)),
        ("api.default.svc:80", Endpoint("http", "api.default.svc", 80)),
        ("http://api", Endpoint("http", "api", 80)),
        ("https://api:8443", Endpoint("https", "api", 8443)),
    ],
)
def test_a_name_to_look_up_is_read(text: str, endpoint: Endpoint) -> None:
    assert Endpoint.parse_name(text) == endpoint
    assert Endpoint.parse_name(str(endpoint)) == endpoint


@pytest.mark.parametrize(
    "text",
    [
        "api",
        "api:",
        "api:http",
        "api:0",
        ":8000",
        "10.0.0.1:8000",
        "http://10.0.0.1:8000",
        "[::1]:8000",
        "unix:/run/api.sock",
        "ftp://api:21",
        "u:hunter2@api:80",
        "api:80/v1",
    ],
)
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(must|a|an|the)\b") as caught:
        Endpoint.parse_name(text)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("api.example.com", True),
        ("api.example.com.", True),
        ("xn--mller-kva.example", True),
        ("127.0.0.1", True),
        ("127.1", False),
        ("a..b", False),
        ("-a", False),
        ("", False),
        ("a" * 64, False),
        (".".join(["a" * 60] * 5), False),
    ],
)
def test_a_host_is_a_name_or_an_ipv4_address(text: str, answer: bool) -> None:
    assert is_host(text) is answer


def test_an_ipv6_address_has_no_zone() -> None:
    assert is_ipv6("::1")
    assert not is_ipv6("fe80::1%eth0")
    assert not is_ipv6("1.2.3.4")


def test_a_port_has_bounds() -> None:
    assert parse_port("65535", lowest=1) == 65535
    with pytest.raises(ValueError, match="from 1 to 65535"):
        parse_port("0", lowest=1)


def test_a_socket_path_has_bounds() -> None:
    assert parse_unix_path("/" + "x" * 102) == "/" + "x" * 102
    with pytest.raises(ValueError, match="at most 103 bytes"):
        parse_unix_path("/" + "x" * 103)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("1/s", Rate(1, 1)),
        ("100/m", Rate(100, 60)),
        ("1000/h", Rate(1000, 3600)),
        ("99999999/d", Rate(99_999_999, 86400)),
        ("100000/s", Rate(100_000, 1)),
    ],
)
def test_a_rate_is_a_number_and_a_unit_of_time(text: str, rate: Rate) -> None:
    assert Rate.parse(text) == rate
    assert str(rate) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "100", "/m", "0/m", "01/m", "-1/m", "1.5/m", "1/ms", "1/M", "1/min", "1 /m", "1/m "),
        *("1/2m", "1/m/m", "100001/s", "6000001/m", "100000000/d", "\u0661/m"),
    ],
)
def test_other_rates_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must be"):
        Rate.parse(text)
