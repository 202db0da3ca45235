from __future__ import annotations

import pytest

from proxy.errors import HeadTooLarge, TargetTooLong
from proxy.gateway.intake import Intake

LIMIT = 100


def test_a_head_within_the_limit_twice_is_read_on() -> None:
    intake = Intake(LIMIT)
    assert intake.add_to_head(b"GET / HTTP/1.1\n" + b"x" * (2 * LIMIT - 15)) is None
    assert (intake.head_bytes, intake.head_lines) == (2 * LIMIT, 1)


@pytest.mark.parametrize(
    ("first", "kind"),
    [(b"GET /", TargetTooLong), (b"GET / HTTP/1.1\r\n", HeadTooLarge)],
    ids=["no line has ended", "a line has ended"],
)
def test_a_head_that_does_not_end_is_refused_by_what_is_too_long(
    first: bytes, kind: type[Exception]
) -> None:
    intake = Intake(LIMIT)
    assert intake.add_to_head(first) is None
    assert type(intake.add_to_head(b"x" * 2 * LIMIT)) is kind


def test_the_next_head_is_counted_anew() -> None:
    intake = Intake(LIMIT)
    intake.add_to_head(b"\n" * 2 * LIMIT)
    intake.lose()
    assert intake.head_bytes == 0
    assert intake.add_to_head(b"x" * 2 * LIMIT) is None
    assert intake.head_lines == 0


def test_what_is_around_a_body_is_bounded_and_the_body_is_not() -> None:
    intake = Intake(LIMIT)
    assert intake.add_to_body(1_000_000, 1_000_000) is None
    assert intake.add_to_body(2 * LIMIT, 1_000_000) is None
    intake.lose()
    assert intake.add_to_body(2 * LIMIT, 0) is None
    assert isinstance(intake.add_to_body(1, 0), HeadTooLarge)


def test_chunks_of_one_byte_each_are_no_trailers() -> None:
    intake = Intake(LIMIT)
    for body in range(1, 10_000):
        assert intake.add_to_body(6, body) is None


def test_its_text_holds_numbers_only() -> None:
    intake = Intake(LIMIT)
    intake.add_to_head(b"Cookie: secret")
    assert repr(intake) == "<Intake head=14 body=0>"
