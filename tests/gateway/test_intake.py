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
    assert intake.add_to_body(bytes(1_000_000), 1_000_000) is None
    assert intake.add_to_body(bytes(2 * LIMIT), 1_000_000) is None
    intake.lose()
    assert intake.add_to_body(bytes(2 * LIMIT), 0) is None
    assert isinstance(intake.add_to_body(bytes(1), 0), HeadTooLarge)


def test_chunks_of_one_byte_each_are_no_trailers() -> None:
    intake = Intake(LIMIT)
    for body in range(1, 10_000):
        assert intake.add_to_body(bytes(6), body) is None


# Where the parser stands.

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def test_a_connection_begins_at_rest() -> None:
    assert Intake(LIMIT).at_rest


def test_a_head_alone_leaves_it_at_rest() -> None:
    intake = Intake(LIMIT)
    assert intake.end_head(GET, 0)
    assert intake.at_rest
    assert intake.end_head(GET, 0)


def test_a_head_in_two_pieces_was_not_alone_but_leaves_it_at_rest() -> None:
    intake = Intake(LIMIT)
    intake.add_to_head(GET[:-1])
    assert not intake.end_head(GET[-1:], 0)
    assert intake.at_rest
    assert intake.end_head(GET, 0)


@pytest.mark.parametrize("pieces", [[5], [2, 3], [1, 1, 3]], ids=str)
def test_a_body_of_the_declared_length_leaves_it_at_rest(pieces: list[int]) -> None:
    intake = Intake(LIMIT)
    assert not intake.end_head(GET, 5)
    for size in pieces:
        assert not intake.at_rest
        intake.add_to_body(bytes(size), 5)
    assert intake.at_rest


def test_a_body_that_came_with_the_head_leaves_it_at_rest() -> None:
    intake = Intake(LIMIT)
    assert not intake.end_head(GET + b"hello", 5)
    assert intake.at_rest


def test_bytes_behind_the_message_are_the_next_one_of_which_nothing_is_known() -> None:
    for lost in (Intake(LIMIT), Intake(LIMIT)):
        assert not lost.end_head(GET + b"helloG", 5)
        assert not lost.at_rest
        assert not lost.end_head(GET, 0)
        assert not lost.at_rest
    behind = Intake(LIMIT)
    behind.end_head(GET, 5)
    behind.add_to_body(bytes(6), 5)
    assert not behind.at_rest
    behind.add_to_body(bytes(1), 5)
    assert not behind.at_rest


def test_chunks_have_an_end_that_is_not_reckoned() -> None:
    intake = Intake(LIMIT)
    assert not intake.end_head(GET, None)
    intake.add_to_body(bytes(5), 0)
    assert not intake.at_rest


def test_blank_lines_before_a_head_are_part_of_it() -> None:
    intake = Intake(LIMIT)
    assert intake.end_head(b"\r\n" + GET, 0)
    assert not Intake(LIMIT).end_head(b"\r\n\r\n" + GET, 0)


def test_a_head_without_an_empty_line_is_never_at_rest() -> None:
    intake = Intake(LIMIT)
    assert not intake.end_head(b"GET / HTTP/1.1\n\n", 0)
    assert not intake.at_rest


def test_what_is_lost_stays_lost() -> None:
    intake = Intake(LIMIT)
    intake.lose()
    assert not intake.at_rest
    intake.add_to_head(GET[:5])
    assert not intake.end_head(GET[5:], 0)
    assert not intake.at_rest


def test_its_text_holds_numbers_only() -> None:
    intake = Intake(LIMIT)
    intake.add_to_head(b"Cookie: secret")
    assert repr(intake) == "<Intake head=14 body=0>"


def test_bytes_behind_a_body_before_anything_was_made_of_them_are_not_at_rest() -> None:
    intake = Intake(LIMIT)
    intake.end_head(GET, 5)
    intake.add_to_body(bytes(5), 0)  # the parser may have stopped within the body
    intake.add_to_body(bytes(3), 0)
    assert not intake.at_rest
    intake.add_to_body(bytes(0), 5)
    assert not intake.at_rest


def test_resuming_the_parser_adds_nothing() -> None:
    intake = Intake(LIMIT)
    intake.end_head(GET, 5)
    intake.add_to_body(bytes(5), 0)
    intake.add_to_body(bytes(0), 5)
    assert intake.at_rest


# What a message's end settles.


@pytest.mark.parametrize("end", [b"0\r\n\r\n", b"A: b\r\n\r\n", b"\r\n\r\n\r\n"])
@pytest.mark.parametrize("cut", [0, 1, 2, 3])
def test_a_message_that_ends_in_an_empty_line_leaves_it_at_rest(end: bytes, cut: int) -> None:
    intake = Intake(LIMIT)
    intake.end_head(GET, None)
    for piece in filter(None, (end[:cut], end[cut:])):
        intake.add_to_body(piece, 0)
    assert intake.settle(end[cut:], held_back=False)
    assert intake.end_head(GET, 0)


def test_more_than_one_message_that_end_so_leave_it_at_rest() -> None:
    intake = Intake(LIMIT)
    intake.lose(GET + GET)
    assert intake.settle(GET + GET, held_back=False)


@pytest.mark.parametrize("data", [GET + b"G", GET[:-1], b"0\r\n\r\n\r"])
def test_what_ends_otherwise_is_not_settled(data: bytes) -> None:
    intake = Intake(LIMIT)
    intake.lose(data)
    assert not intake.settle(data, held_back=False)
    assert not intake.at_rest


def test_what_the_parser_holds_back_is_not_settled() -> None:
    intake = Intake(LIMIT)
    intake.end_head(GET, 0)
    assert not intake.settle(GET, held_back=True)
    assert not intake.at_rest


def test_a_head_is_kept_with_what_came_before_it_where_its_beginning_is_not_certain() -> None:
    intake = Intake(LIMIT)
    data = GET + b"GET /x RT"
    intake.lose(data)
    assert not intake.settle(data, held_back=False)
    assert intake.since_rest(b"SP/1.0").endswith(b"GET /x RTSP/1.0")


def test_little_is_kept_of_what_came_before() -> None:
    intake = Intake(1 << 16)
    intake.lose(bytes(1 << 18))
    intake.settle(bytes(1 << 18), held_back=False)
    assert len(intake.since_rest(b"")) == 4096
    for _ in range(9):
        intake.add_to_head(bytes(1000))
    assert len(intake.since_rest(b"")) < 4096 + 1000
