"""Problems as text, in order, each once."""

from __future__ import annotations

import pytest

from proxy.config.document import Document
from proxy.config.problems import ConfigError, Problem, Report, did_you_mean


def test_a_problem_says_where_and_shows_it() -> None:
    assert str(Problem("a.yaml", 3, 7, "is wrong", ("x",), "    x: y\n       ^")) == (
        "a.yaml:3:7: is wrong\n    x: y\n       ^"
    )
    assert str(Problem("a.yaml", 0, 0, "is empty")) == "a.yaml: is empty"


def test_problems_come_in_the_order_of_the_file_and_once() -> None:
    problems = [
        Problem("a", 2, 1, "second"),
        Problem("a", 1, 9, "first", ("x",)),
        Problem("a", 1, 9, "first", ("y",)),
        Problem("a", 1, 9, "also first"),
    ]
    error = ConfigError(problems)
    assert [problem.message for problem in error.problems] == ["first", "also first", "second"]
    assert str(error) == "a:1:9: first\na:1:9: also first\na:2:1: second"


@pytest.mark.parametrize(
    ("word", "known", "hint"),
    [
        ("alow_origins", ["allow_origins", "methods"], ", did you mean 'allow_origins'?"),
        ("x-forwarded-for", ["X-Forwarded-For"], ", did you mean 'X-Forwarded-For'?"),
        ("zebra", ["allow_origins"], ""),
        ("x", [], ""),
    ],
)
def test_the_nearest_word_is_suggested(word: str, known: list[str], hint: str) -> None:
    assert did_you_mean(word, known) == hint


def test_a_report_collects() -> None:
    document = Document("a.yaml", "upstreams: {'${N}': x}\n", {"N": "from-the-environment"})
    report = Report(document, [])
    report.add(("upstreams",), "is wrong", key=True)
    assert [str(problem) for problem in report.problems] == [
        "a.yaml:1:1: is wrong\n    upstreams: {'${N}': x}\n    ^"
    ]
    assert report.shown(("upstreams", "from-the-environment")) == "'x'"
    assert report.shown_key(("upstreams", "from-the-environment")) == "'${N}'"
    assert report.line(("upstreams",)) == "on line 1"
    assert report.names("upstreams", ["from-the-environment"]) == ["${N}"]
