"""bench/load.py: only a whole 200 with the expected body counts as an answer."""

from __future__ import annotations

import pytest

from bench.errors import BenchError
from bench.load import is_whole

BODY = b'{"id":1}'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n"


def test_a_200_with_the_body_is_whole() -> None:
    assert is_whole(HEAD + BODY, BODY)


@pytest.mark.parametrize("end", range(1, len(HEAD + BODY)))
def test_every_prefix_of_an_answer_waits_for_more(end: int) -> None:
    assert not is_whole((HEAD + BODY)[:end], BODY)


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        (b"", "closed"),
        (b"HTTP/1.1 401 Unauthorized\r\n\r\n" + BODY, "401"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "204"),
        (b"HTTP/1.1 302 Found\r\n\r\n", "302"),
        (b"HTTP/1.0 200 OK\r\n\r\n" + BODY, "HTTP/1.0"),
        (HEAD + b"x" * 70_000, "200 OK"),
    ],
    ids=["closed", "401", "204", "302", "http-1.0", "endless"],
)
def test_any_other_answer_fails_the_run_and_is_shown(answer: bytes, shown: str) -> None:
    with pytest.raises(BenchError, match=shown):
        is_whole(answer, BODY)
