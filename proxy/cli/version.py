"""`gatelodge version`: what runs, and on what."""

from __future__ import annotations

import argparse
import os
import platform
from importlib.machinery import PathFinder
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from importlib.util import find_spec

from proxy import __version__
from proxy.cli.output import pairs


def configure(_parser: argparse.ArgumentParser) -> None:
    """There is nothing to choose."""


def run(_args: argparse.Namespace) -> int:
    """Print the versions."""
    parser = "C parser" if has_c_parser() else "no C parser: the gateway refuses to start"
    items = [
        ("gatelodge", __version__),
        ("python", f"{platform.python_version()} ({platform.python_implementation()})"),
        ("aiohttp", f"{_version('aiohttp')} ({parser})"),
        ("httptools", _version("httptools")),
        ("uvloop", _version("uvloop")),
    ]
    print(pairs(items, indent=""))
    return 0


def has_c_parser() -> bool:
    """Whether aiohttp's parser in C is there and not switched off; aiohttp itself is not
    imported.
    """
    if os.environ.get("AIOHTTP_NO_EXTENSIONS"):
        return False
    package = find_spec("aiohttp")
    if package is None or package.submodule_search_locations is None:
        return False
    return (
        PathFinder.find_spec("aiohttp._http_parser", package.submodule_search_locations) is not None
    )


def _version(distribution: str) -> str:
    try:
        return installed_version(distribution)
    except PackageNotFoundError:
        return "not installed"
