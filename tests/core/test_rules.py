from __future__ import annotations

from typing import Any

import pytest

from proxy.config.model import Config, Rate, SessionConfig
from proxy.core.headers import DROP
from proxy.core.limits import Limit
from proxy.core.routing import Route
from proxy.core.rules import RuleError, compile_rules
from proxy.core.session import Credential
from proxy.core.target import Host, canonicalise
from proxy.errors import BadCookie, OriginRefused, SessionAmbiguous, SessionInvalid
from tests.support.exchanges import (
    APP,
    COOKIE,
    HOST,
    OTHER_SECRET,
    PROXY,
    SECRET,
    config_of,
    head,
    rules_of,
    values,
)

SECURE = f"__Secure-{COOKIE}"

RULES = rules_of(f"""
trusted_proxies: [10.0.0.0/8]
trusted_headers: [X-Forwarded-Proto]
sessions:
  web: {{secret: {SECRET}}}
  tenant: {{secret: {OTHER_SECRET}, cookie: tenant, bearer: true}}
  phone: {{secret: {OTHER_SECRET}, cookie: phone, bearer: true}}
identity: {{headers: {{X-User-Id: id, X-Org: claims.org}}}}
cors: {{origins: [https://app.example.test], max_age: 1m}}
limits: {{body: 1MiB, body_idle: 9s, head: 9KiB}}
login_url: https://app.example.test/signin
upstreams:
  api: {{endpoints: [http://127.0.0.1:8000], timeouts: {{connect: 3s}}, retry: {{attempts: 4}}}}
  own:
    endpoints: [http://127.0.0.1:8001]
    identity: {{headers: {{X-Who: email}}}}
routes:
  - {{path: /public/**, upstream: api, auth: public}}
  - {{path: /tenant/**, upstream: api, sessions: [tenant]}}
  - {{path: /back/**, upstream: own, sessions: [phone, web]}}
  - path: /all/**
    host: "*.example.test"
    methods: [POST, GET]
    upstream: own
    require: {{roles: [admin], claims: {{plan: pro}}, email_domains: [example.test]}}
    cors: {{origins: [https://other.example.test]}}
    csrf: {{check_origin: false}}
    limits: {{body: off, body_idle: 1s}}
    timeouts: {{first_byte: 10m}}
    retry: {{attempts: 1}}
    login_url: off
    upgrade: off
    encoded_slashes: allow
    case_sensitive: true
    strict_slash: true
    rewrite: /v1/**
  - {{path: /maybe/**, upstream: api, auth: optional}}
  - {{path: /svc/**, upstream: api, strip_prefix: /svc, cors: off}}
  - {{path: /**, upstream: api}}
""")


def route(path: str) -> Route:
    return next(route for route in RULES.routes.rows() if route.path == path)


def find(path: str, *fields: tuple[str, str], **more: Any) -> Credential | None:
    request = head(*fields, **more)
    return RULES.find_credential(route(path), request, RULES.proxies.client(request))


def test_a_route_is_as_the_top_level_and_its_upstream_say() -> None:
    plain = route("/**")
    assert (plain.name, plain.host, plain.methods, plain.upstream) == ("/**", None, None, "api")
    assert plain.policy.auth == "required"
    assert plain.sessions == ("web", "tenant", "phone")
    assert plain.cors == RULES.cors
    assert plain.cors.allows(APP.encode())
    assert (plain.body_limit, plain.body_idle) == (2**20, 9.0)
    assert (plain.timeouts.connect, plain.timeouts.first_byte, plain.attempts) == (3.0, 60.0, 4)
    assert plain.login_url == "https://app.example.test/signin"
    assert (plain.upgrade, plain.rewrite) == (True, None)
    assert (plain.encoded_slashes, plain.case_sensitive, plain.strict_slash) == (False,) * 3
    assert plain.identity.names == {b"xuserid", b"xorg"}


def test_a_route_says_otherwise_for_itself() -> None:
    own = route("/all/**")
    assert own.name == "GET,POST *.example.test/all/**"
    assert (own.host, own.methods) == ("*.example.test", frozenset({"GET", "POST"}))
    assert repr(own.policy) == "<Policy required roles claims email_domains>"
    assert own.cors.allows(b"https://other.example.test")
    assert not own.cors.allows(APP.encode())
    assert repr(own.origin_check) == "<OriginCheck off>"
    assert (own.body_limit, own.body_idle) == (None, 1.0)
    assert (own.timeouts.connect, own.timeouts.first_byte, own.attempts) == (2.0, 600.0, 1)
    assert (own.login_url, own.upgrade) == (None, False)
    assert (own.encoded_slashes, own.case_sensitive, own.strict_slash) == (True,) * 3
    assert own.identity.names == {b"xwho"}


def test_paths_are_changed_where_the_route_says_so() -> None:
    for path, sent, expected in (
        ("/svc/**", "/svc/a?q", ("/a?q", "/svc")),
        ("/all/**", "/all/a", ("/v1/a", None)),
    ):
        rewrite = route(path).rewrite
        assert rewrite is not None
        assert rewrite.apply(canonicalise(sent, "GET", Host(HOST, None))) == expected


def test_a_route_may_leave_cors_and_sign_in_to_others() -> None:
    assert not route("/svc/**").cors.enabled
    assert route("/maybe/**").policy.auth == "optional"
    assert route("/public/**").policy.auth == "public"
    assert not route("/public/**").upgrade


ORIGINS = {
    "those of cors": ("", True, False),
    "its own": ("csrf: {origins: [https://other.example.test]}", False, True),
    "off": ("csrf: {check_origin: false}", True, True),
}


@pytest.mark.parametrize(("csrf", "app", "other"), ORIGINS.values(), ids=ORIGINS)
def test_requests_that_change_something_come_from_the_origins_that_are_named(
    csrf: str, app: bool, other: bool
) -> None:
    check = (
        rules_of(f"""
public_origin: https://public.example.test
cors: {{origins: [https://app.example.test]}}
upstreams: {{api: {{endpoints: [http://127.0.0.1:8000]}}}}
routes: [{{path: /**, upstream: api, auth: public}}]
{csrf}
""")
        .routes.rows()[0]
        .origin_check
    )
    for name, allowed in (("app", app), ("other", other), ("public", True)):
        request = head(("Origin", f"https://{name}.example.test"), method="POST")
        try:
            check.check(request, Host(HOST, None), "http", False)
        except OriginRefused:
            assert not allowed
        else:
            assert allowed


def test_a_public_route_has_no_session() -> None:
    assert route("/public/**").sessions == ()
    assert find("/public/**", ("Cookie", f"{COOKIE}=T; tenant=U")) is None


def test_the_first_session_in_the_order_of_the_file_decides() -> None:
    cookies = ("Cookie", f"phone=P; tenant=U; {COOKIE}=T")
    assert find("/**", cookies) == Credential("web", "cookie", COOKIE, "T")
    assert find("/back/**", cookies) == Credential("web", "cookie", COOKIE, "T")
    without = ("Cookie", "phone=P; tenant=U")
    assert find("/**", without) == Credential("tenant", "cookie", "tenant", "U")
    assert find("/back/**", without) == Credential("phone", "cookie", "phone", "P")


def test_a_route_is_bound_to_its_sessions() -> None:
    assert find("/tenant/**", ("Cookie", f"{COOKIE}=T")) is None
    assert find("/tenant/**", ("Cookie", "tenant=U")) == Credential(
        "tenant", "cookie", "tenant", "U"
    )


def test_a_bearer_belongs_to_the_first_session_that_takes_one() -> None:
    bearer = ("Authorization", "Bearer B")
    assert find("/**", bearer) == Credential("tenant", "bearer", "", "B")
    assert find("/back/**", bearer) == Credential("phone", "bearer", "", "B")
    assert find("/**", bearer, ("Cookie", "phone=P")) == Credential("tenant", "bearer", "", "B")


def test_nothing_presented_is_nothing_found() -> None:
    assert find("/**") is None
    assert find("/**", ("Cookie", "a=1"), ("Authorization", "Basic YTpi")) is None


BAD = {
    "ambiguous": (f"{COOKIE}=T; {COOKIE}=U", SessionAmbiguous),
    "half of its chunks": (f"{COOKIE}.1=T", SessionInvalid),
    "too long": (f"{COOKIE}=T; a={'b' * 300_000}", BadCookie),
}


@pytest.mark.parametrize(("cookie", "error"), BAD.values(), ids=BAD)
def test_a_bad_session_is_not_passed_over_for_the_next(cookie: str, error: type[Exception]) -> None:
    fields = [("Cookie", f"{cookie}; tenant=U"), ("Authorization", "Bearer B")]
    with pytest.raises(error):
        find("/**", *fields)


def test_over_https_plain_cookie_names_do_not_count() -> None:
    plain = ("Cookie", f"{COOKIE}=T")
    assert find("/**", plain) is not None
    assert find("/**", plain, tls=True) is None
    assert find("/**", plain, ("X-Forwarded-Proto", "https"), peer=PROXY) is None
    # A stranger's word for it is none.
    assert find("/**", plain, ("X-Forwarded-Proto", "https")) is not None
    assert find("/**", ("Cookie", f"{SECURE}=T"), tls=True) == Credential(
        "web", "cookie", SECURE, "T"
    )


@pytest.mark.parametrize(("scheme", "counts"), [("https", False), ("http", True)])
def test_the_public_origin_says_whether_it_is_https(scheme: str, counts: bool) -> None:
    rules = rules_of(f"""
public_origin: {scheme}://{HOST}
sessions: {{web: {{secret: {SECRET}}}}}
upstreams: {{api: {{endpoints: [http://127.0.0.1:8000]}}}}
routes: [{{path: /**, upstream: api}}]
""")
    request = head(("Cookie", f"{COOKIE}=T"))
    client = rules.proxies.client(request)
    found = rules.find_credential(rules.routes.rows()[0], request, client)
    assert (found is not None) == counts
    assert rules.public_origin == f"{scheme}://{HOST}"


def passing(*fields: tuple[str, str], text: str | None = None) -> list[tuple[str, str]]:
    rules = RULES if text is None else rules_of(text)
    parts: list[bytes] = []
    rules.request_filter.add_passing(
        parts, head(*fields, host=None).fields, connection=None, trusted=True, bearer_used=False
    )
    lines = b"".join(parts).decode().split("\r\n")[:-1]
    return [(name, value) for name, _, value in (line.partition(": ") for line in lines)]


def test_identity_headers_of_any_upstream_are_taken_from_everybody() -> None:
    for name in ("X-Org", "x-who", "X-User-Id", "X-Who"):
        assert passing((name, "admin")) == []
        assert RULES.response_filter.kind(name.encode()) == DROP


def test_cookies_of_every_session_stay_here() -> None:
    sent = f"{COOKIE}=1; {SECURE}.0=2; next-auth.session-token=3; tenant=4; phone=5; a=6"
    assert values(passing(("Cookie", sent)), "Cookie") == ["a=6"]


def test_the_session_cookie_goes_up_where_the_configuration_says_so() -> None:
    text = f"""
sessions: {{web: {{secret: {SECRET}}}}}
identity: {{forward_session_cookie: true}}
upstreams: {{api: {{endpoints: [http://127.0.0.1:8000]}}}}
routes: [{{path: /**, upstream: api}}]
"""
    assert passing(("Cookie", f"{COOKIE}=1"), text=text) == [("Cookie", f"{COOKIE}=1")]


PLAIN = config_of("""
upstreams: {api: {endpoints: [http://127.0.0.1:8000]}}
routes: [{path: /a, upstream: api, auth: public}, {path: /b, upstream: api, auth: public}]
""")
A, B = PLAIN.routes

UNUSABLE: dict[str, tuple[Config, tuple[str | int, ...]]] = {
    "session": (
        PLAIN.model_copy(
            update={
                "sessions": {
                    "web": SessionConfig.model_validate(
                        {"secret": SECRET, "jwt": {"signing_key": "no key"}}
                    )
                }
            }
        ),
        ("sessions", "web"),
    ),
    "rewrite": (
        PLAIN.model_copy(update={"routes": (A.model_copy(update={"rewrite": "/*"}), B)}),
        ("routes", 0),
    ),
    "path": (
        PLAIN.model_copy(update={"routes": (A, B.model_copy(update={"path": "no path"}))}),
        ("routes",),
    ),
    "routes that tie": (PLAIN.model_copy(update={"routes": (A, A)}), ("routes",)),
}


@pytest.mark.parametrize(("config", "loc"), UNUSABLE.values(), ids=UNUSABLE)
def test_a_value_that_shows_its_fault_only_in_use_is_told_with_its_place(
    config: Config, loc: tuple[str | int, ...]
) -> None:
    with pytest.raises(RuleError) as caught:
        compile_rules(config)
    assert caught.value.loc == loc
    assert caught.value.message
    assert str(caught.value) == f"{'.'.join(map(str, loc))}: {caught.value.message}"
    assert "no key" not in str(caught.value)


def test_limits_are_those_of_the_configuration() -> None:
    assert RULES.limits.head == 9 * 1024
    assert RULES.public_origin is None


def test_without_sessions_and_cors_there_is_still_a_gateway() -> None:
    text = """
upstreams: {api: {endpoints: [http://127.0.0.1:8000]}}
routes: [{path: /**, upstream: api, auth: public}]
"""
    rules = rules_of(text)
    assert rules.sessions == {}
    assert not rules.cors.enabled
    assert config_of(text).sessions == {}
    assert rules.routes.rows()[0].login_url is None


def test_limits_of_all_routes_are_one_and_those_of_a_route_its_own() -> None:
    config = config_of(f"""
sessions: {{web: {{secret: {SECRET}}}}}
upstreams: {{api: {{endpoints: [http://127.0.0.1:8000]}}}}
rate_limit: [{{by: ip, rate: 9/m}}, {{by: user, rate: 5/m, burst: 2}}]
routes:
  - {{path: /a, upstream: api, auth: optional}}
  - {{path: /b, upstream: api, auth: public}}
  - {{path: /c, methods: [POST], upstream: api, auth: public, rate_limit: {{by: ip, rate: 9/m}}}}
  - {{path: /d, upstream: api, auth: public, rate_limit: off}}
""")
    rules = compile_rules(config)
    a, b, c, d = sorted(rules.routes.rows(), key=lambda route: route.path)
    ip, user = Limit("", "ip", Rate(9, 60), 9), Limit("", "user", Rate(5, 60), 2)
    own = Limit("POST /c", "ip", Rate(9, 60), 9)
    assert (a.limits.early, a.limits.late) == ((ip,), (user,))
    assert (b.limits.early, b.limits.late) == ((ip, user), ())
    assert (c.limits.early, c.limits.late) == ((own,), ())
    assert d.limits.listed == ()
    assert rules.rate_limits == [ip, user, own]
