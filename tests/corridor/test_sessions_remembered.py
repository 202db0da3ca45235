"""What is remembered of sessions lets nobody in who is not: memories, the lane, generations."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest

from proxy.gateway import snapshot as snapshots
from proxy.gateway.passage import Passage
from proxy.session.store import Store
from tests.support.answers import Answer
from tests.support.client import RawClient
from tests.support.stores import FakeStore, row
from tests.support.upstream import StubUpstream
from tests.support.worker import (
    COOKIE,
    OTHER_SECRET,
    SECRET,
    LocalGateway,
    Settings,
    request,
    settings,
    signed_in,
    token,
)

KNOWN: Final = 4
"""Requests after which a head is in the lane, and has been used there."""


class Visitor:
    """One connection of a client, which sends heads and reads the answers."""

    def __init__(self, client: RawClient) -> None:
        self._client = client
        self._sent = 0

    async def get(self, *lines: str, path: str = "/api/x") -> Answer:
        await self._client.send(request("GET", path, *lines))
        self._sent += 1
        return (await self._client.read_answers(self._sent))[-1]

    async def refused(self, *lines: str, path: str = "/api/x") -> str:
        """Return the code of a 401."""
        answer = await self.get(*lines, path=path)
        assert answer.status == 401
        return str(answer.json()["code"])

    async def known(self, *lines: str, path: str = "/api/x") -> None:
        """Send a head until it is in the lane."""
        for _ in range(KNOWN):
            assert (await self.get(*lines, path=path)).status == 200


@asynccontextmanager
async def visit(config: Settings) -> AsyncIterator[tuple[LocalGateway, Visitor]]:
    """Start a gateway whose clock stands still, and connect to it."""
    config["upstreams"]["api"]["pool_idle"] = "1h"  # so that the lane never lacks a connection
    async with LocalGateway(config) as gateway, RawClient(gateway.port) as client:
        pass_time(gateway, 0)
        yield gateway, Visitor(client)


def pass_time(gateway: LocalGateway, seconds: float) -> None:
    """Let the gateway's clock go on by so many seconds."""
    inside = gateway.worker._gateway
    now = inside._clock() + seconds
    inside._clock = lambda: now


async def reload(gateway: LocalGateway, config: Settings) -> None:
    """Put another configuration in the place of the one that is in use."""
    reloaded = await gateway.reload(config)
    assert reloaded.problems == ()


def web(**more: Any) -> dict[str, Any]:
    return {"sessions": {"web": {"kind": "authjs", "secret": SECRET, **more}}}


# --- the end of a session


async def test_a_head_in_the_lane_ends_with_its_session(
    upstream: StubUpstream, passages: list[Passage]
) -> None:
    line = signed_in(ttl=100)
    async with visit(settings(upstream.url)) as (gateway, visitor):
        await visitor.known(line)
        assert passages
        pass_time(gateway, 90)
        await visitor.known(line)
        # Beyond exp the tolerance of 15 s goes on, and nothing is remembered any more.
        pass_time(gateway, 15)
        before = len(passages)
        assert (await visitor.get(line)).status == 200
        assert (await visitor.get(line)).status == 200
        assert len(passages) == before
        pass_time(gateway, 15)
        assert await visitor.refused(line) == "session_expired"
        assert await visitor.refused(line) == "session_expired"


async def test_max_age_ends_a_head_in_the_lane(
    upstream: StubUpstream, passages: list[Passage]
) -> None:
    line = signed_in(ttl=86400)
    async with visit(settings(upstream.url, **web(max_age="10m"))) as (gateway, visitor):
        await visitor.known(line)
        assert passages
        pass_time(gateway, 616)
        assert await visitor.refused(line) == "session_expired"


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> FakeStore:
    """The store that stands for every configured database."""
    store = FakeStore()

    def stores(config: Any, _before: Mapping[str, Store]) -> Mapping[str, Store]:
        return {name: store for name, each in config.sessions.items() if each.database}

    monkeypatch.setattr(snapshots, "_stores", stores)
    return store


STORED: Final = f"Cookie: {COOKIE}=stored-session"


def database(**more: Any) -> dict[str, Any]:
    return {"sessions": {"web": {"database": {"url": "postgres://a@b/c"}, **more}}}


async def test_who_has_signed_out_is_out_within_ttl_in_the_lane_too(
    upstream: StubUpstream, passages: list[Passage], store: FakeStore
) -> None:
    store.rows.append(row("stored-session", 4e9))
    config = settings(upstream.url, **database(cache={"ttl": "10s"}))
    async with visit(config) as (gateway, visitor):
        await visitor.known(STORED)
        assert passages
        assert store.asked == ["stored-session"]
        store.rows.clear()
        pass_time(gateway, 10)
        assert await visitor.refused(STORED) == "session_invalid"
        assert await visitor.refused(STORED) == "session_invalid"
        # And who signs in again with the same token is another session, whoever that is.
        store.rows.append(row("stored-session", 4e9, "u-2"))
        pass_time(gateway, 10)
        await visitor.known(STORED)
    assert [each.get("X-User-Id") for each in upstream.requests] == ["u-1"] * 4 + ["u-2"] * 4


async def test_what_another_head_has_learnt_of_a_session_holds_in_the_lane(
    upstream: StubUpstream, passages: list[Passage], store: FakeStore
) -> None:
    """The row has changed, and a request for something else has seen it."""
    store.rows.append(row("stored-session", 4e9, "u-1"))
    async with visit(settings(upstream.url, **database())) as (gateway, visitor):
        await visitor.known(STORED)
        assert passages
        store.rows[:] = [row("stored-session", 4e9, "u-2")]
        pass_time(gateway, 10)
        assert (await visitor.get(STORED, path="/api/other")).status == 200
        assert (await visitor.get(STORED)).status == 200
    assert [each.get("X-User-Id") for each in upstream.requests] == ["u-1"] * 4 + ["u-2"] * 2
    assert store.asked == ["stored-session"] * 2


async def test_without_a_cache_nothing_is_remembered_anywhere(
    upstream: StubUpstream, passages: list[Passage], store: FakeStore
) -> None:
    store.rows.append(row("stored-session", 4e9))
    config = settings(upstream.url, **database(cache={"ttl": "0s"}))
    async with visit(config) as (_, visitor):
        await visitor.known(STORED)
        store.rows.clear()
        assert await visitor.refused(STORED) == "session_invalid"
    assert passages == []
    assert store.asked == ["stored-session"] * (KNOWN + 1)


async def test_a_store_that_is_down_lets_nobody_in_by_the_lane(
    upstream: StubUpstream, passages: list[Passage], store: FakeStore
) -> None:
    store.rows.append(row("stored-session", 4e9))
    async with visit(settings(upstream.url, **database())) as (gateway, visitor):
        await visitor.known(STORED)
        store.problem = "away"
        await visitor.known(STORED)
        pass_time(gateway, 10)
        answer = await visitor.get(STORED)
        assert (answer.status, answer.json()["code"]) == (503, "session_store_down")
    assert passages


# --- another head


@pytest.mark.parametrize(
    ("cookies", "code"),
    [
        ("{good}; {name}=x", "session_ambiguous"),
        ("{name}=x; {good}", "session_ambiguous"),
        ("{good}; {name}.0=x", "session_invalid"),
        ("{good}x", "session_invalid"),
        ("x{good}", "session_missing"),
        ("{bare}", "session_missing"),
        ("theme=dark", "session_missing"),
        ("__Secure-{name}=x; {good}", "session_invalid"),
    ],
)
async def test_a_head_like_one_in_the_lane_is_judged_by_itself(
    upstream: StubUpstream, passages: list[Passage], cookies: str, code: str
) -> None:
    value = token("u-1")
    good = f"{COOKIE}={value}"
    async with visit(settings(upstream.url)) as (_, visitor):
        for order in (f"{good}; theme=dark", f"theme=dark; {good}", good):
            await visitor.known(f"Cookie: {order}")
        assert len(passages) >= 3
        line = f"Cookie: {cookies.format(good=good, name=COOKIE, bare=value)}"
        for _ in range(3):
            assert await visitor.refused(line) == code
        await visitor.known(f"Cookie: {good}")
    assert {each.get("X-User-Id") for each in upstream.requests} == {"u-1"}


async def test_heads_that_differ_in_their_session_alone_are_two_users(
    upstream: StubUpstream, passages: list[Passage]
) -> None:
    """Of the same length, in turn, on one connection: by the lane and by the ordinary way."""
    ada, eve = signed_in("u-1"), signed_in("u-2")
    assert len(ada) == len(eve)
    async with visit(settings(upstream.url)) as (_, visitor):
        for _ in range(8):
            for line in (ada, eve):
                assert (await visitor.get(line)).status == 200
    assert [each.get("X-User-Id") for each in upstream.requests] == ["u-1", "u-2"] * 8
    assert len(passages) >= 8


# --- another configuration


Check = Callable[[Visitor, StubUpstream, str], Awaitable[None]]


def refusal(code: str) -> Check:
    async def check(visitor: Visitor, upstream: StubUpstream, line: str) -> None:
        sent = len(upstream.requests)
        for _ in range(KNOWN):
            assert await visitor.refused(line) == code
        assert len(upstream.requests) == sent

    return check


def other_lines(**expected: str | None) -> Check:
    async def check(visitor: Visitor, upstream: StubUpstream, line: str) -> None:
        sent = len(upstream.requests)
        await visitor.known(line)
        for each in upstream.requests[sent:]:
            for name, value in expected.items():
                assert each.get(name.replace("_", "-")) == value

    return check


RELOADS: Final[dict[str, tuple[dict[str, Any], Check]]] = {
    "another secret": (web(secret=OTHER_SECRET), refusal("session_invalid")),
    "the secret as the old one": (
        web(secret=[OTHER_SECRET, SECRET]),
        other_lines(X_User_Id="u-1"),
    ),
    "another cookie": (web(cookie="sid"), refusal("session_missing")),
    "a shorter max_age": (web(max_age="1m"), refusal("session_expired")),
    "another id": (web(principal={"id": "tenant"}), other_lines(X_User_Id="t-9")),
    "another session's name": (
        {"sessions": {"shop": {"kind": "authjs", "secret": SECRET}}},
        other_lines(X_User_Id="u-1"),
    ),
    "an id that is not there": (web(principal={"id": "nowhere"}), refusal("session_invalid")),
    "other identity headers": (
        {"identity": {"headers": {"X-Login": "id"}}},
        other_lines(X_Login="u-1", X_User_Id=None),
    ),
    "only signed tokens": (
        web(secret=OTHER_SECRET, jwt={"algorithms": ["HS256"]}),
        refusal("session_invalid"),
    ),
}


@pytest.mark.parametrize("what", RELOADS)
async def test_nothing_is_remembered_from_one_configuration_to_the_next(
    upstream: StubUpstream, passages: list[Passage], what: str
) -> None:
    sections, check = RELOADS[what]
    line = f"Cookie: {COOKIE}={token('u-1', age=120, tenant='t-9')}"
    async with visit(settings(upstream.url)) as (gateway, visitor):
        await visitor.known(line)
        assert passages
        await reload(gateway, settings(upstream.url, **sections))
        await check(visitor, upstream, line)
        await reload(gateway, settings(upstream.url))
        await visitor.known(line)
    assert {each.get("X-User-Id") for each in upstream.requests[-KNOWN:]} == {"u-1"}


async def test_a_role_that_a_reload_asks_for_is_asked_for_in_the_lane(
    upstream: StubUpstream, passages: list[Passage]
) -> None:
    line = signed_in("u-1", roles=["user"])
    async with visit(settings(upstream.url)) as (gateway, visitor):
        await visitor.known(line)
        assert passages
        route = {"path": "/api/**", "upstream": "api", "require": {"roles": ["admin"]}}
        await reload(gateway, settings(upstream.url, routes=[route]))
        assert (await visitor.get(line)).status == 403


# --- two sessions and one token


def two(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    return {
        "sessions": {
            "one": {"kind": "authjs", "secret": SECRET, "bearer": True, **first},
            "two": {"kind": "authjs", "secret": SECRET, "bearer": True, **second},
        },
        "routes": [
            {"path": "/one/**", "upstream": "api", "sessions": ["one"]},
            {"path": "/two/**", "upstream": "api", "sessions": ["two"]},
        ],
    }


PAIRS: Final[dict[str, tuple[dict[str, Any], dict[str, Any], str | None, str | None]]] = {
    # label: the two sessions, and who one token is to each (None: nobody)
    "secrets": ({}, {"secret": OTHER_SECRET}, "u-1", None),
    "ids": ({}, {"principal": {"id": "tenant"}}, "u-1", "t-9"),
    "an id that is not there": ({"principal": {"id": "nowhere"}}, {}, None, "u-1"),
    "max_age": ({"max_age": "1m"}, {"max_age": "1h"}, None, "u-1"),
    "algorithms": ({}, {"secret": OTHER_SECRET, "jwt": {"algorithms": ["HS256"]}}, "u-1", None),
    "lists of secrets": ({"secret": [OTHER_SECRET, SECRET]}, {"secret": OTHER_SECRET}, "u-1", None),
    "no cache": ({"cache": {"ttl": "0s"}}, {"principal": {"id": "tenant"}}, "u-1", "t-9"),
}


@pytest.mark.parametrize("what", PAIRS)
@pytest.mark.parametrize("carrier", ["Cookie: " + COOKIE + "=", "Authorization: Bearer "])
@pytest.mark.parametrize("order", [("one", "two"), ("two", "one")], ids="-".join)
async def test_one_token_is_judged_by_each_session_for_itself(
    upstream: StubUpstream, what: str, carrier: str, order: tuple[str, str]
) -> None:
    first, second, *whose = PAIRS[what]
    expected = dict(zip(("one", "two"), whose, strict=True))
    line = carrier + token("u-1", age=120, tenant="t-9")
    async with visit(settings(upstream.url, **two(first, second))) as (_, visitor):
        for name in order * 4:
            sent = len(upstream.requests)
            answer = await visitor.get(line, path=f"/{name}/x")
            assert answer.status == (401 if expected[name] is None else 200)
            told = [each.get("X-User-Id") for each in upstream.requests[sent:]]
            assert told == ([] if expected[name] is None else [expected[name]])


async def test_two_stores_that_know_one_token_are_asked_each_for_itself(
    upstream: StubUpstream, passages: list[Passage], monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = {
        "one": FakeStore(row("stored-session", 4e9, "u-1")),
        "two": FakeStore(row("stored-session", 4e9, "u-2")),
    }
    monkeypatch.setattr(snapshots, "_stores", lambda _config, _before: stores)
    away = {"database": {"url": "postgres://a@b/c"}}
    config = settings(upstream.url, **two(away, away))
    async with visit(config) as (_, visitor):
        for name in ("one", "two") * 4:
            assert (await visitor.get(STORED, path=f"/{name}/x")).status == 200
    assert [each.get("X-User-Id") for each in upstream.requests] == ["u-1", "u-2"] * 4
    assert [store.asked for store in stores.values()] == [["stored-session"]] * 2
    assert len(passages) == 4


# --- floods


async def test_a_flood_of_bad_tokens_leaves_the_good_where_they_are(
    upstream: StubUpstream, passages: list[Passage], store: FakeStore
) -> None:
    store.rows.append(row("stored-session", 4e9))
    jwt = f"Cookie: {COOKIE}={token('u-2')}"
    sessions = database(secret=SECRET, cache={"entries": 4, "ttl": "1h"})
    config = settings(upstream.url, **sessions)
    async with visit(config) as (gateway, visitor):
        await visitor.known(STORED)
        await visitor.known(jwt)
        metrics = gateway.worker.metrics
        hits = metrics.session_cache_hits
        for number in range(50):
            forged = token("u-3", secret=OTHER_SECRET)
            for value in (f"made-up-{number}", forged):
                assert await visitor.refused(f"Cookie: {COOKIE}={value}") == "session_invalid"
        before = len(passages)
        await visitor.known(STORED)
        await visitor.known(jwt)
    assert metrics.session_cache_hits == hits + 2 * KNOWN
    assert len(passages) == before + 2 * KNOWN
    assert store.asked.count("stored-session") == 1
    assert len(store.asked) == 51
