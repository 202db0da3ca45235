"""proxy/gateway/handler.py: the way of a request, and the one place where errors end."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from proxy.core.session import Credential, Session
from proxy.errors import BodyTooLarge, HeadTooLarge
from proxy.gateway.downstream import Payload
from proxy.session.resolver import Resolver
from tests.gateway.fakes import FakeClient, FakePayload
from tests.gateway.road import Road
from tests.support.exchanges import APP, head, lines_of, token, values

if TYPE_CHECKING:
    from proxy.core.decision import Resolve

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def handled(
    road: Road, *fields: tuple[str, str], payload: Payload | None = None, **request: Any
) -> bool:
    """Let the gateway answer a request to /public/x, or as `request` says, on `road.client`."""
    asked = head(*fields, **{"target": "/public/x", **request})
    return await road.gateway.handle(road.client, asked, payload or FakePayload())


def answer_of(client: FakeClient) -> tuple[int, list[tuple[str, str]], bytes]:
    """Return status, fields and body of the one answer that was written."""
    written, _, body = bytes(client.written).partition(b"\r\n\r\n")
    first, fields = lines_of(written + b"\r\n\r\n")
    assert b"HTTP/1.1" not in body
    return int(first.split()[1]), fields, body


async def test_a_permitted_request_is_forwarded_and_recorded() -> None:
    async with Road(OK) as road:
        assert await handled(road)
        assert answer_of(road.client)[::2] == (200, b"ok")
        [record] = road.records
        assert (record.status, record.code, record.upstream) == (200, "", "api")
        assert road.metrics.in_flight == 0


async def test_a_refusal_becomes_one_answer_and_one_record() -> None:
    async with Road() as road:
        assert await handled(road, target="/nowhere")
        status, fields, body = answer_of(road.client)
        assert (status, json.loads(body)["code"]) == (404, "no_route")
        assert values(fields, "Connection") == []
        [record] = road.records
        assert (record.status, record.code) == (404, "no_route")
        assert road.upstream.requests == []


async def test_a_failure_of_the_upstream_becomes_one_answer() -> None:
    async with Road(b"nonsense\r\n\r\n") as road:
        assert await handled(road)
        assert answer_of(road.client)[0] == 502
        assert [record.code for record in road.records] == ["upstream_protocol"]


async def test_a_preflight_is_answered_here() -> None:
    async with Road() as road:
        fields = (("Origin", APP), ("Access-Control-Request-Method", "GET"))
        assert await handled(road, *fields, method="OPTIONS")
        assert answer_of(road.client)[0] == 204
        assert [record.status for record in road.records] == [204]
        assert road.upstream.requests == []


async def test_a_session_that_is_valid_opens_what_is_guarded() -> None:
    async with Road() as road:
        assert await handled(road, ("Authorization", f"Bearer {token()}"), target="/api/x")
        assert answer_of(road.client)[0] == 200
        road.client = FakeClient()
        assert await handled(road, target="/api/x")
        assert [record.status for record in road.records] == [200, 401]


@pytest.mark.parametrize(
    ("target", "status"), [("/nowhere", 404), ("/healthz", 200)], ids=["refusal", "health"]
)
@pytest.mark.parametrize("why", ["the client", "a body that is under way"])
async def test_an_answer_that_is_the_last_says_so(target: str, status: int, why: str) -> None:
    async with Road() as road:
        road.client.closes = why == "the client"
        payload = FakePayload() if road.client.closes else FakePayload(b"x")
        assert not await handled(road, target=target, payload=payload)
        answered, fields, _ = answer_of(road.client)
        assert answered == status
        assert values(fields, "Connection") == ["close"]


async def test_an_error_that_ends_the_connection_says_so() -> None:
    async with Road(OK) as road:
        assert not await handled(road, ("Expect", "cake"), target="/public/x")
        status, fields, _ = answer_of(road.client)
        assert (status, values(fields, "Connection")) == (417, ["close"])


async def test_an_error_after_the_head_aborts_and_writes_nothing_more() -> None:
    async with Road(OK[:-1]) as road:

        async def short(exchange: Any) -> None:
            await exchange.send(OK[:-1])
            exchange.close()

        road.upstream.script("/public/x", short)
        assert not await handled(road)
        assert road.client.aborted
        assert road.client.written.endswith(b"\r\n\r\no")
        [record] = road.records
        assert (record.status, record.code) == (200, "upstream_protocol")


class Answering(Resolver):
    """Resolves as a function does."""

    def __init__(self, answer: Resolve) -> None:
        self._answer = answer

    async def resolve(self, credential: Credential, now: float) -> Session:
        return await self._answer(credential, now)


async def test_what_nobody_expected_is_a_500_and_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def broken(_credential: Any, _now: float) -> Any:
        raise KeyError("secret text")

    async with Road() as road:
        road.gateway.snapshot = replace(road.snapshot, resolver=Answering(broken))
        with caplog.at_level(logging.ERROR):
            keep = await handled(road, ("Authorization", f"Bearer {token()}"), target="/api/x")
        status, fields, body = answer_of(road.client)
        assert not keep
        assert (status, values(fields, "Connection")) == (500, ["close"])
        assert b"secret" not in body
        [entry] = caplog.records
        assert entry.getMessage() == f"request {road.records[0].request_id} failed"
        assert [record.code for record in road.records] == ["internal"]


@pytest.mark.parametrize(
    "error", [asyncio.CancelledError(), ConnectionResetError()], ids=["cancelled", "reset"]
)
async def test_a_client_that_has_gone_is_recorded_as_499(error: BaseException) -> None:
    async def gone(_credential: Any, _now: float) -> Any:
        raise error

    async with Road() as road:
        road.gateway.snapshot = replace(road.snapshot, resolver=Answering(gone))
        with pytest.raises(type(error)):
            await handled(road, ("Authorization", f"Bearer {token()}"), target="/api/x")
        assert road.client.written == b""
        assert [(x.status, x.code) for x in road.records] == [(499, "client_gone")]
        assert road.metrics.in_flight == 0


async def test_forwarding_headers_of_a_stranger_are_warned_about_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Road() as road:
        with caplog.at_level(logging.WARNING):
            await handled(road, target="/nowhere")
            before = len(caplog.records)
            for _ in range(2):
                await handled(road, ("X-Forwarded-For", "192.0.2.1"), target="/nowhere")
        assert before == 0
        [entry] = caplog.records
        assert "trusted_proxies" in entry.getMessage()
        assert entry.__dict__["peer"] == "203.0.113.7"


async def test_what_cannot_be_judged_is_refused_and_recorded() -> None:
    async with Road() as road:
        await road.gateway.refuse(road.client, HeadTooLarge("too much"))
        status, fields, body = answer_of(road.client)
        assert (status, values(fields, "Connection")) == (431, ["close"])
        assert json.loads(body)["code"] == "head_too_large"
        assert [(x.status, x.client.address) for x in road.records] == [(431, "203.0.113.7")]
        assert road.metrics.in_flight == 0


async def test_a_refusal_while_the_body_is_read_becomes_its_answer() -> None:
    async with Road(OK) as road:
        payload = FakePayload(b"x", BodyTooLarge("too much"))
        fields = ("Content-Length", "9")
        assert not await handled(road, fields, method="POST", payload=payload)
        assert answer_of(road.client)[0] == 413


# Health.


@pytest.mark.parametrize(
    ("draining", "status", "body"), [(False, 200, b"ok\n"), (True, 503, b"draining\n")]
)
async def test_health_is_told_without_a_record(draining: bool, status: int, body: bytes) -> None:
    async with Road() as road:
        road.gateway.draining = draining
        assert await handled(road, target="/healthz")
        assert answer_of(road.client)[::2] == (status, body)
        assert road.records == []


async def test_only_the_very_path_is_health() -> None:
    async with Road() as road:
        await handled(road, target="/healthz?x")
        assert answer_of(road.client)[0] == 404
