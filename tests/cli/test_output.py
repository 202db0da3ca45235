"""How commands talk."""

from __future__ import annotations

import json

import pytest

from proxy.cli.output import complain, pairs, print_json, table


def test_a_complaint_names_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    complain("check", "no")
    assert capsys.readouterr() == ("", "gatelodge check: no\n")


def test_json_is_whole_and_ends_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": ["Zoë", None]})
    out = capsys.readouterr().out
    assert json.loads(out) == {"a": ["Zoë", None]}
    assert out.endswith("}\n")


def test_columns_are_aligned_and_lines_not_padded() -> None:
    assert table(("A", "LONG"), [("wide", "x"), ("", "y")]) == "A     LONG\nwide  x\n      y"


def test_a_table_may_be_empty() -> None:
    assert table(("A", "B"), []) == "A  B"


def test_further_lines_of_a_value_stand_below_its_first() -> None:
    assert pairs([("a", "1\n2"), ("long", "3")]) == "  a     1\n        2\n  long  3"
    assert pairs([]) == ""


def test_an_empty_value_keeps_its_name() -> None:
    assert pairs([("a", "")]).rstrip() == "  a"
