"""proxy/supervisor/state.py: several workers as one gateway."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.supervisor.state import together


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (1, 2, 3),
        (1.5, 2, 3.5),
        (True, True, True),
        (True, False, False),
        ("up", "up", "up"),
        ("up", "down", "up | down"),
        (None, "x", "x"),
        ("x", None, "x"),
        (None, None, None),
        ([1, 2], [3, 4], [4, 6]),
        ([{"name": "a", "open": 1}], [{"name": "a", "open": 2}], [{"name": "a", "open": 3}]),
        ({"client": 1}, {"client": 1, "upstream": 2}, {"client": 2, "upstream": 2}),
        (
            {"problem": None, "up": True},
            {"problem": "x", "up": False},
            {"problem": "x", "up": False},
        ),
    ],
)
def test_what_two_workers_say_is_told_as_one(one: Any, other: Any, both: Any) -> None:
    assert together(one, other) == both


def test_lists_of_different_lengths_are_both_told() -> None:
    assert together([1], [1, 2]) == "[1] | [1, 2]"
