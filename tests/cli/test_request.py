"""A request as somebody writes it."""

from __future__ import annotations

import pytest

from proxy.cli.request import (
    Request,
    Url,
    cookie_header,
    parse_header,
    parse_method,
    parse_peer,
    usual_host,
)
from proxy.config.model import Config, Listen
from tests.cli.example import loaded


def config(*hosts: str | None, public_origin: str | None = None) -> Config:
    return Config.model_validate(
        {
            "public_origin": public_origin,
            "upstreams": {"api": {"endpoints": ["http://127.0.0.1:1"]}},
            "routes": [{"path": "/**", "upstream": "api", "host": host} for host in hosts],
        }
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/a", Url("", "", "/a")),
        ("/a?b=c#d", Url("", "", "/a?b=c")),
        ("//a", Url("", "", "//a")),
        ("/a%2Fb/../c", Url("", "", "/a%2Fb/../c")),
        ("http://h", Url("http", "h", "/")),
        ("HTTPS://H:1/A", Url("https", "H:1", "/A")),
        ("http://h?q", Url("http", "h", "/?q")),
        ("http://h#f", Url("http", "h", "/")),
        ("http://[::1]:80/x", Url("http", "[::1]:80", "/x")),
    ],
)
def test_a_url_is_taken_apart_and_not_changed(text: str, expected: Url) -> None:
    assert Url.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "a", "*", "ftp://h/", "http:///a", "http://", "#x"),
        *("/a b", "/a\tb", "/a\r\n", "http://h /x"),
    ],
)
def test_what_is_no_url_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"a URL (is|holds)"):
        Url.parse(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A: b", ("A", "b")),
        ("a:b:c", ("a", "b:c")),
        ("A: \t b \t", ("A", "b")),
        ("A:", ("A", "")),
        ("A: Zoë", ("A", "Zoë")),
        ("Content-Length: 12", ("Content-Length", "12")),
    ],
)
def test_a_header_is_read(text: str, expected: tuple[str, str]) -> None:
    assert parse_header(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "A", ": b", "A b: c", "A : b", "Ä: b", "A: b\r\nX: y", "A: \x00", "Content-Length: ²"],
)
def test_what_no_parser_lets_through_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"a header is|a number"):
        parse_header(text)


@pytest.mark.parametrize(("text", "method"), [("get", "GET"), ("Post", "POST"), ("BREW", "BREW")])
def test_a_method_is_in_capitals(text: str, method: str) -> None:
    assert parse_method(text) == method


@pytest.mark.parametrize("text", ["", "G T", "GÉT", "G\n", "1"])
def test_what_is_no_method_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a method is"):
        parse_method(text)


def test_a_peer_is_an_address_or_unix() -> None:
    assert [parse_peer(text) for text in ("unix", "10.0.0.1", "0:0::1")] == [
        "unix",
        "10.0.0.1",
        "::1",
    ]
    with pytest.raises(ValueError, match="nobody"):
        parse_peer("nobody")


def test_cookies_make_one_header() -> None:
    assert cookie_header({"a": "1", "b": "2"}) == ("Cookie", "a=1; b=2")


@pytest.mark.parametrize(
    ("config", "host"),
    [
        (config(None, public_origin="https://api.example.com:8443"), "api.example.com:8443"),
        (config("a.example", "b.example"), "a.example"),
        (config("*.example.com"), "any.example.com"),
        (config("a.example", None), "localhost"),
    ],
    ids=["public_origin", "only named hosts", "wildcard", "any host"],
)
def test_the_usual_host_is_one_that_routes_accept(config: Config, host: str) -> None:
    assert usual_host(config) == host


def test_the_head_is_what_would_arrive() -> None:
    request = Request("POST", Url.parse("https://h:1/a?b"), [("X-Zoë".replace("ë", "e"), "ë")])
    head = request.head(loaded().config)
    assert (head.method, head.target, head.minor) == ("POST", "/a?b", 1)
    assert head.fields == ((b"Host", b"h:1"), (b"X-Zoe", "ë".encode()))
    assert (head.peer, head.tls) == ("127.0.0.1", False)


def test_a_listener_with_tls_is_reached_by_tls() -> None:
    listen = Listen.model_validate(
        {"address": "127.0.0.1:0", "tls": {"cert": "c.pem", "key": "k.pem"}}
    )
    served = config(None).model_copy(update={"listen": listen})
    assert Request("GET", Url.parse("/")).head(served).tls is True


def test_a_host_header_wins_over_the_url() -> None:
    head = Request("GET", Url.parse("https://h/"), [("HOST", "other")]).head(loaded().config)
    assert head.fields == ((b"HOST", b"other"),)


def test_a_path_goes_to_the_usual_host() -> None:
    head = Request("GET", Url.parse("/")).head(loaded().config)
    assert head.get(b"host") == b"api.example.com"


def test_headers_are_not_in_a_repr() -> None:
    assert "token" not in repr(Request("GET", Url.parse("/"), [("Cookie", "token")]))
