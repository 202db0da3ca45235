from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from proxy.core.head import RequestHead
from proxy.core.login import login_redirect
from proxy.core.target import Host, canonicalise
from proxy.errors import BadRequest

LOGIN = "https://app.example.test/api/auth/signin"
ORIGIN = "https://api.example.test"
HTML = ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
NAVIGATE = ("Sec-Fetch-Mode", "navigate")


def location(
    *fields: tuple[str, str],
    method: str = "GET",
    sent: str = "/api/x",
    login_url: str | None = LOGIN,
    origin: str | None = ORIGIN,
) -> str | None:
    raw = tuple((name.encode(), value.encode("latin-1")) for name, value in fields)
    head = RequestHead(method, sent, 1, raw, "192.0.2.1")
    target = canonicalise(sent, method, Host("api.example.test", None))
    return login_redirect(head, login_url, origin, target)


def callback(found: str | None) -> str:
    assert found is not None
    assert found.startswith(LOGIN)
    values = parse_qs(urlsplit(found).query, strict_parsing=True)["callbackUrl"]
    assert len(values) == 1
    return values[0]


NAVIGATIONS = {
    "fetch metadata": [NAVIGATE],
    "fetch metadata and odd accept": [NAVIGATE, ("Accept", "*/*"), ("X-Requested-With", "x")],
    "old browser": [HTML],
    "Safari without metadata": [("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")],
    "IE": [("Accept", "text/html, application/xhtml+xml, */*")],
    "xhtml first": [("Accept", "application/xhtml+xml, text/html")],
    "weights": [("Accept", "application/json;q=0.5, TEXT/HTML ; charset=utf-8 ; Q=0.9")],
    "several lines": [("Accept", "application/json;q=0.1"), ("Accept", "text/html")],
}


@pytest.mark.parametrize("fields", NAVIGATIONS.values(), ids=NAVIGATIONS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_navigation_is_sent_to_sign_in(fields: list[tuple[str, str]], method: str) -> None:
    assert callback(location(*fields, method=method)) == "https://api.example.test/api/x"


OTHERS = {
    "nothing": [],
    "RD-03 fetch": [HTML, ("Sec-Fetch-Mode", "cors")],
    "websocket": [HTML, ("Sec-Fetch-Mode", "websocket")],
    "spelt otherwise": [HTML, ("Sec-Fetch-Mode", "Navigate")],
    "XMLHttpRequest": [HTML, ("X-Requested-With", "XMLHttpRequest")],
    "anything": [("Accept", "*/*")],
    "axios": [("Accept", "application/json, text/plain, */*")],
    "json first": [("Accept", "application/json, text/html")],
    "html less than json": [("Accept", "text/html;q=0.8, application/json")],
    "html refused": [("Accept", "text/html;q=0")],
    "html refused, anything else": [("Accept", "text/html;q=0.0, */*;q=0.1")],
    "text": [("Accept", "text/*")],
    "empty": [("Accept", "")],
    "bytes": [("Accept", "\xff;q=\xff, ;;,")],
}


@pytest.mark.parametrize("fields", OTHERS.values(), ids=OTHERS)
def test_everything_else_gets_the_401(fields: list[tuple[str, str]]) -> None:
    assert location(*fields) is None


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_no_other_method_is_redirected(method: str) -> None:
    """RD-12: its body would be lost."""
    assert location(NAVIGATE, HTML, method=method) is None


@pytest.mark.parametrize("login_url", [None, ""])
def test_without_a_login_url_nothing_is_redirected(login_url: str | None) -> None:
    assert location(NAVIGATE, login_url=login_url) is None


@pytest.mark.parametrize(
    "sent",
    [
        "/api/x?callbackUrl=https://evil.test",  # RD-09
        "/api/x?a=1&b=2;c",
        "/api/x?",
        "/api/@evil.test/%40evil.test",
        "/api/https://evil.test",
        "/api/x%2520y&callbackUrl=z",
    ],
)
def test_the_callback_is_the_target_on_our_origin(sent: str) -> None:
    found = callback(location(NAVIGATE, sent=sent))
    assert found == ORIGIN + sent
    assert urlsplit(found).hostname == "api.example.test"


def test_the_location_is_one_line_of_visible_ascii() -> None:
    found = location(NAVIGATE, sent='/x?"<>\\`{}')
    assert found is not None
    assert found.isascii()
    assert found.isprintable()
    assert " " not in found


def test_a_query_of_the_login_url_stays() -> None:
    found = location(NAVIGATE, login_url=f"{LOGIN}?tenant=a")
    assert found == f"{LOGIN}?tenant=a&callbackUrl=https%3A%2F%2Fapi.example.test%2Fapi%2Fx"


def test_without_an_origin_of_our_own_there_is_no_callback() -> None:
    """RD-08: what the client calls us is not known to be ours."""
    assert location(NAVIGATE, origin=None) == LOGIN


def test_a_header_that_comes_twice_decides_nothing() -> None:
    with pytest.raises(BadRequest):
        location(NAVIGATE, ("Sec-Fetch-Mode", "cors"))
