"""The targets by name. One is a module of this folder that has what `Target` asks for; each has an
oracle, and none is content with not to crash.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Final, Protocol, cast

NAMES: Final = ("target", "cookies", "token", "head", "response", "proxy_protocol")


class Target(Protocol):
    """What such a module holds: `WORDS`, bytes that mean something to what it tests, and
    `HEAD_BYTES`, how many bytes an input begins with that only choose.
    """

    WORDS: Sequence[bytes]
    HEAD_BYTES: int

    def seeds(self) -> Iterable[bytes]:
        """Return inputs to begin with."""

    def check(self, data: bytes) -> None:
        """Judge one input. Raises Finding, or whatever the product raises by mistake."""

    def describe(self, data: bytes) -> str:
        """Return an input for people."""


def load(name: str) -> Target:
    """Return the target called `name`."""
    return cast("Target", import_module(f"tests.fuzz.{name}"))
