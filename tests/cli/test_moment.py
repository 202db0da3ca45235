"""proxy/cli/moment.py: what `--at` takes."""

from __future__ import annotations

import argparse

import pytest

from proxy.cli.moment import unix_time
from tests.cli.conftest import Gatelodge


@pytest.mark.parametrize(("text", "seconds"), [("0", 0.0), ("1800000060", 1800000060.0)])
def test_seconds_since_1970_are_a_moment(text: str, seconds: float) -> None:
    assert unix_time(text) == seconds


@pytest.mark.parametrize("text", ["", "now", "-1", "nan", "inf", "1e300", "253402300800"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="must be seconds since 1970"):
        unix_time(text)


@pytest.mark.parametrize(
    "words",
    [
        ("token", "inspect", "--bearer", "x"),
        ("token", "mint", "--sub", "u"),
        ("explain", "GET", "/x"),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_every_command_that_takes_a_moment_refuses_another_word(
    gatelodge: Gatelodge, words: tuple[str, ...]
) -> None:
    """At NaN no token would ever have expired."""
    said = gatelodge(*words, "--at", "nan")
    assert said.code == 2
    assert "must be seconds since 1970" in said.err
