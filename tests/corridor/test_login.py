"""Who the cookie says is signed in, the backend reads from X-User-*; and from nobody else."""

from __future__ import annotations

import pytest

from tests.support import mint
from tests.support.client import exchange
from tests.support.upstream import Recorded, StubUpstream
from tests.support.worker import (
    COOKIE,
    OTHER_SECRET,
    SECRET,
    LocalGateway,
    request,
    settings,
    signed_in,
    token,
)

PERSON = {"email": "ada@example.com", "name": "Ada Löve%", "roles": ["admin", "a,b"]}


def told(request: Recorded) -> dict[str, str]:
    """Return what the backend is told about the user."""
    return {
        name.decode(): value.decode("latin-1")
        for name, value in request.headers
        if name.lower().startswith(b"x-user")
    }


async def test_backend_reads_the_user_from_headers(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    answer = await gateway.ask("GET", "/api/me?x=1", signed_in("u-1", **PERSON))
    assert answer.status == 200
    [request] = upstream.requests
    assert told(request) == {
        "X-User-Id": "u-1",
        "X-User-Email": "ada@example.com",
        "X-User-Name": "Ada L%C3%B6ve%25",
        "X-User-Roles": "admin,a%2Cb",
    }
    assert request.target == "/api/me?x=1"


async def test_session_cookie_stays_here_and_others_go_on_byte_for_byte(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    odd = 'a=1;b=\xff\xfe;  c="q;uo"; d'
    await gateway.ask("GET", "/api/x", f"Cookie: {COOKIE}={token()}; {odd}")
    await gateway.ask("GET", "/api/x", signed_in())
    first, second = upstream.requests
    assert first.get("Cookie") == odd
    assert second.values("Cookie") == []


async def test_session_in_chunks_is_one_session(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    chunks = mint.chunk_cookies(token("u-2", name="x" * 5000))
    assert len(chunks) > 1
    answer = await gateway.ask("GET", "/api/x", f"Cookie: {'; '.join([*chunks, 'other=1'])}")
    assert answer.status == 200
    [request] = upstream.requests
    assert told(request)["X-User-Id"] == "u-2"
    assert request.get("Cookie") == "other=1"


@pytest.mark.parametrize(
    "forged",
    [
        "X-User-Id: root",
        "x-user-id: root",
        "X_User_Id: root",
        "x.user.id: root",
        "X-User-Roles: admin",
        "X-User-Whatever: root",
    ],
)
@pytest.mark.parametrize("path", ["/api/x", "/public/x", "/optional/x"])
async def test_forged_identity_does_not_arrive(
    gateway: LocalGateway, upstream: StubUpstream, forged: str, path: str
) -> None:
    cookie = (signed_in(),) if path == "/api/x" else ()
    await gateway.ask("GET", path, forged, *cookie, forged)
    [request] = upstream.requests
    assert told(request) == ({"X-User-Id": "u-1"} if cookie else {})
    assert b"root" not in request.raw


async def test_naming_our_headers_in_connection_removes_none_of_them(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    nominated = "Connection: X-User-Id, X-Forwarded-For, X-Request-Id, Host, X-Mine, keep-alive"
    await gateway.ask("GET", "/api/x", nominated, "X-Mine: 1", signed_in())
    [request] = upstream.requests
    assert told(request) == {"X-User-Id": "u-1"}
    assert request.values("X-Mine") == []
    assert request.values("X-Forwarded-For") == ["127.0.0.1"]
    assert len(request.values("X-Request-Id")) == 1


async def test_absent_field_is_an_absent_header(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    await gateway.ask("GET", "/api/x", signed_in("7", email=None, roles=[]))
    assert told(upstream.requests[0]) == {"X-User-Id": "7"}


async def test_bearer_signs_in_and_stays_here(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    answer = await gateway.ask("POST", "/api/x", f"Authorization: Bearer {token('m-1')}", body=b"x")
    assert answer.status == 200
    [request] = upstream.requests
    assert told(request) == {"X-User-Id": "m-1"}
    assert request.values("Authorization") == []


async def test_other_authorization_goes_on(gateway: LocalGateway, upstream: StubUpstream) -> None:
    await gateway.ask("GET", "/api/x", signed_in(), "Authorization: Basic QTpC")
    await gateway.ask("GET", "/public/x", "Authorization: Bearer not-ours")
    assert [each.get("Authorization") for each in upstream.requests] == [
        "Basic QTpC",
        "Bearer not-ours",
    ]


async def test_public_route_never_looks_at_the_session(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    for line in (signed_in(), f"Cookie: {COOKIE}=broken", f"Cookie: {COOKIE}=a; {COOKIE}=b"):
        assert (await gateway.ask("GET", "/public/x", line)).status == 200
    assert [told(each) for each in upstream.requests] == [{}, {}, {}]
    assert [each.values("Cookie") for each in upstream.requests] == [[], [], []]


async def test_optional_route_takes_nobody_and_somebody(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    expired = f"Cookie: {COOKIE}={token(ttl=-60)}"
    for lines in ((), (expired,), (signed_in("u-3"),)):
        assert (await gateway.ask("GET", "/optional/x", *lines)).status == 200
    assert [told(each) for each in upstream.requests] == [{}, {}, {"X-User-Id": "u-3"}]


async def test_optional_route_refuses_a_broken_session(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    answer = await gateway.ask("GET", "/optional/x", f"Cookie: {COOKIE}=broken")
    assert (answer.status, answer.json()["code"]) == (401, "session_invalid")
    assert upstream.connections == []


@pytest.mark.parametrize(
    ("cookie", "code"),
    [
        pytest.param("", "session_missing", id="none"),
        pytest.param(f"{COOKIE}=", "session_missing", id="empty"),
        pytest.param(f"{COOKIE}=abc", "session_invalid", id="no-token"),
        pytest.param(f"{COOKIE}=\xff\xfe\x80", "session_invalid", id="not-utf-8"),
        pytest.param(f"{COOKIE}=%ed%a0%80.%00", "session_invalid", id="surrogate"),
        pytest.param(
            f"{COOKIE}={token(secret=OTHER_SECRET)}", "session_invalid", id="other-secret"
        ),
        pytest.param(f"{COOKIE}={token()[:-2]}AA", "session_invalid", id="tampered"),
        pytest.param(f"{COOKIE}={token(ttl=-60)}", "session_expired", id="expired"),
        pytest.param(f"{COOKIE}={token(cookie='other')}", "session_invalid", id="other-salt"),
        pytest.param(f"{COOKIE}={token()}; {COOKIE}={token()}", "session_ambiguous", id="two"),
        pytest.param(f"{COOKIE}.0={token()}; {COOKIE}.2=x", "session_invalid", id="chunk-missing"),
        pytest.param(
            f"{COOKIE}={mint.v5({'exp': 1 << 40}, SECRET)}", "session_invalid", id="no-id"
        ),
    ],
)
async def test_refused_session_never_reaches_the_upstream(
    gateway: LocalGateway, upstream: StubUpstream, cookie: str, code: str
) -> None:
    answer = await gateway.ask("GET", "/api/x", *([f"Cookie: {cookie}"] if cookie else []))
    assert (answer.status, answer.json()["code"]) == (401, code)
    assert upstream.connections == []


@pytest.mark.parametrize(
    "authorization",
    ["Bearer \xff\xff", "Bearer %ff.%fe", "Bearer a b", "Bearer %ed%a0%80", "bearer x.y.z"],
)
async def test_bearer_that_is_no_token_is_refused(
    gateway: LocalGateway, authorization: str
) -> None:
    answer = await gateway.ask("GET", "/api/x", f"Authorization: {authorization}")
    assert (answer.status, answer.json()["code"]) == (401, "session_invalid")


async def test_plain_cookie_does_not_count_over_https(upstream: StubUpstream) -> None:
    public = "https://api.example.com"
    secure = mint.V5_SECURE_COOKIE
    async with LocalGateway(settings(upstream.url, public_origin=public)) as gateway:
        plain = await gateway.ask("GET", "/api/x", signed_in())
        safe = await gateway.ask("GET", "/api/x", f"Cookie: {secure}={token(cookie=secure)}")
    assert (plain.status, safe.status) == (401, 200)
    assert plain.json()["code"] == "session_missing"


async def test_people_are_sent_to_the_sign_in_page(upstream: StubUpstream) -> None:
    config = settings(
        upstream.url,
        login_url="https://app.example.com/signin",
        public_origin="https://api.example.com",
    )
    async with LocalGateway(config) as gateway:
        page = await gateway.ask("GET", "/api/x?y=1", "Sec-Fetch-Mode: navigate")
        script = await gateway.ask("GET", "/api/x", "Sec-Fetch-Mode: cors")
    assert page.status == 302
    callback = "https%3A%2F%2Fapi.example.com%2Fapi%2Fx%3Fy%3D1"
    assert page.get("Location") == f"https://app.example.com/signin?callbackUrl={callback}"
    assert page.get("Cache-Control") == "no-store"
    assert page.body == b""
    assert script.status == 401


async def test_identity_headers_of_an_upstream_replace_the_usual_ones(
    upstream: StubUpstream,
) -> None:
    config = settings(
        upstream.url,
        identity={"headers": {"X-User-Id": "id", "X-Team": "claims.org.id"}},
        upstream={"identity": {"headers": {"X-Login": "id"}}},
    )
    async with LocalGateway(config) as gateway:
        lines = signed_in(org={"id": 5}), "X-Team: forged", "X-Login: forged", "X_Login: forged"
        assert (await gateway.ask("GET", "/api/x", *lines)).status == 200
    [request] = upstream.requests
    assert request.values("X-Login") == ["u-1"]
    assert request.values("X-Team") == []
    assert b"forged" not in request.raw


async def test_session_cookie_goes_on_where_the_backend_needs_it(upstream: StubUpstream) -> None:
    config = settings(upstream.url, identity={"forward_session_cookie": True})
    cookie = signed_in()
    async with LocalGateway(config) as gateway:
        await gateway.ask("GET", "/api/x", cookie)
    assert f"Cookie: {upstream.requests[0].get('Cookie')}" == cookie


async def test_challenge_and_close_go_with_a_body_that_nobody_wants(gateway: LocalGateway) -> None:
    data = request("POST", "/api/x", "Content-Length: 100") + b"only a part"
    answer = await exchange(gateway.port, data)
    assert (answer.status, answer.get("Connection")) == (401, "close")
