"""From nodes to values: aliases, duplicates, variables, nothing."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.config.load_yaml import compose
from proxy.config.tree import Tree


def tree_of(text: str, **env: str) -> Tree:
    return Tree(compose(text), env)


def complaints_of(text: str, **env: str) -> list[str]:
    return [complaint.message for complaint in tree_of(text, **env).complaints]


def test_values_become_plain_python() -> None:
    values: dict[str, Any] = {"a": [1, "x", {"b": True}], "c": {"d": 1.5}, "e": "07:30"}
    assert tree_of("a: [1, x, {b: true}]\nc: {d: 1.5}\ne: 07:30\n").values == values


def test_keys_are_always_text() -> None:
    assert tree_of("1: a\ntrue: b\n").values == {"1": "a", "true": "b"}


def test_every_value_has_its_place() -> None:
    tree = tree_of("a:\n  - b: c\n")
    assert set(tree.places) == {(), ("a",), ("a", 0), ("a", 0, "b")}
    assert tree.places["a", 0, "b"].node.start_mark.column == 7


def test_an_alias_is_the_value_again() -> None:
    assert tree_of("a: &x {b: c}\nd: *x\n").values == {"a": {"b": "c"}, "d": {"b": "c"}}


def test_an_alias_of_itself_is_refused() -> None:
    assert complaints_of("a: &x [*x]\n") == ["an alias stands inside the value that it stands for"]


def test_aliases_that_multiply_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    tree = tree_of("\n".join(lines))
    assert [each.message for each in tree.complaints] == [
        "the aliases stand for more than 20000 values"
    ]
    assert tree.values == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: b\na: c\n", "duplicate key 'a', first on line 1"),
        ("a: b\n'a': c\n", "duplicate key 'a', first on line 1"),
        ("${A}: b\nx: c\n", "duplicate key 'x', first on line 1"),
        ("<<: {a: b}\n", "merge keys (<<) are not read here; write the keys out"),
        ("[a]: b\n", "a key must be plain text"),
        ("!!str a: b\n", "a key must be plain text"),
        ("'': b\n", "a key must not be empty"),
        ("$a: b\n", "a dollar sign begins ${VAR} or ${VAR:-default}; write $$ for the sign itself"),
        ("a: !!str b\n", "tags such as !!str are not read here; take it out"),
        ("a: !x [b]\n", "tags such as !!str are not read here; take it out"),
        ('a: "\\ud83d"\n', "an escape here stands for half a character"),
        ("a:\n", "there is no value here; give it one, or take the key out"),
        ("a: ~\n", "there is no value here; give it one, or take the key out"),
        ("a: [null]\n", "there is no value here; give it one, or take the key out"),
        ("a: '${NO}${NO}'\n", "there is no value here, because NO and NO is empty"),
    ],
)
def test_what_yaml_lets_pass_is_told(text: str, message: str) -> None:
    assert complaints_of(text, A="x", NO="") == [message]


def test_the_first_of_two_equal_keys_stays() -> None:
    assert tree_of("a: b\na: c\n").values == {"a": "b"}


def test_a_quoted_merge_key_is_a_key() -> None:
    assert tree_of("'<<': a\n").values == {"<<": "a"}


def test_keys_are_filled_in() -> None:
    assert tree_of("${NAME}: x\n", NAME="api").values == {"api": "x"}


def test_an_empty_default_leaves_out_what_may_be_left_out() -> None:
    text = "admin_token: ${NO:-}\nsessions: {web: {secret: ['${NO:-}', x, '${NO:-}', y]}}\n"
    tree = tree_of(text, NO="")
    secret = ("sessions", "web", "secret")
    assert tree.complaints == []
    assert tree.values == {"sessions": {"web": {"secret": ["x", "y"]}}}
    assert (*secret, 1) in tree.places
    assert (*secret, 2) not in tree.places


@pytest.mark.parametrize(
    "text",
    [
        "admin_token: ${NO}",
        "admin_token: ${NO}${NO:-}",
        "listen: ${NO:-}",
        "sessions: {web: {secret: ['${NO}', x]}}",
        "sessions: {web: {secret: '${NO:-}'}}",
        "sessions: {web: {jwt: {signing_key: '${NO:-}'}}}",
        "routes: [{require: {claims: {admin_token: '${NO:-}'}}}]",
        "routes: [{require: {claims: {secret: ['${NO:-}']}}}]",
        "routes: [{login_url: '${NO:-}'}]",
    ],
)
def test_nothing_else_may_be_empty(text: str) -> None:
    (message,) = complaints_of(text, NO="")
    assert message.startswith("there is no value here, because NO")


def test_a_broken_place_is_known() -> None:
    assert tree_of("a: {b: $x}\n").broken == {("a", "b")}


def test_nothing_of_the_values_is_shown() -> None:
    tree = tree_of("a: ${S}\n", S="hunter2")
    assert "hunter2" not in repr(tree) + repr(tree.places["a",])
    written = tree_of("a: hunter2\nb: !x hunter2\n")
    assert "hunter2" not in repr(written.places) + repr(written.complaints)
