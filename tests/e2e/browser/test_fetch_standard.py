"""The oracle of the browser tests itself, by the examples and notes of the Fetch standard."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.browser import fetch_standard as fetch

PAGE, SERVER = "https://foo.example", "https://api.example"


def request(method: str = "GET", origin: str = PAGE, **changes: Any) -> fetch.Request:
    headers = changes.get("headers", {})
    return fetch.Request(origin, SERVER, method, headers, changes.get("with_credentials", False))


@pytest.mark.parametrize(
    ("method", "normal"),
    [("get", "GET"), ("Post", "POST"), ("options", "OPTIONS"), ("patch", "patch"), ("Foo", "Foo")],
)
def test_methods_are_normalised(method: str, normal: str) -> None:
    assert fetch.normalize_method(method) == normal


@pytest.mark.parametrize(
    ("name", "value", "safe"),
    [
        ("accept", "text/html, */*;q=0.8", True),
        ("accept", "a" * 128, True),
        ("accept", "a" * 129, False),
        ("accept", "text/html (level)", False),
        ("accept-language", "de-CH, de;q=0.9", True),
        ("accept-language", "de_CH", False),
        ("content-language", "en\t", False),
        ("content-type", "Text/Plain;charset=UTF-8", True),
        ("content-type", "multipart/form-data; boundary=x", True),
        ("content-type", 'text/plain; charset="utf-8"', False),
        ("content-type", "application/json", False),
        ("range", "bytes=0-", True),
        ("range", "bytes=0-255", True),
        ("range", "bytes=-255", False),
        ("range", "bytes=9-1", False),
        ("range", "bytes=0-1,3-4", False),
        ("authorization", "", False),
        ("x-custom", "1", False),
    ],
)
def test_safelisted_request_headers(name: str, value: str, safe: bool) -> None:
    assert fetch.is_safelisted_header(name, value) is safe


def test_many_safelisted_headers_together_are_unsafe() -> None:
    few = {"accept": "a" * 128, "accept-language": "b" * 128}
    assert fetch.unsafe_names(few | {"x-b": "1", "x-a": "1"}) == ["x-a", "x-b"]


@pytest.mark.parametrize(
    ("name", "value", "forbidden"),
    [
        ("origin", "https://x.example", True),
        ("sec-fetch-site", "same-origin", True),
        ("proxy-authorization", "x", True),
        ("cookie", "a=b", True),
        ("x-http-method-override", "GET,track ", True),
        ("x-http-method-override", "DELETE", False),
        ("authorization", "x", False),
        ("user-agent", "x", False),
    ],
)
def test_forbidden_request_headers(name: str, value: str, forbidden: bool) -> None:
    assert fetch.is_forbidden_header(name, value) is forbidden


@pytest.mark.parametrize(
    ("asked", "needed"),
    [
        (request(), False),
        (request("POST", headers={"content-type": "text/plain"}), False),
        (request("POST", headers={"content-type": "application/json"}), True),
        (request("PUT"), True),
        (request("patch"), True),
        (request(headers={"origin": "https://other.example"}), False),
        (request("PUT", origin=SERVER, headers={"x-custom": "1"}), False),
    ],
)
def test_which_requests_need_a_preflight(asked: fetch.Request, needed: bool) -> None:
    assert asked.needs_preflight is needed


# The table in "CORS protocol and credentials": credentials, allow-origin, allow-credentials.
TABLE = [
    (False, "*", None, True),
    (False, "*", "true", True),
    (False, "https://foo.example/", None, False),
    (False, "https://foo.example", None, True),
    (True, "*", "true", False),
    (True, "https://foo.example", "true", True),
    (True, "https://foo.example", "True", False),
    (True, "https://foo.example", None, False),
    (False, None, None, False),
]


@pytest.mark.parametrize(("credentials", "origin", "allowed", "shared"), TABLE)
def test_cors_check(
    credentials: bool, origin: str | None, allowed: str | None, shared: bool
) -> None:
    grant = fetch.Grant(200, origin, allowed)
    assert fetch.cors_check(request(with_credentials=credentials), grant) is shared


@pytest.mark.parametrize(
    ("asked", "changes", "succeeds"),
    [
        (request("PUT"), {"allow_methods": ["PUT"]}, True),
        (request("PUT"), {"allow_methods": ["put"]}, False),
        (request("PUT"), {"allow_methods": ["*"]}, True),
        (request("PUT", with_credentials=True), {"allow_methods": ["*"]}, False),
        (request("PUT"), {"allow_methods": ["PUT"], "status": 404}, False),
        (request("PUT"), {"allow_methods": ["PUT"], "allow_origin": "null"}, False),
        (request("POST", headers={"x-a": "1"}), {"allow_headers": ["X-A"]}, True),
        (request("POST", headers={"x-a": "1"}), {"allow_headers": ["x-b"]}, False),
        (request("POST", headers={"x-a": "1"}), {"allow_headers": ["*"]}, True),
        (request(headers={"authorization": "1"}), {"allow_headers": ["*"]}, False),
    ],
)
def test_preflights(asked: fetch.Request, changes: dict[str, Any], succeeds: bool) -> None:
    grant = fetch.Grant(
        **{"status": 200, "allow_origin": PAGE, "allow_credentials": "true", **changes}
    )
    assert fetch.preflight_succeeds(asked, grant) is succeeds


def test_readable_headers() -> None:
    present = ["content-type", "etag", "x-total", "set-cookie"]
    grant = fetch.Grant(200, PAGE, expose=["X-Total"])
    star = fetch.Grant(200, PAGE, expose=["*"])
    same = request(origin=SERVER)
    assert fetch.readable_names(request(), grant, present) == {"content-type", "x-total"}
    assert fetch.readable_names(request(), star, present) == {"content-type", "x-total", "etag"}
    secret = request(with_credentials=True)
    assert fetch.readable_names(secret, star, present) == {"content-type"}
    assert fetch.readable_names(same, grant, present) == {"content-type", "x-total", "etag"}
