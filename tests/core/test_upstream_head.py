from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.decision import Permit
from proxy.core.head import RequestHead
from proxy.core.identity import fold_name
from proxy.core.upstream_head import upstream_head
from proxy.errors import BadRequest
from tests.support.exchanges import (
    COOKIE,
    HOST,
    PROXY,
    SECRET,
    SEED,
    STRANGER,
    UPGRADE,
    FakeResolver,
    head,
    judge,
    lines_of,
    rules_of,
    session,
    values,
)

Field = tuple[str, str]

RULES = rules_of(f"""
trusted_proxies: [10.0.0.0/8]
sessions: {{web: {{secret: {SECRET}, bearer: true, cookie: {COOKIE}}}}}
upstreams:
  api: {{endpoints: [http://127.0.0.1:8000]}}
  org:
    endpoints: [http://127.0.0.1:8001]
    identity: {{headers: {{X-Org: claims.org, X-Who: email}}}}
routes:
  - {{path: /public/**, upstream: api, auth: public}}
  - {{path: /optional/**, upstream: api, auth: optional}}
  - {{path: /svc/**, upstream: api, auth: public, strip_prefix: /svc}}
  - {{path: /old/*/x, upstream: api, auth: public, rewrite: /new/*}}
  - {{path: /org/**, upstream: org}}
  - {{path: /**, upstream: api}}
""")
ZOE = session("u-1", email="zoe@example.test", name="Zoë", roles=["user", "a,b"], org="7")
KNOWN = FakeResolver({"T": ZOE, "bare": session("u-2")})
SIGNED_IN = ("Cookie", f"{COOKIE}=T")
NAMES = [("X-Request-Id", SEED[:32]), ("traceparent", f"00-{SEED[:32]}-{SEED[32:48]}-00")]
IDENTITY = [
    ("X-User-Id", "u-1"),
    ("X-User-Email", "zoe@example.test"),
    ("X-User-Name", "Zo%C3%AB"),
    ("X-User-Roles", "user,a%2Cb"),
]


def forwarding(host: str = HOST, peer: str = STRANGER) -> list[Field]:
    return [
        ("X-Forwarded-For", peer),
        ("X-Forwarded-Proto", "http"),
        ("X-Forwarded-Host", host),
        ("X-Forwarded-Port", "80"),
    ]


def sent(request: RequestHead, host: str = HOST) -> tuple[str, list[Field]]:
    """Return request line and fields that go upstream for `request`."""
    x, permit = judge(RULES, request, KNOWN)
    assert isinstance(permit, Permit), permit
    return lines_of(upstream_head(x, permit, RULES, host.encode()))


def fields_for(*fields: Field, target: str = "/public/x", **more: Any) -> list[Field]:
    return sent(head(*fields, target=target, **more))[1]


def test_a_request_goes_on_with_what_only_we_may_say() -> None:
    first, fields = sent(
        head(("accept", "*/*"), SIGNED_IN, ("X-A", "\xff"), target="/a%20b?q=%zz&q", method="PUT")
    )
    assert first == "PUT /a%20b?q=%zz&q HTTP/1.1"
    assert fields == [
        ("Host", HOST),
        ("accept", "*/*"),
        ("X-A", "\xff"),
        *IDENTITY,
        *forwarding(),
        *NAMES,
    ]


def test_a_client_of_http_1_0_is_spoken_for_in_1_1() -> None:
    first, fields = sent(head(target="/public/x", minor=0))
    assert first == "GET /public/x HTTP/1.1"
    assert values(fields, "Connection") == []


def test_host_is_as_told_and_the_clients_is_forwarded() -> None:
    _, fields = sent(head(target="/public/x"), host="127.0.0.1:8000")
    assert values(fields, "Host") == ["127.0.0.1:8000"]
    assert values(fields, "X-Forwarded-Host") == [HOST]


FORGED = [
    ("X-User-Id", "admin"),
    ("x_user_id", "admin"),
    ("X.User.Id", "admin"),
    ("X-User-Email", "admin@example.test"),
    ("X-User-Groups", "admin"),
    ("X-Org", "1"),
    ("X-Who", "admin"),
]


@pytest.mark.parametrize("peer", [STRANGER, PROXY], ids=["anybody", "proxy"])
@pytest.mark.parametrize("target", ["/public/x", "/optional/x"])
def test_nobody_has_no_identity_whatever_the_client_says(target: str, peer: str) -> None:
    """ID-02, ID-04 and on."""
    fields = fields_for(*FORGED, target=target, peer=peer)
    assert "admin" not in str(fields)
    assert fields == [("Host", HOST), *forwarding(peer=peer), *NAMES]


def test_a_claim_that_is_absent_leaves_no_gap_for_the_client() -> None:
    """ID-11."""
    fields = fields_for(*FORGED, ("Cookie", f"{COOKIE}=bare"), target="/x")
    assert [field for field in fields if field[0].startswith("X-User")] == [("X-User-Id", "u-2")]


def test_connection_cannot_take_away_what_we_say() -> None:
    """HB-01."""
    ours = ["Host", "X-User-Id", "X-User-Roles", "X-Forwarded-For", "X-Request-Id", "traceparent"]
    hop = ("Connection", ", ".join(["close", *ours, "Content-Length", "X-Forwarded-Host"]))
    length = ("Content-Length", "2")
    fields = fields_for(hop, SIGNED_IN, length, target="/x", method="POST")
    assert fields == [("Host", HOST), *IDENTITY, *forwarding(), length, *NAMES]


def test_what_connection_names_of_the_clients_own_ends_here() -> None:
    fields = fields_for(("X-A", "1"), ("Connection", "x-a"), ("X-B", "2"))
    assert fields == [("Host", HOST), ("X-B", "2"), *forwarding(), *NAMES]


def test_each_upstream_is_told_in_its_own_words() -> None:
    fields = fields_for(*FORGED, SIGNED_IN, target="/org/x")
    assert fields[1:3] == [("X-Org", "7"), ("X-Who", "zoe@example.test")]
    assert not [name for name, _ in fields if name.startswith("X-User")]


def test_the_bearer_that_was_the_session_stays_here() -> None:
    bearer = ("Authorization", "Bearer T")
    assert values(fields_for(bearer, target="/x"), "X-User-Id") == ["u-1"]
    assert values(fields_for(bearer, target="/x"), "Authorization") == []


@pytest.mark.parametrize(
    ("fields", "target"),
    [
        ([("Authorization", "Bearer T")], "/public/x"),
        ([("Authorization", "Basic YTpi")], "/optional/x"),
        ([("Authorization", "Basic YTpi"), SIGNED_IN], "/x"),
        ([("Authorization", "Bearer other"), SIGNED_IN], "/x"),
    ],
    ids=["public route", "another scheme", "beside a cookie", "bearer beside a cookie"],
)
def test_another_authorization_passes(fields: list[Field], target: str) -> None:
    assert values(fields_for(*fields, target=target), "Authorization") == [fields[0][1]]


@pytest.mark.parametrize("target", ["/public/x", "/optional/x", "/x"])
def test_the_session_cookie_stays_here_on_every_route(target: str) -> None:
    fields = fields_for(("Cookie", f"a=1; {COOKIE}=T; b=2"), target=target)
    assert values(fields, "Cookie") == ["a=1; b=2"]


BODIES = {
    "none": ([], []),
    "length": ([("content-length", "5")], [("Content-Length", "5")]),
    "length 0": ([("Content-Length", "0")], [("Content-Length", "0")]),
    "chunks": ([("transfer-encoding", "Chunked")], [("Transfer-Encoding", "chunked")]),
}


@pytest.mark.parametrize(("declared", "expected"), BODIES.values(), ids=BODIES)
def test_the_body_is_framed_as_it_was(declared: list[Field], expected: list[Field]) -> None:
    fields = fields_for(*declared, ("Expect", "100-continue"), ("Trailer", "X-A"), method="POST")
    assert fields == [("Host", HOST), *forwarding(), *expected, *NAMES]


def test_a_websocket_asks_for_its_upgrade() -> None:
    fields = fields_for(*UPGRADE, SIGNED_IN, target="/ws")
    assert fields == [
        ("Host", HOST),
        *UPGRADE[2:],
        *IDENTITY,
        *forwarding(),
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        *NAMES,
    ]


OTHER_UPGRADES = {
    "h2c": [("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", "A")],
    "public route": list(UPGRADE[:2]),
}


@pytest.mark.parametrize("asked", OTHER_UPGRADES.values(), ids=OTHER_UPGRADES)
def test_no_other_upgrade_goes_on(asked: list[Field]) -> None:
    """UP-01."""
    assert fields_for(*asked) == [("Host", HOST), *forwarding(), *NAMES]


def test_the_prefix_that_was_cut_is_told() -> None:
    first, fields = sent(head(target="/svc/a?q"))
    assert first == "GET /a?q HTTP/1.1"
    assert values(fields, "X-Forwarded-Prefix") == ["/svc"]


def test_a_rewritten_path_goes_up_without_a_prefix() -> None:
    first, fields = sent(head(target="/old/a/x?q"))
    assert first == "GET /new/a?q HTTP/1.1"
    assert values(fields, "X-Forwarded-Prefix") == []


def test_a_strangers_prefix_does_not_arrive() -> None:
    """TP-05."""
    forged = ("X-Forwarded-Prefix", "//evil.test")
    assert values(fields_for(forged), "X-Forwarded-Prefix") == []
    assert values(fields_for(forged, target="/svc/a"), "X-Forwarded-Prefix") == ["/svc"]


@pytest.mark.parametrize(
    ("outer", "target", "told"),
    [
        ("/outer", "/public/x", "/outer"),
        ("/outer", "/svc/a", "/outer/svc"),
        ("/outer/", "/svc/a", "/outer/svc"),
        ("/", "/svc/a", "/svc"),
        ("", "/svc/a", "/svc"),
    ],
)
def test_what_was_cut_off_before_us_and_by_us_is_told_once(
    outer: str, target: str, told: str
) -> None:
    """Of two lines one backend takes the first, one the last, and one joins them with a comma."""
    fields = fields_for(("X-Forwarded-Prefix", outer), target=target, peer=PROXY)
    expected = [*forwarding(peer=PROXY), ("X-Forwarded-Prefix", told), *NAMES]
    assert fields == [("Host", HOST), *expected]


def test_a_proxy_that_tells_two_prefixes_is_refused_and_anybody_else_ignored() -> None:
    twice = [("X-Forwarded-Prefix", "/a"), ("X-Forwarded-Prefix", "/b")]
    _, refused = judge(RULES, head(*twice, peer=PROXY), KNOWN)
    assert isinstance(refused, BadRequest)
    assert values(fields_for(*twice, target="/svc/a"), "X-Forwarded-Prefix") == ["/svc"]


def test_a_trusted_proxy_names_client_request_and_trace() -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    fields = fields_for(
        ("X-Forwarded-For", "198.51.100.1"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-User", "kept"),
        ("X-Request-Id", "r-1"),
        ("traceparent", trace),
        ("tracestate", "a=1"),
        peer=PROXY,
    )
    assert fields == [
        ("Host", HOST),
        ("X-Forwarded-User", "kept"),
        ("tracestate", "a=1"),
        ("X-Forwarded-For", f"198.51.100.1, {PROXY}"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", HOST),
        ("X-Forwarded-Port", "443"),
        ("X-Request-Id", "r-1"),
        ("traceparent", f"{trace[:36]}{SEED[32:48]}-01"),
    ]


@pytest.mark.parametrize("traceparent", [None, "00-zz-00-01"], ids=["none", "invalid"])
def test_a_new_trace_does_not_carry_the_state_of_another(traceparent: str | None) -> None:
    """Trace Context, section 4.3: whoever restarts a trace deletes its tracestate."""
    sent = [] if traceparent is None else [("traceparent", traceparent)]
    assert values(fields_for(*sent, ("tracestate", "a=1")), "tracestate") == []


FRAMED = ("host", "content-length", "transfer-encoding", "expect", "upgrade", "traceparent")
any_field = st.tuples(
    st.one_of(
        st.sampled_from(["X-User-Id", "X_USER-ID", "Connection", "X-Request-Id", "Forwarded"]),
        st.from_regex(r"[A-Za-z0-9_.~!-]{1,12}", fullmatch=True),
    ).filter(lambda name: name.lower() not in FRAMED),
    st.text(st.characters(codec="latin-1", exclude_characters="\r\n\0"), max_size=10),
)


@given(st.lists(any_field, max_size=8), st.sampled_from([STRANGER, PROXY]))
def test_whatever_a_client_sends_what_is_ours_stands_once_and_is_true(
    fields: list[Field], peer: str
) -> None:
    found = fields_for(*fields, SIGNED_IN, target="/x", peer=peer)
    for name, value in [("Host", HOST), *IDENTITY, NAMES[1]]:
        same = [v for n, v in found if fold_name(n.encode()) == fold_name(name.encode())]
        assert same == [value]
    assert len(values(found, "X-Request-Id")) == 1
    assert values(found, "Connection") == []
