"""proxy/gateway/handler.py: the way of a request, and the one place where errors end."""

from __future__ import annotations

from tests.gateway.fakes import FakeClient, FakePayload
from tests.gateway.road import Road
from tests.support.exchanges import head


async def test_a_refusal_becomes_one_answer_and_one_record() -> None:
    async with Road() as road:
        client = FakeClient()
        assert await road.gateway.handle(client, head(target="/nowhere"), FakePayload())
        assert client.written.startswith(b"HTTP/1.1 404 ")
        [record] = road.records
        assert (record.status, record.code) == (404, "no_route")
