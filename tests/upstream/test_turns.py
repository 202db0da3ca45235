"""proxy/upstream/turns.py: picks of the lane and of the corridor are the same turns."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from proxy.config.model import Endpoint as Address
from proxy.errors import NoEndpoint
from proxy.upstream.connection import UpstreamConnection
from proxy.upstream.deadlines import Deadlines
from proxy.upstream.endpoint import ConnectSettings, Endpoint
from proxy.upstream.turns import Turns
from tests.support.exchanges import exchange, head
from tests.support.upstream import StubUpstream

X = exchange(head())
MAX_AGE = 10.0


def endpoint_at(url: str, share: float = 1.0) -> Endpoint:
    loop = asyncio.get_running_loop()
    settings = ConnectSettings(10.0, 100, None, None)
    return Endpoint(Address.parse(url), settings, loop, Deadlines(loop), share=share)


def turns_of(*endpoints: Endpoint, balance: str = "round_robin") -> Turns:
    turns = Turns(balance, random.Random(3).random)
    turns.use(endpoints)
    return turns


def three() -> list[Endpoint]:
    return [endpoint_at(f"http://{name}:1") for name in "abc"]


async def warm(endpoint: Endpoint) -> UpstreamConnection:
    """Leave an idle connection at the endpoint."""
    connection = await endpoint.connect(5.0)
    connection.begin(bodiless=False, upgrade=False)
    connection.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    while await connection.read():
        pass
    endpoint.give_back(connection)
    return connection


async def test_a_second_try_takes_nobody_s_turn_who_failed() -> None:
    a, b, c = endpoints = three()
    turns = turns_of(*endpoints)
    assert turns.pick(X) is a
    assert turns.pick(X, [a]) is b
    assert [turns.pick(X) for _ in range(2)] == [c, b]
    assert turns.requests == 3


@pytest.mark.parametrize("balance", ["round_robin", "least_requests", "hash(user)", "hash(ip)"])
async def test_every_endpoint_is_tried_before_one_is_tried_again(balance: str) -> None:
    endpoints = three()
    turns = turns_of(*endpoints, balance=balance)
    tried: list[Endpoint] = []
    for _ in range(3):
        tried.append(turns.pick(X, tried))
    assert set(tried) == set(endpoints)
    assert turns.pick(X, tried) in endpoints


@pytest.mark.parametrize("balance", ["round_robin", "least_requests", "hash(user)"])
async def test_a_further_try_passes_over_endpoints_that_are_leaving(balance: str) -> None:
    a, b, c = three()
    turns = turns_of(a, b, c, balance=balance)
    a.leave()
    assert {turns.pick(X, [b]) for _ in range(9)} == {c}
    c.leave()
    assert turns.pick(X, [b]) in (a, c)


@pytest.mark.parametrize("balance", ["round_robin", "least_requests", "hash(user)"])
async def test_without_an_endpoint_there_is_no_pick(balance: str) -> None:
    turns = turns_of(balance=balance)
    for tried in ([], [endpoint_at("http://a:1")]):
        with pytest.raises(NoEndpoint):
            turns.pick(X, tried)
    assert turns.take_idle(X, MAX_AGE) is None


@pytest.mark.parametrize("balance", ["round_robin", "least_requests"])
async def test_a_pick_without_an_idle_connection_stands_for_the_next_request(balance: str) -> None:
    """Else endpoints with idle connections would get more and more of the requests."""
    async with StubUpstream() as one, StubUpstream() as other:
        endpoints = [endpoint_at(one.url), endpoint_at(other.url)]
        turns = turns_of(*endpoints, balance=balance)
        await warm(endpoints[1])
        picked = []
        for _ in range(60):
            taken = turns.take_idle(X, MAX_AGE)
            if taken is None:
                picked.append(turns.pick(X))
            else:
                endpoint, connection = taken
                picked.append(endpoint)
                connection.begin(bodiless=False, upgrade=False)
                connection.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                while await connection.read():
                    pass
                endpoint.give_back(connection)
        assert turns.requests == 60
        counts = Counter(endpoint.name for endpoint in picked)
        assert abs(counts[one.url] - counts[other.url]) <= (0 if balance == "round_robin" else 30)
        assert counts[one.url] >= 15
        for endpoint in endpoints:
            endpoint.close_idle()


async def test_the_lane_takes_no_connection_of_another_endpoint() -> None:
    async with StubUpstream() as one, StubUpstream() as other:
        endpoints = [endpoint_at(one.url), endpoint_at(other.url)]
        turns = turns_of(*endpoints, balance="hash(user)")
        for name in ("u-1", "u-2", "u-3", "u-4", "u-5"):
            x = exchange(head(), user=name)
            due = turns.pick(x)
            away = next(each for each in endpoints if each is not due)
            await warm(away)
            assert turns.take_idle(x, MAX_AGE) is None
            connection = await warm(due)
            assert turns.take_idle(x, MAX_AGE) == (due, connection)
            due.give_back(connection)
            for endpoint in endpoints:
                endpoint.close_idle()


async def test_a_pick_that_stands_is_forgotten_when_the_endpoints_change() -> None:
    a, b, c = three()
    turns = turns_of(a, b, c)
    assert turns.take_idle(X, MAX_AGE) is None  # it would have been the turn of `a`
    turns.use([b, c])
    assert turns.pick(X) is b


async def test_one_endpoint_gets_everything() -> None:
    async with StubUpstream() as upstream:
        endpoint = endpoint_at(upstream.url)
        turns = turns_of(endpoint)
        assert turns.take_idle(X, MAX_AGE) is None
        assert turns.pick(X) is endpoint
        connection = await warm(endpoint)
        assert turns.take_idle(X, MAX_AGE) == (endpoint, connection)
        assert turns.requests == 2
        endpoint.give_back(connection)
        endpoint.close_idle()
