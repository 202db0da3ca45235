from __future__ import annotations

import pytest

from proxy.errors import HeadTooLarge, ProxyError, TargetTooLong
from proxy.gateway.intake import Intake

LIMIT = 100


def more(intake: Intake, size: int, body: int) -> ProxyError | None:
    """Add so many bytes of a message that is not complete with them."""
    return intake.add_to_body(b"x" * size, body, complete=False)


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
    assert more(intake, 1_000_000, 1_000_000) is None
    assert more(intake, 2 * LIMIT, 1_000_000) is None
    intake.lose()
    assert more(intake, 2 * LIMIT, 0) is None
    assert isinstance(more(intake, 1, 0), HeadTooLarge)


def test_chunks_of_one_byte_each_are_no_trailers() -> None:
    intake = Intake(LIMIT)
    for body in range(1, 10_000):
        assert more(intake, 6, body) is None


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
        more(intake, size, 5)
    assert intake.at_rest


def test_a_body_that_came_with_the_head_leaves_it_at_rest() -> None:
    intake = Intake(LIMIT)
    assert not intake.end_head(GET + b"hello", 5)
    assert intake.at_rest


def test_bytes_behind_the_message_are_the_next_one_of_which_nothing_is_known() -> None:
    for lost in (Intake(LIMIT), Intake(LIMIT)):
        assert not lost.end_head(GET + b"helloG", 5)
        assert not lost.at_rest
        assert (lost.head_bytes, lost.sure) == (1, True)
        assert not lost.end_head(GET, 0)
        assert not lost.at_rest
        assert not lost.sure
    behind = Intake(LIMIT)
    behind.end_head(GET, 5)
    more(behind, 6, 5)
    assert not behind.at_rest
    more(behind, 1, 5)
    assert not behind.at_rest


def test_chunks_have_an_end_that_is_not_reckoned() -> None:
    intake = Intake(LIMIT)
    assert not intake.end_head(GET, None)
    more(intake, 5, 0)
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
    more(intake, 5, 0)  # the parser may have stopped within the body
    more(intake, 3, 0)
    assert not intake.at_rest
    more(intake, 0, 5)
    assert not intake.at_rest


def test_resuming_the_parser_adds_nothing() -> None:
    intake = Intake(LIMIT)
    intake.end_head(GET, 5)
    more(intake, 5, 0)
    more(intake, 0, 5)
    assert intake.at_rest


# A head that begins in the data in which the message before it ends.


@pytest.mark.parametrize("more_data", [b"", b"G", b"\r\n", b"\r\n\r\n", b"GET / HTTP/1.1\r\nHost"])
@pytest.mark.parametrize(
    "before", [GET, b"\r\n" + GET, GET + b"0\r\n\r\n", b"0\r\nX: y\r\n\r\n", b"a\r\n\r\nb\r\n\r\n"]
)
def test_behind_an_end_that_is_not_certain_a_head_begins(before: bytes, more_data: bytes) -> None:
    intake = Intake(LIMIT)
    intake.end_heads(before + more_data, 0, complete=True)
    assert intake.head_bytes == len(more_data)
    assert intake.head_lines == more_data.count(b"\n")
    assert intake.sure is bool(more_data)
    assert not intake.at_rest


@pytest.mark.parametrize("split", [1, 2, 3])
def test_the_empty_line_may_come_in_pieces(split: int) -> None:
    intake = Intake(LIMIT)
    intake.end_heads(b"GET / HTTP/1.1\r\n", None, complete=False)
    assert intake.add_to_body(b"\r\n\r\n"[split:] + b"GET", 1, complete=True) is None
    assert intake.head_bytes == 3


@pytest.mark.parametrize(("declared", "complete"), [(5, True), (5, False), (None, False)])
def test_where_a_body_ends_is_not_told_by_empty_lines(declared: int | None, complete: bool) -> None:
    intake = Intake(LIMIT)
    intake.end_heads(GET + GET + b"1\r\nx\r\n", declared, complete=complete)
    assert intake.head_bytes == 0
    assert not intake.sure


def test_behind_a_body_of_known_length_a_head_begins() -> None:
    intake = Intake(LIMIT)
    intake.end_head(GET + b"he", 5)
    assert intake.sure
    intake.add_to_body(b"lloGET /", 5, complete=True)
    assert intake.head_bytes == 5


def test_a_head_that_began_so_is_bounded_as_any_other() -> None:
    intake = Intake(LIMIT)
    intake.end_heads(GET + b"x" * LIMIT, 0, complete=True)
    assert intake.add_to_head(b"x" * LIMIT) is None
    assert isinstance(intake.add_to_head(b"x"), TargetTooLong)
