"""Several ways to be signed in: the first that is there decides; routes are bound to theirs."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.support.upstream import StubUpstream
from tests.support.worker import OTHER_SECRET, SECRET, LocalGateway, settings, token


def cookie(name: str, sub: str, secret: str = SECRET) -> str:
    return f"{name}={token(sub, cookie=name, secret=secret)}"


@pytest_asyncio.fixture
async def gateway(upstream: StubUpstream) -> AsyncIterator[LocalGateway]:
    config = settings(
        upstream.url,
        sessions={
            "staff": {"kind": "authjs", "secret": SECRET, "cookie": "staff", "bearer": True},
            "shop": {"kind": "authjs", "secret": OTHER_SECRET, "cookie": "shop", "bearer": True},
        },
        routes=[
            {"path": "/any/**", "upstream": "api"},
            {"path": "/staff/**", "upstream": "api", "sessions": ["staff"]},
            {"path": "/shop/**", "upstream": "api", "sessions": ["shop"]},
        ],
    )
    async with LocalGateway(config) as gateway:
        yield gateway


STAFF = cookie("staff", "s-1")
SHOP = cookie("shop", "c-1", OTHER_SECRET)


async def test_each_session_signs_in(gateway: LocalGateway, upstream: StubUpstream) -> None:
    for pair in (STAFF, SHOP):
        assert (await gateway.ask("GET", "/any/x", f"Cookie: {pair}")).status == 200
    assert [each.get("X-User-Id") for each in upstream.requests] == ["s-1", "c-1"]


async def test_first_in_the_file_decides_whatever_the_cookies_order(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    assert (await gateway.ask("GET", "/any/x", f"Cookie: {SHOP}; {STAFF}")).status == 200
    assert upstream.requests[0].get("X-User-Id") == "s-1"
    assert upstream.requests[0].values("Cookie") == []


async def test_failure_does_not_fall_through(gateway: LocalGateway) -> None:
    answer = await gateway.ask("GET", "/any/x", f"Cookie: staff=broken; {SHOP}")
    assert (answer.status, answer.json()["code"]) == (401, "session_invalid")


async def test_bearer_belongs_to_the_first_session_that_takes_one(gateway: LocalGateway) -> None:
    """Its secret alone counts: there is no trying of keys."""
    other = f"Authorization: Bearer {token('c-1', cookie='shop', secret=OTHER_SECRET)}"
    assert (await gateway.ask("GET", "/any/x", other)).status == 401
    assert (await gateway.ask("GET", "/shop/x", other)).status == 200


async def test_route_takes_its_own_sessions_alone(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    statuses = [
        (await gateway.ask("GET", path, f"Cookie: {pair}")).status
        for path in ("/staff/x", "/shop/x")
        for pair in (STAFF, SHOP)
    ]
    assert statuses == [200, 401, 401, 200]
    assert (await gateway.ask("GET", "/shop/x", f"Cookie: {STAFF}; {SHOP}")).status == 200
    assert upstream.requests[-1].get("X-User-Id") == "c-1"
    assert upstream.requests[-1].values("Cookie") == []


async def test_what_one_secret_signed_another_session_never_takes(gateway: LocalGateway) -> None:
    """Also when the first has just been verified and remembered."""
    assert (await gateway.ask("GET", "/staff/x", f"Cookie: {STAFF}")).status == 200
    stolen = STAFF.replace("staff=", "shop=")
    for _ in range(2):
        answer = await gateway.ask("GET", "/shop/x", f"Cookie: {stolen}")
        assert (answer.status, answer.json()["code"]) == (401, "session_invalid")


async def test_token_of_one_cookie_is_no_token_of_another(upstream: StubUpstream) -> None:
    """The cookie's name is the key's salt; remembering a session must not forget that."""
    async with LocalGateway(settings(upstream.url)) as gateway:
        name, other = "authjs.session-token", "__Secure-authjs.session-token"
        assert (await gateway.ask("GET", "/api/x", f"Cookie: {cookie(name, 'u')}")).status == 200
        moved = cookie(name, "u").replace(f"{name}=", f"{other}=", 1)
        assert (await gateway.ask("GET", "/api/x", f"Cookie: {moved}")).status == 401
