"""YAML 1.2's core types, and variables."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.scalars import fill, is_utf8, typed


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("NULL", None),
        ("nULL", "nULL"),
        ("true", True),
        ("FALSE", False),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("off", "off"),
        ("y", "y"),
        ("NO", "NO"),
        ("08:30", "08:30"),
        ("190:20:30", "190:20:30"),
        ("7", 7),
        ("-7", -7),
        ("+7", 7),
        ("007", 7),
        ("0o17", 15),
        ("0x1F", 31),
        ("0b11", "0b11"),
        ("1_000", "1_000"),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("1.2.3", "1.2.3"),
        ("2026-11-24", "2026-11-24"),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("inf", "inf"),
        ("<<", "<<"),
        ("=", "="),
        ("9" * 5000, float("9" * 5000)),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_plain_scalars_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    result = typed(text)
    assert result == value
    assert type(result) is type(value)


def test_not_a_number_is_one() -> None:
    assert math.isnan(typed(".nan"))  # type: ignore[arg-type]  # it is a float, says the assertion


@pytest.mark.parametrize(
    ("raw", "env", "text", "variables"),
    [
        ("plain", {}, "plain", []),
        ("${A}", {"A": "x"}, "x", ["A"]),
        ("a${A}b${B}c", {"A": "1", "B": "2"}, "a1b2c", ["A", "B"]),
        ("${A:-d}", {}, "d", ["A"]),
        ("${A:-d}", {"A": ""}, "d", ["A"]),
        ("${A:-d}", {"A": "x"}, "x", ["A"]),
        ("${A:-}", {}, "", ["A"]),
        ("${A:-a:b-c}", {}, "a:b-c", ["A"]),
        ("$$", {}, "$", []),
        ("$${A}", {}, "${A}", []),
        ("$$$$", {}, "$$", []),
        ("${A}", {"A": "${B} $$ $C"}, "${B} $$ $C", ["A"]),
        ("${_a1}", {"_a1": "x"}, "x", ["_a1"]),
    ],
)
def test_variables_are_filled_in(
    raw: str, env: dict[str, str], text: str, variables: list[str]
) -> None:
    filled = fill(raw, env)
    assert (filled.text, filled.variables, filled.complaints) == (text, variables, [])


@pytest.mark.parametrize(
    "raw",
    ["$", "$A", "a$", "${}", "${A", "${1A}", "${A-b}", "${A:?b}", "${A.B}", "${ A }", "${A:-${B}}"],
)
def test_other_dollars_are_mistakes(raw: str) -> None:
    assert "dollar sign" in fill(raw, {"A": "x", "B": "y"}).complaints[0]


def test_a_variable_that_is_not_set_is_named() -> None:
    assert fill("${AUTH}", {}).complaints == [
        "environment variable AUTH is not set (${AUTH:-default} would give it a default)"
    ]
    assert fill("${AUTH_SECRT}", {"AUTH_SECRET": "x"}).complaints == [
        "environment variable AUTH_SECRT is not set, did you mean 'AUTH_SECRET'?"
    ]


def test_lone_surrogates_are_no_utf8() -> None:
    assert is_utf8("\U0001f600é")
    assert not is_utf8("x\udcff")


def test_a_variable_that_is_not_utf8_is_named() -> None:
    assert fill("${A}", {"A": "\udcff"}).complaints == ["environment variable A is not UTF-8"]


@given(st.text(), st.text())
def test_filling_in_never_fails(raw: str, value: str) -> None:
    filled = fill(raw, {"A": value})
    assert filled.complaints or "$" in raw or filled.text == raw


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_dollar_that_is_doubled_comes_back(text: str) -> None:
    assert fill(text.replace("$", "$$"), {}).text == text


def test_what_was_filled_in_is_not_shown() -> None:
    assert "hunter2" not in repr(fill("${A}", {"A": "hunter2"}))
