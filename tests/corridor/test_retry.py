"""A request is tried again where that is safe: never twice what an endpoint may have acted on."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from tests.support.client import RawClient
from tests.support.scripts import OK, close, reset, silent
from tests.support.upstream import Exchange, Script, StubUpstream
from tests.support.worker import LocalGateway, request, settings

BOTH_LOOPS = True


@pytest.fixture
def nobody() -> Iterator[list[str]]:
    """Addresses where nobody listens."""
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("127.0.0.1", 0))
        yield [f"http://127.0.0.1:{each.getsockname()[1]}" for each in (one, other)]


@pytest.fixture
def down(nobody: list[str]) -> str:
    """The address of an endpoint where nobody listens."""
    return nobody[0]


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_endpoint_that_is_down_leaves_the_request_to_the_next(
    upstream: StubUpstream, down: str, method: str
) -> None:
    async with LocalGateway(settings(down, upstream.url)) as gateway:
        for _ in range(4):
            answer = await gateway.ask(method, "/public/x", body=b"hello")
            assert answer.status == 200
    assert [bytes(each.body) for each in upstream.requests] == [b"hello"] * 4


async def test_endpoint_that_is_down_is_tried_first_only_when_it_is_its_turn(
    upstream: StubUpstream, down: str
) -> None:
    async with LocalGateway(settings(down, upstream.url)) as gateway:
        for _ in range(4):
            await gateway.ask("GET", "/public/x")
        attempts = sorted(line["attempts"] for line in await lines(gateway, 4))
    assert attempts == [1, 1, 2, 2]


async def lines(gateway: LocalGateway, count: int) -> list[dict[str, int]]:
    await gateway.until(lambda: len(gateway.log_lines()) >= count)
    return gateway.log_lines()


async def test_no_more_attempts_than_configured(nobody: list[str], upstream: StubUpstream) -> None:
    config = settings(*nobody, upstream.url, upstream={"retry": {"attempts": 2}})
    async with LocalGateway(config) as gateway:
        answer = await gateway.ask("GET", "/public/x")
        line = await gateway.logged()
    assert (answer.status, answer.json()["code"]) == (502, "upstream_unreachable")
    assert line["attempts"] == 2


async def test_one_attempt_is_one_attempt(down: str, upstream: StubUpstream) -> None:
    config = settings(down, upstream.url, upstream={"retry": {"attempts": 1}})
    async with LocalGateway(config) as gateway:
        statuses = {(await gateway.ask("GET", "/public/x")).status for _ in range(2)}
    assert statuses == {200, 502}


async def test_upload_goes_to_the_next_endpoint_while_none_of_it_is_gone(
    down: str, upstream: StubUpstream
) -> None:
    """A body that is still on its way has not been touched when connecting fails."""
    async with LocalGateway(settings(down, upstream.url)) as gateway:
        for _ in range(2):
            async with RawClient(gateway.port) as client:
                expect = "Expect: 100-continue"
                await client.send(request("POST", "/public/x", expect, "Content-Length: 5"))
                await client.wait(lambda: bool(client.answers().all))  # the 100, or an error
                await client.send(b"hello")
                [answer] = await client.read_answers()
                assert answer.status == 200


async def stale(gateway: LocalGateway, upstream: StubUpstream, ending: str) -> None:
    """Leave the gateway with a pooled connection that ends when something is written to it."""

    async def serve(exchange: Exchange) -> None:
        await exchange.send(OK)
        if ending == "fin":
            await exchange.read(1)
            exchange.close()
        else:
            await exchange.read(1)
            exchange.abort()

    upstream.script("/public/warm", serve)
    assert (await gateway.ask("GET", "/public/warm")).status == 200
    assert gateway.endpoints[0]["idle"] == 1


@pytest.mark.parametrize("ending", ["fin", "rst"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
async def test_stale_connection_is_replaced_where_repeating_is_harmless(
    gateway: LocalGateway, upstream: StubUpstream, method: str, ending: str
) -> None:
    await stale(gateway, upstream, ending)
    answer = await gateway.ask(method, "/public/x", body=b"hello")
    assert answer.status == 200
    line = await gateway.logged(lambda line: line["path"] == "/public/x")
    assert line["attempts"] == 2
    assert bytes(upstream.requests[-1].body) == b"hello"
    assert len(upstream.connections) == 2


@pytest.mark.parametrize("ending", ["fin", "rst"])
@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_stale_connection_is_not_replaced_where_it_may_have_acted(
    gateway: LocalGateway, upstream: StubUpstream, method: str, ending: str
) -> None:
    await stale(gateway, upstream, ending)
    answer = await gateway.ask(method, "/public/x", body=b"hello")
    assert (answer.status, answer.json()["code"]) == (502, "upstream_unreachable")
    assert len(upstream.connections) == 1


async def test_connection_that_was_closed_while_idle_is_not_used(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    await gateway.ask("GET", "/public/x")
    upstream.close_idle()
    await gateway.until(lambda: gateway.endpoints[0]["open"] == 0)
    assert (await gateway.ask("POST", "/public/x", body=b"hello")).status == 200
    assert [line["attempts"] for line in await lines(gateway, 2)] == [1, 1]


@pytest.mark.parametrize("script", [close, reset], ids=["closed", "reset"])
async def test_request_that_got_no_answer_is_tried_elsewhere_where_repeating_is_harmless(
    upstream: StubUpstream, script: Script
) -> None:
    upstream.script("/public/x", script)
    async with StubUpstream() as other:
        async with LocalGateway(settings(upstream.url, other.url)) as gateway:
            for method in ("GET", "PUT", "GET", "DELETE"):
                answer = await gateway.ask(method, "/public/x", body=b"hello")
                assert answer.status == 200
            attempts = [line["attempts"] for line in await lines(gateway, 4)]
        assert attempts == [2, 1, 2, 1]
        assert len(other.requests) == 4


@pytest.mark.parametrize("script", [close, reset], ids=["closed", "reset"])
async def test_request_that_may_have_acted_is_never_sent_twice(
    upstream: StubUpstream, script: Script
) -> None:
    async with StubUpstream() as other:
        for each in (upstream, other):
            each.script("/public/x", script)
        async with LocalGateway(settings(upstream.url, other.url)) as gateway:
            for sent in range(1, 5):
                answer = await gateway.ask("POST", "/public/x", body=b"hello")
                assert (answer.status, answer.json()["code"]) == (502, "upstream_protocol")
                assert len(upstream.requests) + len(other.requests) == sent


@pytest.mark.parametrize("script", [close, reset], ids=["closed", "reset"])
async def test_endpoint_alone_is_not_asked_again_after_a_fresh_connection(
    gateway: LocalGateway, upstream: StubUpstream, script: Script
) -> None:
    """Maybe it was this request that brought it down."""
    upstream.script("/public/x", script)
    assert (await gateway.ask("GET", "/public/x")).status == 502
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(("method", "status"), [("GET", 200), ("POST", 504)])
async def test_endpoint_that_hangs_leaves_what_can_be_repeated_to_the_next(
    upstream: StubUpstream, method: str, status: int
) -> None:
    upstream.script("/public/x", silent)
    config = {"timeouts": {"first_byte": "300ms"}}
    async with StubUpstream() as other:
        async with LocalGateway(settings(upstream.url, other.url, upstream=config)) as gateway:
            answer = await gateway.ask(method, "/public/x", body=b"hello")
            assert answer.status == status
        assert len(upstream.requests) == 1
        assert len(other.requests) == (1 if status == 200 else 0)


async def test_retries_end_with_their_budget(upstream: StubUpstream) -> None:
    """Both endpoints answer nothing: without a budget each of the requests would come twice."""
    async with StubUpstream() as other:
        for each in (upstream, other):
            each.script("/public/x", close)
        config = settings(upstream.url, other.url, upstream={"retry": {"budget_percent": 10}})
        async with LocalGateway(config) as gateway:
            for _ in range(100):
                assert (await gateway.ask("GET", "/public/x")).status == 502
            logged = await lines(gateway, 100)
            retries = sum(line["attempts"] - 1 for line in logged)
            told = [line for line in logged if "retry.budget_percent" in str(line["reason"])]
            assert len(told) == 100 - retries
            text = gateway.worker.state.metrics_text()[0]
        assert 10 < retries <= 20
        assert len(upstream.requests) + len(other.requests) == 100 + retries
        assert b"gatelodge_retries_total %d.0" % retries in text


async def test_endpoints_where_nobody_listens_use_up_no_budget(
    upstream: StubUpstream, down: str
) -> None:
    """What was not sent and goes elsewhere brings nobody more than its clients ask for."""
    config = settings(down, upstream.url, upstream={"retry": {"budget_percent": 0}})
    async with LocalGateway(config) as gateway:
        for _ in range(60):
            assert (await gateway.ask("POST", "/public/x", body=b"x")).status == 200
    assert len(upstream.requests) == 60


async def test_answer_that_has_begun_is_not_tried_again(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    async def half(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 2")
        exchange.close()

    await gateway.ask("GET", "/public/warm")
    upstream.script("/public/x", half)
    answer = await gateway.ask("GET", "/public/x")
    assert (answer.status, answer.json()["code"]) == (502, "upstream_protocol")
    assert len(upstream.requests) == 2


async def test_second_try_takes_a_fresh_connection(upstream: StubUpstream) -> None:
    """Where one pooled connection was stale, so may be the next."""
    held = asyncio.Event()

    async def warm(exchange: Exchange) -> None:
        await held.wait()
        await exchange.send(OK)
        await exchange.read(1)
        exchange.abort()

    upstream.script("/public/warm", warm)
    async with LocalGateway(settings(upstream.url)) as gateway:
        tasks = [asyncio.create_task(gateway.ask("GET", "/public/warm")) for _ in range(3)]
        await upstream.wait(lambda: len(upstream.requests) == 3)
        held.set()
        await asyncio.gather(*tasks)
        assert gateway.endpoints[0]["idle"] == 3
        assert (await gateway.ask("GET", "/public/x")).status == 200


async def test_endpoints_take_turns() -> None:
    async with StubUpstream() as one, StubUpstream() as two, StubUpstream() as three:
        stubs = one, two, three
        async with LocalGateway(settings(*(each.url for each in stubs))) as gateway:
            for _ in range(9):
                assert (await gateway.ask("GET", "/public/x")).status == 200
    assert [len(each.requests) for each in stubs] == [3, 3, 3]
