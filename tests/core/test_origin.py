from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.head import RequestHead
from proxy.core.origin import OriginCheck, Origins, shown
from proxy.core.target import Host
from proxy.errors import BadRequest, OriginRefused

LISTED = Origins(
    [
        "https://app.example.test",
        "https://*.preview.example.test",
        "https://*.dev.example.test:8443",
        "http://localhost:3000",
        "capacitor://localhost",
        "HTTPS://Upper.example.test:443",
        "http://[::1]:8080",
    ]
)

ALLOWED = [
    b"https://app.example.test",
    b"https://a.preview.example.test",
    b"https://a-b.c_d.preview.example.test",
    b"https://x.dev.example.test:8443",
    b"http://localhost:3000",
    b"capacitor://localhost",
    b"https://upper.example.test",
    b"http://[::1]:8080",
]


@pytest.mark.parametrize("origin", ALLOWED)
def test_a_listed_origin_is_in(origin: bytes) -> None:
    assert origin in LISTED


# The CO cases name the attack cases about origins.
STRANGERS = {
    "CO-02 foreign": b"https://evil.test",
    "CO-05 suffix": b"https://app.example.test.evil.com",
    "CO-06 prefix": b"https://app.example.testevil.com",
    "CO-07 scheme": b"http://app.example.test",
    "CO-09 no dot": b"https://xpreview.example.test",
    "CO-10 bare base": b"https://preview.example.test",
    "CO-12 hash": b"https://evil.test#.preview.example.test",
    "CO-13 wildcard suffix": b"https://a.preview.example.test.evil.com",
    "port": b"https://app.example.test:8443",
    "default port spelt out": b"https://app.example.test:443",
    "wildcard, other port": b"https://a.preview.example.test:8443",
    "wildcard, port missing": b"https://x.dev.example.test",
    "wildcard, other scheme": b"http://a.preview.example.test",
    "wildcard, empty label": b"https://.preview.example.test",
    "wildcard, two dots": b"https://a..preview.example.test",
    "wildcard, slash": b"https://evil.test/.preview.example.test",
    "wildcard, question mark": b"https://evil.test?.preview.example.test",
    "wildcard, backslash": b"https://evil.test\\.preview.example.test",
    "wildcard, user": b"https://evil@a.preview.example.test",
    "wildcard, port inside": b"https://evil.test:1.preview.example.test",
    "wildcard, upper case": b"https://A.preview.example.test",
    "wildcard, newline": b"https://a\n.preview.example.test",
    "wildcard, high byte": b"https://\xff.preview.example.test",
    "wildcard, star": b"https://*.preview.example.test",
    "wildcard, only the ends": b"https://*.preview.example.test"[:8] + b".example.test",
    "upper case": b"https://APP.example.test",
    "trailing dot": b"https://app.example.test.",
    "trailing slash": b"https://app.example.test/",
    "space": b" https://app.example.test",
    "two": b"https://app.example.test https://app.example.test",
    "null": b"null",
    "nothing": b"",
    "prefix of a listed one": b"https://app.example.tes",
}


@pytest.mark.parametrize("origin", STRANGERS.values(), ids=STRANGERS)
def test_any_other_origin_is_not_in(origin: bytes) -> None:
    assert origin not in LISTED


def test_null_is_in_only_where_it_is_listed() -> None:
    assert b"null" in Origins(["null"])
    assert b"null" not in Origins(["https://null"])
    assert b"https://a.test" not in Origins([])


@pytest.mark.parametrize(
    "entry",
    [
        *("", "*", "app.example.test", "Null", "//a", "https://", "https://*", "https://a b"),
        *("https://a/", "https://a/x", "https://a.*.test", "https://*a.test", "https://u@a.test"),
        *("https://a.test:x", "https://a?b", "https://a#b"),
    ],
)
def test_an_entry_that_is_no_origin_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="an origin is"):
        Origins([entry])


labels = st.sampled_from(["a", "b-c", "preview", "example", "test", "evil", "com", ""])
hosts = st.lists(labels, max_size=6).map(".".join)


@given(st.sampled_from(["https", "http"]), hosts, st.sampled_from(["", ":443", ":8443"]))
def test_a_wildcard_matches_whole_labels_below_its_base(scheme: str, host: str, port: str) -> None:
    names = host.split(".")
    below = names[-3:] == ["preview", "example", "test"] and len(names) > 3 and all(names)
    expected = below and scheme == "https" and port == ""
    origin = f"{scheme}://{host}{port}".encode()
    assert (origin in Origins(["https://*.preview.example.test"])) == expected


@given(st.binary(max_size=40))
def test_bytes_that_no_browser_sends_are_not_in(origin: bytes) -> None:
    assert origin not in LISTED
    assert origin + b".preview.example.test" not in LISTED


def test_an_origin_is_shown_only_if_it_looks_like_one() -> None:
    assert shown(b"https://evil.test:1") == "https://evil.test:1"
    assert shown(b"null") == "null"
    for odd in (b'x"}\n{', b"https://a/b", b"https://" + b"a" * 300, b"\xff", b""):
        assert shown(odd) == "a malformed origin"


def head(method: str, *fields: tuple[str, str]) -> RequestHead:
    raw = tuple((name.encode(), value.encode("latin-1")) for name, value in fields)
    return RequestHead(method, "/x", 1, raw, "192.0.2.1")


CHECK = OriginCheck(
    True,
    ["https://app.example.test", "https://*.preview.example.test"],
    "https://public.example.test",
)
HOST = Host("api.example.test", 8080)


def passes(
    *fields: tuple[str, str], method: str = "POST", upgrade: bool = False, scheme: str = "http"
) -> bool:
    try:
        CHECK.check(head(method, *fields), HOST, scheme, upgrade)
    except OriginRefused:
        return False
    return True


SITE, ORIGIN, REFERER = "Sec-Fetch-Site", "Origin", "Referer"
APP, EVIL = "https://app.example.test", "https://evil.test"

PASSING: dict[str, list[tuple[str, str]]] = {
    "same origin": [(SITE, "same-origin")],
    "typed in": [(SITE, "none")],
    "CS-06 listed": [(ORIGIN, APP), (SITE, "same-site")],
    "listed and cross-site": [(ORIGIN, APP), (SITE, "cross-site")],
    "listed, old browser": [(ORIGIN, APP)],
    "wildcard": [(ORIGIN, "https://a.preview.example.test")],
    "our own host": [(ORIGIN, "http://api.example.test:8080")],
    "our public origin": [(ORIGIN, "https://public.example.test")],
    "no browser": [],
    "listed referer": [(REFERER, f"{APP}/page?x=https://evil.test")],
    "referer without a path": [(REFERER, APP)],
    "our own referer": [(REFERER, "http://api.example.test:8080/docs")],
    "listed origin, foreign referer": [(ORIGIN, APP), (REFERER, EVIL)],
}


@pytest.mark.parametrize("fields", PASSING.values(), ids=PASSING)
def test_our_own_pages_and_listed_ones_may_change_things(fields: list[tuple[str, str]]) -> None:
    assert passes(*fields)


REFUSED: dict[str, list[tuple[str, str]]] = {
    "CS-02 null": [(ORIGIN, "null")],
    "CS-03 cross-site without origin": [(SITE, "cross-site")],
    "CS-04 foreign referer": [(REFERER, f"{EVIL}/x")],
    "CS-05 foreign": [(ORIGIN, EVIL)],
    "foreign and cross-site": [(ORIGIN, EVIL), (SITE, "cross-site")],
    "same site is another origin": [(ORIGIN, "https://other.example.test"), (SITE, "same-site")],
    "same-site without origin": [(SITE, "same-site")],
    "unknown value": [(SITE, "Same-Origin")],
    "empty value": [(SITE, "")],
    "cross-site with our referer": [(SITE, "cross-site"), (REFERER, APP)],
    "null with our referer": [(ORIGIN, "null"), (REFERER, APP)],
    "empty origin": [(ORIGIN, "")],
    "our host, other scheme": [(ORIGIN, "https://api.example.test:8080")],
    "our host, other port": [(ORIGIN, "http://api.example.test")],
    "referer that begins like ours": [(REFERER, f"{APP}.evil.test/")],
    "referer with a user": [(REFERER, "https://app.example.test@evil.test/")],
    "referer that is no URL": [(REFERER, "app.example.test")],
    "empty referer": [(REFERER, "")],
    "about:blank": [(REFERER, "about:blank")],
}


@pytest.mark.parametrize("fields", REFUSED.values(), ids=REFUSED)
def test_other_pages_may_not(fields: list[tuple[str, str]]) -> None:
    assert not passes(*fields)


def test_our_origin_has_the_scheme_that_the_client_used() -> None:
    assert passes((ORIGIN, "https://api.example.test:8080"), scheme="https")
    assert not passes((ORIGIN, "http://api.example.test:8080"), scheme="https")
    CHECK.check(head("POST", (ORIGIN, "https://h")), Host("h", 443), "https", False)
    CHECK.check(head("POST", (ORIGIN, "https://h")), Host("h", None), "https", False)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE"])
def test_safe_methods_pass_unless_they_upgrade(method: str) -> None:
    """CS-08: no preflight guards a WebSocket, whose method is GET."""
    assert passes((ORIGIN, EVIL), method=method)
    assert not passes((ORIGIN, EVIL), method=method, upgrade=True)
    assert passes((ORIGIN, APP), method=method, upgrade=True)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "PROPFIND", "get"])
def test_every_other_method_is_checked(method: str) -> None:
    assert not passes((ORIGIN, EVIL), method=method)


@pytest.mark.parametrize("name", [SITE, ORIGIN, REFERER])
def test_a_header_that_comes_twice_decides_nothing(name: str) -> None:
    with pytest.raises(BadRequest):
        passes((name, APP), (name, APP))


def test_a_check_that_is_off_checks_nothing() -> None:
    off = OriginCheck(False, [], None)
    off.check(head("POST", (ORIGIN, EVIL)), HOST, "http", True)
    assert repr(off) == "<OriginCheck off>"
    assert repr(CHECK) == "<OriginCheck 3 origins>"


def test_checks_are_equal_when_they_check_the_same() -> None:
    one, other = OriginCheck(True, ["https://a"], None), OriginCheck(True, ["https://a"], None)
    assert one == other
    assert hash(one) == hash(other)
    assert one != OriginCheck(True, [], None)
    assert one != OriginCheck(False, ["https://a"], None)
    assert one != object()
