"""`gatelodge healthcheck`: what it asks."""

from __future__ import annotations

from tests.cli.conftest import Gatelodge
from tests.cli.listeners import OK, Listen, tcp


def test_an_answer_of_200_is_healthy(gatelodge: Gatelodge, listen: Listen) -> None:
    listening, port = tcp()
    listener = listen(listening, OK)
    said = gatelodge("healthcheck", "--admin", f"127.0.0.1:{port}")
    assert (said.code, said.out, said.err) == (0, "", "")
    assert listener.asked == (
        f"GET /-/healthy HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode()
    )
