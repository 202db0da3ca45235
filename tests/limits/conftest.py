"""The loop of production for every test here."""

from __future__ import annotations

from tests.support.loops import pytest_asyncio_loop_factories

__all__ = ["pytest_asyncio_loop_factories"]
