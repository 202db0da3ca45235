"""The event loops that a test runs on: uvloop, as in production; also asyncio's where loops differ.

A module that says `BOTH_LOOPS = True` has each of its tests run on both. The folder's `conftest.py`
imports the hook.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import pytest
import uvloop

LoopFactory = Callable[[], asyncio.AbstractEventLoop]

_UVLOOP: Final[Mapping[str, LoopFactory]] = {"uvloop": uvloop.new_event_loop}
_BOTH: Final[Mapping[str, LoopFactory]] = {**_UVLOOP, "asyncio": asyncio.SelectorEventLoop}


def pytest_asyncio_loop_factories(
    config: pytest.Config,  # noqa: ARG001 - the hook is called with it
    item: pytest.Item,
) -> Mapping[str, LoopFactory]:
    """Say on which loops `item` runs."""
    module = item.getparent(pytest.Module)
    return _BOTH if module and getattr(module.obj, "BOTH_LOOPS", False) else _UVLOOP
