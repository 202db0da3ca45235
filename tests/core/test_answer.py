from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.answer import Answer, AnswerHead, answer_head, interim_head
from proxy.core.exchange import Exchange
from proxy.core.target import Host, canonicalise
from tests.support.exchanges import APP, HOST, SEED, exchange, head, lines_of, rules_of, values

Field = tuple[str, str]

RULES = rules_of("""
cors: {origins: [https://app.example.test], expose: [X-Total-Count]}
sessions: {web: {secret: "b1fa9f7a5c0e4d2f8e6b3a1d7c9f5e2a4b6d8c0e1f3a5b7d9c1e3f5a7b9d1c3e"}}
identity: {headers: {X-User-Id: id, X-Org: claims.org}}
upstreams: {api: {endpoints: [http://127.0.0.1:8000]}}
routes:
  - {path: /public/**, upstream: api, auth: public}
  - {path: /optional/**, upstream: api, auth: optional}
  - {path: /plain/**, upstream: api, auth: public, cors: off}
  - {path: /own/**, upstream: api, cors: off}
  - {path: /**, upstream: api}
""")
PLAIN = "/plain/x"
GUARDED = [("Vary", "Cookie, Authorization"), ("Cache-Control", "private")]
NAMES = [("X-Request-Id", SEED[:32])]


def asked(target: str = PLAIN, *fields: Field, method: str = "GET", minor: int = 1) -> Exchange:
    """Return the exchange of a request that has found its route."""
    x = exchange(head(*fields, method=method, target=target, minor=minor))
    host = Host(HOST, None)
    x.route = RULES.routes.match(HOST, canonicalise(target, method, host), method)
    x.cors = x.route.cors
    return x


def answer(*fields: Field, status: int = 200, **changes: Any) -> Answer:
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields]
    connection = [value for name, value in raw if name.lower() == b"connection"]
    settings: dict[str, Any] = {
        "connection": b", ".join(connection) or None,
        "length": 2,
        "chunked": False,
        "bodiless": False,
    }
    return Answer(status, raw, **(settings | changes))


def built(x: Exchange, found: Answer, **changes: Any) -> AnswerHead:
    return answer_head(x, found, RULES.response_filter, **({"close": False} | changes))


def passed(x: Exchange, *fields: Field, **changes: Any) -> list[Field]:
    """Return the fields that the client gets for an answer with `fields`."""
    return lines_of(built(x, answer(*fields, **changes)).data)[1]


def test_status_order_case_repeats_and_bytes_stay() -> None:
    sent = [
        ("server", "Odd/1.0"),
        ("Set-Cookie", "b=2; Path=/"),
        ("X-A", "\xff\xfe caf\xc3\xa9"),
        ("SET-COOKIE", "a=1"),
        ("X-Empty", ""),
        ("Set-Cookie", "b=2; Path=/"),
        ("content-length", "2"),
        ("X_Odd.Name!", "v"),
    ]
    first, fields = lines_of(built(asked(), answer(*sent, status=203)).data)
    assert first == "HTTP/1.1 203 Non-Authoritative Information"
    assert fields == [*sent, *NAMES]


@pytest.mark.parametrize(
    "name",
    [
        "Connection",
        "keep-alive",
        "Proxy-Connection",
        "TE",
        "Trailer",
        "Transfer-Encoding",
        "UPGRADE",
    ],
)
def test_what_is_for_the_connection_alone_does_not_pass(name: str) -> None:
    assert passed(asked(), (name, "x"), ("X-A", "1")) == [("X-A", "1"), *NAMES]


def test_what_connection_names_does_not_pass() -> None:
    sent = [("X-Hop", "1"), ("Connection", "close, x-hop"), ("x-HOP", "2"), ("X-A", "3")]
    assert passed(asked(), *sent, ("Connection", "X-B"), ("X-B", "4")) == [("X-A", "3"), *NAMES]


def test_a_length_is_never_for_the_connection_alone() -> None:
    sent = [("Content-Length", "2"), ("Connection", "content-length")]
    assert passed(asked(), *sent) == [("Content-Length", "2"), *NAMES]


@pytest.mark.parametrize("name", ["X-User-Id", "x_user_id", "X-User-Assertion", "X-Org", "X.Org"])
def test_identity_that_the_upstream_echoes_does_not_pass(name: str) -> None:
    """LK-11."""
    assert passed(asked(), (name, "u-1"), ("X-User-Agent", "v")) == [("X-User-Agent", "v"), *NAMES]


def test_the_request_id_is_ours() -> None:
    x = asked()
    x.request_id = "r-1"
    assert passed(x, ("X-Request-Id", "theirs")) == [("X-Request-Id", "r-1")]


UPSTREAM_CORS = [
    ("Access-Control-Allow-Origin", "*"),
    ("access-control-allow-credentials", "false"),
    ("Access-Control-Allow-Methods", "TRACE"),
    ("Access-Control-Allow-Headers", "*"),
    ("Access-Control-Max-Age", "9"),
    ("Access-Control-Allow-What-Is-To-Come", "*"),
    ("Access-Control-Allow-Private-Network", "true"),
    ("Access-Control-Expose-Headers", "X-Theirs, x-total-count"),
    ("Access-Control-Expose-Headers", "X-More, , not a name"),
]
OURS = [
    ("Access-Control-Allow-Origin", APP),
    ("Access-Control-Allow-Credentials", "true"),
    (
        "Access-Control-Expose-Headers",
        "X-Request-Id, Retry-After, RateLimit, RateLimit-Policy, X-Total-Count",
    ),
    ("Vary", "Origin"),
]


def test_our_cors_replaces_the_upstreams_and_joins_what_it_exposes() -> None:
    """CO-20."""
    joined = ("Access-Control-Expose-Headers", OURS[2][1] + ", X-Theirs, X-More")
    found = passed(asked("/public/x", ("Origin", APP)), *UPSTREAM_CORS, ("X-A", "1"))
    assert found == [("X-A", "1"), *OURS[:2], joined, OURS[3], *NAMES]


def test_our_cors_is_there_where_the_upstream_has_none() -> None:
    assert passed(asked("/public/x", ("Origin", APP))) == [*OURS, *NAMES]
    empty = ("Access-Control-Expose-Headers", "")
    assert passed(asked("/public/x", ("Origin", APP)), empty) == [*OURS, *NAMES]


@pytest.mark.parametrize(
    "origin", [[], [("Origin", "https://evil.test")], [("Origin", APP), ("Origin", APP)]]
)
def test_who_is_not_listed_gets_vary_alone_whatever_the_upstream_says(origin: list[Field]) -> None:
    """CO-21."""
    found = passed(asked("/public/x", *origin), *UPSTREAM_CORS)
    assert found == [("Vary", "Origin"), *NAMES]


def test_with_cors_off_the_upstream_speaks_for_itself() -> None:
    found = passed(asked(PLAIN, ("Origin", APP)), *UPSTREAM_CORS)
    assert found == [*UPSTREAM_CORS, *NAMES]


def test_other_vary_lines_stay_beside_ours() -> None:
    found = passed(asked("/own/x"), ("Vary", "Accept-Encoding"), ("vary", "*"))
    assert values(found, "Vary") == ["Accept-Encoding", "*", "Cookie, Authorization"]


@pytest.mark.parametrize("target", ["/own/x", "/optional/x", "/x"])
def test_shared_caches_are_told_of_answers_that_may_be_for_one_user(target: str) -> None:
    found = passed(asked(target), ("X-A", "1"))
    assert [field for field in found if field != ("Vary", "Origin")] == [
        ("X-A", "1"),
        *GUARDED,
        *NAMES,
    ]


@pytest.mark.parametrize("name", ["Cache-Control", "cache-control", "CACHE-CONTROL"])
def test_the_upstreams_cache_control_stands(name: str) -> None:
    sent = [(name, "public, max-age=60"), (name, "immutable")]
    assert passed(asked("/own/x"), *sent) == [*sent, GUARDED[0], *NAMES]


@pytest.mark.parametrize("value", ["", "  ", ", ,"])
def test_a_cache_control_that_says_nothing_is_none(value: str) -> None:
    assert GUARDED[1] in passed(asked("/own/x"), ("Cache-Control", value))


@pytest.mark.parametrize("target", ["/public/x", PLAIN])
def test_answers_of_public_routes_may_be_kept(target: str) -> None:
    found = passed(asked(target), ("X-A", "1"))
    assert values(found, "Cache-Control") == []
    assert "Cookie, Authorization" not in values(found, "Vary")


def test_a_cache_control_that_does_not_pass_is_none() -> None:
    """Named in Connection it ends here; an answer without any would be stored for everybody."""
    sent = [("Cache-Control", "no-store"), ("Connection", "cache-control")]
    assert passed(asked("/own/x"), *sent) == [*GUARDED, *NAMES]


def test_without_a_route_nothing_is_known_of_guards() -> None:
    x = exchange(head(("Origin", APP)), RULES.cors)
    assert passed(x) == [*OURS, *NAMES]


FRAMING = {
    "length": (1, {"length": 2}, False, False),
    "length, 1.0": (0, {"length": 2}, False, False),
    "length 0": (1, {"length": 0}, False, False),
    "chunks": (1, {"length": None, "chunked": True}, True, False),
    "chunks, 1.0": (0, {"length": None, "chunked": True}, False, True),
    "until the end": (1, {"length": None}, True, False),
    "until the end, 1.0": (0, {"length": None}, False, True),
    "no body": (1, {"length": None, "bodiless": True}, False, False),
    "no body, 1.0": (0, {"length": None, "bodiless": True}, False, False),
    "HEAD of chunks": (1, {"length": None, "chunked": True, "bodiless": True}, False, False),
    "304 with a length": (1, {"length": 9, "bodiless": True, "status": 304}, False, False),
}


@pytest.mark.parametrize("close", [False, True], ids=["open", "closing"])
@pytest.mark.parametrize(
    ("minor", "changes", "chunked", "ends"), FRAMING.values(), ids=FRAMING.keys()
)
def test_how_the_body_goes_on(
    minor: int, changes: dict[str, Any], chunked: bool, ends: bool, close: bool
) -> None:
    length = [("Content-Length", str(changes["length"]))] if changes["length"] is not None else []
    found = built(asked(minor=minor), answer(*length, **changes), close=close)
    assert (found.chunked, found.close) == (chunked, ends or close)
    fields = lines_of(found.data)[1]
    coding = [("Transfer-Encoding", "chunked")] if chunked else []
    last = [("Connection", "close")] if ends or close else []
    assert fields == [*length, *coding, *NAMES, *last]


@pytest.mark.parametrize("status", [101, 204])
def test_a_length_is_not_sent_where_there_can_be_none(status: int) -> None:
    """RFC 9110 section 8.6."""
    found = passed(asked(), ("Content-Length", "0"), status=status, length=0, bodiless=True)
    assert found == NAMES


def test_a_websocket_is_told_that_it_is_one() -> None:
    sent = [
        ("Upgrade", "WebSocket"),
        ("Connection", "upgrade"),
        ("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        ("Sec-WebSocket-Protocol", "chat"),
    ]
    found = built(asked(), answer(*sent, status=101, length=None, bodiless=True), upgrade=True)
    first, fields = lines_of(found.data)
    assert first == "HTTP/1.1 101 Switching Protocols"
    expected = [*sent[2:], ("Connection", "Upgrade"), ("Upgrade", "websocket"), *NAMES]
    assert fields == expected
    assert not found.close


def test_a_status_without_a_name_of_its_own_passes() -> None:
    assert lines_of(built(asked(), answer(status=599)).data)[0] == "HTTP/1.1 599 "


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["X-A", "x-a", "Set-Cookie", "Connection", "X-User-Id", "Via", "Vary"]),
            st.sampled_from(["", "1", "close", "x-a", "Via, Set-Cookie", "\xff"]),
        ),
        max_size=8,
    ),
    st.sampled_from(["/own/x", PLAIN, "/x"]),
)
def test_what_passes_is_a_selection_in_the_order_sent(sent: list[Field], target: str) -> None:
    nominated = {
        name.strip().lower()
        for key, value in sent
        if key == "Connection"
        for name in value.split(",")
    }
    expected = [
        field
        for field in sent
        if field[0] not in ("Connection", "X-User-Id") and field[0].lower() not in nominated
    ]
    assert passed(asked(target), *sent)[: len(expected)] == expected


def test_early_hints_are_passed_on_with_their_links_alone() -> None:
    """RFC 8297."""
    sent = [
        ("Link", "</a.css>; rel=preload"),
        ("Set-Cookie", "a=1"),
        ("link", "</b.js>; rel=preload"),
        ("X-User-Id", "u-1"),
    ]
    found = interim_head(asked(), answer(*sent, status=103))
    assert lines_of(found) == ("HTTP/1.1 103 Early Hints", [sent[0], sent[2]])


def test_an_interim_answer_that_says_nothing_is_left_out() -> None:
    assert interim_head(asked(), answer(("X-A", "1"), status=103)) == b""


def test_http_1_0_knows_no_interim_answers() -> None:
    assert interim_head(asked(minor=0), answer(("Link", "</a>"), status=103)) == b""


DATED = ("Date", "Wed, 25 Nov 2026 12:00:00 GMT")


def test_an_answer_without_a_date_gets_one() -> None:
    """RFC 9110 section 6.6.1: before it is passed on."""
    line = f"Date: {DATED[1]}\r\n".encode()
    found = built(asked(), answer(("Content-Length", "2")), date=lambda _x: line)
    assert lines_of(found.data)[1].count(DATED) == 1


@pytest.mark.parametrize("name", ["Date", "date", "DATE"])
def test_the_date_of_an_answer_stays_the_only_one(name: str) -> None:
    found = built(asked(), answer((name, "then")), date=lambda _x: pytest.fail("it has one"))
    assert [each for each in lines_of(found.data)[1] if each[0].lower() == "date"] == [
        (name, "then")
    ]


def test_a_date_that_ends_at_the_connection_is_replaced() -> None:
    found = answer(("Connection", "Date"), ("Date", "then"))
    lines = lines_of(built(asked(), found, date=lambda _x: b"Date: now\r\n").data)[1]
    assert [value for name, value in lines if name == "Date"] == ["now"]
