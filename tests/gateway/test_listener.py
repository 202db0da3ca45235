"""proxy/gateway/listener.py over a fake transport, in front of a fake gateway."""

from __future__ import annotations

from tests.gateway.fakes import Listener

GET = b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n"


async def test_requests_are_answered_in_order() -> None:
    listener = Listener()
    await listener.feed(GET % b"/1" + GET % b"/2", GET % b"/3")
    assert listener.written == b"</1></2></3>"
