"""proxy/upstream/response.py: one answer, out of bytes, without I/O."""

from __future__ import annotations

from proxy.upstream.response import ResponseReader


def test_an_answer_with_a_length_ends_at_its_length() -> None:
    reader = ResponseReader(bodiless=False, upgrade=False)
    ended = []
    for piece in (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no", b"k"):
        reader.feed(piece)
        ended.append(reader.complete)
    assert ended == [False, True]
    assert reader.take() == b"ok"
