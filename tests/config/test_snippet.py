"""A line and its caret, with secrets covered."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.shape import fields
from proxy.config.snippet import (
    COVER,
    Span,
    covered_in_text,
    names_secret,
    shows_secret,
    snippet,
)


def test_the_caret_is_under_the_column() -> None:
    assert snippet(["a: b", "  c: d"], [], 2, 6) == "    c: d\n       ^"


def test_tabs_keep_the_caret_in_place() -> None:
    assert snippet(["\ta: b"], [], 1, 5) == "    \ta: b\n    \t   ^"


@pytest.mark.parametrize("line", [0, 3], ids=["nowhere", "after the end"])
def test_there_is_no_snippet_of_no_line(line: int) -> None:
    assert snippet(["a", "b"], [], line, 1) == ""


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (1, f"    secret: {COVER}, x: y\n    ^"),
        (9, f"    secret: {COVER}, x: y\n            ^"),
        (12, f"    secret: {COVER}, x: y\n            ^"),
        (18, f"    secret: {COVER}, x: y\n                 ^"),
    ],
    ids=["before", "at", "inside", "after"],
)
def test_a_secret_is_covered_and_the_caret_moves_along(column: int, expected: str) -> None:
    lines = ["secret: hunter2, x: y"]
    assert snippet(lines, [Span(0, 8, 0, 15)], 1, column) == expected


def test_spans_that_overlap_are_covered_once() -> None:
    lines = ["url: http://u:hunter2@x # and so on"]
    spans = [Span(0, 5, 0, 23), Span(0, 10, 0, 20)]
    assert snippet(lines, spans, 1, 1) == f"    url: {COVER} # and so on\n    ^"


def test_an_empty_span_covers_nothing() -> None:
    assert snippet(["a: ''"], [Span(0, 3, 0, 3)], 1, 1) == "    a: ''\n    ^"


def test_a_span_of_several_lines_covers_each_of_them() -> None:
    lines = ["a: 'hun", "  ter", "  2' # end"]
    spans = [Span(0, 3, 2, 4)]
    assert snippet(lines, spans, 1, 1) == f"    a: {COVER}\n    ^"
    assert snippet(lines, spans, 2, 1) == f"    {COVER}\n    ^"
    assert snippet(lines, spans, 3, 1) == f"    {COVER} # end\n    ^"


def test_the_user_of_a_url_is_covered() -> None:
    assert (
        snippet(["x: http://u:hunter2@host"], [], 1, 4) == f"    x: http://{COVER}@host\n       ^"
    )


def test_what_a_terminal_would_obey_is_replaced() -> None:
    assert snippet(["a: \x1b[2J\u202e"], [], 1, 1).startswith("    a: ?[2J?")


def test_a_long_line_is_cropped_around_the_caret() -> None:
    line = "x" * 300 + "HERE" + "y" * 300
    text, caret = snippet([line], [], 1, 301).split("\n")
    assert text[caret.index("^") :].startswith("HERE")
    assert text.strip().startswith("...")
    assert text.endswith("...")
    assert len(text) < 120


@given(st.text(st.characters(codec="ascii"), max_size=300), st.integers(1, 301))
def test_the_caret_is_never_outside(line: str, column: int) -> None:
    line = line.replace("\n", "").replace("\r", "")
    text = snippet([line], [], 1, column)
    assert text.count("\n") == 1
    assert text.endswith("^")


NAMES = {part for path, _ in fields() for part in path if part not in ("*", "[]")}


@pytest.mark.parametrize(
    "name",
    ["secret", "admin_token", "password", "signing_key", "verification_key", "encryption_key"],
)
def test_the_keys_that_hold_secrets_are_known(name: str) -> None:
    assert name in NAMES
    assert names_secret(name)


@pytest.mark.parametrize(
    "name",
    sorted(
        NAMES
        # What a column is called is told apart by where it is written (`document.holds_secret`).
        - {"secret", "admin_token", "password", "token"}
        - {"signing_key", "verification_key", "encryption_key"}
    ),
)
def test_no_other_key_is_taken_for_one(name: str) -> None:
    assert not names_secret(name)


@pytest.mark.parametrize(
    "name", ["secrets", "sekret", "secrt", "admin_tokn", "signingkey", "password", "API_TOKEN"]
)
def test_misspelt_keys_of_secrets_are_known(name: str) -> None:
    assert names_secret(name)


@pytest.mark.parametrize(
    ("raw", "shows"),
    [("${AUTH_SECRET}", False), ("${A:-hunter2}", True), ("x${A}", True), ("hunter2", True)],
)
def test_a_variable_alone_shows_nothing(raw: str, shows: bool) -> None:
    assert shows_secret(raw) is shows


@pytest.mark.parametrize(
    "text",
    [
        "secret: hunter2",
        "sessions: {web: {kind: authjs, secret: hunter2",
        "secret:\n  - hunter2\n  - [",
        "secret:\n- hunter2\n",
        "secret: [\n  hunter2,\n  other",
        "'secret': hunter2",
        "signing_key: |\n  hunter2\n\n  hunter2\n",
        "secret: 'hunter2\nkind: authjs",
    ],
)
def test_without_nodes_everything_after_the_key_is_covered(text: str) -> None:
    lines = text.split("\n")
    spans = covered_in_text(lines)
    for number in range(1, len(lines) + 1):
        assert "hunter2" not in snippet(lines, spans, number, 1)


def test_without_nodes_other_lines_stay() -> None:
    lines = ["web:", "  secret: hunter2", "  kind: x", "cors: [", "  https://example.com"]
    spans = covered_in_text(lines)
    assert "kind: x" in snippet(lines, spans, 3, 1)
    assert "cors: [" in snippet(lines, spans, 4, 1)
    assert "https://example.com" in snippet(lines, spans, 5, 1)
