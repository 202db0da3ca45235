"""What runs, and on what."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import version

import pytest

from proxy import __version__
from proxy.cli.version import has_c_parser
from tests.cli.conftest import Gatelodge


def test_it_names_all_that_decides_how_it_runs(gatelodge: Gatelodge) -> None:
    said = gatelodge("version")
    assert (said.code, said.err) == (0, "")
    lines = dict(line.split(maxsplit=1) for line in said.out.splitlines())
    assert lines == {
        "gatelodge": __version__,
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        "aiohttp": f"{version('aiohttp')} (C parser)",
        "httptools": version("httptools"),
        "uvloop": version("uvloop"),
    }


def test_the_c_parser_is_found_where_aiohttp_finds_it() -> None:
    from aiohttp.http_parser import HttpRequestParser, HttpRequestParserPy

    assert has_c_parser() is (HttpRequestParser is not HttpRequestParserPy)


def test_a_c_parser_that_is_switched_off_does_not_count(
    gatelodge: Gatelodge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIOHTTP_NO_EXTENSIONS", "1")
    assert "no C parser" in gatelodge("version").out


def test_what_is_not_installed_is_said_so(
    gatelodge: Gatelodge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "aiohttp", raising=False)
    monkeypatch.setattr(sys, "path", [])
    out = gatelodge("version").out
    assert "not installed (no C parser" in out
    assert out.count("not installed") == 3
