"""proxy/upstream/end.py: what the end of a connection means."""

from __future__ import annotations

import pytest

from proxy.errors import (
    ConnectionCut,
    ConnectionGone,
    ConnectionStale,
    ProxyError,
    UpstreamProtocol,
    UpstreamUnreachable,
)
from proxy.upstream.end import End
from proxy.upstream.response import ResponseReader

ORDERLY = End(None, orderly=True)
SILENT = End(None, orderly=False)
RESET = End(ConnectionResetError(), orderly=False)
RESET_THEN = End(ConnectionResetError(), orderly=True)
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
OPEN = b"HTTP/1.1 200 OK\r\n\r\nok"


def reader(received: bytes) -> ResponseReader:
    made = ResponseReader(bodiless=False, upgrade=False)
    if received:
        made.feed(received)
    return made


@pytest.mark.parametrize("end", [ORDERLY, SILENT, RESET], ids=["orderly", "silent", "reset"])
@pytest.mark.parametrize(
    ("sent", "reused", "kind"),
    [
        (False, True, ConnectionGone),
        (False, False, UpstreamUnreachable),
        (True, True, ConnectionStale),
        (True, False, ConnectionCut),
    ],
)
def test_without_an_answer_it_counts_what_had_left_and_by_which_connection(
    end: End, sent: bool, reused: bool, kind: type[ProxyError]
) -> None:
    assert type(end.failure(reader(b""), sent=sent, reused=reused)) is kind


@pytest.mark.parametrize(
    ("received", "end", "whole"),
    [
        (WHOLE, ORDERLY, True),
        (WHOLE, SILENT, True),
        (WHOLE, RESET, True),
        (WHOLE[:-1], ORDERLY, False),
        (WHOLE[:-1], SILENT, False),
        (OPEN, ORDERLY, True),
        (OPEN, SILENT, False),
        (OPEN, RESET, False),
        (OPEN, RESET_THEN, True),
        (WHOLE[:-1], RESET_THEN, False),
        (OPEN[:9], ORDERLY, False),
    ],
)
def test_which_answers_are_whole(received: bytes, end: End, whole: bool) -> None:
    """RFC 9112 section 9.8: over TLS one without a length is so only with close_notify."""
    answer = reader(received)
    assert type(end.failure(answer, sent=True, reused=False)) is UpstreamProtocol
    assert answer.complete is whole


def test_nobody_waits_for_an_answer_on_an_idle_connection() -> None:
    assert type(ORDERLY.failure(None, sent=True, reused=True)) is UpstreamProtocol
