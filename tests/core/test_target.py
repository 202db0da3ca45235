from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.core import target as target_module
from proxy.core.target import Host, Target, canonicalise, check_path, fold, parse_host
from proxy.errors import AmbiguousPath, BadHost, BadRequest, BadTarget

HOST = Host("api.example.test", None)


def read(target: str, method: str = "GET", host: Host = HOST) -> Target:
    return canonicalise(target, method, host)


ACCEPTED = {
    "root": ("/", "/", None, "/"),
    "plain": ("/api/v1/users/8f14e45f", "/api/v1/users/8f14e45f", None, "/api/v1/users/8f14e45f"),
    "query": ('/x?a=1&b=%zz&c=<\\">`', "/x", 'a=1&b=%zz&c=<\\">`', "/x"),
    "query with a path": ("/x?/public/../y", "/x", "/public/../y", "/x"),
    "bare question mark": ("/x?", "/x", "", "/x"),
    "second question mark": ("/x??", "/x", "?", "/x"),
    "upper case": ("/API/Admin", "/API/Admin", None, "/api/admin"),
    "trailing slash": ("/x/", "/x/", None, "/x"),
    "leading dot in a name": ("/.well-known/x.json", "/.well-known/x.json", None, None),
    "dots inside a name": ("/a..b/...c", "/a..b/...c", None, None),
    "trailing dots": ("/svc../x", "/svc../x", None, "/svc/x"),
    "encoded letter": ("/%61dmin", "/%61dmin", None, "/admin"),
    "encoded dot in a name": ("/a%2Ecss", "/a%2Ecss", None, "/a.css"),
    "encoded colon": ("/v1/users%3Abatch", "/v1/users%3Abatch", None, "/v1/users:batch"),
    "encoded percent": ("/a%2561", "/a%2561", None, "/a%2561"),
    "double-encoded dots": (
        "/p/%252E%252e%252Fx",
        "/p/%252E%252e%252Fx",
        None,
        "/p/%252e%252e%252fx",
    ),
    "encoded UTF-8": ("/caf%C3%A9", "/caf%C3%A9", None, "/caf%c3%a9"),
    "no UTF-8": ("/%ff%fe", "/%ff%fe", None, "/%ff%fe"),
    "overlong dots": ("/p/%c0%ae%c0%ae/x", "/p/%c0%ae%c0%ae/x", None, "/p/%c0%ae%c0%ae/x"),
    "parameters": ("/admin;a=b/x", "/admin;a=b/x", None, "/admin/x"),
    "encoded parameters": ("/admin%3Ba=b/x", "/admin%3Ba=b/x", None, "/admin/x"),
    "trailing space": ("/admin%20/x", "/admin%20/x", None, "/admin/x"),
    "space inside": ("/a%20b", "/a%20b", None, "/a b"),
    "empty segment": ("/api//admin", "/api//admin", None, "/api/admin"),
    "encoded slash": ("/a%2Fb", "/a%2Fb", None, "/a/b"),
    "other characters": ("/a|b{c}[d]^!$&'()*+,=:@~_-", "/a|b{c}[d]^!$&'()*+,=:@~_-", None, None),
    "absolute": ("http://api.example.test/x?y", "/x", "y", "/x"),
    "absolute, https and upper case": ("HTTPS://API.example.test./x", "/x", None, "/x"),
    "absolute with the default port": ("http://api.example.test:80/x", "/x", None, "/x"),
    "absolute without a path": ("http://api.example.test", "/", None, "/"),
    "absolute with a query alone": ("http://api.example.test?y", "/", "y", "/"),
}


@pytest.mark.parametrize(("sent", "path", "query", "folded"), ACCEPTED.values(), ids=ACCEPTED)
def test_a_target_keeps_its_bytes_and_is_folded(
    sent: str, path: str, query: str | None, folded: str | None
) -> None:
    target = read(sent)
    assert (target.path, target.query) == (path, query)
    assert target.folded == (path if folded is None else folded)
    assert (target.folded is target.path) == (target.folded == target.path)


AMBIGUOUS = {
    "two slashes first": "//evil.test/x",
    "many slashes first": "///x",
    "dot-dot": "/public/../admin",
    "dot": "/public/./x",
    "trailing dot-dot": "/public/..",
    "trailing dot": "/public/.",
    "encoded dots": "/public/%2e%2E/admin",
    "half-encoded dots": "/public/.%2e/admin",
    "encoded dots, trailing": "/public/%2e%2e",
    "dots before an encoded slash": "/public/..%2fadmin",
    "dots after an encoded slash": "/public%2f..%2Fadmin",
    "dots and parameters": "/public/..;/admin",
    "dots and encoded parameters": "/public/..%3b/admin",
    "dots and a space": "/public/..%20/admin",
    "space and dots": "/public/%20../admin",
    "three dots": "/public/.../admin",
    "one dot and parameters": "/public/.;x/admin",
    "parameters alone": "/public/;x/admin",
    "space alone": "/public/%20/admin",
    "backslash": "/public/..\\admin",
    "encoded backslash": "/public/x%5Cadmin",
    "encoded question mark": "/admin%3fx",
    "encoded hash": "/secret%23/x",
    "NUL": "/x%00",
    "newline": "/x%0A",
    "carriage return and newline": "/x%0d%0aSet-Cookie:a=b",
    "tab": "/x%09",
    "unit separator": "/x%1f",
    "delete": "/x%7F",
    "absolute, two slashes": "http://api.example.test//x",
    "absolute, dot-dot": "http://api.example.test/a/../x",
}


@pytest.mark.parametrize("sent", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_a_path_that_two_servers_may_read_differently_is_ambiguous(sent: str) -> None:
    with pytest.raises(AmbiguousPath):
        read(sent)


BAD = {
    "empty": "",
    "star": "*",
    "no slash": "x",
    "authority": "api.example.test:443",
    "fragment": "/x#y",
    "fragment after an empty query": "/x?#/public/y",
    "fragment in absolute form": "http://api.example.test/x#y",
    "space": "/a b",
    "space in the query": "/a?b c",
    "control character": "/a\x01",
    "newline at the end": "/a\n",
    "newline at the end of the query": "/a?b\n",
    "UTF-8": "/caf\xe9",
    "surrogate": "/a\udcff",
    "UTF-8 in the query": "/a?\xe9",
    "malformed escape": "/%zz",
    "dangling percent": "/x%",
    "half an escape": "/x%4",
    "percent and a wide digit": "/x%4\N{FULLWIDTH DIGIT ONE}",
    "quote": '/a"b',
    "less-than": "/a<b",
    "greater-than": "/a>b",
    "backtick": "/a`b",
    "absolute, other host": "http://evil.test/x",
    "absolute, other port": "http://api.example.test:81/x",
    "absolute, port of another scheme": "https://api.example.test:80/x",
    "absolute, user": "http://u@api.example.test/x",
    "absolute, no host": "http:///x",
    "absolute, other scheme": "ftp://api.example.test/x",
    "absolute, one slash": "http:/api.example.test/x",
    "absolute, backslash": "http://api.example.test\\x",
}


@pytest.mark.parametrize("sent", BAD.values(), ids=BAD)
def test_what_is_no_path_of_a_url_is_a_bad_target(sent: str) -> None:
    with pytest.raises(BadTarget):
        read(sent)


def test_the_whole_server_is_no_target() -> None:
    with pytest.raises(BadTarget):
        read("*", "OPTIONS")
    with pytest.raises(BadTarget):
        read("http://api.example.test", "OPTIONS")
    assert read("http://api.example.test/", "OPTIONS").path == "/"


def test_absolute_form_compares_ports_as_the_scheme_means_them() -> None:
    assert read("https://h/x", host=Host("h", 443)).path == "/x"
    assert read("http://h:8080/x", host=Host("h", 8080)).path == "/x"
    assert read("http://[0:0::1]:8080/x", host=Host("[::1]", 8080)).path == "/x"
    with pytest.raises(BadTarget):
        read("http://h/x", host=Host("h", 443))


@pytest.mark.parametrize("sent", ["/a%2fb", "/a%2Fb", "/A%2fB;c"])
def test_an_encoded_slash_is_noted(sent: str) -> None:
    assert read(sent).encoded_slash
    assert not read("/a%252fb").encoded_slash
    assert not read("/ab?%2f").encoded_slash


def test_folding_leaves_out_what_it_is_told_to() -> None:
    path = "/A%2fB;x/%C3%89./"
    assert fold(path) == "/a/b/%c3%89"
    assert fold(path, case_sensitive=True) == "/A/B/%c3%89"
    assert fold(path, strict_slash=True) == "/a/b/%c3%89/"
    assert fold(path, keep_encoded_slash=True) == "/a%2fb/%c3%89"
    assert fold("/", strict_slash=True) == "/"


def test_the_query_is_not_shown() -> None:
    assert "secret" not in repr(read("/x?token=secret"))


# fmt: off
TRICKY = [
    "/", "//", ".", "..", "%2e", "%2F", "%5c", "%3b", ";", "%20", "%00", "%25", "%", "%zz", "A",
    "a", "b", "?", "#", "\\", " ", "\xe9", "http://", "api.example.test", "*", "@", ":80",
]
# fmt: on
targets = st.lists(st.sampled_from(TRICKY), max_size=8).map("".join)


@given(targets | targets.map("/".__add__) | st.text())
@example("/" + "%2e" * 4000)
@example("/" + "." * 8000 + "/")
def test_any_text_is_a_target_or_one_of_two_refusals(sent: str) -> None:
    try:
        target = read(sent)
    except (BadTarget, AmbiguousPath):
        return
    query = "" if target.query is None else f"?{target.query}"
    assert not sent.startswith("/") or sent == target.path + query
    assert fold(target.path) == target.folded == fold(target.folded)
    assert (target.folded is target.path) == (target.folded == target.path)
    assert {".", "..", ""}.isdisjoint(target.folded[1:].split("/")) or target.folded == "/"


def outcome(sent: str) -> str | type[BadRequest]:
    try:
        return read(sent).folded
    except BadRequest as refusal:
        return type(refusal)


@given(st.lists(st.sampled_from(["", "a", "B", ".", "..", "b.", "~-"]), max_size=5))
def test_the_short_way_reads_paths_as_the_long_way_does(segments: list[str]) -> None:
    """A harmless escape keeps a target from the short way."""
    short, long = outcome("/".join(["/a", *segments])), outcome("/".join(["/%61", *segments]))
    assert short == long


HOSTS = {
    "name": (b"api.example.test", Host("api.example.test", None)),
    "upper case": (b"API.Example.TEST", Host("api.example.test", None)),
    "trailing dot": (b"api.example.test.", Host("api.example.test", None)),
    "trailing dot and port": (b"api.example.test.:8080", Host("api.example.test", 8080)),
    "port": (b"h:65535", Host("h", 65535)),
    "underscore": (b"my_service:1", Host("my_service", 1)),
    "IPv4": (b"127.0.0.1:80", Host("127.0.0.1", 80)),
    "IPv6": (b"[::1]", Host("[::1]", None)),
    "IPv6 spelt out": (b"[0:0:0:0:0:0:0:A]:80", Host("[::a]", 80)),
}


@pytest.mark.parametrize(("value", "host"), HOSTS.values(), ids=HOSTS)
def test_a_host_is_read_in_canonical_form(value: bytes, host: Host) -> None:
    assert parse_host(value) == host
    assert parse_host(value) is parse_host(value)


BAD_HOSTS = {
    "missing": None,
    "empty": b"",
    "comma": b"evil.test,for=127.0.0.1",
    "space": b"a b",
    "space around": b" a",
    "user": b"api.example.test@evil.test",
    "path": b"api.example.test/../x",
    "port out of range": b"h:99999",
    "port 0": b"h:0",
    "port of six digits": b"h:000080",
    "empty port": b"h:",
    "port that is no number": b"h:8x",
    "port alone": b":80",
    "dot": b".",
    "empty label": b"a..b",
    "leading dot": b".a",
    "two trailing dots": b"a..",
    "high byte": b"\xff",
    "newline": b"a\n",
    "hash": b"a#",
    "backslash": b"a\\b",
    "percent": b"a%2eb",
    "star": b"*.example.test",
    "no IPv6": b"[1:2]",
    "IPv6 zone": b"[fe80::1%eth0]",
    "IPv6 without brackets": b"::1",
    "too long": b"a" * 256,
    "far too long": b"a" * 70000,
}


@pytest.mark.parametrize("value", BAD_HOSTS.values(), ids=BAD_HOSTS)
def test_what_is_no_host_is_refused(value: bytes | None) -> None:
    with pytest.raises(BadHost):
        parse_host(value)


def test_many_hosts_do_not_fill_the_memory() -> None:
    for number in range(3000):
        assert parse_host(b"h%d" % number).name == f"h{number}"
    assert parse_host(b"h0").name == "h0"
    assert len(target_module._HOSTS) <= 1024


@given(
    st.binary(max_size=12)
    | st.lists(st.sampled_from([b"a", b".", b":", b"8", b"[", b"]"])).map(b"".join)
)
def test_any_bytes_are_a_host_or_refused(value: bytes) -> None:
    with suppress(BadHost):
        host = parse_host(value)
        again = host.name if host.port is None else f"{host.name}:{host.port}"
        assert parse_host(again.encode()) == host


def test_a_host_knows_its_origin() -> None:
    assert Host("h", None).origin("https") == "https://h"
    assert Host("h", 443).origin("https") == "https://h"
    assert Host("h", 443).origin("http") == "http://h:443"
    assert Host("h", None).port_at("http") == 80
    assert Host("h", 8443).port_at("https") == 8443


def test_check_path_takes_what_canonicalise_takes() -> None:
    check_path("/a/b")
    with pytest.raises(AmbiguousPath):
        check_path("//a")
    with pytest.raises(BadTarget):
        check_path("/%")
