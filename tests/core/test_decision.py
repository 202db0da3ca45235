from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from proxy import errors
from proxy.core.decision import Permit, Reply, decide
from proxy.core.exchange import Exchange
from proxy.core.head import RequestHead
from proxy.core.headers import STATUS_LINES
from proxy.core.limits import Demand
from proxy.core.session import Credential
from proxy.gateway import respond
from proxy.session.resolver import Resolver
from proxy.telemetry.metrics import Metrics
from tests.support.exchanges import (
    APP,
    COOKIE,
    HOST,
    NOW,
    OTHER_SECRET,
    PROXY,
    SECRET,
    SEED,
    STRANGER,
    UPGRADE,
    FakeResolver,
    config_of,
    exchange,
    finish,
    head,
    judge,
    lines_of,
    rules_of,
    session,
    token,
    values,
)

Field = tuple[str, str]
Outcome = Permit | Reply | errors.ProxyError

TEXT = f"""
trusted_proxies: [10.0.0.0/8]
sessions:
  web: {{secret: {SECRET}, bearer: true}}
  tenant: {{secret: {OTHER_SECRET}, cookie: tenant}}
cors: {{origins: [https://app.example.test], methods: [GET, PUT, POST, DELETE]}}
limits: {{head: 4KiB, target: 1KiB, body: 100B}}
upstreams: {{api: {{endpoints: [http://127.0.0.1:8000]}}}}
routes:
  - {{path: /public/**, upstream: api, auth: public}}
  - {{path: /live/**, upstream: api, auth: public, upgrade: websocket}}
  - {{path: /optional/**, upstream: api, auth: optional}}
  - {{path: /members/**, upstream: api, auth: optional, require: {{roles: [member]}}}}
  - {{path: /admin/**, upstream: api, require: {{roles: [admin]}}}}
  - {{path: /split, methods: [GET], upstream: api, auth: public, cors: off}}
  - {{path: /split, methods: [PUT], upstream: api}}
  - {{path: /read/**, methods: [GET, POST], upstream: api}}
  - {{path: /tenant/**, upstream: api, sessions: [tenant]}}
  - {{path: /plain/**, upstream: api, cors: off}}
  - {{path: /still/**, upstream: api, upgrade: off}}
  - {{path: /big/**, upstream: api, limits: {{body: off}}}}
  - {{path: /svc/**, upstream: api, strip_prefix: /svc}}
  - {{path: /old/*, upstream: api, rewrite: /new/*}}
  - {{path: /page/**, upstream: api, login_url: "https://app.example.test/signin?lang=en"}}
  - {{path: /perhaps/**, upstream: api, auth: optional, login_url: "https://app.example.test/in"}}
  - {{path: /**, upstream: api}}
"""
RULES = rules_of(TEXT)
PUBLIC = rules_of(TEXT + f"public_origin: https://{HOST}\n")

ORIGIN = ("Origin", APP)
EVIL = ("Origin", "https://evil.test")
NAVIGATE = ("Sec-Fetch-Mode", "navigate")
USER, ADMIN = session("u-1", roles=["user"]), session("a-1", roles=["admin", "member"])


def resolver() -> FakeResolver:
    return FakeResolver(
        {
            "user": USER,
            "admin": ADMIN,
            "expired": errors.SessionExpired("exp has passed"),
            "revoked": errors.SessionRevoked("by an operator"),
            "ambiguous": errors.SessionAmbiguous("two rows"),
            "down": errors.SessionStoreDown("no database"),
        }
    )


def cookie(value: str, name: str = COOKIE) -> Field:
    return "Cookie", f"{name}={value}"


def decided(
    target: str, *fields: Field, fake: FakeResolver | None = None, **more: Any
) -> tuple[Exchange, Outcome]:
    return judge(RULES, head(*fields, target=target, **more), fake or resolver())


def permitted(target: str, *fields: Field, **more: Any) -> Permit:
    outcome = decided(target, *fields, **more)[1]
    assert isinstance(outcome, Permit), outcome
    return outcome


def refused(target: str, *fields: Field, **more: Any) -> type[errors.ProxyError]:
    outcome = decided(target, *fields, **more)[1]
    assert isinstance(outcome, errors.ProxyError), outcome
    return type(outcome)


def asking(method: str, origin: Field = ORIGIN, *more: Field) -> list[Field]:
    return [origin, ("Access-Control-Request-Method", method), *more]


# Preflights end here, before anybody asks who the user is.


def test_a_preflight_is_answered_on_the_route_of_the_method_that_it_asks_for() -> None:
    fake = resolver()
    x, reply = decided("/split", *asking("PUT"), method="OPTIONS", fake=fake)
    assert isinstance(reply, Reply)
    assert reply.status == 204
    lines = lines_of(STATUS_LINES[204] + reply.lines + b"\r\n")[1]
    assert values(lines, "Access-Control-Allow-Origin") == [APP]
    assert values(lines, "Access-Control-Allow-Methods") == ["GET, PUT, POST, DELETE"]
    assert fake.asked == []
    assert x.route is not None
    assert x.route.name == "PUT /split"
    # The other method's route has no CORS of ours, and the preflight goes on to the upstream.
    permit = permitted("/split", *asking("GET"), method="OPTIONS")
    assert permit.route.name == "GET /split"


@pytest.mark.parametrize(
    "session_fields",
    [[], [cookie("bad")], [cookie("expired")], [cookie("down")], [("Cookie", f"{COOKIE}.1=x")]],
)
@pytest.mark.parametrize("target", ["/x", "/admin/x", "/optional/x", "/public/x", "/page/x"])
def test_a_preflight_never_looks_at_the_session(target: str, session_fields: list[Field]) -> None:
    fake = resolver()
    fields = [*asking("PUT"), *session_fields, NAVIGATE]
    x, reply = decided(target, *fields, method="OPTIONS", fake=fake)
    assert isinstance(reply, Reply)
    assert (reply.status, x.session, x.session_result, fake.asked) == (204, "", "", [])


REFUSED_PREFLIGHTS = {
    "foreign origin": ("/x", asking("PUT", EVIL), errors.OriginRefused),
    "null": ("/x", asking("PUT", ("Origin", "null")), errors.OriginRefused),
    "method that CORS does not grant": ("/x", asking("PATCH"), errors.OriginRefused),
    "method that is none": ("/x", asking("\xff"), errors.OriginRefused),
    "foreign origin, and no route": ("/split", asking("DELETE", EVIL), errors.OriginRefused),
    "method that neither CORS nor a route has": ("/split", asking("FOO"), errors.OriginRefused),
    "two origins": ("/x", [*asking("PUT"), ORIGIN], errors.BadRequest),
    "two methods": ("/x", [*asking("PUT"), *asking("PUT")[1:]], errors.BadRequest),
    "bad headers": (
        "/x",
        asking("PUT", ORIGIN, ("Access-Control-Request-Headers", "a b")),
        errors.OriginRefused,
    ),
}


@pytest.mark.parametrize(
    ("target", "fields", "error"), REFUSED_PREFLIGHTS.values(), ids=REFUSED_PREFLIGHTS
)
def test_a_refused_preflight(
    target: str, fields: list[Field], error: type[errors.ProxyError]
) -> None:
    assert refused(target, *fields, method="OPTIONS") is error


LOST = {
    "no route": ("/lost", errors.NoRoute),
    "method that no route offers": ("/only", errors.MethodRefused),
    "path that has two meanings": ("/a/B", errors.AmbiguousPath),
    "path that is none": ("/a%", errors.BadTarget),
}


def lost(cors: str, target: str, *fields: Field, method: str = "OPTIONS") -> Outcome:
    rules = rules_of(f"""
{cors}
upstreams: {{api: {{endpoints: [http://127.0.0.1:8000]}}}}
routes:
  - {{path: /only, methods: [GET], upstream: api, auth: public, cors: off}}
  - {{path: /a/**, upstream: api, auth: public}}
  - {{path: /a/b, upstream: api, auth: public, csrf: {{check_origin: false}}}}
""")
    return judge(rules, head(*fields, target=target, method=method))[1]


@pytest.mark.parametrize(("target", "error"), LOST.values(), ids=LOST)
def test_a_preflight_for_what_gets_an_error_is_granted_so_that_the_error_can_be_read(
    target: str, error: type[errors.ProxyError]
) -> None:
    cors = "cors: {origins: [https://app.example.test]}"
    reply = lost(cors, target, *asking("PUT"))
    assert isinstance(reply, Reply)
    assert reply.status == 204
    lines = lines_of(STATUS_LINES[204] + reply.lines + b"\r\n")[1]
    assert values(lines, "Access-Control-Allow-Origin") == [APP]
    assert isinstance(lost(cors, target, ORIGIN, method="PUT"), error)
    assert isinstance(lost(cors, target, *asking("PUT", EVIL)), errors.OriginRefused)
    assert isinstance(lost("", target, *asking("PUT")), error)


@pytest.mark.parametrize("value", ["user", "bad", "down"])
def test_with_cors_off_a_preflight_goes_on_without_identity(value: str) -> None:
    fake = resolver()
    x, permit = decided(
        "/plain/x", *asking("PUT", EVIL), cookie(value), method="OPTIONS", fake=fake
    )
    assert isinstance(permit, Permit)
    assert (permit.credential, permit.session, permit.upgrade) == (None, None, False)
    assert (x.user, x.session, fake.asked) == ("", "", [])


@pytest.mark.parametrize(
    "fields",
    [[], [ORIGIN], [("Access-Control-Request-Method", "PUT")]],
    ids=["bare", "origin", "acrm"],
)
def test_any_other_options_is_a_normal_request(fields: list[Field]) -> None:
    """CO-17."""
    assert refused("/x", *fields, method="OPTIONS") is errors.SessionMissing
    assert permitted("/x", *fields, cookie("user"), method="OPTIONS").session is USER
    assert permitted("/public/x", *fields, method="OPTIONS").session is None


def test_only_options_asks_before() -> None:
    assert refused("/x", *asking("PUT")) is errors.SessionMissing


# Who may come.


def test_a_public_route_never_looks_at_the_session() -> None:
    fake = resolver()
    for value in ("user", "bad", "down"):
        x, permit = decided(
            "/public/x",
            cookie(value),
            ("Authorization", "Bearer user"),
            EVIL,
            method="POST",
            fake=fake,
        )
        assert isinstance(permit, Permit)
        assert (permit.credential, permit.session) == (None, None)
        assert (x.session, x.session_result, x.user) == ("", "", "")
    chunks = ("Cookie", f"{COOKIE}=a; {COOKIE}=b; {COOKIE}.7=c")
    assert permitted("/public/x", chunks).session is None
    assert fake.asked == []


def test_a_required_session_that_is_valid() -> None:
    fake = resolver()
    x, permit = decided("/x", cookie("user"), fake=fake)
    assert isinstance(permit, Permit)
    credential = Credential("web", "cookie", COOKIE, "user")
    assert (permit.session, permit.credential) == (USER, credential)
    assert fake.asked == [(credential, NOW)]
    assert (x.session, x.session_result, x.user) == ("web", "valid", "u-1")


FAULTS = {
    "missing": ([], errors.SessionMissing),
    "invalid": ([cookie("bad")], errors.SessionInvalid),
    "expired": ([cookie("expired")], errors.SessionExpired),
    "revoked": ([cookie("revoked")], errors.SessionRevoked),
    "ambiguous": ([cookie("ambiguous")], errors.SessionAmbiguous),
    "two cookies": ([cookie("user"), cookie("admin")], errors.SessionAmbiguous),
    "lost chunk": ([("Cookie", f"{COOKIE}.1=user")], errors.SessionInvalid),
    "bad escape": ([cookie("%zz")], errors.SessionInvalid),
    "bad bearer": ([("Authorization", "Bearer bad")], errors.SessionInvalid),
    "store down": ([cookie("down")], errors.SessionStoreDown),
}


@pytest.mark.parametrize(("fields", "error"), FAULTS.values(), ids=FAULTS)
def test_a_required_session_that_is_not_valid(
    fields: list[Field], error: type[errors.ProxyError]
) -> None:
    assert refused("/x", *fields) is error
    assert refused("/admin/x", *fields) is error


@pytest.mark.parametrize(("fields", "error"), FAULTS.values(), ids=FAULTS)
def test_where_it_is_optional_only_a_missing_or_expired_one_makes_nobody(
    fields: list[Field], error: type[errors.ProxyError]
) -> None:
    if error in (errors.SessionMissing, errors.SessionExpired):
        x, permit = decided("/optional/x", *fields)
        assert isinstance(permit, Permit)
        assert permit.session is None
        assert (x.session_result, x.user) == (error.code, "")
    else:
        assert refused("/optional/x", *fields) is error


def test_where_it_is_optional_a_valid_one_counts() -> None:
    assert permitted("/optional/x", cookie("user")).session is USER


@pytest.mark.parametrize("fields", [[], [cookie("expired")]], ids=["missing", "expired"])
def test_an_optional_route_that_demands_something_does_not_take_nobody(
    fields: list[Field],
) -> None:
    assert issubclass(refused("/members/x", *fields), errors.Unauthorized)
    assert refused("/members/x", cookie("user")) is errors.Forbidden
    assert permitted("/members/x", cookie("admin")).session is ADMIN


def test_the_policy_is_asked_after_the_session() -> None:
    x, outcome = decided("/admin/x", cookie("user"))
    assert isinstance(outcome, errors.Forbidden)
    assert (x.user, x.session, x.session_result) == ("u-1", "web", "valid")
    assert permitted("/admin/x", cookie("admin")).session is ADMIN


RESULTS = {
    "invalid": (cookie("bad"), "session_invalid"),
    "expired": (cookie("expired"), "session_expired"),
    "revoked": (cookie("revoked"), "session_revoked"),
    "ambiguous": (cookie("ambiguous"), "session_ambiguous"),
    "store down": (cookie("down"), "session_store_down"),
    "valid": (cookie("user"), "valid"),
}


@pytest.mark.parametrize("target", ["/x", "/optional/x"])
@pytest.mark.parametrize(("field", "result"), RESULTS.values(), ids=RESULTS)
def test_what_became_of_a_session_is_noted(field: Field, result: str, target: str) -> None:
    """The metrics count it: a bad session must not pass for a valid one."""
    x, _ = decided(target, field)
    assert (x.session, x.session_result) == ("web", result)


def test_a_session_that_was_not_looked_at_has_no_result() -> None:
    x, outcome = decided("/x", cookie("user"), EVIL, method="POST")
    assert isinstance(outcome, errors.OriginRefused)
    assert (x.session, x.session_result, x.user) == ("web", "", "")


# Several sessions.


def test_each_session_is_asked_by_its_name() -> None:
    fake = resolver()
    x, permit = decided("/tenant/x", cookie("user", "tenant"), fake=fake)
    assert isinstance(permit, Permit)
    assert fake.asked[0][0] == Credential("tenant", "cookie", "tenant", "user")
    assert x.session == "tenant"


@pytest.mark.parametrize(
    ("value", "error"),
    [("bad", errors.SessionInvalid), ("expired", errors.SessionExpired)],
)
def test_a_failed_session_is_not_passed_over_for_the_next(
    value: str, error: type[errors.ProxyError]
) -> None:
    fake = resolver()
    fields = [("Cookie", f"tenant=user; {COOKIE}={value}"), ("Authorization", "Bearer user")]
    assert refused("/x", *fields, fake=fake) is error
    assert len(fake.asked) == 1
    if error is errors.SessionExpired:
        assert permitted("/optional/x", *fields).session is None


def test_a_session_of_another_route_is_none_here() -> None:
    assert refused("/tenant/x", cookie("user")) is errors.SessionMissing
    assert refused("/tenant/x", ("Authorization", "Bearer user")) is errors.SessionMissing


# Cross-site requests.

FOREIGN = {
    "origin": [EVIL],
    "CS-02": [("Origin", "null")],
    "CS-03": [("Sec-Fetch-Site", "cross-site")],
    "CS-04": [("Referer", "https://evil.test/x")],
}


@pytest.mark.parametrize("value", ["user", "bad", "expired", "down"])
@pytest.mark.parametrize("fields", FOREIGN.values(), ids=FOREIGN)
def test_the_origin_is_checked_before_anybody_looks_at_the_session(
    fields: list[Field], value: str
) -> None:
    fake = resolver()
    for target in ("/x", "/optional/x", "/admin/x"):
        found = refused(target, *fields, cookie(value), method="POST", fake=fake)
        assert found is errors.OriginRefused
    assert fake.asked == []


@pytest.mark.parametrize("fields", FOREIGN.values(), ids=FOREIGN)
def test_where_no_session_cookie_comes_nothing_can_be_ridden_on(fields: list[Field]) -> None:
    assert refused("/x", *fields, method="POST") is errors.SessionMissing
    assert permitted("/optional/x", *fields, method="POST").session is None
    bearer = ("Authorization", "Bearer user")
    assert permitted("/x", *fields, bearer, method="POST").session is USER
    assert permitted("/x", *fields, cookie("user")).session is USER


def test_our_own_pages_and_listed_ones_may_send() -> None:
    for fields in (
        [ORIGIN],
        [("Origin", f"http://{HOST}")],
        [("Sec-Fetch-Site", "same-origin")],
        [],
    ):
        assert permitted("/x", *fields, cookie("user"), method="POST").session is USER


def test_a_websocket_with_a_cookie_is_held_to_the_same_check() -> None:
    """CS-08."""
    assert refused("/ws", *UPGRADE, EVIL, cookie("user")) is errors.OriginRefused
    assert permitted("/ws", *UPGRADE, ORIGIN, cookie("user")).upgrade
    assert permitted("/ws", *UPGRADE, EVIL, ("Authorization", "Bearer user")).upgrade
    # Where it would not become a WebSocket, it is a GET, which the same-origin policy guards.
    assert not permitted("/still/x", *UPGRADE, EVIL, cookie("user")).upgrade
    assert not permitted("/ws", *UPGRADE[1:], EVIL, cookie("user")).upgrade


# Upgrades.


def test_an_upgrade_is_permitted_where_route_and_handshake_are_right() -> None:
    assert permitted("/ws", *UPGRADE, cookie("user")).upgrade
    assert permitted("/live/x", *UPGRADE).upgrade
    assert not permitted("/public/x", *UPGRADE).upgrade
    assert not permitted("/ws", cookie("user")).upgrade
    assert refused("/ws", *UPGRADE) is errors.SessionMissing  # UP-03


@pytest.mark.parametrize("position", range(4), ids=[name for name, _ in UPGRADE])
def test_half_a_handshake_is_no_upgrade(position: int) -> None:
    fields = [field for at, field in enumerate(UPGRADE) if at != position]
    assert not permitted("/ws", *fields, cookie("user")).upgrade


def test_an_upgrade_of_another_method_is_none() -> None:
    assert not permitted("/ws", *UPGRADE, cookie("user"), method="POST").upgrade


# Sign-in.


def location(outcome: Outcome) -> str:
    assert isinstance(outcome, Reply), outcome
    assert outcome.status == 302
    fields = lines_of(b"HTTP/1.1 302 Found\r\n" + outcome.lines + b"\r\n")[1]
    assert [name for name, _ in fields] == ["Location"]
    return fields[0][1]


def navigating(target: str, *fields: Field, **more: Any) -> Outcome:
    request = head(NAVIGATE, *fields, target=target, **more)
    return judge(PUBLIC, request, resolver())[1]


@pytest.mark.parametrize("value", [None, "bad", "expired", "revoked", "ambiguous"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_navigation_without_a_good_session_is_sent_to_sign_in(
    value: str | None, method: str
) -> None:
    secure = f"__Secure-{COOKIE}"
    fields = [] if value is None else [cookie(value, secure)]
    back = quote(f"https://{HOST}/page/x?a=b&c", safe="")
    expected = f"https://app.example.test/signin?lang=en&callbackUrl={back}"
    assert location(navigating("/page/x?a=b&c", *fields, method=method)) == expected


def test_what_is_optional_sends_nobody_to_sign_in_but_a_bad_session() -> None:
    assert isinstance(navigating("/perhaps/x"), Permit)
    bad = cookie("bad", f"__Secure-{COOKIE}")
    assert location(navigating("/perhaps/x", bad)).startswith("https://app.example.test/in?")


def test_without_a_public_origin_there_is_no_way_back() -> None:
    """What the client says of the host is not to be trusted with it (RD-08)."""
    outcome = decided("/page/x", NAVIGATE, host="evil.test")[1]
    assert location(outcome) == "https://app.example.test/signin?lang=en"


HOSTILE_TARGETS = [
    "/page/x?callbackUrl=https://evil.test",
    "/page/https://evil.test/",
    "/page/@evil",
]


@pytest.mark.parametrize("target", HOSTILE_TARGETS)
@pytest.mark.parametrize("host", [HOST, "evil.test"])
def test_the_way_back_is_on_our_own_origin(target: str, host: str) -> None:
    """RD-06, RD-08, RD-09: no open redirect."""
    found = location(navigating(target, host=host))
    back = quote(f"https://{HOST}{target}", safe="")
    assert found == f"https://app.example.test/signin?lang=en&callbackUrl={back}"


def test_only_a_navigation_is_sent_to_sign_in() -> None:
    """RD-03, RD-12: a script gets the 401 that it can read."""
    assert refused("/page/x") is errors.SessionMissing
    assert refused("/page/x", ("Sec-Fetch-Mode", "cors")) is errors.SessionMissing
    assert refused("/page/x", NAVIGATE, method="POST") is errors.SessionMissing
    assert refused("/x", NAVIGATE) is errors.SessionMissing


def test_only_a_missing_sign_in_is_a_reason_to_sign_in() -> None:
    assert isinstance(navigating("/page/x", cookie("down", f"__Secure-{COOKIE}")), errors.Failure)
    rules = rules_of(TEXT + "login_url: https://app.example.test/signin\n")
    for fields, method, error in (
        ([cookie("user")], "GET", errors.Forbidden),
        ([cookie("user"), EVIL], "POST", errors.OriginRefused),
    ):
        request = head(NAVIGATE, *fields, target="/admin/x", method=method)
        assert isinstance(judge(rules, request, resolver())[1], error)


# What is asked for.


def test_a_method_that_the_path_does_not_offer_is_told_what_it_does() -> None:
    outcome = decided("/read/x", method="DELETE")[1]
    assert isinstance(outcome, errors.MethodRefused)
    assert outcome.allow == ("GET", "HEAD", "POST")
    assert refused("/read/x", method="HEAD") is errors.SessionMissing


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_a_declared_body_is_measured_before_the_session(method: str) -> None:
    fake = resolver()
    large, fits = ("Content-Length", "101"), ("Content-Length", "100")
    assert refused("/x", large, cookie("down"), method=method, fake=fake) is errors.BodyTooLarge
    assert fake.asked == []
    assert permitted("/x", fits, cookie("user"), method=method).session is USER
    assert permitted("/big/x", large, cookie("user"), method=method).session is USER


def test_the_target_goes_on_as_it_came() -> None:
    for target in ("/", "/x", "/a%20B;c=1?", "/x?a=%zz&b=//", "/x/?q=/../"):
        assert permitted(target, cookie("user")).target == target
        assert permitted(target, cookie("user")).prefix is None


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (f"http://{HOST}/x?q=1", "/x?q=1"),
        (f"HTTP://{HOST.upper()}:80/a%20B?", "/a%20B?"),
        (f"http://{HOST}", "/"),
        (f"http://{HOST}?q", "/?q"),
    ],
)
def test_a_target_in_absolute_form_goes_on_in_origin_form(sent: str, expected: str) -> None:
    assert permitted(sent, cookie("user")).target == expected


def test_an_absolute_target_in_the_name_of_another_host_is_bad() -> None:
    assert refused("http://evil.test/x") is errors.BadTarget


def test_the_path_is_changed_as_the_route_says() -> None:
    cut = permitted("/svc/a?q", cookie("user"))
    assert (cut.target, cut.prefix) == ("/a?q", "/svc")
    rewritten = permitted("/old/a?q", cookie("user"))
    assert (rewritten.target, rewritten.prefix) == ("/new/a?q", None)
    absolute = permitted(f"http://{HOST}/svc?q", cookie("user"))
    assert (absolute.target, absolute.prefix) == ("/?q", "/svc")


def test_a_changed_path_is_checked_again() -> None:
    assert refused("/svc//evil.test/x", cookie("user")) is errors.AmbiguousPath


REFUSALS = {
    "target too long": ({"target": "/" + "a" * 1024}, [], errors.TargetTooLong),
    "head too large": ({}, [("X-A", "a" * 4096)], errors.HeadTooLarge),
    "version": ({"minor": 2}, [], errors.BadRequest),
    "method": ({"method": "TRACE"}, [], errors.MethodUnknown),
    "coding": ({"method": "POST"}, [("Transfer-Encoding", "gzip")], errors.CodingUnknown),
    "expectation": ({}, [("Expect", "x")], errors.ExpectationFailed),
    "no host": ({"host": None}, [], errors.BadHost),
    "bad host": ({"host": "a b"}, [], errors.BadHost),
    "two hosts": ({}, [("Host", HOST)], errors.BadRequest),
    "bad target": ({"target": "/<x>"}, [], errors.BadTarget),
    "ambiguous path": ({"target": "/public/../x"}, [], errors.AmbiguousPath),
    "two authorizations": (
        {"target": "/x"},
        [("Authorization", "Bearer a"), ("Authorization", "Bearer b")],
        errors.BadRequest,
    ),
    "method of the path": ({"target": "/read/x", "method": "PUT"}, [], errors.MethodRefused),
    "body": ({"method": "POST"}, [("Content-Length", "101")], errors.BodyTooLarge),
    "no session": ({"target": "/x"}, [], errors.SessionMissing),
    "bad session": ({"target": "/x"}, [cookie("bad")], errors.SessionInvalid),
    "forbidden": ({"target": "/admin/x"}, [cookie("user")], errors.Forbidden),
    "cross-site": (
        {"target": "/x", "method": "POST"},
        [cookie("user"), ("Sec-Fetch-Site", "cross-site"), ("Referer", "https://evil.test/")],
        None,
    ),
    "store down": ({"target": "/x"}, [cookie("down")], errors.SessionStoreDown),
}


@pytest.mark.parametrize(("changes", "fields", "error"), REFUSALS.values(), ids=REFUSALS)
def test_a_page_may_read_every_refusal(
    changes: dict[str, Any], fields: list[Field], error: type[errors.ProxyError] | None
) -> None:
    """CO-16: whatever the stage, the answer carries the CORS headers of the route or the top."""
    request = head(*fields, ORIGIN, **({"target": "/public/x"} | changes))
    x, outcome = judge(RULES, request, resolver())
    if error is None:
        assert isinstance(outcome, Permit)  # the listed Origin decides before the Referer
        return
    assert isinstance(outcome, errors.ProxyError)
    assert type(outcome) is error
    lines = lines_of(
        respond.problem(x, outcome, NOW, close=False).partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    )
    assert values(lines[1], "Access-Control-Allow-Origin") == [APP]
    assert values(lines[1], "Vary") == ["Origin"]


def test_where_the_route_has_no_cors_its_refusals_have_none() -> None:
    x, outcome = decided("/plain/x", ORIGIN)
    assert isinstance(outcome, errors.SessionMissing)
    assert not x.cors.enabled
    assert x.route is not None
    assert x.route.name == "/plain/**"


def test_the_first_thing_wrong_is_what_is_told() -> None:
    """From the outside in: form, host, target, route, body, origin, session, policy."""
    wrong: dict[str, Any] = {"method": "POST", "target": "/read//../x", "host": "a b"}
    fields = [("Content-Length", "101"), EVIL, cookie("bad"), ("X-A", "a" * 4096)]
    told = []
    for fix in (
        lambda: fields.pop(),
        lambda: wrong.update(host=HOST),
        lambda: wrong.update(target="/read/x", method="PUT"),
        lambda: wrong.update(method="POST"),
        lambda: fields.pop(0),
        lambda: fields.pop(0),
        lambda: fields.__setitem__(0, cookie("user")),
    ):
        told.append(
            refused(str(wrong["target"]), *fields, method=wrong["method"], host=wrong["host"])
        )
        fix()
    assert told == [
        errors.HeadTooLarge,
        errors.BadHost,
        errors.AmbiguousPath,
        errors.MethodRefused,
        errors.BodyTooLarge,
        errors.OriginRefused,
        errors.SessionInvalid,
    ]
    assert permitted("/read/x", *fields, method="POST").session is USER


# What is noted for the log.


def test_client_request_and_trace_are_noted_before_anything_can_be_refused_by_them() -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    fields = [("X-Request-Id", "r-1"), ("traceparent", trace), ("X-Forwarded-For", "198.51.100.9")]
    x, _ = decided("/x", *fields, peer=PROXY)
    assert (x.client.address, x.client.trusted, x.request_id) == ("198.51.100.9", True, "r-1")
    assert x.trace_id == trace[3:35]
    x, _ = decided("/x", *fields)
    assert (x.client.address, x.client.trusted, x.request_id) == (STRANGER, False, SEED[:32])
    assert x.trace_id == trace[3:35]
    x, outcome = decided("/x", *fields, peer=PROXY, host="a b")
    assert isinstance(outcome, errors.BadHost)
    assert x.request_id == "r-1"


def test_two_traceparents_are_none() -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    x, _ = decided("/x", ("traceparent", trace), ("traceparent", trace))
    assert x.traceparent == f"00-{SEED[:32]}-{SEED[32:48]}-00"
    # Another repeated field takes nothing from the trace.
    x, _ = decided("/x", ("traceparent", trace), ("Origin", "a"), ("Origin", "a"))
    assert x.trace_id == trace[3:35]


def test_two_request_ids_are_none() -> None:
    """A proxy that adds its own to the client's would let the client choose the id."""
    x, _ = decided("/x", ("X-Request-Id", "r-1"), ("X-Request-Id", "r-2"), peer=PROXY)
    assert x.request_id == SEED[:32]


def test_a_forwarding_header_that_a_proxy_doubled_is_a_bad_request() -> None:
    """TP-12."""
    twice = [("X-Forwarded-Proto", "http"), ("X-Forwarded-Proto", "https")]
    assert refused("/x", *twice, peer=PROXY) is errors.BadRequest
    assert refused("/x", *twice) is errors.SessionMissing


# The real resolver keeps what the fake one promises.


def test_the_real_resolver_says_the_same() -> None:
    resolve = Resolver(config_of(TEXT), RULES, Metrics()).resolve

    def outcome(value: str) -> Outcome:
        x = exchange(head(cookie(value), target="/x"), RULES.cors)
        try:
            return finish(decide(x, RULES, resolve))
        except errors.ProxyError as error:
            return error

    good = outcome(token("u-1", roles=["user"]))
    assert isinstance(good, Permit)
    assert good.session is not None
    assert good.session.principal.id == "u-1"
    assert isinstance(outcome(token(exp=int(NOW) - 60)), errors.SessionExpired)
    assert isinstance(outcome(token(secret=OTHER_SECRET)), errors.SessionInvalid)
    assert isinstance(outcome("nobody.knows.it"), errors.SessionInvalid)


def test_nothing_personal_is_in_the_repr_of_a_permit() -> None:
    shown = repr(permitted("/x", cookie("user")))
    assert "u-1" not in shown
    assert "token" not in shown


# No Permit, no forward; and only the decision makes one.

ROOT = Path(__file__).parent.parent.parent / "proxy"
MAKER = "core/decision.py"


COPIES = {"replace", "copy", "deepcopy"}


def permits_made(source: str) -> list[int]:
    """Return the lines that could make a Permit: a call, a copy, a subclass, another name."""
    return [
        getattr(node, "lineno", 0)
        for node in ast.walk(ast.parse(source))
        if _calls(node) or _names_anew(node)
    ]


def _calls(node: ast.AST) -> bool:
    match node:
        case ast.Call(func=ast.Name("Permit") | ast.Attribute(attr="Permit")):
            return True
        case ast.Call(func=ast.Attribute(attr="__new__"), args=[ast.Name("Permit"), *_]):
            return True
        case ast.Call(func=ast.Name(name) | ast.Attribute(ast.Name("copy" | "dataclasses"), name)):
            return name in COPIES
    return False


def _names_anew(node: ast.AST) -> bool:
    match node:
        case ast.alias("Permit", str()):
            return True
        case ast.ClassDef(bases=values) | ast.Assign(value=ast.Tuple(values)):
            return any(_is_permit(value) for value in values)
        case ast.Assign(value=value) | ast.AnnAssign(value=value):
            return _is_permit(value)
    return False


def _is_permit(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Name | ast.Attribute) and ast.unparse(node).endswith("Permit")


def test_only_the_decision_makes_a_permit() -> None:
    makers = {
        file.relative_to(ROOT).as_posix(): lines
        for file in sorted(ROOT.rglob("*.py"))
        if "Permit" in (source := file.read_text(encoding="utf-8"))
        and (lines := permits_made(source))
    }
    assert list(makers) == [MAKER]
    assert len(makers[MAKER]) == 1


@pytest.mark.parametrize(
    "source",
    [
        "Permit(route, '/', None, None, None, False)",
        "decision.Permit(*parts)",
        "class Pass(Permit): ...",
        "from proxy.core.decision import Permit as P",
        "P = Permit",
        "P: type = decision.Permit",
        "dataclasses.replace(permit, session=None)",
        "replace(permit, session=None)",
        "copy.copy(permit)",
        "object.__new__(Permit)",
    ],
)
def test_every_way_to_make_one_would_be_seen(source: str) -> None:
    assert permits_made(source) == [1]
    assert (
        permits_made("def f(p: Permit) -> None: isinstance(p, Permit); 'a'.replace('a', 'b')") == []
    )


# Rate limits: when they are asked, and as whose request one counts.

LIMITED = rules_of(f"""{TEXT}
rate_limit: [{{by: user, rate: 9/m}}, {{by: ip, rate: 5/m}}]
""")


class Limits:
    """Notes who is counted; refuses by the limits whose `by` is told."""

    def __init__(self, refuses: str = "") -> None:
        self.asked: list[list[tuple[str, Any]]] = []
        self._refuses = refuses

    async def take(self, demands: Sequence[Demand]) -> None:
        self.asked.append([(limit.by, key) for limit, key in demands])
        if any(limit.by == self._refuses for limit, _ in demands):
            raise errors.RateLimited(self._refuses)


def limited(
    request: RequestHead, refuses: str = "", resolver: FakeResolver | None = None
) -> tuple[Limits, Outcome, FakeResolver]:
    limits, resolver = Limits(refuses), resolver or FakeResolver({"user": session("u-1")})
    x = exchange(request, LIMITED.cors)
    outcome: Outcome
    try:
        outcome = finish(decide(x, LIMITED, resolver.resolve, limits.take))
    except errors.ProxyError as error:
        outcome = error
    return limits, outcome, resolver


def test_an_address_is_counted_before_a_session_is_looked_at_and_a_user_after() -> None:
    limits, outcome, _ = limited(head(cookie("user"), target="/x"))
    assert isinstance(outcome, Permit)
    assert limits.asked == [[("ip", STRANGER)], [("user", ("web", "u-1"))]]
    limits, outcome, resolver = limited(head(cookie("user"), target="/x"), refuses="ip")
    assert isinstance(outcome, errors.RateLimited)
    assert (len(limits.asked), resolver.asked) == (1, [])


def test_who_is_not_admitted_is_counted_by_the_address_alone() -> None:
    for fields in ([], [cookie("unknown")]):
        limits, outcome, _ = limited(head(*fields, target="/x"))
        assert isinstance(outcome, errors.Unauthorized)
        assert limits.asked == [[("ip", STRANGER)]]
    limits, outcome, _ = limited(head(cookie("user"), target="/admin/x"))
    assert isinstance(outcome, errors.Forbidden)
    assert limits.asked == [[("ip", STRANGER)]]


def test_nobody_is_counted_as_a_user_by_his_address() -> None:
    limits, outcome, _ = limited(head(target="/optional/x"))
    assert isinstance(outcome, Permit)
    assert limits.asked == [[("ip", STRANGER)], [("user", STRANGER)]]
    limits, outcome, _ = limited(head(cookie("user"), target="/public/x"))
    assert isinstance(outcome, Permit)
    assert limits.asked == [[("user", STRANGER), ("ip", STRANGER)]]


def test_a_user_who_asks_too_often_is_refused_and_not_sent_to_sign_in() -> None:
    _, outcome, _ = limited(head(cookie("user"), target="/x"), refuses="user")
    assert isinstance(outcome, errors.RateLimited)


def test_what_ends_before_a_route_is_taken_is_not_counted() -> None:
    preflight = (("Origin", APP), ("Access-Control-Request-Method", "GET"))
    for request in (
        head(*preflight, method="OPTIONS", target="/x"),
        head(*preflight, method="OPTIONS", target="/nothing/../here"),
        head(target="/a/../b"),
        head(target="/split", method="DELETE"),
    ):
        limits, outcome, _ = limited(request)
        assert not isinstance(outcome, Permit)
        assert limits.asked == []


def test_without_a_counter_no_limit_is_asked() -> None:
    x = exchange(head(cookie("user"), target="/x"), LIMITED.cors)
    resolver = FakeResolver({"user": session("u-1")})
    assert isinstance(finish(decide(x, LIMITED, resolver.resolve)), Permit)
