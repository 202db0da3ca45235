"""The reader of answers: what it takes, and what it calls garbage."""

from __future__ import annotations

import pytest

from tests.support.answers import parse_answers

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("data", "eof", "statuses", "complete", "rest", "garbage"),
    [
        pytest.param(OK, False, [200], True, b"", False, id="length"),
        pytest.param(OK[:-1], True, [200], False, b"", False, id="short"),
        pytest.param(OK[:-1], False, [], None, OK[:-1], False, id="unfinished"),
        pytest.param(OK + OK, False, [200, 200], True, b"", False, id="two"),
        pytest.param(OK + b"X", True, [200], True, b"X", True, id="tail"),
        pytest.param(b"HTTP/1.1 103 \r\n\r\n" + OK, False, [103, 200], True, b"", False, id="103"),
        pytest.param(b"HTTP/1.1 101 \r\n\r\n\x81", False, [101], True, b"\x81", False, id="101"),
        pytest.param(b"HTTP/1.0 200 OK\r\n\r\nabc", True, [200], True, b"", False, id="until-eof"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nok\r\n0\r\n\r\n",
            False, [200], True, b"", False, id="chunked",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
            True, [200], False, b"", False, id="chunked-cut",
        ),
    ],
)  # fmt: skip
def test_answers_are_read(
    data: bytes, eof: bool, statuses: list[int], complete: bool | None, rest: bytes, garbage: bool
) -> None:
    answers = parse_answers(data, eof=eof)
    assert [a.status for a in answers.all] == statuses
    assert (answers.all[-1].complete if answers.all else None) == complete
    assert answers.rest == rest
    assert answers.garbage == garbage


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"SSH-2.0", id="no-http"),
        pytest.param(b"HTTP/1.1 20 OK\r\n\r\n", id="status"),
        pytest.param(b"HTTP/1.1 200 OK\r\nA b: c\r\n\r\n", id="name"),
        pytest.param(b"HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n", id="bare-lf"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na", id="cl-cl"
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            id="cl-te",
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\na", id="length"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nz\r\n", id="chunk-size"
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", id="long-chunk"
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n\r\n", id="trailer"
        ),
    ],
)
def test_what_is_not_http_is_garbage(data: bytes) -> None:
    assert parse_answers(data, eof=True).garbage


def test_head_answer_has_no_body() -> None:
    answers = parse_answers(OK[:-2] + OK, eof=False, methods=("HEAD", "GET"))
    assert [a.body for a in answers.all] == [b"", b"ok"]


@pytest.mark.parametrize(
    ("data", "lacking"),
    [
        pytest.param(OK, 0, id="whole"),
        pytest.param(OK + OK[:-2], 2, id="length"),
        pytest.param(OK[:-3], 0, id="head"),
        pytest.param(CHUNKED + b"9\r\n", 0, id="chunks"),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\nabc", 0, id="until-eof"),
    ],
)
def test_a_length_tells_how_much_must_still_come(data: bytes, lacking: int) -> None:
    assert parse_answers(data, eof=False).lacking == lacking
