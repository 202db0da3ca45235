"""proxy/gateway/attempt.py: one try at one endpoint."""

from __future__ import annotations

from proxy.gateway.attempt import chunk


def test_a_chunk_has_its_size_in_hexadecimal() -> None:
    assert chunk(b"x" * 31) == b"1f\r\n" + b"x" * 31 + b"\r\n"
