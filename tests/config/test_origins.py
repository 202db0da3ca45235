"""Origins and URLs, as browsers know them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.origins import check_exact_origin, check_origin, check_url
from proxy.core.origin import Origins

GOOD = [
    "https://app.example.com",
    "https://app.example.com:8443",
    "http://localhost:3000",
    "http://127.0.0.1:3000",
    "http://[::1]:3000",
    "null",
    "https://*.example.com",
    "https://*.preview.example.com",
    "http://*.example.test:3000",
    "https://*.example.co.uk",
    "https://*.me.github.io",
    "capacitor://localhost",
    "chrome-extension://abcdefghijklmnop",
    "https://xn--mller-kva.example",
    "https://App.Example.com",
    "https://app.example.com:443",
]
BAD = [
    ("*", "credentials|cookies"),
    ("", "must be scheme"),
    ("app.example.com", "must be scheme"),
    ("//app.example.com", "must be scheme"),
    ("https:/app.example.com", "must be scheme"),
    ("https://", "must name a host"),
    ("https://app.example.com/", "take the / off"),
    ("https://app.example.com/path", "take the path off"),
    ("https://app.example.com?x", "take the path off"),
    ("https://app.example.com#x", "take the path off"),
    ("https://app.example.com\\x", "take the path off"),
    ("https://u:hunter2@app.example.com", "user name or password"),
    ("https://app.example.com:", "the port"),
    ("https://app.example.com:0", "the port"),
    ("https://app.example.com:x", "the port"),
    ("https://app.example.com.", "must name a host"),
    ("https://a b", "must name a host"),
    ("https://müller.example", "xn-- form"),
    ("https://[::1", "must name a host"),
    ("https://1.2.3", "must name a host"),
    ("https://*", "whole labels"),
    ("https://*example.com", "whole labels"),
    ("https://pr-*.example.com", "whole labels"),
    ("https://app.*.example.com", "whole labels"),
    ("https://*.*.example.com", "whole labels"),
    ("https://*.", "must name a host"),
    ("https://*.com", "anybody may register"),
    ("https://*.co.uk", "anybody may register"),
    ("https://*.github.io", "anybody may register"),
    ("https://*.vercel.app", "anybody may register"),
    ("https://*.localhost", "anybody may register"),
    ("https://*.127.0.0.1", "an address has no names"),
    ("capacitor://*.example.com", "for https:// and http:// only"),
    ("nul", "must be scheme"),
]


@pytest.mark.parametrize("text", GOOD)
def test_an_origin_is_accepted_here_and_by_the_matcher(text: str) -> None:
    check_origin(text)
    assert Origins([text]).entries == {text}


@pytest.mark.parametrize(("text", "message"), BAD, ids=[text for text, _ in BAD])
def test_other_origins_are_refused_without_a_word_of_them(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        check_origin(text)
    assert "hunter2" not in str(caught.value)


@given(st.text(alphabet="htps:/*.ab1[]@-_?#é ", max_size=24).map(lambda rest: f"http://{rest}"))
def test_the_matcher_never_refuses_what_was_accepted_here(text: str) -> None:
    try:
        check_origin(text)
    except ValueError:
        return
    Origins([text])


@pytest.mark.parametrize("text", ["null", "https://*.example.com", "capacitor://localhost", "x"])
def test_our_own_origin_is_exact_and_of_the_web(text: str) -> None:
    with pytest.raises(ValueError, match=r"must|stands"):
        check_exact_origin(text)


@pytest.mark.parametrize(
    "text",
    [
        "https://app.example.com",
        "https://app.example.com/api/auth/signin",
        "http://localhost:3000/login?from=api&x=%20",
    ],
)
def test_a_url_is_absolute(text: str) -> None:
    check_url(text)


@pytest.mark.parametrize(
    "text",
    [
        "/login",
        "app.example.com/login",
        "javascript:alert(1)",
        "ftp://app.example.com",
        "https://",
        "https:///login",
        "https://u:hunter2@app.example.com/",
        "https://app.example.com/a b",
        "https://app.example.com/\r\nX: y",
        "https://app.example.com/#x",
        "https://app.example.com\\@evil.example",
        "https://app.example.com/é",
        "https://app.example.com:x/",
    ],
)
def test_other_urls_are_refused_without_a_word_of_them(text: str) -> None:
    with pytest.raises(ValueError, match="must") as caught:
        check_url(text)
    assert "hunter2" not in str(caught.value)
