"""proxy/gateway/body.py: a request's body on its way in."""

from __future__ import annotations

from proxy.gateway.body import RequestBody
from tests.gateway.fakes import FakeClient, FakePayload
from tests.support.exchanges import head


async def test_a_body_comes_piece_by_piece() -> None:
    body = RequestBody(FakeClient(), FakePayload(b"ab", b"c"), head())
    body.limit(None, 1.0)
    assert [await body.read() for _ in range(3)] == [b"ab", b"c", b""]
    assert body.received == 3
