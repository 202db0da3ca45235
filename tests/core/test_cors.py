from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.model import CorsConfig
from proxy.core.cors import Cors, is_preflight
from proxy.core.head import RequestHead
from proxy.errors import BadRequest, OriginRefused

OURS = "X-Request-Id, Retry-After, RateLimit, RateLimit-Policy"
APP, EVIL = "https://app.example.test", "https://evil.test"
METHOD, HEADERS = "Access-Control-Request-Method", "Access-Control-Request-Headers"
PRIVATE = "Access-Control-Request-Private-Network"


def cors(**changes: object) -> Cors:
    settings = {"origins": [APP, "https://*.preview.example.test"], "expose": ["X-Total-Count"]}
    return Cors(CorsConfig.model_validate(settings | changes))


def head(*fields: tuple[str, str], method: str = "GET") -> RequestHead:
    raw = tuple((name.encode(), value.encode("latin-1")) for name, value in fields)
    return RequestHead(method, "/x", 1, raw, "192.0.2.1")


def asking(*fields: tuple[str, str], origin: str = APP, method: str = "PUT") -> RequestHead:
    return head(("Origin", origin), (METHOD, method), *fields, method="OPTIONS")


def fields(lines: bytes) -> dict[str, str]:
    """Read header lines; each must be whole and none may come twice."""
    assert lines == b"" or lines.endswith(b"\r\n")
    pairs = [line.split(": ", 1) for line in lines.decode().split("\r\n")[:-1]]
    assert len({name for name, _ in pairs}) == len(pairs)
    return {pair[0]: pair[1] for pair in pairs}


GRANTED = {
    "Access-Control-Allow-Origin": APP,
    "Access-Control-Allow-Credentials": "true",
    "Access-Control-Expose-Headers": f"{OURS}, X-Total-Count",
    "Vary": "Origin",
}


def test_a_listed_origin_is_granted() -> None:
    rules = cors()
    assert fields(rules.grant(head(("Origin", APP)))) == GRANTED
    assert fields(rules.grant(head(("origin", APP)))) == GRANTED
    wild = "https://a.preview.example.test"
    expected = GRANTED | {"Access-Control-Allow-Origin": wild}
    assert fields(rules.grant(head(("Origin", wild)))) == expected


@pytest.mark.parametrize(
    "origin", [EVIL, "null", "", "https://preview.example.test", APP + "\r", "\xff", "x" * 5000]
)
def test_another_origin_gets_vary_alone(origin: str) -> None:
    rules = cors()
    for _ in range(2):
        assert fields(rules.grant(head(("Origin", origin)))) == {"Vary": "Origin"}


def test_without_an_origin_there_is_vary_alone() -> None:
    assert fields(cors().grant(head())) == {"Vary": "Origin"}


def test_an_origin_that_comes_twice_is_not_granted() -> None:
    """And nothing is raised: every answer is granted, refusals included."""
    rules = cors()
    rules.grant(head(("Origin", APP)))
    assert fields(rules.grant(head(("Origin", APP), ("Origin", APP)))) == {"Vary": "Origin"}
    assert fields(rules.grant(head(("Origin", APP), ("Origin", EVIL)))) == {"Vary": "Origin"}


def test_null_is_granted_only_where_it_is_listed() -> None:
    rules = cors(origins=["null"])
    assert fields(rules.grant(head(("Origin", "null"))))["Access-Control-Allow-Origin"] == "null"


@pytest.mark.parametrize("rules", [Cors(None), Cors(CorsConfig())], ids=["off", "no origins"])
def test_cors_that_is_off_says_nothing(rules: Cors) -> None:
    assert not rules.enabled
    assert rules.expose is None
    assert rules.grant(head(("Origin", APP))) == b""
    assert rules.grant_exposing(head(("Origin", APP)), b"X-A") == b""
    assert not rules.allows(APP.encode())
    assert repr(rules) == "<Cors off>"
    with pytest.raises(OriginRefused):
        rules.preflight(asking())


def test_the_upstreams_exposed_headers_are_joined_to_ours() -> None:
    rules = cors()
    lines = rules.grant_exposing(head(("Origin", APP)), b"x-total-count,X-Page ,, bad name,\xff, *")
    expected = "X-Request-Id, Retry-After, RateLimit, RateLimit-Policy, X-Total-Count, X-Page, *"
    assert fields(lines) == GRANTED | {"Access-Control-Expose-Headers": expected}
    assert fields(rules.grant_exposing(head(("Origin", EVIL)), b"X-A")) == {"Vary": "Origin"}
    assert rules.merge_expose(b"") == rules.expose
    assert Cors(None).merge_expose(b"X-A, x-a") == b"X-A"


def test_our_own_headers_are_always_exposed_and_once() -> None:
    assert cors(expose=[]).expose == OURS.encode()
    assert cors(expose=["retry-after", "X-A"]).expose == f"{OURS}, X-A".encode()


def test_a_preflight_is_options_with_origin_and_method() -> None:
    assert is_preflight(asking())
    assert is_preflight(asking(origin=""))
    assert not is_preflight(head(("Origin", APP), (METHOD, "PUT"), method="GET"))
    assert not is_preflight(head(("Origin", APP), method="OPTIONS"))
    assert not is_preflight(head((METHOD, "PUT"), method="OPTIONS"))


PREFLIGHT = {
    "Access-Control-Allow-Origin": APP,
    "Access-Control-Allow-Credentials": "true",
    "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, PATCH, DELETE",
    "Access-Control-Max-Age": "600",
    "Vary": "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
}


def test_a_preflight_is_told_what_it_may_do() -> None:
    """CO-01."""
    lines = cors().preflight(asking((HEADERS, "content-type")))
    assert fields(lines) == PREFLIGHT | {"Access-Control-Allow-Headers": "content-type"}
    assert fields(cors().preflight(asking())) == PREFLIGHT
    assert fields(cors().preflight(asking((HEADERS, " ")))) == PREFLIGHT


def test_any_headers_are_those_that_are_asked_for() -> None:
    lines = cors().preflight(asking((HEADERS, "x-a,x-b ,\tx-c"), (HEADERS, "x-d")))
    assert fields(lines)["Access-Control-Allow-Headers"] == "x-a, x-b, x-c, x-d"


def test_listed_headers_are_told_as_listed() -> None:
    rules = cors(headers=["X-A", "Content-Type"], methods=["PUT"], max_age="1m")
    expected = {
        "Access-Control-Allow-Headers": "X-A, Content-Type",
        "Access-Control-Allow-Methods": "PUT",
        "Access-Control-Max-Age": "60",
    }
    assert fields(rules.preflight(asking((HEADERS, "x-other")))) == PREFLIGHT | expected
    assert fields(rules.preflight(asking())) == PREFLIGHT | expected


REFUSED = {
    "origin": asking(origin=EVIL),
    "null": asking(origin="null"),
    "method": asking(method="PROPFIND"),
    "method in lower case": asking(method="put"),
    "no method": asking(method=""),
    "method with a high byte": asking(method="\xff"),
    "header that is no name": asking((HEADERS, "x-a, b c")),
    "empty name": asking((HEADERS, "x-a,,x-b")),
    "high byte": asking((HEADERS, "x-\xff")),
    "line break": asking((HEADERS, "x-a\r\nx-b: c")),
    "too many": asking((HEADERS, ",".join(["x-a"] * 1000))),
}


@pytest.mark.parametrize("refused", REFUSED.values(), ids=REFUSED)
def test_a_preflight_for_more_than_is_configured_is_refused(refused: RequestHead) -> None:
    with pytest.raises(OriginRefused):
        cors().preflight(refused)


@pytest.mark.parametrize("name", ["Origin", METHOD, PRIVATE])
def test_a_preflight_with_a_header_twice_is_refused(name: str) -> None:
    with pytest.raises(BadRequest):
        cors().preflight(asking((name, APP), (name, APP)))


def test_a_private_network_is_granted_only_if_asked_for_and_configured() -> None:
    """CO-23."""
    name = "Access-Control-Allow-Private-Network"
    granting = cors(private_network=True)
    assert fields(granting.preflight(asking((PRIVATE, "true"))))[name] == "true"
    assert name not in fields(granting.preflight(asking((PRIVATE, "false"))))
    assert name not in fields(granting.preflight(asking()))
    assert name not in fields(cors().preflight(asking((PRIVATE, "true"))))


def test_many_origins_do_not_fill_the_memory() -> None:
    rules = cors()
    for number in range(3000):
        origin = f"https://a{number}.preview.example.test"
        assert (
            fields(rules.grant(head(("Origin", origin))))["Access-Control-Allow-Origin"] == origin
        )
    assert fields(rules.grant(head(("Origin", APP)))) == GRANTED
    assert len(rules._granted) <= 1024
    rules.grant(head(("Origin", "x" * 5000)))
    assert all(len(origin) < 5000 for origin in rules._granted)


@given(st.text(alphabet="abhpst:/.-*\r\n ", max_size=30) | st.just(APP))
def test_what_is_granted_is_listed_and_never_breaks_a_line(origin: str) -> None:
    rules = cors()
    granted = fields(rules.grant(head(("Origin", origin))))
    listed = rules.allows(origin.encode())
    assert granted == (
        GRANTED | {"Access-Control-Allow-Origin": origin} if listed else {"Vary": "Origin"}
    )


def test_rules_are_equal_when_their_configuration_is() -> None:
    assert cors() == cors()
    assert hash(cors()) == hash(cors())
    assert cors() != cors(max_age="1m")
    assert cors() != Cors(None)
    assert Cors(None) == Cors(CorsConfig())
    assert cors() != object()
    assert repr(cors()) == "<Cors 2 origins>"
