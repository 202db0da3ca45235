"""proxy/gateway/forward.py: a permitted request goes out and its answer comes back."""

from __future__ import annotations

from tests.gateway.road import Road


async def test_an_answer_comes_back_in_one_write() -> None:
    async with Road(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") as road:
        assert await road.forward()
        assert road.client.writes[0].endswith(b"\r\n\r\nok")
        assert len(road.client.writes) == 1
