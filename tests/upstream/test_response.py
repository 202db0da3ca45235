"""proxy/upstream/response.py: one answer, out of bytes, without I/O."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import UpstreamProtocol
from proxy.upstream.response import MAX_HEAD, ResponseReader

OK: Final = b"HTTP/1.1 200 OK\r\n"
SIZED: Final = OK + b"Content-Length: 2\r\n\r\nok"
CHUNKED: Final = OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
EARLY_HINTS: Final = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
SWITCH: Final = b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


def read(
    *pieces: bytes, bodiless: bool = False, upgrade: bool = False, eof: bool = False
) -> ResponseReader:
    """Return the reader that was fed with these pieces and, with `eof`, with the end."""
    reader = ResponseReader(bodiless=bodiless, upgrade=upgrade)
    for piece in pieces:
        reader.feed(piece)
    if eof:
        reader.feed_eof()
    return reader


def seen(*pieces: bytes, **how: bool) -> dict[str, Any]:
    """Return all that a user of the reader can see, or the failure alone."""
    try:
        reader = read(*pieces, **how)
    except UpstreamProtocol:
        return {"failure": True}
    return {
        "answer": reader.answer,
        "interims": list(reader.interims),
        "body": reader.take(),
        "complete": reader.complete,
        "overrun": reader.overrun,
        "tail": reader.tail,
        "keeps_alive": reader.keeps_alive,
    }


# How an answer ends.

ENDS = {
    "at its length": (SIZED, b"ok"),
    "at a length of 0": (OK + b"Content-Length: 0\r\n\r\n", b""),
    "at the last chunk": (CHUNKED, b"ok"),
    "after chunk extensions": (CHUNKED.replace(b"2\r\n", b"2;a=b\r\n"), b"ok"),
    "at a coding in capitals": (CHUNKED.replace(b"chunked", b"CHUNKED"), b"ok"),
    "after an interim answer": (b"HTTP/1.1 100 Continue\r\n\r\n" + SIZED, b"ok"),
    "after one we do not know": (b"HTTP/1.1 102 Processing\r\n\r\n" + SIZED, b"ok"),
    "at the head of a 204": (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    "at the head of a 304": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", b""),
    "without a reason": (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", b"ok"),
}


@pytest.mark.parametrize(("data", "body"), ENDS.values(), ids=ENDS)
def test_an_answer_ends(data: bytes, body: bytes) -> None:
    reader = read(data)
    assert reader.complete
    assert reader.keeps_alive
    assert reader.take() == body
    assert not read(data[:-1]).complete


HEADS = {
    "a length": OK + b"Content-Length: 5\r\n\r\n",
    "chunks": OK + b"Transfer-Encoding: chunked\r\n\r\n",
    "no framing": OK + b"\r\n",
}


@pytest.mark.parametrize("data", HEADS.values(), ids=HEADS)
def test_the_answer_to_a_head_has_no_body(data: bytes) -> None:
    reader = read(data, bodiless=True)
    assert reader.complete
    assert reader.keeps_alive
    assert read(*(data[i : i + 1] for i in range(len(data))), bodiless=True).keeps_alive
    assert reader.answer is not None
    assert reader.answer.bodiless


def test_a_body_without_framing_ends_with_the_connection() -> None:
    reader = read(OK + b"\r\nsome", b" more")
    assert not reader.complete
    assert seen(OK + b"\r\nsome", b" more", eof=True) | {"answer": None} == {
        "answer": None,
        "interims": [],
        "body": b"some more",
        "complete": True,
        "overrun": False,
        "tail": b"",
        "keeps_alive": False,
    }


CUTS = {
    "before a byte": (b"", "before a byte"),
    "in the status line": (b"HTTP/1.1 2", "within the head"),
    "in the fields": (OK + b"Content-Len", "within the head"),
    "after an interim answer": (EARLY_HINTS, "within the head"),
    "in a sized body": (SIZED[:-1], "within the body"),
    "before a sized body": (SIZED[:-2], "within the body"),
    "before the last chunk": (CHUNKED[:-5], "within the body"),
    "in the last chunk": (CHUNKED[:-1], "within the body"),
}


@pytest.mark.parametrize(("data", "where"), CUTS.values(), ids=CUTS)
def test_a_cut_answer_is_a_failure(data: bytes, where: str) -> None:
    pieces = [data] if data else []
    with pytest.raises(UpstreamProtocol, match=where):
        read(*pieces, eof=True)


def test_the_end_of_the_connection_behind_an_answer_is_no_failure() -> None:
    assert read(SIZED, eof=True).complete


# What is not an answer.

BAD = {
    "HTTP/0.9": b"HTTP/0.9 200 OK\r\n\r\n",
    "HTTP/1.2": b"HTTP/1.2 200 OK\r\n\r\n",
    "HTTP/2.0": b"HTTP/2.0 200 OK\r\n\r\n",
    "status 099": b"HTTP/1.1 099 X\r\n\r\n",
    "status 600": b"HTTP/1.1 600 X\r\n\r\n",
    "status 999": b"HTTP/1.1 999 X\r\n\r\n",
    "status 1000": b"HTTP/1.1 1000 X\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH\r\n",
    "a request": b"GET / HTTP/1.1\r\n\r\n",
    "length and coding": CHUNKED.replace(b"OK\r\n", b"OK\r\nContent-Length: 2\r\n"),
    "coding and length": CHUNKED.replace(b"chunked\r\n", b"chunked\r\nContent-Length: 2\r\n"),
    "two equal lengths": OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nok",
    "two lengths": OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    "a list of lengths": OK + b"Content-Length: 2, 2\r\n\r\nok",
    "a length with a sign": OK + b"Content-Length: +2\r\n\r\nok",
    "an empty length": OK + b"Content-Length: \r\n\r\nok",
    "a length beyond 64 bits": OK + b"Content-Length: 99999999999999999999\r\n\r\n",
    "another coding": OK + b"Transfer-Encoding: gzip\r\n\r\nok",
    "two codings": CHUNKED.replace(b"chunked", b"gzip, chunked"),
    "the coding twice": CHUNKED.replace(b"OK\r\n", b"OK\r\nTransfer-Encoding: chunked\r\n"),
    "a coding without a body": b"HTTP/1.1 204 N\r\nTransfer-Encoding: gzip\r\n\r\n",
    "a chunk size that is none": CHUNKED.replace(b"2\r\n", b"zz\r\n"),
    "a chunk that is too long": CHUNKED.replace(b"ok", b"okk"),
    "a length as trailer": CHUNKED[:-2] + b"Content-Length: 9\r\n\r\n",
    "bare line feeds": SIZED.replace(b"\r\n", b"\n"),
    "a folded line": OK + b"X: y\r\n z\r\nContent-Length: 0\r\n\r\n",
    "a NUL in a value": OK + b"X: y\0z\r\nContent-Length: 0\r\n\r\n",
    "a space before the colon": OK + b"X : y\r\nContent-Length: 0\r\n\r\n",
    "a 101 that nobody asked for": SWITCH,
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_a_bad_answer_is_a_failure(data: bytes) -> None:
    with pytest.raises(UpstreamProtocol):
        read(data)


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_a_bad_answer_is_one_in_single_bytes_too(data: bytes) -> None:
    with pytest.raises(UpstreamProtocol):
        read(*(data[i : i + 1] for i in range(len(data))))


# What comes behind an answer.

BEHIND = {
    "a next answer": SIZED + SIZED,
    "its first byte": SIZED + b"H",
    "behind the last chunk": CHUNKED + b"x",
    "a body of a 204": b"HTTP/1.1 204 N\r\nContent-Length: 2\r\n\r\nok",
    "chunks of a 304": b"HTTP/1.1 304 N\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "after a close": SIZED.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n") + b"x",
}


@pytest.mark.parametrize("data", BEHIND.values(), ids=BEHIND)
def test_bytes_behind_an_answer_spoil_the_connection_but_not_the_answer(data: bytes) -> None:
    reader = read(data)
    assert reader.complete
    assert reader.overrun
    assert not reader.keeps_alive
    assert reader.take() in (b"ok", b"")


def test_a_body_that_comes_with_the_answer_to_a_head_spoils_the_connection() -> None:
    reader = read(SIZED, bodiless=True)
    assert reader.overrun
    assert reader.take() == b""
    assert not reader.keeps_alive


@pytest.mark.parametrize(
    "more", [b"2", b"2\r", b"2\r\n", b"0\r\n\r\n", b"0\r\nX: y\r\n\r\n", b"2\r\nok\r\n"]
)
def test_behind_the_chunked_answer_to_a_head_nothing_is_trusted(more: bytes) -> None:
    # Found by `make fuzz`: the parser had taken these bytes in, and the connection went on.
    reader = read(OK + b"Transfer-Encoding: chunked\r\n\r\n" + more, bodiless=True)
    assert reader.complete
    assert not reader.keeps_alive


def test_bytes_in_a_later_piece_spoil_the_connection_too() -> None:
    assert not read(SIZED, b"\r\n").keeps_alive


# Interim answers, upgrades, trailers.


def test_early_hints_wait_to_be_relayed_and_others_are_swallowed() -> None:
    reader = read(b"HTTP/1.1 100 C\r\n\r\n" + EARLY_HINTS + EARLY_HINTS + SIZED)
    assert [answer.status for answer in reader.interims] == [103, 103]
    assert reader.interims[0].fields == [(b"Link", b"</a>")]
    assert reader.answer is not None
    assert reader.answer.fields == [(b"Content-Length", b"2")]


def test_the_framing_of_an_interim_answer_is_not_that_of_the_final_one() -> None:
    reader = read(b"HTTP/1.1 103 E\r\nContent-Length: 9\r\n\r\n" + CHUNKED)
    assert reader.complete
    assert reader.take() == b"ok"


@pytest.mark.parametrize("cut", [0, 3, len(SWITCH) - 1, len(SWITCH), len(SWITCH) + 2])
def test_what_comes_behind_a_switch_is_kept_for_the_tunnel(cut: int) -> None:
    data = SWITCH + b"frames"
    reader = read(*filter(None, (data[:cut], data[cut:])), upgrade=True)
    assert reader.complete
    assert reader.tail == b"frames"
    assert not reader.keeps_alive


def test_an_upgrade_may_be_declined() -> None:
    reader = read(SIZED, upgrade=True)
    assert reader.keeps_alive
    assert reader.take() == b"ok"


def test_trailers_are_dropped() -> None:
    reader = read(CHUNKED[:-2] + b"X-Checksum: 1\r\nConnection: close\r\n\r\n")
    assert reader.complete
    assert reader.keeps_alive
    assert reader.answer is not None
    assert reader.answer.fields == [(b"Transfer-Encoding", b"chunked")]


def test_fields_keep_their_order_case_repeats_and_bytes() -> None:
    reader = read(
        OK + b"Set-Cookie: a=\xe4\r\nX-ODD: 1\r\nset-cookie: b\r\nContent-Length: 0\r\n\r\n"
    )
    assert reader.answer is not None
    assert reader.answer.fields == [
        (b"Set-Cookie", b"a=\xe4"),
        (b"X-ODD", b"1"),
        (b"set-cookie", b"b"),
        (b"Content-Length", b"0"),
    ]


# The bound on a head.

FIT = OK + b"X: " + b"y" * (MAX_HEAD - 100) + b"\r\nContent-Length: 2\r\n\r\n"
TOO_LARGE = OK + b"X: " + b"y" * MAX_HEAD + b"\r\nContent-Length: 2\r\n\r\n"


def pieces_of(data: bytes, size: int) -> list[bytes]:
    return [data[i : i + size] for i in range(0, len(data), size)]


@pytest.mark.parametrize("size", [1000, 1 << 20], ids=["in pieces", "whole"])
def test_a_large_head_passes_and_its_body_does_not_count(size: int) -> None:
    assert read(*pieces_of(FIT + b"ok", size)).complete
    big = FIT.replace(b": 2\r", b": 200000\r") + b"b" * 200_000
    assert len(read(*pieces_of(big, size)).take()) == 200_000


@pytest.mark.parametrize("size", [1000, 1 << 20], ids=["in pieces", "whole"])
@pytest.mark.parametrize(
    "data",
    [TOO_LARGE, TOO_LARGE[: MAX_HEAD + 50], EARLY_HINTS * 2000],
    ids=["that ends", "that does not end", "of interim answers"],
)
def test_a_head_of_over_64_kib_is_a_failure(data: bytes, size: int) -> None:
    with pytest.raises(UpstreamProtocol, match="over 65536 bytes"):
        read(*pieces_of(data, size))


# Whether the connection can be used again (RFC 9112 section 9.3).

ALIVE = {
    "1.1": (b"HTTP/1.1", b"", True),
    "1.1, keep-alive": (b"HTTP/1.1", b"Connection: keep-alive\r\n", True),
    "1.1, close": (b"HTTP/1.1", b"Connection: close\r\n", False),
    "1.1, close in a list": (b"HTTP/1.1", b"Connection: x-hop , Close\r\n", False),
    "1.1, close in a second line": (
        b"HTTP/1.1",
        b"Connection: x-hop\r\nConnection: close\r\n",
        False,
    ),
    "1.1, a word that holds close": (b"HTTP/1.1", b"Connection: closed\r\n", True),
    "1.0": (b"HTTP/1.0", b"", False),
    "1.0, keep-alive": (b"HTTP/1.0", b"Connection: Keep-Alive\r\n", True),
    "1.0, another word": (b"HTTP/1.0", b"Connection: x-hop\r\n", False),
}


def test_chunks_of_http_1_0_are_read_but_not_trusted() -> None:
    """RFC 9112 section 6.1: the framing is taken for faulty, and the connection is closed."""
    head = b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n"
    reader = read(head + b"2\r\nok\r\n0\r\n\r\n")
    assert (reader.take(), reader.complete, reader.keeps_alive) == (b"ok", True, False)


@pytest.mark.parametrize(("version", "line", "alive"), ALIVE.values(), ids=ALIVE)
def test_a_connection_stays_as_the_endpoint_says(version: bytes, line: bytes, alive: bool) -> None:
    reader = read(version + b" 200 OK\r\n" + line + b"Content-Length: 2\r\n\r\nok")
    assert reader.complete
    assert reader.keeps_alive is alive


def test_a_connection_with_an_unfinished_answer_is_not_used_again() -> None:
    assert not read().keeps_alive
    assert not read(SIZED[:-1]).keeps_alive


def test_taking_empties_what_is_held() -> None:
    reader = read(OK + b"Content-Length: 6\r\n\r\nab", b"cd")
    held = [reader.held, reader.take(), reader.held, reader.take()]
    reader.feed(b"ef")
    assert [*held, reader.held, reader.take()] == [4, b"abcd", 0, b"", 2, b"ef"]


# Any way to cut the same bytes gives the same answer.

WHOLE = [SIZED, CHUNKED, EARLY_HINTS + SIZED, SWITCH + b"frames", *BAD.values(), *BEHIND.values()]


@given(
    st.sampled_from(WHOLE),
    st.booleans(),
    st.lists(st.integers(0, 150), max_size=6),
)
def test_the_cuts_make_no_difference(data: bytes, upgrade: bool, cuts: list[int]) -> None:
    marks = [0, *sorted(cuts), len(data)]
    parts = [data[a:b] for a, b in pairwise(marks) if data[a:b]]
    assert seen(*parts, upgrade=upgrade) == seen(data, upgrade=upgrade)


@given(st.binary(max_size=80), st.integers(0, 100))
def test_any_bytes_are_an_answer_or_a_failure(noise: bytes, at: int) -> None:
    seen(CHUNKED[:at] + noise + CHUNKED[at:], eof=True)  # raises nothing but UpstreamProtocol
