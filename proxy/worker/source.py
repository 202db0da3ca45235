"""Where the configuration comes from, for one who reads it again and again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from proxy.config.model import Config


Mark = tuple[int, int, int] | None
"""What a file is: its inode, size and time of change (ns); None where there is none."""


class ConfigSource(Protocol):
    """A file, or flags and variables."""

    def read(self) -> Config:
        """Return the configuration as it is now. It reads files, so call it in a thread.

        Raises ConfigError with every problem.
        """

    @property
    def marks(self) -> Mapping[Path, Mark]:
        """The files that decide what `read` returns, and what they were when it last read them."""


class FixedSource:
    """A configuration that no file holds, and that is the same at every read."""

    marks: Mapping[Path, Mark] = MappingProxyType({})

    def __init__(self, config: Config) -> None:
        self._config = config

    def __repr__(self) -> str:
        return "<FixedSource>"

    def read(self) -> Config:
        """Return the configuration."""
        return self._config
