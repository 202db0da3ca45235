"""proxy/gateway/lane.py: what is learnt, and when it is found. Whole stories: tests/corridor/."""

from __future__ import annotations

from dataclasses import replace
from time import monotonic
from typing import Any

import pytest

from proxy.core.client import Client
from proxy.core.cookies import AUTO
from proxy.core.exchange import Exchange
from proxy.core.head import RequestHead
from proxy.gateway import lane as module
from proxy.gateway.lane import Known, Lane
from tests.gateway.road import Road
from tests.support.exchanges import COOKIE, HOST, NOW, head, token

SIGNED_IN = ("Cookie", f"{COOKIE}={token('u-1')}")


def raw(*fields: tuple[str, str], data: bytes = b"the very bytes", **request: Any) -> RequestHead:
    """Return a head that came alone as `data`."""
    return replace(head(*fields, **{"target": "/api/x", **request}), raw=data)


def whoever(request: RequestHead) -> Client:
    return Client(request.peer, "https" if request.tls else "http", trusted=False)


async def learn(road: Road, request: RequestHead, times: int = 2) -> Exchange:
    """Let the lane see so often what is decided for `request`."""
    x, permit = await road.permit(request)
    for _ in range(times):
        road.snapshot.lane.learn(x, permit)
    return x


def found(road: Road, request: RequestHead, **changes: Any) -> bool:
    """Return whether the lane knows these bytes, from where `request` came unless `changes`."""
    here = replace(whoever(request), **changes)
    return road.snapshot.lane.find(request.raw, here, NOW) is not None


def known_of(road: Road, request: RequestHead) -> Known:
    """Return what the lane knows of these bytes, which it must know."""
    found = road.snapshot.lane.find(request.raw, whoever(request), NOW)
    assert found is not None
    return found[0]


def sent(**ids: str) -> RequestHead:
    """Return a head with these ids, whose bytes are those of its lines."""
    fields = (SIGNED_IN, *ids.items())
    lines = "".join(f"{name}: {value}\r\n" for name, value in (("Host", HOST), *fields))
    return raw(*fields, data=f"GET /api/x HTTP/1.1\r\n{lines}\r\n".encode())


async def test_ids_of_the_request_may_differ() -> None:
    async with Road() as road:
        await learn(road, sent(traceparent="a1", b3="b1"))
        assert found(road, sent(traceparent="a2", b3="b2"))
        assert not found(road, sent(traceparent="a2"))
        assert not found(road, sent(traceparent="a2", b3="b2", Accept="c"))


@pytest.mark.parametrize(
    ("first", "second"), [("", "b123"), ("\0", "b12"), (" ", "b12"), ("\t", "b12"), ("é", "b1")]
)
async def test_what_is_no_id_makes_another_head_though_the_sizes_agree(
    first: str, second: str
) -> None:
    async with Road() as road:
        known = sent(traceparent="a1", b3="b1")
        await learn(road, known)
        other = sent(traceparent=first, b3=second)
        assert abs(len(other.raw) - len(known.raw)) <= 1
        assert not found(road, other)


async def test_a_head_is_learnt_when_it_comes_again() -> None:
    request = raw(SIGNED_IN)
    async with Road() as road:
        await learn(road, request, times=1)
        assert not found(road, request)
        await learn(road, request, times=1)
        assert found(road, request)


async def test_it_is_known_from_the_same_peer_by_the_same_scheme_and_bytes_only() -> None:
    request = raw(SIGNED_IN)
    async with Road() as road:
        await learn(road, request)
        assert not found(road, request, address="192.0.2.1")
        assert not found(road, request, scheme="https")
        assert not found(road, replace(request, raw=b"the very byteS"))


@pytest.mark.parametrize(
    "request_head",
    [
        raw(SIGNED_IN, data=b""),
        raw(SIGNED_IN, data=b"x" * 4097),
        raw(SIGNED_IN, minor=0),
        raw(SIGNED_IN, ("Connection", "close")),
        raw(SIGNED_IN, ("Connection", "keep-alive, X-User-Id")),
        raw(SIGNED_IN, ("Content-Length", "0")),
        raw(SIGNED_IN, ("Expect", "100-continue")),
        raw(SIGNED_IN, ("Upgrade", "h2c")),
        raw(SIGNED_IN, ("Referer", "a"), ("Referer", "b")),
    ],
    ids=["not alone", "large", "old", "close", "names", "length", "expect", "upgrade", "repeated"],
)
async def test_what_is_never_learnt(request_head: RequestHead) -> None:
    async with Road() as road:
        await learn(road, request_head, times=3)
        assert repr(road.snapshot.lane) == "<Lane heads=0>"


@pytest.mark.parametrize("fields", [(), (("Connection", "Keep-Alive"),)], ids=["none", "spelled"])
async def test_a_connection_that_stays_open_is_plain(fields: tuple[tuple[str, str], ...]) -> None:
    async with Road() as road:
        await learn(road, request := raw(SIGNED_IN, *fields))
        assert found(road, request)


async def test_a_public_route_needs_no_session() -> None:
    request = raw(target="/public/x")
    async with Road() as road:
        await learn(road, request)
        assert road.snapshot.lane.find(request.raw, whoever(request), NOW + 10**9) is not None


async def test_somebody_whose_session_has_ended_is_not_learnt_as_nobody() -> None:
    request = raw(SIGNED_IN)
    async with Road() as road:
        x, permit = await road.permit(request)
        permit.session = None  # as where signing in is optional
        for _ in range(3):
            road.snapshot.lane.learn(x, permit)
        assert not found(road, request)


async def test_a_session_is_asked_for_each_time() -> None:
    request = raw(SIGNED_IN)
    async with Road() as road:
        await learn(road, request)
        lane, ttl = road.snapshot.lane, 10.0
        assert lane.find(request.raw, whoever(request), NOW + ttl - 0.1) is not None
        assert lane.find(request.raw, whoever(request), NOW + ttl) is None


async def test_a_session_that_was_looked_up_again_is_another_one() -> None:
    request = raw(SIGNED_IN)
    async with Road() as road:
        x = await learn(road, request)
        _, permit = await road.permit(request)
        snapshot = road.snapshot
        uses = snapshot.limiter.uses
        lane = Lane(snapshot.rules, snapshot.pools, lambda *_: None, uses, road.metrics)
        lane.learn(x, permit)
        lane.learn(x, permit)
        assert repr(lane) == "<Lane heads=1>"
        assert lane.find(request.raw, whoever(request), NOW) is None


async def test_a_session_counts_as_used_by_who_enters_and_by_nobody_else() -> None:
    request = raw(SIGNED_IN)
    async with Road(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") as road:
        await learn(road, request)
        before = road.metrics.session_cache_hits
        known = known_of(road, request)
        assert road.snapshot.lane.attempt(known) is None
        assert road.metrics.session_cache_hits == before
        await road.forward()
        attempt = road.snapshot.lane.attempt(known)
        assert attempt is not None
        assert road.metrics.session_cache_hits == before + 1
        attempt.abort()


async def test_the_oldest_heads_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_HEADS", 2)
    monkeypatch.setattr(module, "_ONE_OF", 1)
    requests = [raw(SIGNED_IN, data=b"%d" % number) for number in range(3)]
    async with Road() as road:
        for request in requests:
            await learn(road, request)
        assert [found(road, request) for request in requests] == [False, True, True]


async def test_heads_that_came_once_are_forgotten_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SEEN_MAX", 2)
    once = raw(SIGNED_IN, data=b"once")
    async with Road() as road:
        await learn(road, once, times=1)
        for number in range(2):
            await learn(road, raw(SIGNED_IN, data=b"%d" % number), times=1)
        await learn(road, once, times=1)
        assert not found(road, once)


async def test_an_endpoint_that_is_told_its_own_name_has_a_head_of_its_own() -> None:
    request = raw(SIGNED_IN)
    async with Road() as road:
        road.pool.tells_own_host = True
        await learn(road, request, times=3)
        assert not found(road, request)


async def test_without_a_pooled_connection_there_is_no_attempt() -> None:
    request = raw(target="/public/x")
    async with Road(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") as road:
        await learn(road, request)
        known = known_of(road, request)
        assert road.snapshot.lane.attempt(known) is None
        await road.forward()
        attempt = road.snapshot.lane.attempt(known)
        assert attempt is not None
        assert attempt.connection.reused
        attempt.abort()


async def test_no_secret_shows_in_its_text() -> None:
    request = raw(SIGNED_IN, data=b"Cookie: secret")
    async with Road() as road:
        await learn(road, request)
        known = road.snapshot.lane.find(request.raw, whoever(request), NOW)
        for text in (repr(road.snapshot.lane), repr(known), repr(request)):
            assert "secret" not in text
            assert not any(name in text for name in AUTO)


async def test_many_small_fields_are_not_learnt() -> None:
    few, many = ([("A", "b")] * count for count in (60, 80))
    async with Road() as road:
        await learn(road, request := raw(SIGNED_IN, *few, data=b"few"))
        assert found(road, request)
        await learn(road, request := raw(SIGNED_IN, *many, data=b"many"))
        assert not found(road, request)


async def test_what_is_learnt_anew_makes_no_room_and_is_the_youngest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_HEADS", 2)
    monkeypatch.setattr(module, "_ONE_OF", 1)
    one, two, three = (raw(SIGNED_IN, data=b"%d" % number) for number in range(3))
    async with Road() as road:
        await learn(road, one)
        await learn(road, two)
        await learn(road, two, times=1)
        assert found(road, one)
        assert found(road, two)
        await learn(road, one, times=1)
        await learn(road, three)
        assert [found(road, request) for request in (one, two, three)] == [True, False, True]


async def test_the_last_request_of_a_connection_is_not_learnt() -> None:
    request = raw(SIGNED_IN)
    async with Road() as road:
        x, permit = await road.permit(request)
        for _ in range(3):
            road.snapshot.lane.learn(x, permit, last=True)
        assert repr(road.snapshot.lane) == "<Lane heads=0>"


async def test_heads_that_come_in_turn_and_do_not_fit_are_known_as_far_as_there_is_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_HEADS", 10)
    requests = [raw(SIGNED_IN, data=b"%d" % number) for number in range(12)]
    hits = 0
    async with Road() as road:
        for _ in range(10):
            for request in requests:
                if found(road, request):
                    hits += 1
                else:
                    await learn(road, request, times=1)
        assert repr(road.snapshot.lane) == "<Lane heads=10>"
    assert hits > 60


LIMITED = "rate_limit: {by: ip, rate: 3/h}"


async def test_each_use_is_counted_and_what_cannot_be_sent_is_not() -> None:
    request = raw(target="/public/x")
    async with Road(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", route=LIMITED) as road:
        await learn(road, request)
        known = known_of(road, request)
        [(counter, key)] = known.uses
        assert key == request.peer
        for _ in range(5):  # there is no pooled connection
            assert road.snapshot.lane.attempt(known) is None
        assert counter.wait(key, int(monotonic() * 1e6)) == 0
        passed = 0
        for _ in range(5):
            await road.forward()
            attempt = road.snapshot.lane.attempt(known)
            passed += attempt is not None
            if attempt is not None:
                attempt.abort()
        assert passed == 3
        assert known.x.head.peer not in repr(known)


async def test_a_request_that_is_counted_elsewhere_is_not_learnt() -> None:
    request = raw(target="/public/x")
    shared = LIMITED.replace("}", ", shared: true}")
    async with Road(route=shared, sections="redis: {url: redis://127.0.0.1:1}") as road:
        await learn(road, request, times=3)
        assert repr(road.snapshot.lane) == "<Lane heads=0>"
        await learn(road, raw(SIGNED_IN), times=3)
        assert repr(road.snapshot.lane) == "<Lane heads=1>"
