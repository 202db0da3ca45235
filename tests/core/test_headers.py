from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.core.headers import (
    DROP,
    KEEP,
    STATUS_LINES,
    RequestFilter,
    ResponseFilter,
    nominated,
)
from proxy.core.identity import IdentityHeaders, fold_name
from tests.support.exchanges import COOKIE, head

ATTACKS = Path(__file__).parent.parent / "hostile" / "attacks.json"

OWNED = IdentityHeaders(
    {
        "X-User-Id": "id",
        "X-User-Email": "email",
        "X-User-Name": "name",
        "X-User-Roles": "roles",
        "X-Org": "claims.org.id",
    }
).names
SESSION_COOKIES = (COOKIE, f"__Secure-{COOKIE}", "tenant")

Field = tuple[str, str]


def request_filter(*, keep_session_cookie: bool = False) -> RequestFilter:
    return RequestFilter(OWNED, SESSION_COOKIES, keep_session_cookie=keep_session_cookie)


def passing(
    fields: Iterable[Field],
    *,
    trusted: bool = False,
    bearer_used: bool = False,
    trace_kept: bool = False,
    rules: RequestFilter | None = None,
) -> list[Field]:
    """Return what becomes of a client's fields, as the upstream's parser would read it."""
    request = head(*fields, host=None)
    parts: list[bytes] = []
    (rules or request_filter()).add_passing(
        parts,
        request.fields,
        connection=request.noted.get(b"connection"),
        trusted=trusted,
        bearer_used=bearer_used,
        trace_kept=trace_kept,
    )
    text = b"".join(parts).decode("latin-1")
    assert text == "" or text.endswith("\r\n")
    found = [line.partition(": ") for line in text.split("\r\n")[:-1]]
    return [(name, value) for name, _, value in found]


def passes(name: str, *, trusted: bool = False) -> bool:
    return passing([(name, "v")], trusted=trusted) == [(name, "v")]


def words(text: str) -> list[str]:
    return text.split()


def spellings(name: str) -> list[str]:
    return [name, name.lower(), name.upper(), name.swapcase()]


# What browsers, apps, command lines and webhooks send, and backends need.
ORDINARY = words("""
    Accept Accept-Charset Accept-Encoding Accept-Language Access-Control-Request-Method
    Cache-Control Content-Type Content-Encoding Content-Language Content-Disposition
    Content-Digest Content-MD5 Content-Range Date DNT Early-Data From If-Match If-None-Match
    If-Modified-Since If-Range If-Unmodified-Since Last-Event-ID Link Max-Forwards Origin Pragma
    Prefer Priority Range Referer Save-Data Device-Memory Downlink Sec-CH-UA Sec-CH-UA-Mobile
    Sec-CH-UA-Platform Sec-Fetch-Dest Sec-Fetch-Mode Sec-Fetch-Site Sec-Fetch-User Sec-GPC
    Sec-Purpose Service-Worker Sec-WebSocket-Key Sec-WebSocket-Version Sec-WebSocket-Protocol
    Sec-WebSocket-Extensions Signature Signature-Input Depth Destination If Lock-Token Overwrite
    Timeout Upgrade-Insecure-Requests User-Agent Via X-User-Agent X-Useragent X-Requested-With
    X-CSRF-Token X-XSRF-TOKEN X-CSRFToken Idempotency-Key Api-Key X-Api-Key X-Api-Version
    X-Auth-Token X-Auth-Key X-Access-Token X-Request-Start X-Correlation-ID X-Trace-Id
    X-Client-Version X-Client-Id X-App-Version X-Device-Id X-Tenant-Id X-Total-Count X-Timezone
    X-File-Name X-Upload-Content-Type X-Host-Name X-Proxy-Id Stripe-Signature Stripe-Version
    X-GitHub-Event X-Hub-Signature-256 X-Gitlab-Token X-Slack-Signature X-Shopify-Hmac-Sha256
    X-Twilio-Signature X-Line-Signature svix-signature webhook-signature Paypal-Transmission-Id
    Linear-Signature Logto-Signature-Sha-256 X-Amz-Date X-Amz-Content-Sha256
    X-Amz-Security-Token X-Amz-Target X-Amz-User-Agent X-Amz-Cf-Id X-Amz-Sns-Message-Type
    X-Amz-Meta-Owner X-Amzn-Trace-Id X-Goog-Api-Key X-Goog-User-Project X-Goog-Channel-Id
    X-Goog-Upload-Protocol X-Ms-Date X-Ms-Version X-Ms-Blob-Type X-Ms-Client-Request-Id
    X-Ms-Copy-Source CF-Ray CF-IPCountry Cdn-Loop baggage sentry-trace b3
    X-B3-TraceId X-Cloud-Trace-Context X-Datadog-Trace-Id newrelic uber-trace-id X-Hasura-Role
    X-Parse-Session-Token X-Firebase-AppCheck X-Apollo-Operation-Name apollographql-client-name
    grpc-timeout X-Grpc-Web Connect-Protocol-Version HX-Request HX-Current-URL Next-Action
    Next-Url RSC X-Inertia Turbo-Frame Tus-Resumable Upload-Offset Upload-Metadata
    OpenAI-Organization anthropic-version Cookie2 X-Method-Name Method X-Method
""")


@pytest.mark.parametrize("trusted", [False, True], ids=["anybody", "proxy"])
@pytest.mark.parametrize("name", ORDINARY)
def test_an_ordinary_field_passes_byte_for_byte(name: str, trusted: bool) -> None:
    sent = [(spelling, 'v; "w"\t\xff%00,') for spelling in spellings(name)]
    assert passing(sent, trusted=trusted) == sent


def test_order_case_repeats_and_empty_values_stay() -> None:
    sent = [("x-b", "1"), ("X-A", ""), ("X-B", "2"), ("x-b", "1"), ("Accept", "a"), ("accept", "b")]
    assert passing(sent) == sent


# RFC 9110 section 7.6.1, and what is written anew for each request or has ended here.
ENDS_HERE = words("""
    Connection Keep-Alive Proxy-Authenticate Proxy-Authorization Proxy-Connection TE Trailer
    Transfer-Encoding Upgrade Content-Length Expect Forwarded Host HTTP2-Settings traceparent
    X-Forwarded-For X-Forwarded-Host X-Forwarded-Port X-Forwarded-Prefix X-Forwarded-Proto
    X-Request-Id
""")

# Section 4 of the design: dropped whoever sends it.
NEVER = words("""
    Proxy X-HTTP-Method-Override X-HTTP-Method X-Method-Override HTTP-Method-Override
    X-Original-URL X-Rewrite-URL X-Middleware-Subrequest X-Middleware-Rewrite X-Middleware-Next
    X-User-Assertion X-User-Id X-User-Email X-User-Name X-User-Roles X-User-Groups
    X-User-Is-Admin X-Org XUserId X-UserId x-user-agent-id XUser-Assertion
""")


@pytest.mark.parametrize("trusted", [False, True], ids=["anybody", "proxy"])
@pytest.mark.parametrize("name", [*ENDS_HERE, *NEVER])
def test_a_field_that_is_ours_or_dangerous_never_passes(name: str, trusted: bool) -> None:
    for spelling in spellings(name):
        assert passing([(spelling, "v"), ("X-Other", "w")], trusted=trusted) == [("X-Other", "w")]


# Section 4 of the design, and kin: what a proxy in front of us may say, and nobody else.
PROXIES_ONLY = words("""
    X-Forwarded-User X-Forwarded-Email X-Forwarded-Groups X-Forwarded-Preferred-Username
    X-Forwarded-Access-Token X-Forwarded-Uri X-Forwarded-Method
    X-Forwarded-Ssl X-Forwarded-Scheme X-Forwarded-Server X-Forwarded-Client-Cert
    X-Forwarded-Tls-Client-Cert X-Real-IP True-Client-IP CF-Connecting-IP CF-Connecting-IPv6
    Fastly-Client-IP X-Client-IP Client-IP Forwarded-For X-Cluster-Client-IP Remote-User
    Remote-Groups Remote-Name
    Remote-Email Remote-Addr Remote-Ip Remote-Roles Remote-Display-Name X-Remote-User
    X-Remote-Groups X-Remote-Addr X-Remote-IP X-Remote-Extra-Scopes X-WEBAUTH-USER
    X-WEBAUTH-NAME X-Auth-Request-User X-Auth-Request-Email X-Auth-Request-Redirect
    X-Envoy-Original-Path X-Envoy-External-Address X-Envoy-Internal X-Accel-Redirect
    X-Accel-Mapping X-Original-URI X-Original-Host X-Original-Forwarded-For X-Original-Method
    X-Invoke-Path X-Invoke-Query X-Invoke-Status X-Matched-Path X-Now-Route-Matches X-Now-Id
    X-Goog-IAP-JWT-Assertion X-Goog-Authenticated-User-Email X-Goog-Authenticated-User-Id
    X-Amzn-Oidc-Data X-Amzn-Oidc-Identity X-Amzn-Oidc-Accesstoken X-Amzn-Mtls-Clientcert
    Cf-Access-Jwt-Assertion Cf-Access-Authenticated-User-Email X-Pomerium-Jwt-Assertion
    X-Pomerium-Claim-Email X-MS-CLIENT-PRINCIPAL X-MS-CLIENT-PRINCIPAL-NAME
    X-MS-TOKEN-AAD-ID-TOKEN X-Endpoint-API-UserInfo Ssl-Client-Verify Ssl-Client-Cert
    X-SSL-Client-Verify X-SSL-Client-Cert Client-Cert Client-Cert-Chain X-Client-Cert
    X-Authentik-Username X-Authentik-Groups X-Authelia-User X-Vouch-User X-Userinfo
    X-Authenticated-Userid X-Authenticated-Scope X-Consumer-Id X-Consumer-Username
    X-Tls-Client-Dn X-AppEngine-User-IP X-Appengine-Inbound-Appid Tailscale-User-Login
    Teleport-Jwt-Assertion X-ARR-ClientCert X-Azure-ClientIP X-Azure-SocketIP
    X-Vercel-Forwarded-For
""")


@pytest.mark.parametrize("name", PROXIES_ONLY)
def test_what_a_proxy_says_passes_from_trusted_proxies_only(name: str) -> None:
    for spelling in spellings(name):
        assert not passes(spelling)
        assert passes(spelling, trusted=True)


def _names_that_must_not_arrive() -> set[str]:
    """Return the names of which an attack case, from an untrusted peer, says so."""
    attacks = json.loads(ATTACKS.read_text(encoding="utf-8"))["attacks"]
    assertions = [
        line
        for attack in attacks
        if attack["category"] in ("ID", "TP", "UP") and "trusted" not in attack["config"]
        for line in attack["expect"].get("upstream_assert", [])
    ]
    return {
        line.removeprefix("header_absent:") for line in assertions if "header_absent:" in line
    } - {"X-User-Id"}


@pytest.mark.parametrize("name", sorted(_names_that_must_not_arrive()))
def test_no_name_of_the_attack_cases_arrives(name: str) -> None:
    assert not passes(name)


# A dropped name is in these only when their words run together: `X-No-Wait` is no `X-Now-*`.
ALIKE = words("""
    X-No-Wait X-No-Warnings X-No-Wrap X-Voucher X-Voucher-Code X-Log-Token X-Log-Topic
    X-Webauthn-Challenge X-Webauthn-Credential X-Use-Replica X-Use-Region X-Invoked-By
    X-Accelerate X-Originator X-Originating-Organization X-Forward-To X-Environment X-Env
    X-Middle-Name X-Nowhere Proxyless X-Cf-Accessory X-Authentication-Mode X-Consumers
    X-Tls-Version X-Arr-Log-Id X-Azure-Ref X-Vercel-Id Tailscale-Version X-Userinfos
""")


@pytest.mark.parametrize("name", ALIKE)
def test_a_name_that_only_looks_alike_passes(name: str) -> None:
    for spelling in spellings(name):
        assert passes(spelling)


@pytest.mark.parametrize("name", ["X-Vercel-Signature", "X-Vercel-Protection-Bypass"])
def test_what_clients_of_a_vendor_send_passes(name: str) -> None:
    """The one signs Vercel's webhooks, the other opens its protected deployments to callers."""
    assert passes(name)


TOKEN_CHARACTERS = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
BETWEEN = "!#$%&'*+-.^_`|~"
names = st.text(TOKEN_CHARACTERS, min_size=1, max_size=40)
owned = st.sampled_from(
    [
        "xuserid",
        "xuseremail",
        "xusername",
        "xuserroles",
        "xorg",
        "xuserassertion",
        "xuserx",
        "xuser",
    ]
)


@st.composite
def owned_in_disguise(draw: st.DrawFn) -> str:
    """One of our names, with anything that folding ignores before, between and behind letters."""
    letters = [
        draw(st.sampled_from([letter, letter.upper()])) + draw(st.text(BETWEEN, max_size=2))
        for letter in draw(owned)
    ]
    return draw(st.text(BETWEEN, max_size=2)) + "".join(letters)


@given(
    st.lists(st.one_of(owned_in_disguise(), names), max_size=8),
    st.lists(st.one_of(owned_in_disguise(), names, st.sampled_from(ORDINARY)), max_size=4),
    st.booleans(),
)
@example(["X-User-Id"], ["close", "X-User-Id"], False)
@example(["X_User_Id", "X.User.Id", "X-User_Id", "X~User~Id", "X!User'Id"], [], True)
def test_nothing_that_folds_to_an_owned_name_passes_whatever_connection_says(
    sent: list[str], hop: list[str], trusted: bool
) -> None:
    fields = [("Connection", ", ".join(hop)), *((name, "v") for name in sent)]
    for name, _ in passing(fields, trusted=trusted):
        folded = fold_name(name.encode())
        assert folded not in OWNED
        assert folded == b"xuseragent" or not name.lower().startswith("x-user-")
        assert name.lower() not in [token.lower() for token in hop]
        assert name in sent


@given(names, st.booleans())
def test_only_letters_digits_and_hyphens_make_a_name_that_passes(name: str, trusted: bool) -> None:
    plain = all(character.isalnum() or character == "-" for character in name)
    assert plain or not passes(name, trusted=trusted)


@given(st.lists(st.tuples(names, st.text("ab ,;=\xe9", max_size=5)), max_size=8), st.booleans())
def test_what_passes_is_a_selection_in_the_order_sent(sent: list[Field], trusted: bool) -> None:
    sent = [(name, value.strip()) for name, value in sent]
    passed = passing(sent, trusted=trusted)
    rest = iter(sent)
    assert all(field in rest for field in passed)
    if not trusted:
        assert set(passed) <= set(passing(sent, trusted=True))


HOP = [
    ("X-Hop", [("Connection", "X-Hop")]),
    ("X-Hop", [("connection", "close, x-hop")]),
    ("X-Hop", [("Connection", "close"), ("Connection", "X-HOP")]),
    ("X-Hop", [("Connection", "close ,\tX-Hop\t, ,")]),
    ("Accept", [("Connection", "accept")]),
    ("Authorization", [("Connection", "Authorization")]),
    ("X-Forwarded-User", [("Connection", "X-Forwarded-User")]),
]


@pytest.mark.parametrize(("name", "connection"), HOP)
def test_what_connection_names_is_dropped(name: str, connection: list[Field]) -> None:
    sent = [(name, "v"), *connection, (name.lower(), "w"), ("X-Other", "x")]
    assert passing(sent, trusted=True) == [("X-Other", "x")]


@pytest.mark.parametrize("value", ["keep-alive", "Keep-Alive", "close", "upgrade", "", ", ,", "x"])
def test_an_ordinary_connection_drops_nothing_else(value: str) -> None:
    assert passing([("Connection", value), ("Accept", "v")]) == [("Accept", "v")]


def test_the_names_in_connection() -> None:
    assert nominated(None) == frozenset()
    assert nominated(b"keep-alive") == frozenset()
    assert nominated(b" Close,\tX-A , x-B") == {b"close", b"x-a", b"x-b"}


COOKIES = {
    "alone": (f"{COOKIE}=T", None),
    "in front": (f"{COOKIE}=T; a=1", "a=1"),
    "behind": (f"a=1; {COOKIE}=T", "a=1"),
    "between": (f"a=1; {COOKIE}=T; b=2", "a=1; b=2"),
    "in chunks": (f"{COOKIE}.0=T; a=1; {COOKIE}.1=U", "a=1"),
    "twice": (f"{COOKIE}=T; {COOKIE}=U; a=1", "a=1"),
    "of another session": (f"tenant=T; __Secure-{COOKIE}=U; {COOKIE}=V; a=1", "a=1"),
    "none": ("a=1;  b = 2;c=;;", "a=1;  b = 2;c=;;"),
    "other case": (f"{COOKIE.upper()}=T", f"{COOKIE.upper()}=T"),
    "alike": (f"x{COOKIE}=T; {COOKIE}x=U", f"x{COOKIE}=T; {COOKIE}x=U"),
    "bytes": (f"a=\xff\xfe; {COOKIE}=T", "a=\xff\xfe"),
    "empty": ("", None),
}


@pytest.mark.parametrize(("sent", "left"), COOKIES.values(), ids=COOKIES)
def test_session_cookies_are_taken_out_and_others_left(sent: str, left: str | None) -> None:
    rules = request_filter()
    for _ in range(2):  # the second time from memory
        found = passing([("X-A", "1"), ("cookie", sent), ("X-B", "2")], rules=rules)
        cookie = [] if left is None else [("cookie", left)]
        assert found == [("X-A", "1"), *cookie, ("X-B", "2")]


def test_each_cookie_line_is_judged_alone() -> None:
    sent = [("Cookie", "a=1"), ("Cookie", f"{COOKIE}.0=T"), ("Cookie", f"{COOKIE}.1=U; b=2")]
    assert passing(sent) == [("Cookie", "a=1"), ("Cookie", "b=2")]


def test_the_session_cookie_stays_where_the_configuration_says_so() -> None:
    sent = [("Cookie", f"a=1; {COOKIE}=T")]
    assert passing(sent, rules=request_filter(keep_session_cookie=True)) == sent


def test_a_bearer_that_was_the_session_is_taken_out_and_others_pass() -> None:
    sent = [("Authorization", "Bearer T"), ("authorization", "Basic YTpi")]
    assert passing(sent) == sent
    assert passing(sent, bearer_used=True) == []


def test_the_state_of_a_trace_passes_with_it_alone() -> None:
    sent = [("tracestate", "a=1"), ("Tracestate", "b=2")]
    assert passing(sent, trace_kept=True) == sent
    assert passing(sent, trace_kept=False) == []
    assert passing(sent, trace_kept=False, trusted=True) == []


def test_long_names_and_cookies_of_clients_are_not_remembered() -> None:
    """They may be as long as a head: thousands of them would be hundreds of MiB that stay."""
    name, cookie = b"X-" + b"a" * 60_000, b"a=" + b"b" * 60_000
    before = sys.getrefcount(name), sys.getrefcount(cookie)
    parts: list[bytes] = []
    rules = request_filter()
    rules.add_passing(
        parts, [(name, b""), (b"Cookie", cookie)], connection=None, trusted=False, bearer_used=False
    )
    assert parts == [name, b": ", b"", b"\r\n", b"Cookie", b": ", cookie, b"\r\n"]
    parts.clear()
    assert (sys.getrefcount(name), sys.getrefcount(cookie)) == before


def test_long_names_of_upstreams_are_not_remembered() -> None:
    name = b"X-" + b"a" * 60_000
    before = sys.getrefcount(name)
    rules = ResponseFilter(OWNED)
    assert rules.kind(name) == KEEP
    assert sys.getrefcount(name) == before


def test_a_flood_of_names_and_cookies_changes_no_decision() -> None:
    rules, back = request_filter(), ResponseFilter(OWNED)
    for number in range(5000):
        assert rules.kind(b"X-%d" % number) == KEEP
        assert back.kind(b"X-%d" % number) == KEEP
        if number < 2100:
            sent = [("Cookie", f"a={number}; {COOKIE}=T"), ("X-User-Id", "x")]
            assert passing(sent, rules=rules) == [("Cookie", f"a={number}")]
    assert rules.kind(b"X-User-Id") == DROP
    assert back.kind(b"X-User-Id") == DROP


BACK_DROPPED = words("""
    Connection Keep-Alive Proxy-Authorization Proxy-Connection TE Trailer Transfer-Encoding
    Upgrade X-Request-Id X-User-Id X_User_Id X-User-Assertion X-User-Groups x-org
""")
BACK_PASSING = words("""
    Content-Type Content-Length Content-Encoding Content-Range Set-Cookie Cache-Control Vary
    ETag Age Date Server Via Location Link Retry-After WWW-Authenticate Authentication-Info
    Allow Proxy-Authenticate Strict-Transport-Security Content-Security-Policy
    Timing-Allow-Origin Access-Control-Allow-Origin X-Powered-By X-User-Agent X_Odd.Name
    Sec-WebSocket-Accept
""")


@pytest.mark.parametrize("name", BACK_DROPPED)
def test_what_is_ours_or_of_the_connection_does_not_go_back_to_the_client(name: str) -> None:
    rules = ResponseFilter(OWNED)
    assert {rules.kind(spelling.encode()) for spelling in spellings(name) * 2} == {DROP}


@pytest.mark.parametrize("name", BACK_PASSING)
def test_what_the_upstream_says_goes_back(name: str) -> None:
    """Some of these only under conditions, of which `core/answer.py` knows."""
    rules = ResponseFilter(OWNED)
    kinds = {rules.kind(spelling.encode()) for spelling in spellings(name) * 2}
    assert len(kinds) == 1
    assert DROP not in kinds


def test_every_status_has_its_line() -> None:
    assert STATUS_LINES[200] == b"HTTP/1.1 200 OK\r\n"
    assert STATUS_LINES[404] == b"HTTP/1.1 404 Not Found\r\n"
    # RFC 9112 section 4: the space stays where the phrase is empty.
    assert STATUS_LINES[299] == b"HTTP/1.1 299 \r\n"
    assert sorted(STATUS_LINES) == list(range(100, 600))
