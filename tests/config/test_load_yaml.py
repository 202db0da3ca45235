"""From text to nodes: what is not YAML, or not ours, is said in plain words at its place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.load_yaml import MAX_BYTES, SyntaxProblem, compose, is_tagged, lines_of

CASES = [
    ("", 0, 0, "the file is empty"),
    ("# only a comment\n", 0, 0, "the file is empty"),
    ("a: b\n\tc: d\n", 2, 1, "a tab cannot indent"),
    ("a:\n\t- b\n", 2, 1, "a tab cannot indent"),
    ("host: *.example.com\n", 1, 7, "begins with * needs quotes"),
    ("host: *api\n", 1, 7, "begins with * needs quotes"),
    ("a: [*.example.com]\n", 1, 5, "begins with * needs quotes"),
    ("a: @b\n", 1, 4, "begins with @ needs quotes"),
    ("a: `b`\n", 1, 4, "begins with ` needs quotes"),
    ("a: %b\n", 1, 4, "begins with % needs quotes"),
    ("listen: [::]:8080\n", 1, 10, 'as in "[::]:8080"'),
    ("a: 'b\nc: d\n", 1, 4, "this quote is never closed"),
    ('a: "b\n', 1, 4, "this quote is never closed"),
    ("a: 'b\n---\n", 1, 4, "this quote is never closed"),
    ('a: "\\q"\n', 1, 6, "use single quotes"),
    ('a: "\\xZZ"\n', 1, 7, "hexadecimal digits"),
    ("a: [b, c\nd: e\n", 1, 4, "list in brackets is not closed"),
    ("a: {b: c\n", 1, 4, "mapping in braces is not closed"),
    ("a: [${B}]\n", 1, 4, "a variable needs quotes"),
    ("a: {b: ${B}}\n", 1, 4, "a variable needs quotes"),
    ("a: {b: /c?d=e}\n", 1, 4, "a value with ? in it needs quotes"),
    ("a: b: c\n", 1, 5, "a colon and a space begin a value"),
    ("a:\n  b: 1\n c: 2\n", 3, 2, "check the indentation"),
    ("a: 'b' c\n", 1, 8, "check the indentation"),
    ("a: b\nc\n", 2, 1, "a key needs a colon"),
    ("a: b\n- c\n", 2, 1, "check the indentation"),
    ("- a\n", 1, 1, "must be a mapping of keys"),
    ("just text\n", 1, 1, "must be a mapping of keys"),
    ("a: b\n---\nc: d\n", 2, 1, "only one document"),
    ("a: b\nc: \x01d\n", 2, 4, "U+0001 is not allowed"),
    ("\x00", 1, 1, "U+0000 is not allowed"),
    ("[" * 1500, 0, 0, "nested too deeply"),
    ("a: " + "x" * MAX_BYTES, 0, 0, "larger than 1MiB"),
]


@pytest.mark.parametrize(
    ("text", "line", "column", "message"), CASES, ids=[case[0][:20] for case in CASES]
)
def test_what_is_not_read_is_told(text: str, line: int, column: int, message: str) -> None:
    with pytest.raises(SyntaxProblem) as caught:
        compose(text)
    problem = caught.value
    assert (problem.line, problem.column) == (line, column)
    assert message in problem.message


def test_an_alias_that_is_unknown_is_not_repeated() -> None:
    with pytest.raises(SyntaxProblem) as caught:
        compose("secret: *hunter2\n")
    assert "hunter2" not in caught.value.message


def test_quotes_are_told_from_plain_text() -> None:
    root = compose("a: b\nc: 'd'\ne: \"f\"\ng: |\n  h\n")
    assert [value.tag for _, value in root.value] == ["plain", "quoted", "quoted", "quoted"]


@pytest.mark.parametrize("text", ["a: !!str b", "a: !b c", "a: !!python/object:os.system {}"])
def test_tags_are_noticed(text: str) -> None:
    assert is_tagged(compose(text).value[0][1])


def test_a_document_may_begin_and_end_with_markers() -> None:
    assert len(compose("%YAML 1.2\n---\na: b\n...\n").value) == 1


def test_lines_are_counted_as_yaml_counts_them() -> None:
    assert lines_of("a\r\nb\rc\nd\u2028e\x0bf") == ["a", "b", "c", "d", "e\x0bf"]


@given(st.text())
def test_any_text_is_a_mapping_or_a_problem(text: str) -> None:
    try:
        root = compose(text)
    except SyntaxProblem as found:
        problem = found
    else:
        assert root.tag == "mapping"
        return
    assert problem.message
    assert problem.line <= len(lines_of(text))
