"""Problems at the places of a file."""

from __future__ import annotations

import pytest

from proxy.config.document import Document, holds_secret
from proxy.config.problems import Loc

TEXT = """\
routes:
  - {path: /x, upstream: "${NAME}"}
sessions:
  web:
    secret: hunter2
${NAME}: 1
"""
ENV = {"NAME": "from-the-environment"}


@pytest.fixture
def document() -> Document:
    return Document("test.yaml", TEXT, ENV)


def test_a_problem_is_at_the_value(document: Document) -> None:
    problem = document.problem(("routes", 0, "path"), "is wrong")
    assert str(problem) == (
        'test.yaml:2:12: is wrong\n    - {path: /x, upstream: "${NAME}"}\n             ^'
    )
    assert problem.loc == ("routes", 0, "path")


def test_a_problem_may_be_at_the_key(document: Document) -> None:
    problem = document.problem(("routes", 0, "upstream"), "is wrong", key=True)
    assert (problem.line, problem.column) == (2, 16)


def test_a_list_entry_has_no_key(document: Document) -> None:
    problem = document.problem(("routes", 0), "is wrong", key=True)
    assert (problem.line, problem.column) == (2, 5)


@pytest.mark.parametrize(
    ("loc", "nearest"),
    [
        (("routes", 0, "require"), ("routes", 0)),
        (("routes", "tuple[RouteConfig, ...]", 0, "path"), ("routes", 0, "path")),
        (("routes", 7), ("routes",)),
        (("nothing",), ()),
    ],
    ids=["missing", "union tag", "index", "unknown"],
)
def test_parts_that_the_file_does_not_have_are_passed_over(
    document: Document, loc: Loc, nearest: Loc
) -> None:
    assert document.nearest(loc) == nearest


def test_values_are_shown_as_they_were_written(document: Document) -> None:
    assert document.shown(("routes", 0, "upstream")) == "'${NAME}'"
    assert document.shown(("routes",)) == "this"
    assert document.shown(("sessions", "web", "secret")) == "'***'"
    assert document.shown_key(("from-the-environment",)) == "'${NAME}'"


def test_lines_are_named(document: Document) -> None:
    assert document.line(("sessions", "web")) == "on line 5"


def test_a_snippet_covers_the_secret(document: Document) -> None:
    assert document.problem(("sessions", "web", "secret"), "is weak").snippet == (
        "    secret: ***\n            ^"
    )


def test_a_value_from_a_variable_is_read_the_other_way() -> None:
    document = Document(
        "test.yaml", "a: ${N}\nb: '${N}'\nc: 12\nd: '${T}'\n", {"N": "12", "T": "x"}
    )
    assert [document.reread((name,)) for name in "abcd"] == [True, True, False, False]
    assert document.values == {"a": "12", "b": 12, "c": 12, "d": "x"}


def test_what_is_not_yaml_has_one_problem_and_no_values() -> None:
    document = Document("test.yaml", "a: [b\nsecret: hunter2", {})
    assert document.values is None
    assert [str(problem) for problem in document.problems] == [
        "test.yaml:1:4: this list in brackets is not closed, or a comma is missing in it\n"
        "    a: [b\n       ^"
    ]
    assert document.is_broken(("anything",))
    assert document.problem(("a",), "is wrong").line == 0


def test_nothing_is_shown_by_repr(document: Document) -> None:
    assert repr(document) == "<Document test.yaml problems=0>"


@pytest.mark.parametrize(
    ("loc", "raw", "secret"),
    [
        (("admin_token",), "hunter2", True),
        (("admin_token",), "${TOKEN}", False),
        (("admin_token",), "${TOKEN:-hunter2}", True),
        (("sessions", "web", "secret"), "hunter2", True),
        (("sessions", "web", "secret", 0), "hunter2", True),
        (("sessions", "web", "secret", "file"), "/run/secret", False),
        (("sessions", "web", "secret", 0, "file"), "/run/secret", False),
        (("sessions", "web"), "hunter2", True),
        (("sessions", "web", "nextauth"), "hunter2", True),
        (("sessions", "web", "max_aeg"), "30d", False),
        (("sessions", "web", "cookie"), "auto", False),
        (("sessions", "token", "cookie"), "auto", False),
        (("sessions", "web", "jwt", "signing_key"), "hunter2", True),
        (("sessions", "web", "jwt", "key_of_ours"), "hunter2", True),
        (("sessions", "web", "jwt", "algorithms", 0), "HS256", False),
        (("sessions", "web", "principal", "id"), "sub", False),
        (("sessions", "web", "database", "url"), "postgres://x", True),
        (("sessions", "web", "database", "url"), "${DATABASE_URL}", False),
        (("sessions", "web", "database", "ulr"), "postgres://x", True),
        (("sessions", "web", "database", "dsn"), "postgres://x", True),
        (("sessions", "web", "database"), "postgres://x", True),
        (("sessions", "web", "database", "password"), "hunter2", True),
        (("sessions", "web", "database", "sslmode"), "require", False),
        (("sessions", "web", "database", "columns", 0), "token", False),
        (("sessions", "web", "database", "tables", "sessions", "token"), "tok", False),
        (("upstreams", "secret-service", "host"), "client", False),
        (("upstreams", "api", "tls", "key"), "client.key", False),
        (("upstreams", "api", "tls", "key"), "-----BEGIN PRIVATE KEY-----", True),
        (("tests", 0, "cookies", "theme"), "dark", True),
        (("tests", 0, "headers", "Authorization"), "Bearer x", True),
        (("tests", 0, "request"), "GET /", False),
        (("routes", 0, "path"), "/secret", False),
        (("auth_secret",), "hunter2", True),
        ((), "x", False),
    ],
)
def test_what_holds_a_secret_is_known(loc: Loc, raw: str, secret: bool) -> None:
    assert holds_secret(loc, raw) is secret


def test_a_duplicate_secret_is_covered_too() -> None:
    text = "sessions: {web: {secret: hunter2, secret: hunter2}}"
    document = Document("test.yaml", text, {})
    assert "hunter2" not in str(document.problems[0])


def test_a_secret_behind_an_alias_is_covered_where_it_is_written() -> None:
    text = "log: {level: &s hunter2}\nsessions: {web: {secret: *s}}\n"
    document = Document("test.yaml", text, {})
    assert "hunter2" not in str(document.problem(("log", "level"), "is wrong"))


def test_a_secret_in_an_aliased_mapping_is_covered() -> None:
    text = "log: &s {level: hunter2}\nsessions: {web: {secret: *s}}\n"
    document = Document("test.yaml", text, {})
    assert "hunter2" not in str(document.problem(("log", "level"), "is wrong"))


def test_a_key_that_is_no_text_hides_no_secret_beside_it() -> None:
    document = Document("test.yaml", "{[a]: b, secret: hunter2}\n", {})
    assert [str(problem) for problem in document.problems] == [
        "test.yaml:1:2: a key must be plain text\n    {[a]: b, secret: ***}\n     ^"
    ]
